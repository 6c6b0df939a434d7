"""Signed URLs: who signed a request, and whether it is still what was signed.

After cloud.google.com/storage/docs/authentication/canonical-requests (V4) and
cloud.google.com/storage/docs/access-control/signed-urls-v2 (V2).
"""

from __future__ import annotations

import base64
import binascii
import hashlib
import hmac
import re
from collections.abc import Callable, Mapping
from datetime import UTC, datetime
from typing import NamedTuple
from urllib.parse import quote, urlencode

from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import padding, rsa

from ...server.http_types import HttpError, Request

V4 = (
    "X-Goog-Algorithm",
    "X-Goog-Credential",
    "X-Goog-Date",
    "X-Goog-Expires",
    "X-Goog-SignedHeaders",
    "X-Goog-Signature",
)
V2 = ("GoogleAccessId", "Expires", "Signature")
PARAMETERS = frozenset((*V4, *V2))
_SECONDS = re.compile(r"[0-9]{1,12}")
_CREDENTIAL = re.compile(r"([^/]+)/([0-9]{8}/[^/]+/storage/goog4_request)")
_HMAC_ID = re.compile(r"GOOG[0-9A-Z]{20,57}")
_WEEK = 7 * 24 * 3600
# V2 signs these two neither (signed-urls-v2#about-canonical-extension-headers).
_UNSIGNED = ("x-goog-encryption-key", "x-goog-encryption-key-sha256")


class Known(NamedTuple):
    """The keys that the cloud knows."""

    secret: Callable[[str], tuple[str, str] | None]
    """(account, secret) of an active HMAC key, by its access id."""
    public: Callable[[str], list[rsa.RSAPublicKey]]
    """The public keys of an account; none when its keys were made elsewhere."""


def signer_of(request: Request, resource: str, known: Known, now: datetime) -> str:
    """The account that signed the request's URL, '' when it is not signed.

    `resource` is the path with the bucket. A signature is checked where its key is known. Raises
    HttpError with the XML API's code for its reason.
    """
    for names, check in ((V4, _v4), (V2, _v2)):
        given = [name for name in names if name in request.query]
        if given:
            missing = [name for name in names if name not in given]
            if missing:
                raise _invalid(f"The query has {given[0]} and no {missing[0]}.")
            return check(request, resource, known, now)
    return ""


def _v4(request: Request, resource: str, known: Known, now: datetime) -> str:
    del resource  # of the path as it came, also where the host names the bucket
    ask = request.query
    credential = _CREDENTIAL.fullmatch(ask["X-Goog-Credential"])
    if credential is None:
        raise _invalid("X-Goog-Credential is not ACCOUNT/DATE/REGION/storage/goog4_request.")
    _check_expiry_v4(ask, now)
    text = "\n".join(
        (
            ask["X-Goog-Algorithm"],
            ask["X-Goog-Date"],
            credential[2],
            hashlib.sha256(_canonical(request).encode()).hexdigest(),
        )
    )
    try:
        signature = bytes.fromhex(ask["X-Goog-Signature"])
    except ValueError:
        raise _malformed("X-Goog-Signature is not hexadecimal.") from None
    if ask["X-Goog-Algorithm"] == "GOOG4-RSA-SHA256":
        return _by_rsa(credential[1], text, signature, known)
    if ask["X-Goog-Algorithm"] != "GOOG4-HMAC-SHA256":
        raise _invalid("X-Goog-Algorithm is GOOG4-RSA-SHA256 or GOOG4-HMAC-SHA256.")
    account, secret = _secret(credential[1], known)
    key = b"GOOG4" + secret.encode()
    for part in credential[2].split("/"):
        key = hmac.digest(key, part.encode(), "sha256")
    _same(hmac.digest(key, text.encode(), "sha256"), signature, text)
    return account


def _check_expiry_v4(ask: Mapping[str, str], now: datetime) -> None:
    try:
        since = datetime.strptime(ask["X-Goog-Date"], "%Y%m%dT%H%M%SZ").replace(tzinfo=UTC)
    except ValueError:
        raise _invalid("X-Goog-Date is not YYYYMMDDTHHMMSSZ.") from None
    seconds = ask["X-Goog-Expires"]
    if not _SECONDS.fullmatch(seconds) or not 1 <= int(seconds) <= _WEEK:
        raise _invalid(f"X-Goog-Expires is from 1 to {_WEEK} seconds.")
    _check_expiry(since.timestamp() + int(seconds), now)


def _check_expiry(until: float, now: datetime) -> None:
    if now.timestamp() > until:
        when = datetime.fromtimestamp(until, UTC).isoformat()
        raise HttpError(400, "ExpiredToken", f"Request signature expired at: {when}")


def _canonical(request: Request) -> str:
    pairs = [pair for pair in request.pairs if pair[0] != "X-Goog-Signature"]
    names = request.query["X-Goog-SignedHeaders"].split(";")
    for name in names:
        if name not in request.headers:
            raise _malformed(f"{name} was included in signedheaders, but not in the request.")
    if "host" not in names:
        raise _malformed("host was not included in signedheaders.")
    headers = [f"{name}:{' '.join(request.headers[name].split())}\n" for name in names]
    return "\n".join(
        (
            request.verb,
            request.path,
            urlencode(sorted(pairs), quote_via=quote, safe="~"),
            "".join(headers),
            ";".join(names),
            request.headers.get("x-goog-content-sha256", "UNSIGNED-PAYLOAD"),
        )
    )


def _v2(request: Request, resource: str, known: Known, now: datetime) -> str:
    ask, headers = request.query, request.headers
    if not _SECONDS.fullmatch(ask["Expires"]):
        raise _invalid("Expires is a number of seconds since 1970.")
    _check_expiry(int(ask["Expires"]), now)
    try:
        signature = base64.b64decode(ask["Signature"], validate=True)
    except binascii.Error:
        raise _malformed("Signature was not base64 encoded") from None
    own = sorted(n for n in headers if n.startswith("x-goog-") and n not in _UNSIGNED)
    text = "\n".join(
        (
            request.verb,
            headers.get("content-md5", ""),
            headers.get("content-type", ""),
            ask["Expires"],
            *(f"{name}:{' '.join(headers[name].split())}" for name in own),
            resource,
        )
    )
    account = ask["GoogleAccessId"]
    if _HMAC_ID.fullmatch(account) is None:
        return _by_rsa(account, text, signature, known)
    account, secret = _secret(account, known)
    _same(hmac.digest(secret.encode(), text.encode(), "sha1"), signature, text)
    return account


def _by_rsa(account: str, text: str, signature: bytes, known: Known) -> str:
    keys = known.public(account)
    for key in keys:
        try:
            key.verify(signature, text.encode(), padding.PKCS1v15(), hashes.SHA256())
        except InvalidSignature:
            continue
        return account
    if keys:
        raise _mismatch(text)
    return account


def _secret(access_id: str, known: Known) -> tuple[str, str]:
    found = known.secret(access_id)
    if found is None:
        raise HttpError(403, "InvalidSecurity", f"There is no active HMAC key {access_id}.")
    return found


def _same(made: bytes, given: bytes, text: str) -> None:
    if not hmac.compare_digest(made, given):
        raise _mismatch(text)


def _mismatch(text: str) -> HttpError:
    return HttpError(403, "SignatureDoesNotMatch", f"The string to sign is: {text}")


def _invalid(message: str) -> HttpError:
    return HttpError(400, "InvalidArgument", message)


def _malformed(message: str) -> HttpError:
    return HttpError(400, "MalformedSecurityHeader", message)
