"""The API itself: its routers behind one resolver, and what every request meets before them."""

from __future__ import annotations

import json
from functools import partial
from http import HTTPStatus
from typing import Any, cast

from django.core.exceptions import RequestDataTooBig
from django.http import HttpRequest
from django.http.response import HttpResponseBase
from django.urls import Resolver404, ResolverMatch, URLResolver, path
from django.urls.resolvers import RegexPattern
from ninja import NinjaAPI
from ninja.parser import Parser

from ml_platform.api.http.auth import AUTH
from ml_platform.api.http.errors import NotAllowed, TooLarge, WrongType, install, problem
from ml_platform.api.http.idempotency import answer_once
from ml_platform.errors import Invalid, NotFound, PlatformError

from . import audit, endpoints, models, operations, runs, schedules, system, webhooks
from .http import contract

MAX_BODY = 256 * 1024
WITH_BODY = ("POST", "PUT", "PATCH", "DELETE")


class StrictParser(Parser):
    """JSON that every database of ours can store."""

    def parse_body(self, request: HttpRequest) -> Any:
        """Read the body; ninja answers 400 for any error."""
        parsed = json.loads(request.body)
        text = json.dumps(parsed, allow_nan=False, ensure_ascii=False)
        if "\\u0000" in text:
            raise ValueError("PostgreSQL stores no NUL characters.")
        text.encode()  # a lone surrogate has no UTF-8
        return parsed


api = NinjaAPI(
    title="ML platform",
    version="1.0.0",
    description=contract.DESCRIPTION,
    openapi_url=None,
    docs_url=None,
    urls_namespace="ml_platform_api",
    auth=AUTH,
    parser=StrictParser(),
)
install(api)
api.add_router("/models", models.router)
api.add_router("/training-runs", runs.router)
api.add_router("/deployed-endpoints", endpoints.router)
api.add_router("/training/schedules", schedules.router)
api.add_router("/training/schedules", webhooks.schedules)
api.add_router("/operations", operations.router)
api.add_router("/audit", audit.router)
api.add_router("/system", system.router)
api.add_router("/system", webhooks.system)

_resolver = URLResolver(
    RegexPattern(r"^"),
    cast(
        str,  # a list of patterns serves as well: django/urls/resolvers.py, url_patterns
        [
            path("openapi.json", partial(contract.openapi_json, api)),
            path("docs", partial(contract.docs, api)),
            *(each for each in api.urls[0] if getattr(each, "name", "") != "api-root"),
        ],
    ),
)


def serve(request: HttpRequest, path: str) -> HttpResponseBase:
    """Answer a request for a path below the API; HEAD as GET, of which the server sends no body."""
    if request.method == "HEAD":
        request.method = "GET"
        response = serve(request, path)
        request.method = "HEAD"
        return response
    try:
        match = _resolve(path)
        _require_readable(request)
        response = answer_once(request, lambda: match.func(request, *match.args, **match.kwargs))
    except PlatformError as error:
        return problem(error)
    if response.status_code == HTTPStatus.METHOD_NOT_ALLOWED:
        return _not_allowed(request, response)
    return response


def _resolve(path: str) -> ResolverMatch:
    try:
        return _resolver.resolve(path)
    except Resolver404 as error:
        raise NotFound(
            f"There is no /api/{path[:200]}.",
            code="no_such_path",
            advice=f"Did you mean /api/{path[:200]}/ ?"
            if _is_path(f"{path}/")
            else "The paths are at /api/docs; each ends with a slash.",
        ) from error


def _is_path(path: str) -> bool:
    try:
        _resolver.resolve(path)
    except Resolver404:
        return False
    return True


def _require_readable(request: HttpRequest) -> None:
    """Refuse what no handler could use.

    :raises Invalid: a NUL character, a body too large or not JSON by its own word.
    """
    if "\x00" in request.path or any("\x00" in v for _, vs in request.GET.lists() for v in vs):
        raise Invalid(
            "The address has a NUL character.", code="nul_character", advice="Leave it out."
        )
    if request.method not in WITH_BODY:
        return
    try:
        size = int(request.headers.get("Content-Length") or 0)
        too_large = size > MAX_BODY or len(request.body) > MAX_BODY
    except (ValueError, RequestDataTooBig):
        too_large = True
    if too_large:
        raise TooLarge(f"The body is larger than {MAX_BODY // 1024} KiB.")
    if request.body and request.content_type != "application/json":
        raise WrongType(f"The body is {request.content_type or 'of no type'}, not JSON.")
    if not request.body:
        request._body = b"{}"  # so that a field that is missing is named  # noqa: SLF001


def _not_allowed(request: HttpRequest, response: HttpResponseBase) -> HttpResponseBase:
    allowed = response.get("Allow", "")
    answer = problem(
        NotAllowed(f"This path knows no method {request.method}.", advice=f"It knows {allowed}.")
    )
    answer["Allow"] = allowed
    return answer
