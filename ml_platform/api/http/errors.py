"""Errors as application/problem+json (RFC 9457)."""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Mapping
from http import HTTPStatus
from typing import Any

from django.core.exceptions import BadRequest, PermissionDenied, SuspiciousOperation
from django.core.signals import got_request_exception
from django.http import Http404, HttpRequest, HttpResponse
from django.utils.log import log_response
from ninja import NinjaAPI
from ninja.errors import AuthenticationError, HttpError, ValidationError

from ml_platform import http_status
from ml_platform.actions.invalid import InvalidInput, field_errors
from ml_platform.errors import (
    DEFECT,
    Denied,
    Invalid,
    NotFound,
    PlatformError,
)
from ml_platform.guard import DATABASE_FAILURES, BadJson, DatabaseAway, Unreadable
from ml_platform.jobs import JobFailed
from ml_platform.services.operations.store import Busy

MEDIA_TYPE = "application/problem+json"
RETRY_SECONDS = 30
"""Retry-After if Google gave none."""


class Unauthenticated(Denied):
    """The request has no session, or its token is not valid."""

    code = "unauthenticated"
    advice = (
        "Log in, or send the header `Authorization: Bearer <token>`; "
        "`manage.py create_api_token` makes one."
    )


class TooLarge(Invalid):
    """The body is too large."""

    code = "body_too_large"
    advice = "Store large data in Cloud Storage, and send its gs:// URI."


class WrongType(Invalid):
    """The Content-Type of the body is not JSON."""

    code = "not_json"
    advice = "Send the header `Content-Type: application/json`."


class NotAllowed(Invalid):
    """The path does not support the method."""

    code = "method_not_allowed"


class Malformed(Invalid):
    """The body is not JSON that can be stored."""

    code = "malformed_body"


class Unforeseen(PlatformError):
    """An unexpected exception."""

    code = "internal_error"
    advice = DEFECT

    def __init__(self) -> None:
        super().__init__("The platform failed. It is unknown how much of the request was done.")


KNOWN: tuple[tuple[tuple[type[Exception], ...], Callable[[], PlatformError]], ...] = (
    (DATABASE_FAILURES, DatabaseAway),
    ((SuspiciousOperation, BadRequest), lambda: Unreadable("The request cannot be read.")),
    ((PermissionDenied,), lambda: Denied("You may not do this.", advice="Ask for the permission.")),
    (
        (Http404,),
        lambda: NotFound(
            "There is no such path or resource.", advice="The paths are at /api/docs."
        ),
    ),
)
"""Exceptions of Django and of a host's code, and our error for each."""

STATUS: Mapping[type[PlatformError], int] = {
    **http_status.STATUS,
    Malformed: 400,
    Unauthenticated: 401,
    NotAllowed: 405,
    TooLarge: 413,
    WrongType: 415,
    JobFailed: 503,
}
"""The statuses shared with the pages, and those of errors that only the API has."""


def problem(error: PlatformError, **more: Any) -> HttpResponse:
    """The error as a response; `more` are further members of the body."""
    status = http_status.status_of(error, STATUS)
    body = {
        "type": f"urn:ml-platform:{error.code}",
        "code": error.code,
        "title": http_status.phrase_of(status),
        "status": status,
        "detail": str(error),
        "advice": error.advice,
        **more,
    }
    response = HttpResponse(json.dumps(body), status=status, content_type=MEDIA_TYPE)
    if status == HTTPStatus.UNAUTHORIZED:
        response["WWW-Authenticate"] = "Bearer"
    wait = getattr(error, "retry_after", 0.0)
    if wait or status in (HTTPStatus.SERVICE_UNAVAILABLE, HTTPStatus.TOO_MANY_REQUESTS):
        response["Retry-After"] = str(math.ceil(wait or RETRY_SECONDS))
    return response


def install(api: NinjaAPI) -> None:
    """Set ninja's exception handlers; exceptions that are not ninja's propagate to the caller."""
    for kind, handler in HANDLERS.items():
        api.add_exception_handler(kind, handler)


def failure(request: HttpRequest, error: Exception) -> HttpResponse:
    """Any exception as a problem; an unexpected one is also logged and signalled as Django does."""
    found = (make() for kinds, make in KNOWN if isinstance(error, kinds))
    known = error if isinstance(error, PlatformError) else next(found, Unforeseen())
    response = _platform_error(request, known)
    if isinstance(known, (DatabaseAway, Unforeseen)):
        log_response(
            "%s: %s", str(known), request.path, response=response, request=request, exception=error
        )
    if isinstance(known, Unforeseen):
        got_request_exception.send(sender=None, request=request)
    return response


def _platform_error(request: HttpRequest, error: Any) -> HttpResponse:
    if isinstance(error, InvalidInput):
        return problem(error, errors=error.errors)
    holder = error.holder if isinstance(error, Busy) else None
    scope = getattr(getattr(request, "auth", None), "scope", None)  # Cloud Scheduler has none
    if holder is None or scope is None or not scope.sees(holder.project_id):
        return problem(error)
    return problem(error, operation=str(holder.pk))


def _validation_error(request: HttpRequest, error: Any) -> HttpResponse:
    return _platform_error(request, InvalidInput(field_errors(error.errors)))


def _not_authenticated(request: HttpRequest, error: object) -> HttpResponse:
    return problem(Unauthenticated("The request is not authenticated."))


def _http_error(request: HttpRequest, error: Any) -> HttpResponse:
    """ninja refuses only a body that is not JSON."""
    reason = error.__cause__
    return problem(malformed(reason if isinstance(reason, BadJson) else ""))


def malformed(reason: object) -> Malformed:
    """The error for a body that is not JSON that can be stored; `reason` says why."""
    return Malformed(
        f"The body cannot be read as JSON. {reason}".strip(),
        advice="Send one JSON object in UTF-8, without NaN, NUL characters or lone surrogates.",
    )


def _leave(request: HttpRequest, error: Any) -> HttpResponse:
    raise error


HANDLERS: Mapping[type[Exception], Callable[[HttpRequest, Any], HttpResponse]] = {
    PlatformError: _platform_error,
    ValidationError: _validation_error,
    AuthenticationError: _not_authenticated,
    HttpError: _http_error,
    Http404: _leave,
    Exception: _leave,
}
