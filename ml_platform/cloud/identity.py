"""Verification of Google's OIDC tokens, with a cache of Google's certificates.

google-auth splits the token and checks its signature. The rest is ours, because google-auth's
verifier fetches the certificates for every token, compares times with the clock of this machine
only, and checks neither the e-mail address nor the lifetime.
"""

from __future__ import annotations

import hmac
import json
import logging
import re
from base64 import urlsafe_b64decode
from collections.abc import Collection
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from queue import Empty, SimpleQueue
from threading import Lock, Thread
from time import monotonic
from typing import Any, TypeAlias

from ml_platform.errors import CloudUnavailable, Denied

from .types import Identity

log = logging.getLogger(__name__)

MAX_TOKEN = 8 * 1024
MAX_CERTIFICATES = 256 * 1024
"""Bytes of the certificates' answer; Google's has about 5,000."""
SKEW = timedelta(seconds=10)
MAX_LIFETIME = timedelta(hours=1, minutes=5)
ISSUERS = ("https://accounts.google.com", "accounts.google.com")
REMOVED_SIGNATURE = "SIGNATURE_REMOVED_BY_GOOGLE"
"""Cloud Run puts this in place of a signature that its own IAM check has verified:
https://cloud.google.com/run/docs/troubleshooting#signature-removed"""

_FORM = re.compile(r"[A-Za-z0-9_-]+\.[A-Za-z0-9_-]+\.[A-Za-z0-9_-]+")
"""google-auth ignores padding and characters outside base64url; a token has neither."""
_FETCH_SECONDS = 5.0
_REFETCH = timedelta(minutes=1)
_DEFAULT_MAX_AGE = timedelta(minutes=5)


def verify_token(
    token: str,
    *,
    audience: str,
    emails: Collection[str],
    certs_url: str,
    now: datetime,
    trust_platform: bool = False,
) -> Identity:
    """Return the identity in `token`, a JWT signed by Google for `audience` and one of `emails`.

    With `trust_platform` a token whose signature Cloud Run has verified and removed is accepted.

    :raises Denied: the token is not valid; the message is for the log, not for the caller.
    :raises CloudUnavailable: the key of the token cannot be looked up now.
    """
    if len(token) > MAX_TOKEN:
        raise _denied("it is too long")
    header, claims = _read(token)
    if header.get("alg") != "RS256":
        raise _denied("its algorithm is not RS256")
    identity = _check_claims(claims, audience=audience, emails=emails, now=now)
    signed, _, signature = token.rpartition(".")
    if trust_platform and signature == REMOVED_SIGNATURE:
        return identity
    kid = header.get("kid")
    if not isinstance(kid, str) or not kid:
        raise _denied("it names no key")
    certificate = _certificates.get(certs_url, kid, now)
    if certificate is None:
        raise _denied("its key is unknown")
    if not _is_signed(signed, signature, certificate):
        raise _denied("its signature is wrong")
    return identity


def _read(token: str) -> tuple[dict[str, Any], dict[str, Any]]:
    """The header and the claims of a token, neither of them verified."""
    from google.auth import jwt

    if not _FORM.fullmatch(token):
        raise _denied("it is not a JWT")
    try:
        return jwt.decode_header(token), jwt.decode(token, verify=False)
    except (ValueError, RecursionError) as error:
        raise _denied("it is not a JWT") from error


@dataclass(frozen=True, slots=True)
class _Known:
    """The certificates of one URL by key id; they are not fetched again before `wait_until`."""

    by_kid: dict[str, str]
    fresh_until: datetime
    fetched: datetime
    wait_until: datetime

    def is_fresh(self, now: datetime) -> bool:
        """Whether Google allows their use now; a clock that was set back does not prolong it."""
        return self.fetched <= now < self.fresh_until


class Certificates:
    """Fetches certificates when they are old or lack a key, at most once a minute."""

    def __init__(self) -> None:
        self._known: dict[str, _Known] = {}
        self._fetching = Lock()

    def get(self, url: str, kid: str, now: datetime) -> str | None:
        """Return the certificate of that key, None when Google has no such key.

        Old certificates are used while new ones cannot be fetched.

        :raises CloudUnavailable: the key is unknown, and it cannot be fetched now. Google may have
            published it since the last fetch.
        """
        known = self._known.get(url)
        if known and known.is_fresh(now) and kid in known.by_kid:
            return known.by_kid[kid]
        with self._fetching:
            known, is_new = self._refreshed(url, kid, now)
        if kid in known.by_kid:
            return known.by_kid[kid]
        if is_new:
            return None
        raise _no_certificates(url, "the last fetch failed, or it was less than a minute ago")

    def _refreshed(self, url: str, kid: str, now: datetime) -> tuple[_Known, bool]:
        """The certificates, and whether Google has just answered with them."""
        known = self._known.get(url) or _Known({}, now, now, now)
        found_by_another = known.is_fresh(now) and kid in known.by_kid
        if found_by_another or known.fetched <= now < known.wait_until:
            return known, False
        is_new = False
        try:
            by_kid, max_age = _fetch(url)
        except CloudUnavailable as error:
            log.warning("%s", error)
            known = replace(known, fetched=now, fresh_until=now, wait_until=now + _REFETCH)
        else:
            known, is_new = _Known(by_kid, now + max_age, now, now + _REFETCH), True
        self._known[url] = known
        return known, is_new


