"""Write rows together; one that cannot be stored does not keep the others from being written."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TypeVar

from django.db import DataError, IntegrityError

from ml_platform.models.database import atomic
from ml_platform.text import in_one_line

T = TypeVar("T")
UNSTORABLE = (DataError, IntegrityError, ValueError, OverflowError)
"""Errors of a row, not of the database: text that it does not accept, a value that is too long, a
reference to a row that was deleted meanwhile."""


def write_each(rows: Sequence[T], write: Callable[[Sequence[T]], object]) -> list[tuple[T, str]]:
    """Write the rows in a transaction; returns those that cannot be stored, with the reason.

    When a write fails, each half is written on its own, until the row at fault is alone.
    """
    if not rows:
        return []
    try:
        with atomic():
            write(rows)
    except UNSTORABLE as error:
        if len(rows) == 1:
            why = in_one_line(str(error).partition("\n")[0])
            return [(rows[0], f"it could not be stored: {why}")]
        half = len(rows) // 2
        return [*write_each(rows[:half], write), *write_each(rows[half:], write)]
    return []
