"""Small pieces of markup that every page uses."""

from __future__ import annotations

from typing import Any

from django import template

register = template.Library()

CODE_MAX = 44
"""Characters of an id or resource name that are shown; the whole is on hover."""


@register.inclusion_tag("ml_platform/_badge.html")
def badge(state: object) -> dict[str, Any]:
    """A state as shape, word and color."""
    return {"badge": state}


@register.inclusion_tag("ml_platform/_moment.html")
def moment(when: object, empty: str = "–") -> dict[str, Any]:  # noqa: RUF001
    """A time, relative, with the exact one on hover."""
    return {"moment": when, "empty": empty}


@register.filter
def cut(text: str, size: int = CODE_MAX) -> str:
    """A long name with its middle left out: both ends tell names apart."""
    if len(text) <= size:
        return text
    head = (size - 1) // 2
    return f"{text[:head]}…{text[head + 1 - size :]}"
