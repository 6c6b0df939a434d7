"""Keyset pagination: a page of a list begins after, or ends before, the row its cursor names.

A cursor is opaque to clients. The database finds its row by an index, however deep it is, and rows
that are added or removed in front of it do not move the page.
"""

from __future__ import annotations

import base64
import json
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any, Generic, TypeVar

from django.core.exceptions import ValidationError
from django.db.models import Field, Model, Q, QuerySet

from .errors import Invalid
from .guard import BIGGEST, is_storable, read_json

LONGEST = 1000
R = TypeVar("R")
"""A model object, or a row as `values()` reads it."""


class BadCursor(Invalid):
    """A cursor that this list did not give, or a key that no row can have."""

    code = "bad_cursor"
    advice = "Start at the first page. A cursor is valid only for the sort order it was made for."

    def __init__(self) -> None:
        super().__init__("The cursor does not belong to this list in this order.")


@dataclass(frozen=True, slots=True)
class Order:
    """A sort order: its public name and its column, which never holds NULL.

    Rows with equal values are ordered by primary key, so that every row has one place.
    """

    name: str
    column: str
    descending: bool = False


@dataclass(frozen=True, slots=True)
class Page(Generic[R]):
    """One page of a list and the cursors of its neighbors; '' where it has no neighbor."""

    rows: list[R]
    previous: str
    next: str


@dataclass(frozen=True, slots=True)
class Start:
    """Where a page begins: behind, or backwards before, the row of this value and primary key."""

    backwards: bool = False
    value: Any = None
    pk: Any = None


def read_page(
    rows: QuerySet[Any, R],
    order: Order,
    *,
    size: int,
    after: str = "",
    before: str = "",
    offset: int = 0,
) -> Page[R]:
    """Read one page in one statement: after a cursor, before a cursor, or from an offset.

    :raises BadCursor: the cursor does not belong to this list in this order.
    """
    start = start_of(rows.model, order, after=after, before=before)
    found = list(ordered(rows, order, start)[offset : offset + size + 1])
    return page_of(found, order, start, size=size, offset=offset)


def start_of(model: type[Model], order: Order, *, after: str, before: str) -> Start:
    """Where the page of a cursor begins; the beginning of the list if there is none.

    :raises BadCursor: the cursor does not belong to this list in this order.
    """
    if not (cursor := after or before):
        return Start()
    value, pk = _read_cursor(model, order, cursor)
    return Start(bool(before) and not after, value, pk)


def ordered(rows: QuerySet[Any, R], order: Order, start: Start) -> QuerySet[Any, R]:
    """The rows from there on."""
    if start.pk is not None:
        rows = rows.filter(_beyond(order, start))
    sign = "-" if order.descending != start.backwards else ""
    return rows.order_by(f"{sign}{order.column}", f"{sign}pk")


def page_of(found: list[R], order: Order, start: Start, *, size: int, offset: int = 0) -> Page[R]:
    """The page of rows that were read with one more than its size."""
    more, shown = len(found) > size, found[:size]
    if start.backwards:
        shown.reverse()
    has_previous = more if start.backwards else bool(start.pk is not None or offset)
    has_next = start.backwards or more
    return Page(
        rows=shown,
        previous=_cursor(shown[0], order) if shown and has_previous else "",
        next=_cursor(shown[-1], order) if shown and has_next else "",
    )


def read_value(model: type[Model], column: str, text: str) -> Any:
    """The value of a model's column that was written as text; `pk` is its primary key.

    :raises BadCursor: no row can have it.
    """
    meta: Any = model._meta  # noqa: SLF001 - Django's documented name
    field: Field[Any, Any] = meta.pk if column == "pk" else meta.get_field(column)
    if len(text) > LONGEST or not is_storable(text):
        raise BadCursor
    try:
        value = field.to_python(text)
        storable = _is_storable(value)
    except (ValueError, TypeError, OverflowError, ValidationError) as error:
        raise BadCursor from error
    if not storable:
        raise BadCursor
    return value


def _is_storable(value: Any) -> bool:
    if isinstance(value, datetime):
        return value.tzinfo is not None and value.astimezone(UTC) is not None
    return value is not None and not (isinstance(value, int) and abs(value) > BIGGEST)


def _cursor(row: Any, order: Order) -> str:
    value, pk = (
        row[name] if isinstance(row, Mapping) else getattr(row, name)
        for name in (order.column, "pk")
    )
    raw = json.dumps([order.name, str(value), str(pk)])
    return base64.urlsafe_b64encode(raw.encode()).decode().rstrip("=")


def _beyond(order: Order, start: Start) -> Q:
    side = "lt" if order.descending != start.backwards else "gt"
    # The first condition lets the database seek to the value instead of walking up to it.
    return Q(**{f"{order.column}__{side}e": start.value}) & (
        Q(**{f"{order.column}__{side}": start.value}) | Q(**{f"pk__{side}": start.pk})
    )


def _read_cursor(model: type[Model], order: Order, cursor: str) -> tuple[Any, Any]:
    try:
        padded = cursor + "=" * (-len(cursor) % 4)
        name, value, pk = read_json(base64.urlsafe_b64decode(padded.encode("ascii")))
    except (ValueError, TypeError) as error:
        raise BadCursor from error
    if name != order.name or not (isinstance(value, str) and isinstance(pk, str)):
        raise BadCursor
    return read_value(model, order.column, value), read_value(model, "pk", pk)
