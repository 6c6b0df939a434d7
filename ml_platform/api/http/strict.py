"""Refuses unknown query parameters, and a body where the path takes none.

The known ones are read from the signature of the operation, as ninja and the contract do.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import wraps
from typing import Any, TypeAlias

from django.core.exceptions import RequestDataTooBig
from django.http import HttpRequest
from django.http.request import UnreadablePostError
from django.http.response import HttpResponseBase

from ml_platform.errors import Invalid
from ml_platform.guard import BadJson, Unreadable, read_json, require_known

from .errors import TooLarge, WrongType, malformed
from .idempotency import WEBHOOK, answer_once

MAX_BODY = 256 * 1024
WITH_BODY = ("POST", "PUT", "PATCH", "DELETE")
View: TypeAlias = Callable[..., HttpResponseBase]


def strictly(run: View) -> View:
    """Wrap the `run` of an operation, so that it ignores no part of a request."""
    operation: Any = getattr(run, "__self__")  # noqa: B009 - a bound method has it
    models = {model.__ninja_param_source__: model for model in operation.models}
    query = models.get("query")
    known = tuple(query.__ninja_flatten_map__) if query else ()
    lists = tuple(query.__ninja_collection_fields__) if query else ()

    whole = not getattr(operation.view_func, "asks_google", False)

    @wraps(run)
    def asked(request: HttpRequest, **values: Any) -> HttpResponseBase:
        require_known(request, known, lists=lists)
        if request.method in WITH_BODY:
            _require_body(request, taken="body" in models or request.path.endswith(WEBHOOK))
        return answer_once(request, lambda: run(request, **values), whole=whole)

    return asked


def without_query(view: View) -> View:
    """Wrap a view that takes no query parameters."""

    @wraps(view)
    def asked(request: HttpRequest, **values: Any) -> HttpResponseBase:
        require_known(request, ())
        return view(request, **values)

    return asked


def _require_body(request: HttpRequest, *, taken: bool) -> None:
    """Refuse a body that is incomplete, not JSON, or that the operation does not take (`taken`).

    :raises Invalid: it is refused.
    """
    body = _whole_body(request)
    if not body:
        return
    if request.content_type != "application/json":
        raise WrongType(f"The body is {request.content_type or 'of no type'}, not JSON.")
    if taken:
        return
    try:
        said = read_json(body)
    except BadJson as error:
        raise malformed(error) from error
    if said != {}:
        raise Invalid(
            "This path takes no body; its content would be ignored.",
            code="body_not_taken",
            advice="Leave it out, or send {}.",
        )


def _whole_body(request: HttpRequest) -> bytes:
    length = int(request.META.get("CONTENT_LENGTH") or 0)
    try:
        if length > MAX_BODY or len(request.body) > MAX_BODY:
            raise TooLarge(f"The body is larger than {MAX_BODY // 1024} KiB.")
    except RequestDataTooBig as error:
        raise TooLarge(f"The body is larger than {MAX_BODY // 1024} KiB.") from error
    except UnreadablePostError as error:
        raise Unreadable("The connection ended before the end of the body.") from error
    if len(request.body) < length:
        raise Unreadable("The body is shorter than its Content-Length.")
    return request.body
