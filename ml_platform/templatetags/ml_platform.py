"""Small pieces of markup that every page uses."""

from __future__ import annotations

from typing import Any

from django import template

register = template.Library()

EXPLAINED = ("unknown", "warn", "bad")
"""Tones whose reason everybody must be able to read, not only those who hover."""
CODE_MAX = 44
"""Characters of an id or resource name that are shown; the whole is on hover."""


@register.inclusion_tag("ml_platform/_badge.html")
def badge(state: Any, *, bare: bool = False) -> dict[str, Any]:
    """A state as shape, word and color; `bare` shows what is well by its shape alone."""
    return {"badge": state, "bare": bare and state.tone == "good", "tip": state.tone in EXPLAINED}


@register.inclusion_tag("ml_platform/_moment.html")
def moment(when: object, *, form: str = "") -> dict[str, Any]:
    """A time, relative, with the exact one on hover; `form` may be `short`."""
    return {"moment": when, "form": form}


@register.filter
def cut(text: str, size: int | str = CODE_MAX) -> str:
    """A long name with its middle left out: both ends tell names apart."""
    size = int(size or CODE_MAX)
    if len(text) <= size:
        return text
    head = (size - 1) // 2
    return f"{text[:head]}…{text[head + 1 - size :]}"
