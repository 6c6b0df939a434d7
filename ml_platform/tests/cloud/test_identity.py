"""Only a fresh token, signed by Google, for us, of a service account we named, opens a door."""

from __future__ import annotations

import base64
import hmac
import json
import threading
import time
from collections.abc import Iterator
from contextlib import suppress
from datetime import UTC, datetime, timedelta
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import padding, rsa
from cryptography.x509.oid import NameOID

from ml_platform.cloud import identity
from ml_platform.cloud.identity import verify_token
from ml_platform.cloud.types import Identity
from ml_platform.errors import CloudUnavailable, Denied

NOW = datetime(2026, 3, 1, 4, 0, tzinfo=UTC)
SECONDS = int(NOW.timestamp())
AUDIENCE = "https://ml.example.com/"
EMAIL = "caller@demo-project.iam.gserviceaccount.com"
GOOD: dict[str, Any] = {
    "iss": "https://accounts.google.com",
    "aud": AUDIENCE,
    "azp": "113",
    "sub": "113",
    "email": EMAIL,
    "email_verified": True,
    "iat": SECONDS - 1,
    "exp": SECONDS + 3599,
}


def make_key() -> tuple[rsa.RSAPrivateKey, str]:
    key = rsa.generate_private_key(65537, 2048)
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "tests")])
    certificate = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(1)
        .not_valid_before(NOW - timedelta(days=1))
        .not_valid_after(NOW + timedelta(days=1))
        .sign(key, hashes.SHA256())
    )
    return key, certificate.public_bytes(serialization.Encoding.PEM).decode()


KEY, CERTIFICATE = make_key()
OTHER_KEY, OTHER_CERTIFICATE = make_key()


class Server(ThreadingHTTPServer):
    """Serves certificates as www.googleapis.com does, and counts how often it was asked.

    With `drip` each byte of that part of the answer comes after a pause.
    """

    daemon_threads = True

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), Handler)
        self.certificates: Any = {"k1": CERTIFICATE}
        self.status, self.cache, self.asked = 200, "public, max-age=3600", 0
        self.drip, self.stopped = "", threading.Event()

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server_port}/oauth2/v1/certs"


class Handler(BaseHTTPRequestHandler):
    server: Server

    def do_GET(self) -> None:
        self.server.asked += 1
        body = self.server.certificates
        body = body if isinstance(body, bytes) else json.dumps(body).encode()
        self.send_response(self.server.status)
        self.send_header("Cache-Control", self.server.cache)
        self.send_header("Content-Length", str(len(body)))
        if self.server.status == 302:
            self.send_header("Location", self.server.url + "/elsewhere")
        if self.server.drip == "headers":
            self.flush_headers()
            self._drip(b"X-Slow: " + b"x" * 200 + b"\r\n")
        self.end_headers()
        if self.server.drip == "body":
            self._drip(body)
        else:
            with suppress(ConnectionError):  # the reader may stop at its limit
                self.wfile.write(body)

    def _drip(self, data: bytes) -> None:
        for byte in data:
            if not self.server.stopped.wait(0.05):
                self.wfile.write(bytes([byte]))

    def log_message(self, *_: object) -> None:
        pass


@pytest.fixture
def server(monkeypatch: pytest.MonkeyPatch) -> Iterator[Server]:
    monkeypatch.setattr(identity, "_certificates", identity.Certificates())
    with Server() as server:
        thread = threading.Thread(target=server.serve_forever, args=(0.01,))
        thread.start()
        yield server
        server.stopped.set()
        server.shutdown()
        thread.join()


def b64(data: bytes) -> str:
    return base64.urlsafe_b64encode(data).rstrip(b"=").decode()


def part(value: Any) -> str:
    return b64(value if isinstance(value, bytes) else json.dumps(value).encode())


def forge(claims: Any = GOOD, header: Any = None, key: rsa.RSAPrivateKey = KEY) -> str:
    header = {"alg": "RS256", "typ": "JWT", "kid": "k1"} if header is None else header
    signed = f"{part(header)}.{part(claims)}"
    signature = key.sign(signed.encode(), padding.PKCS1v15(), hashes.SHA256())
    return f"{signed}.{b64(signature)}"


