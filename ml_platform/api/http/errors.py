"""Failures as application/problem+json (RFC 9457): the only place that knows status numbers."""

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
"""Retry-After where Google named no time."""


class Unauthenticated(Denied):
    """Nobody is logged in, or the token is not good."""

    code = "unauthenticated"
    advice = (
        "Log in, or send the header `Authorization: Bearer <token>`; "
        "`manage.py create_api_token` makes one."
    )


class TooLarge(Invalid):
    """The body is larger than any request needs."""

    code = "body_too_large"
    advice = "Large things belong into Cloud Storage; name them by their gs:// address."


class WrongType(Invalid):
    """The body is not JSON by its own word."""

    code = "not_json"
    advice = "Send the header `Content-Type: application/json`."


class NotAllowed(Invalid):
    """The path knows no such method."""

    code = "method_not_allowed"


class Malformed(Invalid):
    """The body cannot be read as JSON that we store."""

    code = "malformed_body"


class Unforeseen(PlatformError):
    """What nobody foresaw."""

    code = "internal_error"
    advice = DEFECT

    def __init__(self) -> None:
        super().__init__("The platform failed, and cannot say what of the request was done.")


KNOWN: tuple[tuple[tuple[type[Exception], ...], Callable[[], PlatformError]], ...] = (
    (DATABASE_FAILURES, DatabaseAway),
    ((SuspiciousOperation, BadRequest), lambda: Unreadable("The request cannot be read.")),
    ((PermissionDenied,), lambda: Denied("You may not do this.", advice="Ask for the right.")),
    (
        (Http404,),
        lambda: NotFound("There is no such thing.", advice="The paths are at /api/docs."),
    ),
)
"""What Django and a host's own parts raise, and what we tell of it."""

STATUS: Mapping[type[PlatformError], int] = {
    **http_status.STATUS,
    Malformed: 400,
    Unauthenticated: 401,
    NotAllowed: 405,
    TooLarge: 413,
    WrongType: 415,
    JobFailed: 503,
}
"""What only the API refuses, beside the statuses that it shares with the pages."""


def problem(error: PlatformError, **more: Any) -> HttpResponse:
    """The failure as a response; `more` are further members of the body."""
    status = http_status.status_of(error, STATUS)
    body = {
        "type": f"urn:ml-platform:{error.code}",
        "code": error.code,
        "title": HTTPStatus(status).phrase,
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
    """Have ninja tell what only it knows of, and leave the rest to whoever asked it."""
    api.add_exception_handler(PlatformError, _platform_error)
    api.add_exception_handler(ValidationError, _validation_error)
    api.add_exception_handler(AuthenticationError, _not_authenticated)
    api.add_exception_handler(HttpError, _http_error)
    api.add_exception_handler(Http404, _leave)
    api.add_exception_handler(Exception, _leave)


def failure(request: HttpRequest, error: Exception) -> HttpResponse:
    """Any failure as a problem; one that nobody foresaw is told as Django tells its own too."""
    told = _known(error)
    response = _platform_error(request, told)
    if isinstance(told, (DatabaseAway, Unforeseen)):
        log_response(
            "%s: %s", str(told), request.path, response=response, request=request, exception=error
        )
    if isinstance(told, Unforeseen):
        got_request_exception.send(sender=None, request=request)
    return response


def _known(error: Exception) -> PlatformError:
    if isinstance(error, PlatformError):
        return error
    return next((make() for kinds, make in KNOWN if isinstance(error, kinds)), Unforeseen())


def _platform_error(
    request: HttpRequest, error: PlatformError | type[PlatformError]
) -> HttpResponse:
    found = _instance(error)
    if isinstance(found, InvalidInput):
        return problem(found, errors=found.errors)
    holder = found.holder if isinstance(found, Busy) else None
    scope = getattr(getattr(request, "auth", None), "scope", None)  # Cloud Scheduler has none
    if holder is None or scope is None or not scope.sees(holder.project_id):
        return problem(found)
    return problem(found, operation=str(holder.pk))


def _validation_error(request: HttpRequest, error: ValidationError | type[ValidationError]) -> Any:
    return _platform_error(request, InvalidInput(field_errors(getattr(error, "errors", []))))


def _not_authenticated(request: HttpRequest, error: object) -> Any:
    return problem(Unauthenticated("Nobody is logged in."))


def _http_error(request: HttpRequest, error: HttpError | type[HttpError]) -> Any:
    """What ninja itself refuses: a body that is no JSON."""
    reason = getattr(error, "__cause__", None)
    return problem(malformed(reason if isinstance(reason, BadJson) else ""))


def malformed(reason: object) -> Malformed:
    """A body that is no JSON that we store, and why."""
    return Malformed(
        f"The body cannot be read as JSON. {reason}".strip(),
        advice="Send one JSON object in UTF-8, without NaN, NUL characters or lone surrogates.",
    )


def _leave(request: HttpRequest, error: Exception | type[Exception]) -> Any:
    raise error


def _instance(error: PlatformError | type[PlatformError]) -> PlatformError:
    return error if isinstance(error, PlatformError) else error("")
