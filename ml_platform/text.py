"""Counts and names as people read them."""

from __future__ import annotations

from datetime import timedelta

_UNITS = ((86400 * 365, "y"), (86400, "d"), (3600, "h"), (60, "min"))
"""Seconds of each unit of an age, the largest first."""


def counted(number: int, one: str, many: str = "") -> str:
    """`1 model`, `2,100 models`; `many` where an s does not do."""
    return f"{number:,} {one if number == 1 else many or one + 's'}"


def in_one_line(text: str) -> str:
    """Return the text with every character that cannot be printed as an escape.

    Names from Google may hold line breaks, NUL characters and lone surrogates.
    """
    return "".join(char if char.isprintable() else ascii(char)[1:-1] for char in text)


def rough(length: timedelta) -> str:
    """`3 min`, `2 h`, `5 d`: the largest unit, rounded down; '' under a minute."""
    seconds = abs(length.total_seconds())
    return next((f"{int(seconds // size)} {unit}" for size, unit in _UNITS if seconds >= size), "")
