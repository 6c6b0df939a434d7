"""Who callers are: OIDC tokens signed as Google signs them, and the certificates to check them.

A token's times are real time, not the cloud's: its receiver checks them by its own clock.
"""

from __future__ import annotations

import base64
import hashlib
import time
from datetime import UTC, datetime, timedelta
from typing import Any

import google.auth.crypt
import google.auth.jwt
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import rsa
from cryptography.x509.oid import NameOID

from ...core.core import Core
from ..http_types import Reply, Request, Route, json_reply

ISSUER = "https://accounts.google.com"
_KIND = "cloud.identity_key"
_CACHE = {"Cache-Control": "public, max-age=21600, must-revalidate, no-transform"}


class Identity:
    """Google's token side of one cloud; its key survives a restart when the store does."""

    def __init__(self, core: Core) -> None:
        self._number = core.names.number
        self._core = core
        self._key = self._load()
        public = self._key.public_key().public_bytes(
            serialization.Encoding.DER, serialization.PublicFormat.SubjectPublicKeyInfo
        )
        self.key_id = hashlib.sha1(public, usedforsecurity=False).hexdigest()
        self._certificate = _certificate(self._key)
        pem = _pem(self._key)
        self._signer = google.auth.crypt.RSASigner.from_string(pem, self.key_id)

    @property
    def default_email(self) -> str:
        """The Compute Engine default service account, a caller's default identity."""
        return f"{self._number}-compute@developer.gserviceaccount.com"

    def token(
        self, audience: str, email: str = "", *, seconds: int = 3600, **claims: object
    ) -> str:
        """An ID token as Google signs it for a service account; `claims` replace its claims."""
        email = email or self.default_email
        subject = str(int(hashlib.sha256(email.encode()).hexdigest()[:16], 16)).zfill(21)[:21]
        now = int(time.time())
        payload: dict[str, object] = {
            "iss": ISSUER,
            "aud": audience,
            "azp": subject,
            "sub": subject,
            "email": email,
            "email_verified": True,
            "iat": now,
            "exp": now + seconds,
        }
        signed: bytes = google.auth.jwt.encode(self._signer, payload | claims)
        return signed.decode()

    def certificates(self) -> dict[str, str]:
        """Key id to X.509 certificate, as www.googleapis.com/oauth2/v1/certs answers."""
        pem = self._certificate.public_bytes(serialization.Encoding.PEM).decode()
        return {self.key_id: pem}

    def jwks(self) -> dict[str, Any]:
        """The same key as a JWK set, as www.googleapis.com/oauth2/v3/certs answers."""
        numbers = self._key.public_key().public_numbers()
        fixed = {"kty": "RSA", "alg": "RS256", "use": "sig", "kid": self.key_id}
        return {"keys": [fixed | {"n": _b64(numbers.n), "e": _b64(numbers.e)}]}

    def routes(self) -> list[Route]:
        """The certificates, under the paths they have at www.googleapis.com."""
        return [
            Route("GET", "/oauth2/v1/certs", "", self._certs),
            Route("GET", "/oauth2/v3/certs", "", self._jwks),
        ]

    def _load(self) -> rsa.RSAPrivateKey:
        stored = self._core.store.get(_KIND, "signer")
        if stored is not None:
            key = serialization.load_pem_private_key(stored, None)
            if isinstance(key, rsa.RSAPrivateKey):
                return key
        key = rsa.generate_private_key(public_exponent=65537, key_size=2048)
        self._core.store.put(_KIND, "signer", _pem(key))
        return key

    def _certs(self, request: Request) -> Reply:
        del request
        reply = json_reply(self.certificates())
        reply.headers |= _CACHE
        return reply

    def _jwks(self, request: Request) -> Reply:
        del request
        reply = json_reply(self.jwks())
        reply.headers |= _CACHE
        return reply


def _certificate(key: rsa.RSAPrivateKey) -> x509.Certificate:
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "federated-signon.localcloud")])
    now = datetime.now(UTC)
    return (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - timedelta(days=1))
        .not_valid_after(now + timedelta(days=3650))
        .sign(key, hashes.SHA256())
    )


def _pem(key: rsa.RSAPrivateKey) -> bytes:
    return key.private_bytes(
        serialization.Encoding.PEM,
        serialization.PrivateFormat.TraditionalOpenSSL,
        serialization.NoEncryption(),
    )


def _b64(number: int) -> str:
    data = number.to_bytes((number.bit_length() + 7) // 8, "big")
    return base64.urlsafe_b64encode(data).rstrip(b"=").decode()
