"""Key files of service accounts, whose signatures the cloud can check.

A key file made elsewhere works too; the cloud does not know its key and believes its signatures.
"""

from __future__ import annotations

import hashlib
import json
from typing import Any

from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import rsa

from ...core.core import Core

_KIND = "cloud.account_keys"


class KeyFiles:
    """The keys that were made here, by account."""

    def __init__(self, core: Core) -> None:
        self._store, self._names, self._lock = core.store, core.names, core.lock

    def make(self, email: str, token_uri: str) -> dict[str, Any]:
        """The JSON of a new key file, as IAM gives it. ValueError for what is no account."""
        if "@" not in email:
            raise ValueError(f"{email!r} is not the e-mail address of a service account.")
        key = rsa.generate_private_key(public_exponent=65537, key_size=2048)
        public = key.public_key().public_bytes(
            serialization.Encoding.PEM, serialization.PublicFormat.SubjectPublicKeyInfo
        )
        private = key.private_bytes(
            serialization.Encoding.PEM,
            serialization.PrivateFormat.PKCS8,
            serialization.NoEncryption(),
        )
        with self._lock, self._names.at(self._names.default):
            there = [*self._pems(email), public.decode()]
            self._store.put(_KIND, email, json.dumps(there).encode())
        return {
            "type": "service_account",
            "project_id": self._names.project,
            "private_key_id": hashlib.sha1(public, usedforsecurity=False).hexdigest(),
            "private_key": private.decode(),
            "client_email": email,
            "client_id": str(int(hashlib.sha256(email.encode()).hexdigest()[:16], 16)),
            "token_uri": token_uri,
            "universe_domain": "googleapis.com",
        }

    def public_keys(self, email: str) -> list[rsa.RSAPublicKey]:
        """The keys of an account that were made here."""
        with self._names.at(self._names.default):
            pems = self._pems(email)
        found = [serialization.load_pem_public_key(pem.encode()) for pem in pems]
        return [key for key in found if isinstance(key, rsa.RSAPublicKey)]

    def _pems(self, email: str) -> list[str]:
        blob = self._store.get(_KIND, email)
        return json.loads(blob) if blob else []
