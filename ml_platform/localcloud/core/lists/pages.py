"""Paging as Google's lists do it: opaque tokens, and no token behind the last item."""

from __future__ import annotations

import base64
import binascii
import json
import zlib
from collections.abc import Iterable
from itertools import islice
from typing import Any, Protocol, TypeVar

from ..errors import invalid

T = TypeVar("T")


class PageRequest(Protocol):
    """What every list request has."""

    page_size: int
    page_token: str


def start_of(request: PageRequest) -> int:
    """The number after which the requested page starts (0: from the beginning).

    INVALID_ARGUMENT for a token this list never gave, also when it came with another filter.
    """
    start = _position(request) or 0
    if not isinstance(start, int):
        raise invalid("page_token", "Page token is not valid.")
    return start


def cursor_of(request: PageRequest, texts: int) -> list[Any] | None:
    """The key after which the requested page starts: so many texts, then a number.

    None without a token; INVALID_ARGUMENT as `start_of`.
    """
    cursor = _position(request)
    if cursor is None:
        return None
    types = [str] * texts + [int]
    if not isinstance(cursor, list) or [type(part) for part in cursor] != types:
        raise invalid("page_token", "Page token is not valid.")
    return cursor


def page(
    numbered: Iterable[tuple[int, T]], request: PageRequest, *, default: int = 100, limit: int = 300
) -> tuple[list[T], str]:
    """One page of items with growing numbers, and the token of the next page ('' at the end).

    `numbered` may start anywhere at or before `start_of(request)`; a page size that is negative
    or above `limit` is INVALID_ARGUMENT (as in Vertex's lists).
    """
    start = start_of(request)
    behind = (item for item in numbered if item[0] > start)
    return cut(behind, request, default=default, limit=limit)


def cut(
    behind: Iterable[tuple[Any, T]], request: PageRequest, *, default: int = 100, limit: int = 300
) -> tuple[list[T], str]:
    """As `page`, of items that already begin behind the page's start, whatever their keys are."""
    if not 0 <= request.page_size <= limit:
        raise invalid(
            "page_size", f"Page size should be non-negative and the maximum size is {limit}."
        )
    size = request.page_size or default
    found = list(islice(behind, size + 1))
    more = len(found) > size
    token = _token(found[size - 1][0], request) if more else ""
    return [item for _, item in found[:size]], token


def _position(request: PageRequest) -> Any:
    if not request.page_token:
        return None
    try:
        position, salt = json.loads(base64.urlsafe_b64decode(request.page_token.encode()))
    except (binascii.Error, ValueError, TypeError):
        raise invalid("page_token", "Page token is not valid.") from None
    if salt != _salt(request):
        raise invalid("page_token", "Page token does not belong to this request.")
    return position


def _salt(request: PageRequest) -> int:
    names = ("parent", "name", "filter", "order_by")
    return zlib.crc32(repr([getattr(request, name, "") for name in names]).encode())


def _token(position: Any, request: PageRequest) -> str:
    return base64.urlsafe_b64encode(json.dumps([position, _salt(request)]).encode()).decode()
