"""Pages of a list, by number in the query string; other parameters stay as they are."""

from __future__ import annotations

from typing import TypeVar

from django.core.paginator import Paginator
from django.db.models import Model, QuerySet
from django.http import HttpRequest

from ml_platform.pages.view_models.context import Pager

M = TypeVar("M", bound=Model)


def page_of(
    rows: QuerySet[M], request: HttpRequest, *, size: int, parameter: str = "page", anchor: str = ""
) -> tuple[list[M], Pager]:
    """The asked page's rows and where they stand; a number out of range gives the nearest page."""
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


def query_url(request: HttpRequest, parameter: str, value: int | str) -> str:
    """This page with one parameter changed."""
    query = request.GET.copy()
    query[parameter] = str(value)
    return f"?{query.urlencode()}"
