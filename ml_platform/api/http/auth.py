"""Who calls: a session with its CSRF token, a bearer token, or what the host put in their place."""

from __future__ import annotations

import hashlib
import secrets
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from functools import cached_property
from typing import Any, TypeVar

from django.conf import settings as django_settings
from django.db.models import Model, QuerySet
from django.http import HttpRequest, HttpResponse
from django.middleware.csrf import CsrfViewMiddleware
from django.utils.module_loading import import_string
from ninja.security.apikey import APIKeyCookie
from ninja.security.http import HttpBearer

from ml_platform.conf import get_settings
from ml_platform.errors import Denied, NotFound
from ml_platform.models import ApiToken
from ml_platform.models.clock import database_now
from ml_platform.services.access.rights import Right, require_right
from ml_platform.services.access.scope import Scope, require_everything, scope_of
from ml_platform.services.operations.store import Actor

from .errors import Unauthenticated

M = TypeVar("M", bound=Model)
R = TypeVar("R")

PREFIX = "mlp_"
USE_WRITTEN_EACH = timedelta(minutes=1)
ALL = "*"
"""Stands for all projects among those that a request needed."""
SAFE_METHODS = ("GET", "HEAD", "OPTIONS")


@dataclass(frozen=True)
class Caller:
    """The user behind a request, what they see, and how they are named in the history."""

    user: Any
    key: str = ""
    """Their Idempotency-Key, with their id before it; '' when they sent none."""
    checked: dict[str, list[str]] = field(default_factory=lambda: {"rights": [], "projects": []})
    """The rights and the projects that this request needed so far."""

    @cached_property
    def scope(self) -> Scope:
        """The projects they see."""
        return scope_of(self.user)

    @property
    def actor(self) -> Actor:
        """As an operation records them."""
        return Actor(label=self.user.get_username(), origin="api", user_id=self.user.pk)

    def require(self, right: Right) -> None:
        """Let them go on if they have the right.

        :raises RightMissing: they lack it.
        """
        require_right(self.user, right)
        self.checked["rights"].append(right)

    def require_everything(self, right: Right) -> None:
        """Let them go on if they have the right and see all projects.

        :raises Denied: they do not.
        """
        require_everything(self.user, right)
        self.checked["rights"].append(right)
        self.checked["projects"].append(ALL)

    def only(self, rows: QuerySet[M, R], field: str = "project") -> QuerySet[M, R]:
        """Those of the rows that belong to projects they see.

        :raises RightMissing: they may not view anything.
        """
        self.require(Right.VIEW)
        return self.scope.only(rows, field)

    def get(self, rows: QuerySet[M, R], pk: Any, noun: str, right: Right = Right.VIEW) -> R:
        """The row, if they see it and have the right; another tenant's looks like none.

        :raises NotFound: there is none for them.
        :raises RightMissing: they may not do that.
        """
        return self.get_of(self.only(rows), pk, noun, right)

    def get_of(self, seen: QuerySet[M, R], pk: Any, noun: str, right: Right) -> R:
        """As `get`, out of rows that are narrowed already."""
        self.require(Right.VIEW)
        row = seen.filter(pk=pk).first()
        if row is None:
            raise NotFound(
                f"There is no {noun} {pk}.", advice="Look at the list for what there is."
            )
        self.require(right)
        held: Any = row
        project = held.pk if noun == "project" else getattr(held, "project_id", None)
        self.checked["projects"].append(ALL if project is None else str(project))
        return row

    def check_again(self, checked: dict[str, list[str]]) -> None:
        """Let them have an answer again if they still may do and see what its request needed.

        :raises Denied: they may not.
        :raises NotFound: they do not see it any more.
        """
        for right in checked.get("rights", ()):
            self.require(Right(right))
        needed = set(checked.get("projects", ()))
        if self.scope.everything:
            return
        if ALL in needed or self.scope.projects.filter(pk__in=needed).count() < len(needed):
            raise NotFound(
                "There is no such thing for you any more.",
                advice="Ask a member of the project, or of staff who may view every project.",
            )


class Bearer(HttpBearer):
    """A token of ours in the Authorization header."""

    def __call__(self, request: HttpRequest) -> Caller | None:
        return identify(request) if "Authorization" in request.headers else None

    def authenticate(self, request: HttpRequest, token: str) -> Caller | None:
        return identify(request)


class Session(APIKeyCookie):
    """The host's own login; what changes something also needs the CSRF token."""

    param_name = django_settings.SESSION_COOKIE_NAME

    def __init__(self) -> None:
        super().__init__(csrf=False)  # `identify` checks it, and says what to do

    def __call__(self, request: HttpRequest) -> Caller | None:
        return identify(request)

    def authenticate(self, request: HttpRequest, key: str | None) -> Caller | None:
        return identify(request)


def identify(request: HttpRequest) -> Caller | None:
    """Who calls; None when nobody says. Asked once for each request.

    :raises Unauthenticated: the token is not good.
    :raises Denied: the session's request lacks its CSRF token.
    """
    if not hasattr(request, "_ml_caller"):
        user = _user_of(request)
        sent = request.headers.get("Idempotency-Key", "")
        key = f"api:{user.pk}:{sent}" if user is not None and sent else ""
        request._ml_caller = None if user is None else Caller(user, key)  # type: ignore[attr-defined] # noqa: SLF001
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
        raise Unauthenticated("The Authorization header names no bearer token.")
    now = database_now()
    tokens = ApiToken.objects.valid(now=now).select_related("user")
    found = tokens.filter(digest=digest_of(token.strip()), user__is_active=True).first()
    if found is None:
        raise Unauthenticated("The token is unknown, expired or revoked.", code="bad_token")
    if found.last_used_at is None or found.last_used_at < now - USE_WRITTEN_EACH:
        ApiToken.objects.filter(pk=found.pk).update(last_used_at=now)
    return found.user


class _CsrfCheck(CsrfViewMiddleware):
    """Django's own check, which says why it refuses."""

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
            advice="Send it from a page of this site, name the other one in the setting "
            "CSRF_TRUSTED_ORIGINS, or use a bearer token instead of the session.",
        )
    raise Denied(
        "The request lacks its CSRF token.",
        code="csrf_failed",
        advice="Send the value of the CSRF cookie or form as the header X-CSRFToken, "
        "or use a bearer token instead of the session.",
    )


def digest_of(token: str) -> str:
    """What is stored of a token; it is random and long, so that a fast digest keeps it."""
    return hashlib.sha256(token.encode("utf-8", "surrogatepass")).hexdigest()


def make_token(*, user: Any, name: str, days: int, now: datetime) -> tuple[ApiToken, str]:
    """Make a token; returns its record and the token itself, which is nowhere else."""
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
