"""The choices above a list, as links."""

from __future__ import annotations

from collections.abc import Mapping

from django.http import HttpRequest

from ml_platform.pages.view_models.context import Tab


def tabs_of(
    request: HttpRequest, table: Mapping[str, tuple[str, list[str]]]
) -> tuple[tuple[Tab, ...], list[str]]:
    """The choices of a list, and the statuses of the chosen one; the first is the default."""
    chosen = request.GET.get("status", "")
    if chosen not in table:
        chosen = next(iter(table))
    tabs = tuple(
        Tab(label=label, url=f"?status={name}", current=name == chosen)
        for name, (label, _) in table.items()
    )
    return tabs, table[chosen][1]
