"""Counts as people read them."""

from __future__ import annotations


def counted(number: int, one: str, many: str = "") -> str:
    """`1 model`, `2,100 models`; `many` where an s does not do."""
    return f"{number:,} {one if number == 1 else many or one + 's'}"
