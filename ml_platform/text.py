"""Counts and names as people read them."""

from __future__ import annotations


def counted(number: int, one: str, many: str = "") -> str:
    """`1 model`, `2,100 models`; `many` where an s does not do."""
    return f"{number:,} {one if number == 1 else many or one + 's'}"


def in_one_line(text: str) -> str:
    """Return the text with every character that cannot be printed as an escape.

    Names from Google may hold line breaks, NUL characters and lone surrogates.
    """
    return "".join(char if char.isprintable() else ascii(char)[1:-1] for char in text)