def without(name: str) -> dict[str, Any]:
    return {key: value for key, value in GOOD.items() if key != name}


def verify(server: Server, token: str, **options: Any) -> Identity:
    given: dict[str, Any] = {"audience": AUDIENCE, "emails": (EMAIL,), "now": NOW, **options}
    return verify_token(token, certs_url=server.url, **given)


def hmac_signed_with_the_certificate() -> str:
    signed = f"{part({'alg': 'HS256', 'kid': 'k1'})}.{part(GOOD)}"
    return f"{signed}.{b64(hmac.digest(CERTIFICATE.encode(), signed.encode(), 'sha256'))}"


TOKEN = forge()
HEAD, BODY, SIGNATURE = TOKEN.split(".")

FORGED = {
    "empty": "",
    "dots only": "..",
    "two parts": f"{HEAD}.{BODY}",
    "four parts": f"{TOKEN}.x",
    "garbage": "garbage",
    "spaces around": f" {TOKEN} ",
    "new line at the end": f"{TOKEN}\n",
    "not ascii": f"{HEAD}.{BODY}.{SIGNATURE[:-1]}é",
    "standard base64": f"{HEAD}.{BODY}.+/{SIGNATURE[2:]}",
    "padded": f"{HEAD}.{BODY}.{SIGNATURE}==",
    "one character too many": f"{HEAD}.{BODY}.{SIGNATURE}AAA",
    "over 8 KiB": forge({**GOOD, "more": "x" * 8192}),
    "one MiB": "x" * (1 << 20),
    "header no json": f"{b64(b'{')}.{BODY}.{SIGNATURE}",
    "header a list": f"{part([])}.{BODY}.{SIGNATURE}",
    "claims no json": forge(b"no"),
    "claims a list": forge([GOOD]),
    "claims null": forge(None),
    "claims not utf-8": forge(b'{"iss": "\xff"}'),
    "claims too deep": forge(b"[" * 5000),
    "alg none, no signature": f"{part({'alg': 'none', 'kid': 'k1'})}.{BODY}.",
    "alg none, old signature": f"{part({'alg': 'none', 'kid': 'k1'})}.{BODY}.{SIGNATURE}",
    "alg missing": forge(header={"kid": "k1"}),
    "alg in lower case": forge(header={"alg": "rs256", "kid": "k1"}),
    "alg a list": forge(header={"alg": ["RS256"], "kid": "k1"}),
    "alg RS384": forge(header={"alg": "RS384", "kid": "k1"}),
    "alg ES256": forge(header={"alg": "ES256", "kid": "k1"}),
    "alg HS256 with the certificate": hmac_signed_with_the_certificate(),
    "kid missing": forge(header={"alg": "RS256"}),
    "kid empty": forge(header={"alg": "RS256", "kid": ""}),
    "kid unknown": forge(header={"alg": "RS256", "kid": "k9"}),
    "kid a number": forge(header={"alg": "RS256", "kid": 1}),
    "kid a list": forge(header={"alg": "RS256", "kid": ["k1"]}),
    "signed by another key": forge(key=OTHER_KEY),
    "signature empty": f"{HEAD}.{BODY}.",
    "signature cut": f"{HEAD}.{BODY}.{SIGNATURE[:-4]}",
    "signature of other claims": f"{HEAD}.{part({**GOOD, 'sub': '114'})}.{SIGNATURE}",
    "signature removed by google": f"{HEAD}.{BODY}.SIGNATURE_REMOVED_BY_GOOGLE",
    "expired": forge({**GOOD, "iat": SECONDS - 3700, "exp": SECONDS - 100}),
    "expired by the skew": forge({**GOOD, "exp": SECONDS - 10, "iat": SECONDS - 100}),
    "exp missing": forge(without("exp")),
    "exp a text": forge({**GOOD, "exp": str(SECONDS + 3599)}),
    "exp a float": forge({**GOOD, "exp": SECONDS + 3599.0}),
    "exp true": forge({**GOOD, "exp": True}),
    "exp null": forge({**GOOD, "exp": None}),
    "exp enormous": forge({**GOOD, "exp": 1 << 70}),
    "exp in ten years": forge({**GOOD, "exp": SECONDS + 315_360_000}),
    "lives too long": forge({**GOOD, "exp": GOOD["iat"] + 3901}),
    "exp before iat": forge({**GOOD, "iat": SECONDS + 5, "exp": SECONDS + 4}),
    "iat missing": forge(without("iat")),
    "iat in the future": forge({**GOOD, "iat": SECONDS + 11}),
    "iat negative": forge({**GOOD, "iat": -1}),
    "nbf in the future": forge({**GOOD, "nbf": SECONDS + 11}),
    "nbf a text": forge({**GOOD, "nbf": "now"}),
    "aud missing": forge(without("aud")),
    "aud empty": forge({**GOOD, "aud": ""}),
    "aud other": forge({**GOOD, "aud": "https://evil.example.com/"}),
    "aud without its slash": forge({**GOOD, "aud": AUDIENCE.rstrip("/")}),
    "aud in capitals": forge({**GOOD, "aud": AUDIENCE.upper()}),
    "aud a list of ours": forge({**GOOD, "aud": [AUDIENCE]}),
    "aud a number": forge({**GOOD, "aud": 7}),
    "aud a lone surrogate": forge({**GOOD, "aud": "\ud800"}),
    "iss missing": forge(without("iss")),
    "iss other": forge({**GOOD, "iss": "https://evil.example.com"}),
    "iss by http": forge({**GOOD, "iss": "http://accounts.google.com"}),
    "iss with a slash": forge({**GOOD, "iss": "https://accounts.google.com/"}),
    "iss a list": forge({**GOOD, "iss": ["accounts.google.com"]}),
    "email missing": forge(without("email")),
    "email other": forge({**GOOD, "email": "other@demo-project.iam.gserviceaccount.com"}),
    "email of a user": forge({**GOOD, "email": "someone@gmail.com"}),
    "email in capitals": forge({**GOOD, "email": EMAIL.upper()}),
    "email longer": forge({**GOOD, "email": EMAIL + ".evil.com"}),
    "email empty": forge({**GOOD, "email": ""}),
    "email a list": forge({**GOOD, "email": [EMAIL]}),
    "email_verified missing": forge(without("email_verified")),
    "email_verified false": forge({**GOOD, "email_verified": False}),
    "email_verified a text": forge({**GOOD, "email_verified": "true"}),
    "email_verified one": forge({**GOOD, "email_verified": 1}),
    "sub missing": forge(without("sub")),
    "sub empty": forge({**GOOD, "sub": ""}),
    "sub a number": forge({**GOOD, "sub": 113}),
}