_certificates = Certificates()


_Fetched: TypeAlias = tuple[dict[str, str], timedelta]


def _fetch(url: str) -> _Fetched:
    """Download in a thread: requests limits each read, but not the time of many short reads."""
    results: SimpleQueue[_Fetched | CloudUnavailable] = SimpleQueue()

    def run() -> None:
        try:
            results.put(_download(url))
        except CloudUnavailable as error:
            results.put(error)

    Thread(target=run, daemon=True).start()
    try:
        result = results.get(timeout=_FETCH_SECONDS)
    except Empty:
        raise _no_certificates(url, f"no answer within {_FETCH_SECONDS:g} seconds") from None
    if isinstance(result, CloudUnavailable):
        raise result
    return result


def _download(url: str) -> _Fetched:
    import requests

    end, body = monotonic() + _FETCH_SECONDS, b""
    try:
        with requests.get(
            url, timeout=_FETCH_SECONDS, allow_redirects=False, stream=True
        ) as answer:
            for part in answer.iter_content(1024):
                body += part
                if len(body) > MAX_CERTIFICATES or monotonic() > end:
                    limits = f"{MAX_CERTIFICATES:,} bytes or {_FETCH_SECONDS:g} seconds"
                    raise _no_certificates(url, f"the answer takes more than {limits}")
        found = json.loads(body)
    except (requests.RequestException, ValueError, RecursionError) as error:
        raise _no_certificates(url, str(error)) from error
    if answer.status_code != 200 or not _is_key_table(found):
        raise _no_certificates(url, f"status {answer.status_code}")
    age = re.search(r"max-age=(\d{1,9})", answer.headers.get("Cache-Control", ""))
    return found, timedelta(seconds=int(age[1])) if age else _DEFAULT_MAX_AGE


def _is_key_table(found: Any) -> bool:
    return isinstance(found, dict) and all(isinstance(value, str) for value in found.values())


def _no_certificates(url: str, reason: str) -> CloudUnavailable:
    return CloudUnavailable(
        f"The token's key cannot be looked up at {url}: {reason}.",
        advice="Try again in a minute; check the network if it happens again.",
    )


def _check_claims(
    claims: dict[str, Any], *, audience: str, emails: Collection[str], now: datetime
) -> Identity:
    issued, expires = _moment(claims, "iat"), _moment(claims, "exp")
    not_before = _moment(claims, "nbf") if "nbf" in claims else issued
    email, subject = claims.get("email"), claims.get("sub")
    rules = (
        (claims.get("iss") in ISSUERS, "its issuer is not Google"),
        (_same(claims.get("aud"), audience), "it is for another audience"),
        (issued <= now + SKEW and not_before <= now + SKEW, "it is not valid yet"),
        (now < expires + SKEW, "it has expired"),
        (timedelta(0) < expires - issued <= MAX_LIFETIME, "its lifetime is too long"),
        (claims.get("email_verified") is True, "its e-mail address is not verified"),
        (sum(_same(email, allowed) for allowed in emails) > 0, "its e-mail address is not allowed"),
        (isinstance(subject, str) and subject != "", "it has no subject"),
    )
    for holds, complaint in rules:
        if not holds:
            raise _denied(complaint)
    return Identity(email=str(email))


def _moment(claims: dict[str, Any], name: str) -> datetime:
    value = claims.get(name)
    if type(value) is not int or not 0 < value < 1 << 33:
        raise _denied(f"its {name} is not a time")
    return datetime.fromtimestamp(value, UTC)


def _same(given: Any, expected: str) -> bool:
    """Compare in constant time, so that the time does not reveal where they differ."""
    if not isinstance(given, str) or not given or not expected:
        return False
    return hmac.compare_digest(given.encode("utf-8", "surrogatepass"), expected.encode())


def _is_signed(signed: str, signature: str, certificate: str) -> bool:
    from google.auth.crypt import RSAVerifier

    try:
        verifier = RSAVerifier.from_string(certificate)
    except ValueError as error:
        raise CloudUnavailable("A certificate of the token's issuer cannot be read.") from error
    return bool(verifier.verify(signed.encode(), urlsafe_b64decode(signature + "==")))


def _denied(complaint: str) -> Denied:
    return Denied(
        f"The token was refused: {complaint}.",
        code="bad_token",
        advice="Set the job up again; its requests then have a valid token.",
    )
