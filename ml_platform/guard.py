"""Checks by which pages and API refuse a request that they could only read in part.

A part of a request can have another meaning: without its body it may concern all versions, and
without a misspelled parameter its filter is missing.
"""

from __future__ import annotations

import json
import math
from collections.abc import Collection, Iterable, Iterator
from typing import Any

from django.core.exceptions import BadRequest, SuspiciousOperation
from django.db import InterfaceError, InternalError, OperationalError
from django.http import HttpRequest
from django.http.multipartparser import MultiPartParserError
from django.http.request import UnreadablePostError

from .errors import Invalid, PlatformError

DATABASE_FAILURES = (OperationalError, InterfaceError, InternalError)
"""Failures of the database that may be temporary: a connection that ended, a lock or statement
timeout, a deadlock, a database that is locked, read-only or full. Django's other errors come from
defects of our code."""
DEEPEST = 64
"""Levels of lists and objects in JSON: more than a request needs, fewer than the stack allows."""
BIGGEST = (1 << 63) - 1
SAFE_METHODS = ("GET", "HEAD", "OPTIONS")


class Unreadable(Invalid):
    """The request breaks the rules of HTTP."""

    code = "unreadable_request"
    advice = "Send it whole and in UTF-8."


class LengthRequired(Invalid):
    """The body is sent in chunks, which not every server joins."""

    code = "length_required"
    advice = "Send the body whole, with its Content-Length and without Transfer-Encoding."


class DatabaseAway(PlatformError):
    """The database did not answer; the transaction was rolled back."""

    code = "database_busy"
    advice = "Nothing was changed; try again."
    retry_after = 1.0

    def __init__(self) -> None:
        super().__init__("The database did not answer in time.")


class BadJson(ValueError):
    """JSON that is refused; its text gives the reason in one sentence."""


def require_readable(request: HttpRequest, *, form: bool = False) -> None:
    """Refuse a request that cannot be read completely; with `form`, its form is checked too.

    :raises LengthRequired: the body has no length, so that it may be lost.
    :raises Unreadable: the length is not a number, or the text is not UTF-8.
    :raises Invalid: there is a NUL character.
    """
    _require_length(request)
    charset = (request.content_params or {}).get("charset", "utf-8")
    if charset.lower() not in ("utf-8", "utf8"):
        raise Unreadable(f"The request is in {charset[:40]!r}, not in UTF-8.")
    if not all(map(is_storable, _texts(request, form=form and request.method == "POST"))):
        raise Invalid(
            "The request has a NUL character or half of a character.",
            code="nul_character",
            advice="Leave it out.",
        )


def _require_length(request: HttpRequest) -> None:
    # A server may pass on a chunked body without its length; Django then does not read it.
    if "Transfer-Encoding" in request.headers:
        raise LengthRequired("The body is sent in chunks.")
    length = str(request.META.get("CONTENT_LENGTH") or "")
    if length:
        if not (length.isascii() and length.isdecimal() and len(length) < 19):
            raise Unreadable("The Content-Length is not a number of bytes.")
        return
    # With this key the server marks the end of the body itself, so that reading it does not block.
    ended = request.META.get("wsgi.input_terminated") and request.method not in SAFE_METHODS
    if ended and request.META["wsgi.input"].read(1):
        raise LengthRequired("The body has no Content-Length.")


def _texts(request: HttpRequest, *, form: bool) -> Iterator[str]:
    try:
        fields = (request.GET, request.POST) if form else (request.GET,)
    except (SuspiciousOperation, BadRequest, MultiPartParserError, UnreadablePostError) as error:
        raise Unreadable("The parameters or the form cannot be read.") from error
    yield request.path
    yield from request.COOKIES.values()
    for each in fields:
        for name, values in each.lists():
            yield from (name, *values)


def require_known(
    request: HttpRequest, known: Collection[str], *, lists: Collection[str] = ()
) -> None:
    """Refuse a request with other query parameters than these; only `lists` may be repeated.

    :raises Invalid: it has another one, or one twice.
    """
    advice = f"It accepts {', '.join(known)}." if known else "It accepts no query parameters."
    if unknown := sorted(request.GET.keys() - set(known)):
        raise Invalid(
            f"This path has no query parameter {', '.join(unknown)[:200]}.",
            code="unknown_parameter",
            advice=advice,
        )
    values = dict(request.GET.lists())
    if repeated := sorted(n for n in values.keys() - set(lists) if len(values[n]) > 1):
        raise Invalid(
            f"The query parameter {', '.join(repeated)[:200]} is given more than once.",
            code="repeated_parameter",
            advice=f"Give it once. {advice}",
        )


def is_storable(text: str) -> bool:
    """Whether both databases can store the text: no NUL (PostgreSQL), no lone surrogate (UTF-8)."""
    try:
        text.encode()
    except UnicodeEncodeError:
        return False
    return "\x00" not in text


def read_json(text: bytes | str) -> Any:
    """Return the value of a JSON text, if both databases can store it.

    :raises BadJson: it is not JSON, has a field twice, or has a value that cannot be stored.
    """
    try:
        value = json.loads(text, object_pairs_hook=_object)
    except BadJson:
        raise
    except RecursionError as error:
        raise BadJson(f"It is nested more than {DEEPEST} levels deep.") from error
    except ValueError as error:
        raise BadJson("It is not JSON in UTF-8.") from error
    level, depth = [value], 0
    while level:
        depth += 1
        if depth > DEEPEST:
            raise BadJson(f"It is nested more than {DEEPEST} levels deep.")
        level = [part for each in level for part in _parts(each)]
    return value


def _object(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) < len(pairs):
        raise BadJson("It has a field twice.")
    return found


def _parts(value: Any) -> Iterable[Any]:
    """Return the parts of a list or object; check that any other value can be stored."""
    if isinstance(value, dict):
        return (*value.keys(), *value.values())
    if isinstance(value, list):
        return value
    if isinstance(value, str) and not is_storable(value):
        raise BadJson("It has a NUL character or half of a character.")
    if isinstance(value, float) and not math.isfinite(value):
        raise BadJson("It has a number that is none.")
    if isinstance(value, int) and abs(value) > BIGGEST:
        raise BadJson("It has a number that is too large.")
    return ()
