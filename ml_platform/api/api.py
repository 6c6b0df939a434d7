"""The API: its routers behind one resolver, and the checks of every request."""

from __future__ import annotations

from contextlib import suppress
from functools import partial
from http import HTTPStatus
from typing import Any, cast

from django.http import HttpRequest
from django.http.response import HttpResponseBase
from django.urls import Resolver404, ResolverMatch, URLResolver, path
from django.urls.resolvers import RegexPattern
from ninja import NinjaAPI
from ninja.parser import Parser

from ml_platform.api.http.auth import AUTH
from ml_platform.api.http.errors import NotAllowed, failure, install, problem
from ml_platform.api.http.strict import strictly, without_query
from ml_platform.errors import NotFound
from ml_platform.guard import read_json, require_readable

from . import audit, endpoints, models, operations, projects, runs, schedules, system, webhooks
from .http import contract


class StrictParser(Parser):
    """JSON that all supported databases can store."""

    def parse_body(self, request: HttpRequest) -> Any:
        """Read the body; ninja answers 400 for any error."""
        return read_json(request.body)


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
api.add_decorator(strictly, mode="view")
api.add_router("/projects", projects.router)
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
            path("openapi.json", without_query(partial(contract.openapi_json, api))),
            path("docs", without_query(partial(contract.docs, api))),
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
        require_readable(request)
        match = _resolve(path)
        answer: HttpResponseBase = match.func(request, *match.args, **match.kwargs)
    except Exception as error:  # noqa: BLE001 - each is answered as a problem, and logged
        return failure(request, error)
    if answer.status_code == HTTPStatus.METHOD_NOT_ALLOWED:
        return _not_allowed(request, answer)
    return answer


def _resolve(path: str) -> ResolverMatch:
    try:
        return _resolver.resolve(path)
    except Resolver404 as error:
        advice = "The paths are at /api/docs; each ends with a slash."
        with suppress(Resolver404):
            _resolver.resolve(f"{path}/")
            advice = f"Did you mean /api/{path[:200]}/ ?"
        raise NotFound(
            f"There is no /api/{path[:200]}.", code="no_such_path", advice=advice
        ) from error


def _not_allowed(request: HttpRequest, response: HttpResponseBase) -> HttpResponseBase:
    allowed = response.get("Allow", "")
    answer = problem(
        NotAllowed(f"This path has no method {request.method}.", advice=f"Allowed: {allowed}.")
    )
    answer["Allow"] = allowed
    return answer
