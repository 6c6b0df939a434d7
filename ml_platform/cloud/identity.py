"""Who rings: Google's OIDC tokens, verified with certificates that are fetched rarely and kept.

google-auth's own verifier fetches certificates on every call, reads only the wall clock, and
checks neither the e-mail nor a token's lifetime: the claims are judged here, the signature there.
"""

from __future__ import annotations

import binascii
import hmac
import json
import re
from base64 import urlsafe_b64decode
from collections.abc import Collection
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from threading import Lock
from typing import Any

from ml_platform.errors import CloudUnavailable, Denied

from .types import Identity

MAX_TOKEN = 8 * 1024
SKEW = timedelta(seconds=10)
MAX_LIFETIME = timedelta(hours=1, minutes=5)
ISSUERS = ("https://accounts.google.com", "accounts.google.com")
REMOVED_SIGNATURE = "SIGNATURE_REMOVED_BY_GOOGLE"
"""What Cloud Run puts in place of the signature that its own IAM check has verified:
https://cloud.google.com/run/docs/troubleshooting#signature-removed"""

_FETCH_TIMEOUT = 5.0
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
    """Return who presents `token`, a JWT of Google's for exactly `audience` and one of `emails`.

    With `trust_platform` a signature that Cloud Run has verified and removed is taken as good.

    :raises Denied: the token is not good; the message is for the log, not for the caller.
    :raises CloudUnavailable: the certificates cannot be had, so nothing is known of the token.
    """
    if len(token) > MAX_TOKEN:
        raise _denied("it is too long")
    header, claims, signed, signature = _split(token)
    if header.get("alg") != "RS256":
        raise _denied("its algorithm is not RS256")
    identity = _judge(claims, audience=audience, emails=emails, now=now)
    if trust_platform and signature == REMOVED_SIGNATURE:
        return identity
    kid = header.get("kid")
    if not isinstance(kid, str) or not kid:
        raise _denied("it names no key")
    certificate = _certificates.get(certs_url, kid, now)
    if certificate is None:
        raise _denied("its key is unknown")
    if not _is_signed(signed, _decode(signature), certificate):
        raise _denied("its signature is wrong")
    return identity


@dataclass(frozen=True, slots=True)
class _Known:
    """Certificates of one address by key id; none are asked for again before `wait_until`."""

    by_kid: dict[str, str]
    fresh_until: datetime
    fetched: datetime
    wait_until: datetime

    def is_fresh(self, now: datetime) -> bool:
        """Whether Google still lets us keep them; a clock that was set back does not prolong it."""
        return self.fetched <= now < self.fresh_until


class Certificates:
    """Fetches certificates when they are old or lack a key, at most once a minute."""

    def __init__(self) -> None:
        self._known: dict[str, _Known] = {}
        self._fetching = Lock()

    def get(self, url: str, kid: str, now: datetime) -> str | None:
        """Return the certificate of that key, None when Google has no such key.

        Old certificates serve on while new ones cannot be had.

        :raises CloudUnavailable: the key is not among those we know, and they cannot be fetched.
        """
        known = self._known.get(url)
        if known and known.is_fresh(now) and kid in known.by_kid:
            return known.by_kid[kid]
        with self._fetching:
            known = self._refreshed(url, kid, now)
        if kid in known.by_kid:
            return known.by_kid[kid]
        if not known.is_fresh(now):
            raise _no_certificates(url, "the last try failed")
        return None

    def _refreshed(self, url: str, kid: str, now: datetime) -> _Known:
        known = self._known.get(url) or _Known({}, now, now, now)
        found_by_another = known.is_fresh(now) and kid in known.by_kid
        if found_by_another or known.fetched <= now < known.wait_until:
            return known
        try:
            by_kid, max_age = _fetch(url)
            known = _Known(by_kid, now + max_age, now, now + _REFETCH)
        except CloudUnavailable:
            known = replace(known, fetched=now, fresh_until=now, wait_until=now + _REFETCH)
        self._known[url] = known
        return known


_certificates = Certificates()


