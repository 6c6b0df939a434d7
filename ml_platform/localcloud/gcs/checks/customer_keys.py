"""Customer-supplied encryption keys: what was written with a key is read with the same one only.

After cloud.google.com/storage/docs/encryption/using-customer-supplied-keys and the error codes of
.../json_api/v1/status-codes. The key itself is never stored, as at Google.
"""

from __future__ import annotations

import base64
import binascii
import hashlib
from typing import Any

from ...server.http_types import HttpError, Request
from ..tables.store import StoredObject

FIELD = "customerEncryption"
_TARGET = "x-goog-encryption"
_SOURCE = "x-goog-copy-source-encryption"


def key_of(request: Request, *, source: bool = False) -> str:
    """The SHA-256 of the key in a request's headers, '' without one.

    `source` reads the headers for the object to copy from. Raises HttpError 400 when the three
    headers do not fit together.
    """
    prefix = _SOURCE if source else _TARGET
    names = ("algorithm", "key", "key-sha256")
    algorithm, key, digest = (request.headers.get(f"{prefix}-{name}", "") for name in names)
    if not (algorithm or key or digest):
        return ""
    if algorithm != "AES256":
        raise _bad("customerEncryptionAlgorithmIsInvalid", "The encryption algorithm is invalid.")
    try:
        raw = base64.b64decode(key, validate=True)
    except binascii.Error:
        raw = b""
    if len(raw) != 32:
        raise _bad("customerEncryptionKeyFormatIsInvalid", "The encryption key is not valid.")
    if digest != base64.b64encode(hashlib.sha256(raw).digest()).decode():
        raise _bad(
            "customerEncryptionKeySha256IsInvalid",
            "The provided encryption key's SHA256 hash does not match the key.",
        )
    return digest


def field_of(key: str) -> dict[str, Any]:
    """The field of an object that is written with this key."""
    return {FIELD: {"encryptionAlgorithm": "AES256", "keySha256": key}} if key else {}


def check_key(found: StoredObject, key: str) -> None:
    """Raise HttpError 400 unless `key` opens the object; one that is not locked takes no key."""
    stored = found.settable.get(FIELD, {}).get("keySha256", "")
    if stored and not key:
        raise _bad(
            "resourceIsEncryptedWithCustomerEncryptionKey",
            "The target object is encrypted by a customer-supplied encryption key.",
        )
    if key and not stored:
        raise _bad(
            "resourceNotEncryptedWithCustomerEncryptionKey",
            "The target object is not encrypted by a customer-supplied encryption key.",
        )
    if key != stored:
        raise _bad("customerEncryptionKeyIsIncorrect", "The provided encryption key is incorrect.")


def shown(resource: dict[str, Any], key: str) -> dict[str, Any]:
    """An object's JSON without its checksums, when it is locked and the key is not here."""
    if FIELD not in resource or resource[FIELD]["keySha256"] == key:
        return resource
    return {name: value for name, value in resource.items() if name not in ("md5Hash", "crc32c")}


def _bad(reason: str, message: str) -> HttpError:
    return HttpError(400, reason, message)
