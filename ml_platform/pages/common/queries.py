"""Read the query string of a page: the part of a list, a tab, versions.

Lists are read by cursor where they may be long, by number where their order needs no index. The
links keep the other parameters of the query string.
"""

from __future__ import annotations

from collections.abc import Callable, Hashable, Mapping
from dataclasses import dataclass
from typing import Any, Generic, TypeVar

from django import forms
from django.core.paginator import Paginator
from django.db.models import Count, Model, QuerySet
from django.http import HttpRequest, QueryDict

from ml_platform.errors import Invalid
from ml_platform.models.prepared import Prepared, number
from ml_platform.pages.view_models.context import Pager, Tab
from ml_platform.pagination import Order, Page, Start, ordered, page_of, read_page, start_of

M = TypeVar("M", bound=Model)
FRAGMENT = "fragment"
"""The parameter that asks for a part of a page alone."""
NEWEST = Order("newest", "created_at", descending=True)

VERSION = forms.RegexField(
    r"\A[1-9][0-9]{0,8}\Z",
    required=False,
    strip=False,
    error_messages={"invalid": "Enter the number of a version."},
)


@dataclass(frozen=True, slots=True)
class _Rows(Generic[M]):
    """What Django's Paginator asks of a list."""

    listed: Listed[M]
    shape: tuple[Hashable, ...]
    values: Mapping[str, Any]

    def __len__(self) -> int:
        return self.listed.total(*self.shape, **self.values)

    def __getitem__(self, part: slice) -> list[M]:
        if part.start >= part.stop:
            return []
        return self.listed.slice(part.start, part.stop, *self.shape, **self.values)


class Listed(Generic[M]):
    """A list of pages whose statements are prepared; its arguments are those of `Prepared`."""

    def __init__(self, model: type[M], build: Callable[..., QuerySet[M]]) -> None:
        def part(
            order: Order,
            side: str,
            size: int,
            *shape: Hashable,
            value: Any,
            pk: Any,
            **of: Any,
        ) -> QuerySet[M]:
            return ordered(build(*shape, **of), order, Start(side == "before", value, pk))[
                : size + 1
            ]

        def slice_of(start: int, stop: int, *shape: Hashable, **of: Any) -> QuerySet[M]:
            return build(*shape, **of)[start:stop]

        self._model, self._part, self.slice = model, Prepared(part), Prepared(slice_of)
        self._total = Prepared(lambda *shape, **of: number(build(*shape, **of), n=Count("*")))

    def total(self, *shape: Hashable, **values: Any) -> int:
        """How many rows there are."""
        [row] = self._total(*shape, **values)
        return int(row["n"])

    def page(
        self,
        request: HttpRequest,
        *shape: Hashable,
        order: Order,
        size: int,
        name: str,
        **values: Any,
    ) -> tuple[list[M], Pager]:
        """The page that `<name>_after` or `<name>_before` asks for, and links to its neighbors.

        :raises BadCursor: the cursor does not belong to this list in this order.
        """
        cursors = {side: request.GET.get(f"{name}_{side}", "") for side in ("after", "before")}
        start = start_of(self._model, order, **cursors)
        found = self._part(
            order,
            "before" if start.backwards else "after",
            size,
            *shape,
            value=start.value,
            pk=start.pk,
            **values,
        )
        page = page_of(found, order, start, size=size)
        return _paged(request, page, self.total(*shape, **values), name)

    def numbered(
        self,
        request: HttpRequest,
        *shape: Hashable,
        size: int,
        parameter: str,
        anchor: str = "",
        **values: Any,
    ) -> tuple[list[M], Pager]:
        """The page of that number, in the order in which they were built; see `numbered_page`."""
        pages: Paginator[M] = Paginator(_Rows(self, shape, values), size)  # type: ignore[arg-type]
        return _numbered(request, pages, parameter, anchor)


def cursor_page(
    rows: QuerySet[M], request: HttpRequest, *, order: Order, size: int, name: str
) -> tuple[list[M], Pager]:
    """The same of a queryset."""
    cursors = {side: request.GET.get(f"{name}_{side}", "") for side in ("after", "before")}
    page = read_page(rows, order, size=size, **cursors)
    return _paged(request, page, rows.count(), name)


def _paged(request: HttpRequest, page: Page[M], total: int, name: str) -> tuple[list[M], Pager]:
    after, before = f"{name}_after", f"{name}_before"

    def url(parameter: str, cursor: str) -> str:
        if not cursor:
            return ""
        query = query_url(request, parameter, cursor, without=(after, before))
        return f"{query}#{name}"

    return page.rows, Pager(
        total=total, previous_url=url(before, page.previous), next_url=url(after, page.next)
    )


def numbered_page(
    rows: QuerySet[M], request: HttpRequest, *, size: int, parameter: str = "page", anchor: str = ""
) -> tuple[list[M], Pager]:
    """The page of that number and links to its neighbors; out of range gives the nearest page."""
    return _numbered(request, Paginator(rows, size), parameter, anchor)


def _numbered(
    request: HttpRequest, pages: Paginator[M], parameter: str, anchor: str
) -> tuple[list[M], Pager]:
    page = pages.get_page(request.GET.get(parameter))
    number = page.number

    def url(of: int) -> str:
        return query_url(request, parameter, of) + (f"#{anchor}" if anchor else "")

    return list(page.object_list), Pager(
        first=page.start_index(),
        last=page.end_index(),
        total=pages.count,
        previous_url=url(number - 1) if page.has_previous() else "",
        next_url=url(number + 1) if page.has_next() else "",
    )


def query_url(
    request: HttpRequest, parameter: str, value: int | str, *, without: tuple[str, ...] = ()
) -> str:
    """The address of this page with one parameter changed and others left out."""
    query = request.GET.copy()
    for name in (FRAGMENT, *without):
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