def _fetch(url: str) -> tuple[dict[str, str], timedelta]:
    import requests

    try:
        answer = requests.get(url, timeout=_FETCH_TIMEOUT, allow_redirects=False)
        found = answer.json()
    except requests.RequestException as error:
        raise _no_certificates(url, str(error)) from error
    if answer.status_code != 200 or not _is_key_table(found):
        raise _no_certificates(url, f"status {answer.status_code}")
    age = re.search(r"max-age=(\d{1,9})", answer.headers.get("Cache-Control", ""))
    return found, timedelta(seconds=int(age[1])) if age else _DEFAULT_MAX_AGE


def _is_key_table(found: Any) -> bool:
    return isinstance(found, dict) and all(isinstance(value, str) for value in found.values())


def _no_certificates(url: str, why: str) -> CloudUnavailable:
    return CloudUnavailable(
        f"The certificates of the token's issuer cannot be had from {url}: {why}",
        advice="The caller will try again; check the network if it lasts.",
    )


def _split(token: str) -> tuple[dict[str, Any], dict[str, Any], bytes, str]:
    parts = token.split(".")
    if len(parts) != 3 or not token.isascii():
        raise _denied("it has no three parts")
    header, claims = (_load(part) for part in parts[:2])
    return header, claims, f"{parts[0]}.{parts[1]}".encode(), parts[2]


def _load(part: str) -> dict[str, Any]:
    try:
        loaded = json.loads(_decode(part))
    except (ValueError, RecursionError) as error:
        raise _denied("a part of it is no JSON") from error
    if not isinstance(loaded, dict):
        raise _denied("a part of it is no JSON object")
    return loaded


def _decode(part: str) -> bytes:
    if not re.fullmatch(r"[A-Za-z0-9_-]+", part):
        raise _denied("a part of it is no base64url")
    try:
        return urlsafe_b64decode(part + "=" * (-len(part) % 4))
    except binascii.Error as error:
        raise _denied("a part of it is no base64url") from error


def _judge(
    claims: dict[str, Any], *, audience: str, emails: Collection[str], now: datetime
) -> Identity:
    issued, expires = _moment(claims, "iat"), _moment(claims, "exp")
    not_before = _moment(claims, "nbf") if "nbf" in claims else issued
    email, subject = claims.get("email"), claims.get("sub")
    rules = (
        (claims.get("iss") in ISSUERS, "its issuer is not Google"),
        (_same(claims.get("aud"), audience), "it is for another audience"),
        (issued <= now + SKEW and not_before <= now + SKEW, "it is from the future"),
        (now < expires + SKEW, "it has expired"),
        (timedelta(0) < expires - issued <= MAX_LIFETIME, "it lives too long"),
        (claims.get("email_verified") is True, "its e-mail is not verified"),
        (sum(_same(email, allowed) for allowed in emails) > 0, "it is of another identity"),
        (isinstance(subject, str) and subject != "", "it names no subject"),
    )
    for holds, complaint in rules:
        if not holds:
            raise _denied(complaint)
    return Identity(email=str(email), subject=str(subject), expires_at=expires)


def _moment(claims: dict[str, Any], name: str) -> datetime:
    value = claims.get(name)
    if type(value) is not int or not 0 < value < 1 << 33:
        raise _denied(f"its {name} is no time")
    return datetime.fromtimestamp(value, UTC)


def _same(given: Any, expected: str) -> bool:
    """Compare in a time that does not tell where they differ."""
    if not isinstance(given, str) or not given or not expected:
        return False
    return hmac.compare_digest(given.encode("utf-8", "surrogatepass"), expected.encode())


def _is_signed(signed: bytes, signature: bytes, certificate: str) -> bool:
    from google.auth.crypt import RSAVerifier

    try:
        verifier = RSAVerifier.from_string(certificate)
    except ValueError as error:
        raise CloudUnavailable("A certificate of the token's issuer cannot be read.") from error
    return bool(verifier.verify(signed, signature))


def _denied(complaint: str) -> Denied:
    return Denied(
        f"The token was refused: {complaint}.",
        code="bad_token",
        advice="Cloud Scheduler sends a good one when its job was set up by us.",
    )
