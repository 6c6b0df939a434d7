"""What all lists share: two statements read a part and the total."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, TypeVar

from django.db.models import Model, QuerySet
from django.http import HttpResponse

from ml_platform.api.schemas.queries import Listing
from ml_platform.api.schemas.serialize import Json, reply
from ml_platform.errors import Invalid

from .pagination import Where, pagination, take

M = TypeVar("M", bound=Model)


def where_of(query: Listing) -> Where:
    """Which part of the list is asked for.

    :raises Invalid: both a page and a cursor.
    """
    if query.cursor and query.page:
        raise Invalid(
            "A page and a cursor exclude each other.",
            code="page_and_cursor",
            advice="Give page to jump, cursor to go on.",
        )
    sort: str = query.sort  # type: ignore[attr-defined]
    return Where(page=query.page, page_size=query.page_size, cursor=query.cursor, sort=sort)


def of_project(rows: QuerySet[M], query: Listing) -> QuerySet[M]:
    """Those of the project that was asked for."""
    return rows if query.project is None else rows.filter(project=query.project)


def answer_list(
    query: Listing,
    rows: QuerySet[M],
    *,
    sorts: Mapping[str, str],
    row_json: Callable[[M], Json],
    **more: Any,
) -> HttpResponse:
    """A part of the rows with the exact total: two statements."""
    where = where_of(query)
    part = take(rows, where, sorts)
    total = rows.order_by().count()
    body = {
        **more,
        "items": [row_json(row) for row in part.rows],
        "pagination": pagination(total=total, where=where, next_cursor=part.next_cursor),
    }
    return reply(body)
