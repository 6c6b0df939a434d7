"""Lists: by page number or by cursor, always with the exact total."""

from __future__ import annotations

import base64
import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Generic, TypeVar

from django.db.models import Model, Q, QuerySet

from ml_platform.cursors import BadCursor, read_value
from ml_platform.guard import read_json

R = TypeVar("R")
"""A model object, or a row as `values()` reads it."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Where:
    """Which part of a list is asked for: a page by its number, or what follows a cursor."""

    page: int | None
    page_size: int
    cursor: str
    sort: str


@dataclass(frozen=True, slots=True)
class Part(Generic[R]):
    """The rows of that part, and the cursor of what follows; '' at the end."""

    rows: list[R]
    next_cursor: str


def take(rows: QuerySet[Any, R], where: Where, sorts: Mapping[str, str]) -> Part[R]:
    """Read that part of the rows in one statement.

    `sorts` maps the sort's public name to its column, which is never empty. Each order ends with
    the primary key, so that it is total, and a cursor is found by the index, however deep it is.

    :raises BadCursor: the cursor is none of this list in this order.
    """
    descending = where.sort.startswith("-")
    column = sorts[where.sort.removeprefix("-")]
    sign = "-" if descending else ""
    ordered = rows.order_by(f"{sign}{column}", f"{sign}pk")
    if where.cursor:
        ordered = ordered.filter(_after(rows.model, column, where, descending=descending))
        start = 0
    else:
        start = ((where.page or 1) - 1) * where.page_size
    found = list(ordered[start : start + where.page_size + 1])
    part = found[: where.page_size]
    return Part(part, _cursor(part[-1], column, where.sort) if found[where.page_size :] else "")


def pagination(*, total: int, where: Where, next_cursor: str) -> dict[str, Any]:
    """Where a list stands, as its answer says it; a page reached by cursor has no number."""
    return {
        "total": total,
        "page": None if where.cursor else where.page or 1,
        "pages": -(-total // where.page_size),
        "page_size": where.page_size,
        "next_cursor": next_cursor,
    }


def _cursor(row: Any, column: str, sort: str) -> str:
    value, pk = (
        row[name] if isinstance(row, Mapping) else getattr(row, name) for name in (column, "pk")
    )
    raw = json.dumps([sort, str(value), str(pk)])
    return base64.urlsafe_b64encode(raw.encode()).decode().rstrip("=")


def _after(model: type[Model], column: str, where: Where, *, descending: bool) -> Q:
    value, pk = _read_cursor(model, column, where)
    beyond = "lt" if descending else "gt"
    # The first condition lets the database begin at the value instead of walking up to it.
    return Q(**{f"{column}__{beyond}e": value}) & (
        Q(**{f"{column}__{beyond}": value}) | Q(**{f"pk__{beyond}": pk})
    )


def _read_cursor(model: type[Model], column: str, where: Where) -> tuple[Any, Any]:
    try:
        padded = where.cursor + "=" * (-len(where.cursor) % 4)
        sort, value, pk = read_json(base64.urlsafe_b64decode(padded.encode("ascii")))
        if sort == where.sort and isinstance(value, str) and isinstance(pk, str):
            return read_value(model, column, value), read_value(model, "pk", pk)
    except (ValueError, TypeError, BadCursor) as error:
        raise _bad_cursor() from error
    raise _bad_cursor()


def _bad_cursor() -> BadCursor:
    return BadCursor(
        "The cursor does not belong to this list in this order.",
        advice="Use next_cursor of the answer before, with the same sort.",
    )
