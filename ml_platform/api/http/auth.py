"""Authentication by session with CSRF token, bearer token, or the callable of the host."""

from __future__ import annotations

import hashlib
import secrets
from datetime import datetime, timedelta
from typing import Any

from django.conf import settings as django_settings
from django.db.models import QuerySet
from django.db.models.functions import Now
from django.http import HttpRequest, HttpResponse
from django.middleware.csrf import CsrfViewMiddleware
from django.utils.module_loading import import_string
from ninja.security.apikey import APIKeyCookie
from ninja.security.http import HttpAuthBase

from ml_platform.actions.caller import Caller
from ml_platform.conf import get_settings
from ml_platform.errors import Denied
from ml_platform.models import ApiToken
from ml_platform.models.prepared import Prepared

from .errors import Unauthenticated

PREFIX = "mlp_"
USE_WRITTEN_EACH = timedelta(minutes=1)
SAFE_METHODS = ("GET", "HEAD", "OPTIONS")


class Bearer(HttpAuthBase):
    """One of our tokens in the Authorization header."""

    openapi_scheme = "bearer"

    def __call__(self, request: HttpRequest) -> Caller | None:
        return identify(request) if "Authorization" in request.headers else None


class Session(APIKeyCookie):
    """The login of the host; a request with an effect also needs the CSRF token."""

    param_name = django_settings.SESSION_COOKIE_NAME

    def __init__(self) -> None:
        super().__init__(csrf=False)  # `identify` checks it, and says what to do

    def __call__(self, request: HttpRequest) -> Caller | None:
        return identify(request)

    def authenticate(self, request: HttpRequest, key: str | None) -> Caller | None:
        return identify(request)


def identify(request: HttpRequest) -> Caller | None:
    """The caller; None if the request is not authenticated. Computed once for each request.

    :raises Unauthenticated: the token is not valid.
    :raises Denied: a request with a session has no valid CSRF token.
    """
    if not hasattr(request, "_ml_caller"):
        user, key = _user_of(request), request.headers.get("Idempotency-Key", "")
        made = None if user is None else Caller.of(user, origin="api", key=key)
        request._ml_caller = made  # type: ignore[attr-defined] # noqa: SLF001
    caller: Caller | None = request._ml_caller  # type: ignore[attr-defined] # noqa: SLF001
    return caller


def _user_of(request: HttpRequest) -> Any:
    if path := get_settings().API_AUTHENTICATE:
        return import_string(path)(request)
    header = request.headers.get("Authorization")
    if header is not None:
        return _bearer(header)
    user = getattr(request, "user", None)
    if user is None or not user.is_authenticated:
        return None
    if request.method not in SAFE_METHODS:
        _require_csrf(request)
    return user


def _bearer(header: str) -> Any:
    scheme, _, token = header.partition(" ")
    if scheme.lower() != "bearer":
        raise Unauthenticated("The Authorization header has no bearer token.")
    [found] = _valid(digest=digest_of(token.strip())) or [None]
    if found is None:
        raise Unauthenticated("The token is unknown, expired or revoked.", code="bad_token")
    if found.last_used_at is None or found.last_used_at < found.now - USE_WRITTEN_EACH:
        ApiToken.objects.filter(pk=found.pk).update(last_used_at=found.now)
    return found.user


@Prepared
def _valid(*, digest: Any) -> QuerySet[Any]:
    """The token of that digest, if it is valid by the clock of the database, with its user."""
    tokens = ApiToken.objects.valid(now=Now()).filter(digest=digest, user__is_active=True)
    return tokens.select_related("user").annotate(now=Now())


class _CsrfCheck(CsrfViewMiddleware):
    """Django's check, which here returns the reason of a refusal."""

    def _reject(self, request: HttpRequest, reason: str) -> Any:
        return reason


def _require_csrf(request: HttpRequest) -> None:
    check = _CsrfCheck(lambda _: HttpResponse())
    request.csrf_processing_done = False  # type: ignore[attr-defined]
    check.process_request(request)
    reason: Any = check.process_view(request, lambda _: HttpResponse(), (), {})
    if reason is None:
        return
    if str(reason).startswith(("Origin", "Referer")):
        raise Denied(
            f"The request comes from another site. {reason}",
            code="foreign_origin",
            advice="Send it from a page of this site, add the other site to CSRF_TRUSTED_ORIGINS, "
            "or use a bearer token instead of the session.",
        )
    raise Denied(
        "The request has no valid CSRF token.",
        code="csrf_failed",
        advice="Send the value of the CSRF cookie or form as the header X-CSRFToken, "
        "or use a bearer token instead of the session.",
    )


def digest_of(token: str) -> str:
    """The stored digest of a token. A fast digest is safe, because tokens are long and random."""
    return hashlib.sha256(token.encode("utf-8", "surrogatepass")).hexdigest()


def make_token(*, user: Any, name: str, days: int, now: datetime) -> tuple[ApiToken, str]:
    """Create a token; returns its row and the token itself, which is not stored."""
    token = PREFIX + secrets.token_urlsafe(32)
    row = ApiToken.objects.create(
        user=user,
        name=name,
        digest=digest_of(token),
        created_at=now,
        expires_at=now + timedelta(days=days),
    )
    return row, token


AUTH = [Bearer(), Session()]
