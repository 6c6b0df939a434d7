"""Pages of a list: by cursor where a list may be long, by number where its order needs no index.

The links keep the other parameters of the query string.
"""

from __future__ import annotations

from typing import TypeVar

from django.core.paginator import Paginator
from django.db.models import Model, QuerySet
from django.http import HttpRequest

from ml_platform.pages.view_models.context import Pager
from ml_platform.pagination import Order, read_page

M = TypeVar("M", bound=Model)
NEWEST = Order("newest", "created_at", descending=True)


def cursor_page(
    rows: QuerySet[M], request: HttpRequest, *, order: Order, size: int, name: str
) -> tuple[list[M], Pager]:
    """The page that `<name>_after` or `<name>_before` asks for, and links to its neighbors.

    :raises BadCursor: the cursor does not belong to this list in this order.
    """
    after, before = f"{name}_after", f"{name}_before"
    page = read_page(
        rows,
        order,
        size=size,
        after=request.GET.get(after, ""),
        before=request.GET.get(before, ""),
    )

    def url(parameter: str, cursor: str) -> str:
        query = query_url(request, parameter, cursor, without=(after, before))
        return f"{query}#{name}" if cursor else ""

    return page.rows, Pager(
        total=rows.count(), previous_url=url(before, page.previous), next_url=url(after, page.next)
    )


def numbered_page(
    rows: QuerySet[M], request: HttpRequest, *, size: int, parameter: str = "page", anchor: str = ""
) -> tuple[list[M], Pager]:
    """The page of that number and links to its neighbors; out of range gives the nearest page."""
    page = Paginator(rows, size).get_page(request.GET.get(parameter))
    number = page.number

    def url(of: int) -> str:
        return query_url(request, parameter, of) + (f"#{anchor}" if anchor else "")

    return list(page.object_list), Pager(
        first=page.start_index(),
        last=page.end_index(),
        total=page.paginator.count,
        previous_url=url(number - 1) if page.has_previous() else "",
        next_url=url(number + 1) if page.has_next() else "",
    )


def query_url(
    request: HttpRequest, parameter: str, value: int | str, *, without: tuple[str, ...] = ()
) -> str:
    """The address of this page with one parameter changed and others left out."""
    query = request.GET.copy()
    for name in without:
        query.pop(name, None)
    query[parameter] = str(value)
    return f"?{query.urlencode()}"
