"""Lists: one statement reads a page of rows, another the total."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, TypeVar

from django.db.models import Model, QuerySet
from django.http import HttpResponse

from ml_platform.api.schemas.base import Json, Listing, reply
from ml_platform.models import snapshot
from ml_platform.pagination import Page, read_page

M = TypeVar("M", bound=Model)
R = TypeVar("R")


def page_of(rows: QuerySet[Any, R], query: Listing, sorts: Mapping[str, str]) -> Page[R]:
    """The page that the query asks for; `sorts` maps public names of sort orders to columns.

    :raises Invalid: the query has both a page number and a cursor.
    :raises BadCursor: the cursor does not belong to this list in this order.
    """
    return read_page(rows, query.order(sorts), **query.place)


def pagination_json(query: Listing, page: Page[Any], total: int, *, exact: bool = True) -> Json:
    """The `pagination` of an answer. A page that was reached by cursor has no number; a `total`
    that is not exact is a lower bound."""
    return {
        "total": total,
        "total_is_exact": exact,
        "page": None if query.cursor else query.page or 1,
        "pages": -(-total // query.page_size),
        "page_size": query.page_size,
        "next_cursor": page.next,
    }


def matching(rows: QuerySet[M], query: Listing, **lookups: str) -> QuerySet[M]:
    """The rows that the query asks for; `lookups` maps its parameters to lookups of the rows.

    A parameter that has its default does not filter.
    """
    lookups["project"] = "project"
    defaults = {name: field.default for name, field in type(query).model_fields.items()}
    given = {name: getattr(query, name) for name in lookups}
    return rows.filter(
        **{lookups[name]: value for name, value in given.items() if value != defaults[name]}
    )


def answer_list(
    query: Listing,
    rows: QuerySet[M],
    *,
    sorts: Mapping[str, str],
    row_json: Callable[[M], Json],
    more: Callable[[], Json] = dict,
) -> HttpResponse:
    """Answer one page of the rows, the exact total, and what `more` reads, of one snapshot."""
    with snapshot():
        page = page_of(rows, query, sorts)
        body = {
            **more(),
            "items": [row_json(row) for row in page.rows],
            "pagination": pagination_json(query, page, rows.order_by().count()),
        }
    return reply(body)
