"""Rows written together: one that cannot be stored is left out, the others are written."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TypeVar

from django.db import DataError, IntegrityError, transaction

from ml_platform.text import in_one_line

T = TypeVar("T")
UNSTORABLE = (DataError, IntegrityError, ValueError, OverflowError)
"""What is wrong with a row, and not with the database: text that it does not take, a value that is
too long, a row that it refers to and that went meanwhile."""


def write_each(rows: Sequence[T], write: Callable[[Sequence[T]], object]) -> list[tuple[T, str]]:
    """Write the rows in a transaction; returns those that cannot be stored, and why.

    Only when they cannot all be stored are they written in halves, until the bad one is alone.
    """
    if not rows:
        return []
    try:
        with transaction.atomic():
            write(rows)
    except UNSTORABLE as error:
        if len(rows) == 1:
            return [
                (
                    rows[0],
                    f"it could not be stored: {in_one_line(str(error).partition(chr(10))[0])}",
                )
            ]
        half = len(rows) // 2
        return [*write_each(rows[:half], write), *write_each(rows[half:], write)]
    return []
