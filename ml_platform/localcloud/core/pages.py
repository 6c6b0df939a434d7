"""Paging as Google's lists do it: opaque tokens, and no token behind the last item."""

from __future__ import annotations

import base64
import binascii
import json
import zlib
from collections.abc import Iterable, Iterator
from itertools import islice
from typing import Protocol, TypeVar

from .errors import invalid

T = TypeVar("T")


class PageRequest(Protocol):
    """What every list request has."""

    page_size: int
    page_token: str


def start_of(request: PageRequest) -> int:
    """The number after which the requested page starts (0: from the beginning).

    INVALID_ARGUMENT for a token this list never gave, also when it came with another filter.
    """
    if not request.page_token:
        return 0
    try:
        start, salt = json.loads(base64.urlsafe_b64decode(request.page_token.encode()))
    except (binascii.Error, ValueError, TypeError):
        raise invalid("page_token", "Page token is not valid.") from None
    if salt != _salt(request) or not isinstance(start, int):
        raise invalid("page_token", "Page token does not belong to this request.")
    return start


def page(
    numbered: Iterable[tuple[int, T]], request: PageRequest, *, default: int = 100, limit: int = 300
) -> tuple[list[T], str]:
    """One page of items with growing numbers, and the token of the next page ('' at the end).

    `numbered` may start anywhere at or before `start_of(request)`; a page size that is negative
    or above `limit` is INVALID_ARGUMENT (as in Vertex's lists).
    """
    if not 0 <= request.page_size <= limit:
        raise invalid(
            "page_size", f"Page size should be non-negative and the maximum size is {limit}."
        )
    size = request.page_size or default
    start = start_of(request)
    behind: Iterator[tuple[int, T]] = (item for item in numbered if item[0] > start)
    found = list(islice(behind, size + 1))
    more = len(found) > size
    token = _token(found[size - 1][0], request) if more else ""
    return [item for _, item in found[:size]], token


def _salt(request: PageRequest) -> int:
    names = ("parent", "name", "filter", "order_by")
    return zlib.crc32(repr([getattr(request, name, "") for name in names]).encode())


def _token(start: int, request: PageRequest) -> str:
    return base64.urlsafe_b64encode(json.dumps([start, _salt(request)]).encode()).decode()