def test_there_are_forgeries_of_many_kinds():
    assert len(FORGED) >= 40


@pytest.mark.parametrize("name", FORGED)
def test_a_forged_token_is_denied(server, name):
    with pytest.raises(Denied) as denied:
        verify(server, FORGED[name])
    assert denied.value.code == "bad_token"
    assert EMAIL not in str(denied.value)


ACCEPTED = {
    "as google writes it": TOKEN,
    "short issuer": forge({**GOOD, "iss": "accounts.google.com"}),
    "a clock ten seconds ahead": forge({**GOOD, "iat": SECONDS + 10}),
    "a clock nine seconds behind": forge({**GOOD, "iat": SECONDS - 99, "exp": SECONDS - 9}),
    "the longest life": forge({**GOOD, "exp": GOOD["iat"] + 3900}),
    "more claims": forge({**GOOD, "nbf": SECONDS, "hd": "example.com"}),
}


@pytest.mark.parametrize("name", ACCEPTED)
def test_a_good_token_tells_who_it_is(server, name):
    who = verify(server, ACCEPTED[name])
    assert who.email == EMAIL


@pytest.mark.parametrize("emails", [(), ("",), ("other@example.com",)])
def test_nobody_is_let_in_when_nobody_was_named(server, emails):
    for claims in (GOOD, {**GOOD, "email": ""}):
        with pytest.raises(Denied):
            verify(server, forge(claims), emails=emails)


def test_any_of_the_named_accounts_is_let_in(server):
    assert verify(server, TOKEN, emails=("other@example.com", EMAIL)).email == EMAIL


