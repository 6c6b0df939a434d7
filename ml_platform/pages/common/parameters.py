"""Query parameters of pages: numbers of versions, and the choice of a tab."""

from __future__ import annotations

from collections.abc import Mapping

from django import forms
from django.http import HttpRequest, QueryDict

from ml_platform.errors import Invalid
from ml_platform.pages.view_models.context import Tab

VERSION = forms.RegexField(
    r"\A[1-9][0-9]{0,8}\Z",
    required=False,
    strip=False,
    error_messages={"invalid": "Enter the number of a version."},
)


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
