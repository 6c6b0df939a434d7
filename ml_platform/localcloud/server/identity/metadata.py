"""Credentials without a key file: the metadata server of a VM, and the OAuth token endpoint.

`GCE_METADATA_HOST=<host:port>` leads `google.auth.default()` and `id_token.fetch_id_token` here.
"""

from __future__ import annotations

from functools import partial

import google.auth.jwt

from ...core.access.callers import SECONDS, access_token
from ...core.core import Core
from ..http_types import HttpError, Reply, Request, Route, json_reply
from .oidc import Identity

FLAVOR = {"Metadata-Flavor": "Google"}
_ROOT = "/computeMetadata/v1"
_ACCOUNT = rf"{_ROOT}/instance/service-accounts/(?P<account>[^/]+)"
_SCOPES = ("https://www.googleapis.com/auth/cloud-platform",)


class Metadata:
    """Answers only requests with `Metadata-Flavor: Google`, as the real server does."""

    def __init__(self, core: Core, identity: Identity) -> None:
        self._identity = identity
        self._texts = (
            (f"{_ROOT}/?", "instance/\nproject/\nuniverse/\n"),
            (f"{_ROOT}/project/project-id", core.names.project),
            (f"{_ROOT}/project/numeric-project-id", str(core.names.number)),
            (f"{_ROOT}/universe/universe[-_]domain", "googleapis.com"),
        )

    def routes(self) -> list[Route]:
        """/computeMetadata/v1 and /token."""
        return [
            *(Route("GET", path, "", partial(_text, text=text)) for path, text in self._texts),
            Route("GET", f"{_ACCOUNT}/?", "", self._account),
            Route("GET", f"{_ACCOUNT}/email", "", self._email),
            Route("GET", f"{_ACCOUNT}/token", "", self._access),
            Route("GET", f"{_ACCOUNT}/identity", "", self._id_token),
            Route("POST", "/token", "", self._exchange),
        ]

    def _account(self, request: Request, account: str) -> Reply:
        _check(request)
        about = {"aliases": ["default"], "email": self._who(account), "scopes": list(_SCOPES)}
        reply = json_reply(about)
        reply.headers |= FLAVOR
        return reply

    def _email(self, request: Request, account: str) -> Reply:
        _check(request)
        return _plain(self._who(account))

    def _access(self, request: Request, account: str) -> Reply:
        _check(request)
        reply = json_reply(_access_token(self._who(account)))
        reply.headers |= FLAVOR
        return reply

    def _id_token(self, request: Request, account: str) -> Reply:
        _check(request)
        audience = request.query.get("audience", "")
        if not audience:
            raise HttpError(400, "invalid", "non-empty audience parameter required")
        return _plain(self._identity.token(audience, self._who(account)))

    def _exchange(self, request: Request) -> Reply:
        """A service account's assertion (RFC 7523) for an ID token or an access token."""
        assertion = dict(request.form()).get("assertion", "")
        if not assertion:
            return json_reply(_access_token(self._identity.default_email))
        try:
            claims = google.auth.jwt.decode(assertion, verify=False)
        except ValueError as error:
            raise HttpError(400, "invalid_grant", f"Invalid assertion: {error}") from error
        if "target_audience" in claims:
            token = self._identity.token(claims["target_audience"], claims.get("iss", ""))
            return json_reply({"id_token": token})
        return json_reply(_access_token(claims.get("iss", "") or self._identity.default_email))

    def _who(self, account: str) -> str:
        return self._identity.default_email if account == "default" else account


def _access_token(email: str) -> dict[str, object]:
    return {
        "access_token": access_token(email),
        "expires_in": SECONDS - 1,
        "token_type": "Bearer",
    }


def _check(request: Request) -> None:
    if request.headers.get("metadata-flavor") != "Google":
        raise HttpError(403, "forbidden", "Missing required header: Metadata-Flavor: Google")


def _text(request: Request, *, text: str) -> Reply:
    _check(request)
    return _plain(text)


def _plain(text: str) -> Reply:
    return Reply(200, text.encode(), "text/plain", dict(FLAVOR))