def test_an_unset_audience_lets_nobody_in(server):
    for claims in (GOOD, {**GOOD, "aud": ""}):
        with pytest.raises(Denied):
            verify(server, forge(claims), audience="")


def test_a_removed_signature_counts_only_where_the_platform_is_trusted(server):
    removed = f"{HEAD}.{BODY}.SIGNATURE_REMOVED_BY_GOOGLE"
    assert verify(server, removed, trust_platform=True).email == EMAIL
    for bad in (f"{HEAD}.{BODY}.", f"{HEAD}.{BODY}.SIGNATURE", forge(key=OTHER_KEY)):
        with pytest.raises(Denied):
            verify(server, bad, trust_platform=True)
    with pytest.raises(Denied):
        verify(
            server,
            f"{HEAD}.{part({**GOOD, 'aud': 'x'})}.SIGNATURE_REMOVED_BY_GOOGLE",
            trust_platform=True,
        )


def test_certificates_are_fetched_once_while_they_are_fresh(server):
    for minute in range(60):
        claims = {**GOOD, "iat": SECONDS + minute * 60, "exp": SECONDS + minute * 60 + 3600}
        verify(server, forge(claims), now=NOW + timedelta(minutes=minute))
    assert server.asked == 1


def later(seconds: int) -> dict[str, Any]:
    """A token of that time, and that time."""
    claims = {**GOOD, "iat": SECONDS + seconds, "exp": SECONDS + seconds + 3600}
    return {"token": forge(claims), "now": NOW + timedelta(seconds=seconds)}


def test_certificates_are_fetched_again_when_they_are_old(server):
    verify(server, **later(0))
    verify(server, **later(3599))
    assert server.asked == 1
    verify(server, **later(3600))
    assert server.asked == 2


def test_without_a_max_age_certificates_are_kept_for_five_minutes(server):
    server.cache = "no-store"
    verify(server, **later(0))
    verify(server, **later(299))
    verify(server, **later(300))
    assert server.asked == 2


def test_an_unknown_key_is_looked_for_at_most_once_a_minute(server):
    verify(server, TOKEN)
    unknown = forge(header={"alg": "RS256", "kid": "k2"})
    for _ in range(50):
        with pytest.raises(CloudUnavailable):  # it may have been published since
            verify(server, unknown)
    assert server.asked == 1
    with pytest.raises(Denied):
        verify(server, unknown, now=NOW + timedelta(seconds=60))
    assert server.asked == 2
    server.certificates = {"k1": CERTIFICATE, "k2": CERTIFICATE}
    with pytest.raises(CloudUnavailable):
        verify(server, unknown, now=NOW + timedelta(seconds=119))
    assert verify(server, unknown, now=NOW + timedelta(seconds=120)).email == EMAIL
    assert server.asked == 3


def test_a_new_key_of_google_is_found_although_the_old_ones_are_fresh(server):
    verify(server, TOKEN)
    server.certificates = {"k2": OTHER_CERTIFICATE}
    token = forge(header={"alg": "RS256", "kid": "k2"}, key=OTHER_KEY)
    verify(server, token, now=NOW + timedelta(minutes=2))
    with pytest.raises(Denied):
        verify(server, TOKEN, now=NOW + timedelta(minutes=3))


BROKEN = {
    "an error": (500, {"k1": CERTIFICATE}),
    "a redirect": (302, {"k1": CERTIFICATE}),
    "no json": (200, b"<html>"),
    "a list": (200, []),
    "keys that are no texts": (200, {"keys": [{"kid": "k1"}]}),
    "too deep": (200, b"[" * 100_000),
    "too large": (200, {"k1": CERTIFICATE, "more": "x" * identity.MAX_CERTIFICATES}),
}


@pytest.mark.parametrize("name", BROKEN)
def test_when_certificates_cannot_be_had_nothing_is_known_of_the_token(server, name):
    server.status, server.certificates = BROKEN[name]
    with pytest.raises(CloudUnavailable):
        verify(server, TOKEN)


