"""Read the query string of a page: the part of a list, a tab, versions.

Lists are read by cursor where they may be long, by number where their order needs no index. The
links keep the other parameters of the query string.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, TypeVar

from django import forms
from django.core.paginator import Paginator
from django.db.models import Model, QuerySet
from django.http import HttpRequest, QueryDict

from ml_platform.errors import Invalid
from ml_platform.pages.view_models.context import Pager, Tab
from ml_platform.pagination import Order, read_page

M = TypeVar("M", bound=Model)
NEWEST = Order("newest", "created_at", descending=True)

VERSION = forms.RegexField(
    r"\A[1-9][0-9]{0,8}\Z",
    required=False,
    strip=False,
    error_messages={"invalid": "Enter the number of a version."},
)


def exact_count(rows: QuerySet[Any]) -> tuple[int, bool]:
    """How many rows there are, and that this is no lower bound."""
    return rows.count(), True


def cursor_page(
    rows: QuerySet[M],
    request: HttpRequest,
    *,
    order: Order,
    size: int,
    name: str,
    count: Callable[[QuerySet[M]], tuple[int, bool]] = exact_count,
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

    total, exact = count(rows)
    return page.rows, Pager(
        total=total,
        total_is_exact=exact,
        previous_url=url(before, page.previous),
        next_url=url(after, page.next),
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


def read_versions(query: QueryDict, name: str) -> set[int]:
    """The numbers of versions that a parameter lists.

    :raises Invalid: one of them is not the number of a version.
    """
    try:
        return {int(number) for text in query.getlist(name) if (number := VERSION.clean(text))}
    except forms.ValidationError as error:
        raise Invalid(
            f"The value of {name} is not valid.",
            code="invalid_parameter",
            advice=" ".join(error.messages),
        ) from error


def tabs_of(
    request: HttpRequest, table: Mapping[str, tuple[str, list[str]]], parameter: str = "status"
) -> tuple[tuple[Tab, ...], list[str]]:
    """The tabs of a list, and the statuses of the chosen one; by default the first is chosen."""
    chosen = request.GET.get(parameter, "")
    if chosen not in table:
        chosen = next(iter(table))
    anchor = "" if parameter == "status" else f"#{parameter}"
    tabs = tuple(
        Tab(label=label, url=f"?{parameter}={name}{anchor}", current=name == chosen)
        for name, (label, _) in table.items()
    )
    return tabs, table[chosen][1]
