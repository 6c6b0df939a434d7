"""Badges, times and shortened names, for all templates."""

from __future__ import annotations

from typing import Any

from django import template

register = template.Library()

EXPLAINED = ("unknown", "warn", "bad")
"""Tones whose hint is also shown on focus, because not every user can hover."""
CODE_MAX = 44
"""Characters of an id or resource name that are shown; the tooltip has all of them."""


@register.inclusion_tag("ml_platform/_badge.html")
def badge(state: Any, *, bare: bool = False) -> dict[str, Any]:
    """A state as icon, label and color; `bare` shows only the icon of a good one."""
    return {"badge": state, "bare": bare and state.tone == "good", "tip": state.tone in EXPLAINED}


@register.inclusion_tag("ml_platform/_moment.html")
def moment(when: object, *, form: str = "") -> dict[str, Any]:
    """A relative time with the exact one as tooltip; `form` may be `short`."""
    return {"moment": when, "form": form}


@register.filter
def cut(text: str, size: int | str = CODE_MAX) -> str:
    """A long name without its middle, because names differ at either end."""
    size = int(size or CODE_MAX)
    if len(text) <= size:
        return text
    head = (size - 1) // 2
    return f"{text[:head]}…{text[head + 1 - size :]}"
