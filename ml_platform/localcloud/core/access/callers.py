"""Who calls: the service account that the bearer token of a call names.

A token says itself whose it is and until when, so that it is valid after a restart too. Signatures
are not checked: every program on this machine gets a token for any account (server/identity/).
"""

from __future__ import annotations

import base64
import json
import secrets
import time
from collections.abc import Mapping

import google.auth.exceptions
import google.auth.jwt
import grpc
from google.rpc import error_details_pb2

from ..call_log import running
from ..errors import CloudError

SECONDS = 3600
_PREFIX = "ya29.localcloud-"
# The words of every Google API (cloud.google.com/docs/authentication/troubleshoot-adc).
_INVALID = (
    "Request had invalid authentication credentials. Expected OAuth 2 access token, login cookie "
    "or other valid authentication credential. "
    "See https://developers.google.com/identity/sign-in/web/devconsole-project."
)


def access_token(email: str, seconds: int = SECONDS) -> str:
    """A new OAuth access token of a service account, valid for `seconds` of real time."""
    claims = {"email": email, "exp": int(time.time()) + seconds, "jti": secrets.token_urlsafe(8)}
    return _PREFIX + base64.urlsafe_b64encode(json.dumps(claims).encode()).decode().rstrip("=")


def caller_email(headers: Mapping[str, str]) -> str:
    """The account of a call's `authorization`, by its access, ID or self-signed token.

    '' for a call without credentials. UNAUTHENTICATED for a token that is malformed or expired.
    """
    header = headers.get("authorization", "")
    if not header:
        return ""
    scheme, _, token = header.partition(" ")
    claims = _claims(token.strip()) if scheme.lower() == "bearer" else {}
    email, until = claims.get("email") or claims.get("iss"), claims.get("exp")
    if not isinstance(email, str) or not isinstance(until, int) or until <= time.time():
        raise _unauthenticated()
    return email


def caller() -> str:
    """The account that makes the running call; '' without credentials or outside of calls."""
    run = running()
    return "" if run is None else run.call.caller


def _claims(token: str) -> Mapping[str, object]:
    try:
        if token.startswith(_PREFIX):
            data = token.removeprefix(_PREFIX)
            claims = json.loads(base64.urlsafe_b64decode(data + "=" * (-len(data) % 4)))
        else:
            claims = google.auth.jwt.decode(token, verify=False)
    except (ValueError, google.auth.exceptions.GoogleAuthError):
        raise _unauthenticated() from None
    return claims if isinstance(claims, dict) else {}


def _unauthenticated() -> CloudError:
    info = error_details_pb2.ErrorInfo(
        reason="ACCESS_TOKEN_TYPE_UNSUPPORTED", domain="googleapis.com"
    )
    return CloudError(grpc.StatusCode.UNAUTHENTICATED, _INVALID, [info])
