"""Keyset pagination: a page of a list begins after, or ends before, the row its cursor names.

A cursor is opaque to clients. The database finds its row by an index, however deep it is, and rows
that are added or removed in front of it do not move the page.
"""

from __future__ import annotations

import base64
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from math import isfinite
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

    Rows with equal values are ordered by `tie`, which is unique, so that every row has one place.
    """

    name: str
    column: str
    descending: bool = False
    tie: str = "pk"


@dataclass(frozen=True, slots=True)
class Page(Generic[R]):
    """One page of a list and the cursors of its neighbors; '' where it has no neighbor."""

    rows: list[R]
    previous: str
    next: str


@dataclass(frozen=True, slots=True)
class Start:
    """Where a page begins: behind, or backwards before, the row of this value and `tie`."""

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
    start = start_of(rows, order, after=after, before=before)
    found = list(ordered(rows, order, start)[offset : offset + size + 1])
    return page_of(found, order, start, size=size, offset=offset)


def start_of(
    rows: QuerySet[Any, Any] | type[Model], order: Order, *, after: str, before: str
) -> Start:
    """Where the page of a cursor begins; the beginning of the list if there is none.

    :raises BadCursor: the cursor does not belong to this list in this order.
    """
    if not (cursor := after or before):
        return Start()
    name, *texts = _texts_of(cursor)
    if name != order.name:
        raise BadCursor
    value, tie = (
        _read(_field(rows, column), text)
        for column, text in zip((order.column, order.tie), texts, strict=True)
    )
    return Start(bool(before) and not after, value, tie)


def ordered(rows: QuerySet[Any, R], order: Order, start: Start) -> QuerySet[Any, R]:
    """The rows from there on."""
    if start.pk is not None:
        rows = rows.filter(_beyond(order, start))
    sign = "-" if order.descending != start.backwards else ""
    return rows.order_by(f"{sign}{order.column}", f"{sign}{order.tie}")


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


def read_parts(
    parts: Sequence[tuple[QuerySet[Any, R], Order]], *, size: int, after: str = "", offset: int = 0
) -> Page[R]:
    """Read a page of several lists, one after the other; each order has a name of its own.

    :raises BadCursor: the cursor belongs to none of them.
    """
    names = [order.name for _, order in parts]
    if after and (name := _texts_of(after)[0]) not in names:
        raise BadCursor
    found: list[tuple[R, Order]] = []
    for rows, order in parts[names.index(name) if after else 0 :]:
        if len(found) > size:
            break
        page = read_page(rows, order, size=size + 1 - len(found), after=after, offset=offset)
        offset = 0 if page.rows or not offset else offset - rows.count()
        after = ""
        found += [(row, order) for row in page.rows]
    more = len(found) > size
    shown = [row for row, _ in found[:size]]
    return Page(shown, previous="", next=_cursor(*found[size - 1]) if more else "")


def read_value(model: type[Model], column: str, text: str) -> Any:
    """The value of a model's column that was written as text; `pk` is its primary key.

    :raises BadCursor: no row can have it.
    """
    return _read(_column(model, column), text)


def _read(field: Field[Any, Any], text: str) -> Any:
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
    if isinstance(value, float):
        return isfinite(value)
    return value is not None and not (isinstance(value, int) and abs(value) > BIGGEST)


def _cursor(row: Any, order: Order) -> str:
    value, pk = (
        row[name] if isinstance(row, Mapping) else getattr(row, name)
        for name in (order.column, order.tie)
    )
    raw = json.dumps([order.name, str(value), str(pk)])
    return base64.urlsafe_b64encode(raw.encode()).decode().rstrip("=")


def _beyond(order: Order, start: Start) -> Q:
    side = "lt" if order.descending != start.backwards else "gt"
    # The first condition lets the database seek to the value instead of walking up to it.
    return Q(**{f"{order.column}__{side}e": start.value}) & (
        Q(**{f"{order.column}__{side}": start.value}) | Q(**{f"{order.tie}__{side}": start.pk})
    )


def _field(rows: QuerySet[Any, Any] | type[Model], column: str) -> Field[Any, Any]:
    """The field of a column of the rows, be it of their table or annotated."""
    if not isinstance(rows, QuerySet):
        return _column(rows, column)
    annotated = rows.query.annotations.get(column)
    return annotated.output_field if annotated else _column(rows.model, column)


def _column(model: type[Model], column: str) -> Field[Any, Any]:
    meta: Any = model._meta  # noqa: SLF001 - Django's documented name
    field: Field[Any, Any] = meta.pk if column == "pk" else meta.get_field(column)
    return field


def _texts_of(cursor: str) -> list[str]:
    """The name of its order, the value and the tie."""
    try:
        padded = cursor + "=" * (-len(cursor) % 4)
        name, value, tie = read_json(base64.urlsafe_b64decode(padded.encode("ascii")))
    except (ValueError, TypeError) as error:
        raise BadCursor from error
    if not all(isinstance(text, str) for text in (name, value, tie)):
        raise BadCursor
    return [name, value, tie]
