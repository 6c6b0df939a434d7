"""Pages of a list by the key of its last row: as fast at the end as at the beginning."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any, TypeVar

from django.db.models import Model, QuerySet
from django.http import HttpRequest

from ml_platform.cursors import read_value
from ml_platform.pages.view_models.context import Pager

M = TypeVar("M", bound=Model)
SEPARATOR = "~"


@dataclass(frozen=True, slots=True)
class Order:
    """A column that an index serves; `tied` when rows may share a value, and ids part them."""

    label: str
    field: str
    descending: bool = False
    tied: bool = True

    def columns(self, *, backwards: bool) -> list[str]:
        """What to order by."""
        sign = "-" if self.descending != backwards else ""
        return [f"{sign}{name}" for name in (self.field, "pk")[: 1 + self.tied]]

    def key_of(self, row: Any) -> str:
        """The cursor that stands at a row."""
        value = getattr(row, self.field)
        text = value.isoformat() if isinstance(value, datetime) else str(value)
        return f"{text}{SEPARATOR}{row.pk}"

    def beyond(self, rows: QuerySet[M], cursor: str, *, backwards: bool) -> QuerySet[M]:
        """The rows on the other side of a cursor; all of them where it has not the form of one.

        :raises BadCursor: no row could stand there.
        """
        text, separator, at = cursor.rpartition(SEPARATOR)
        if not separator:
            return rows
        value, pk = read_value(rows.model, self.field, text), read_value(rows.model, "pk", at)
        side = "lt" if self.descending != backwards else "gt"
        if not self.tied:
            return rows.filter(**{f"{self.field}__{side}": value})
        # A range first and the ties taken out of it: an index can seek to that.
        within = rows.filter(**{f"{self.field}__{side}e": value})
        wrong_side = "gte" if side == "lt" else "lte"
        return within.exclude(**{self.field: value, f"pk__{wrong_side}": pk})


def key_page(
    rows: QuerySet[M], request: HttpRequest, *, order: Order, size: int, name: str
) -> tuple[list[M], Pager]:
    """The asked page, and links to its neighbors; `<name>_after` and `<name>_before` say which."""
    after = request.GET.get(f"{name}_after", "")
    before = "" if after else request.GET.get(f"{name}_before", "")
    backwards = bool(before)
    asked = order.beyond(rows, after or before, backwards=backwards) if after or before else rows
    found = list(asked.order_by(*order.columns(backwards=backwards))[: size + 1])
    more, shown = len(found) > size, found[:size]
    if backwards:
        shown.reverse()
    has_previous = more if backwards else bool(after)
    has_next = True if backwards else more
    return shown, Pager(
        total=rows.count(),
        previous_url=_url(request, name, "before", order, shown[:1] if has_previous else ()),
        next_url=_url(request, name, "after", order, shown[-1:] if has_next else ()),
    )


def _url(request: HttpRequest, name: str, side: str, order: Order, at: Sequence[Model]) -> str:
    if not at:
        return ""
    query = request.GET.copy()
    for key in (f"{name}_after", f"{name}_before"):
        query.pop(key, None)
    query[f"{name}_{side}"] = order.key_of(at[0])
    return f"?{query.urlencode()}#{name}"