@pytest.mark.parametrize("name", BROKEN)
def test_old_certificates_serve_on_while_new_ones_cannot_be_had(server, name):
    verify(server, TOKEN)
    server.status, server.certificates = BROKEN[name]
    assert verify(server, **later(90_000)).email == EMAIL
    assert server.asked == 2
    with pytest.raises(Denied):
        verify(server, forge(key=OTHER_KEY))


@pytest.mark.parametrize("part", ["headers", "body"])
def test_a_dripping_answer_ends_at_the_deadline(server, monkeypatch, caplog, part):
    monkeypatch.setattr(identity, "_FETCH_SECONDS", 0.3)
    server.drip = part
    started = time.monotonic()
    with pytest.raises(CloudUnavailable):
        verify(server, TOKEN)
    assert "no answer within 0.3 seconds" in caplog.text
    assert time.monotonic() - started < 3


def test_an_answer_is_read_to_its_limit_only(server, caplog):
    server.certificates = b" " * (1 << 22)
    with pytest.raises(CloudUnavailable):
        verify(server, TOKEN)
    assert "more than 262,144 bytes" in caplog.text


def test_an_unknown_key_during_an_outage_is_not_called_forged(server):
    verify(server, TOKEN)
    server.status = 503
    unknown = forge(header={"alg": "RS256", "kid": "k2"})
    with pytest.raises(CloudUnavailable):
        verify(server, unknown, now=NOW + timedelta(minutes=2))
    verify(server, TOKEN, now=NOW + timedelta(minutes=2))


def test_an_unknown_key_during_an_outage_asks_once_a_minute_and_a_known_one_serves_on(server):
    verify(server, TOKEN)
    server.status = 503
    unknown = forge(header={"alg": "RS256", "kid": "k2"})
    for second in range(120, 240, 10):
        with pytest.raises(CloudUnavailable):
            verify(server, unknown, now=NOW + timedelta(seconds=second))
        verify(server, TOKEN, now=NOW + timedelta(seconds=second))
    assert server.asked == 3


def test_after_a_failed_fetch_the_next_try_waits_a_minute(server):
    server.status = 503
    for second in (0, 1, 59):
        with pytest.raises(CloudUnavailable):
            verify(server, TOKEN, now=NOW + timedelta(seconds=second))
    assert server.asked == 1
    server.status = 200
    verify(server, TOKEN, now=NOW + timedelta(seconds=60))
    assert server.asked == 2


def test_an_unreachable_issuer_is_unavailable_not_denied(server):
    with pytest.raises(CloudUnavailable):
        verify_token(
            TOKEN, audience=AUDIENCE, emails=(EMAIL,), certs_url="http://127.0.0.1:9/", now=NOW
        )


def test_a_certificate_that_cannot_be_read_is_unavailable_not_denied(server):
    server.certificates = {"k1": "-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n"}
    with pytest.raises(CloudUnavailable):
        verify(server, TOKEN)


def test_a_bad_token_costs_no_fetch(server):
    for name in ("aud other", "email other", "expired", "alg none, no signature", "one MiB"):
        with pytest.raises(Denied):
            verify(server, FORGED[name])
    assert server.asked == 0


def test_many_threads_share_one_fetch(server):
    found: list[str] = []
    threads = [
        threading.Thread(target=lambda: found.append(verify(server, TOKEN).email))
        for _ in range(16)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert (found, server.asked) == ([EMAIL] * 16, 1)


def test_a_clock_that_is_set_back_does_not_prolong_certificates(server):
    verify(server, **later(90_000))
    verify(server, TOKEN)
    assert server.asked == 2


def test_a_token_of_the_local_cloud_is_good_for_its_audience_only(cloud, server):
    now = datetime.now(UTC)
    token = cloud.identity.token(AUDIENCE, EMAIL)
    certs_url = f"{cloud.http_url}/oauth2/v1/certs"
    who = verify_token(token, audience=AUDIENCE, emails=(EMAIL,), certs_url=certs_url, now=now)
    assert who.email == EMAIL
    with pytest.raises(Denied):
        verify_token(token, audience="other", emails=(EMAIL,), certs_url=certs_url, now=now)
    with pytest.raises(Denied):
        verify(server, token, now=now)
