"""Sums of numbers some of which may be unknown (law 15)."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Self


@dataclass(frozen=True, slots=True)
class Sum:
    """The sum of the days that are known. It has no arithmetic, so that a part is not added to,
    divided by or compared with a whole by accident."""

    of_known: int | None
    """None when no day is known."""
    known: int
    days: int

    @classmethod
    def over(cls, values: Iterable[int | None]) -> Self:
        """The sum of these days; None is a day that is not known."""
        days = list(values)
        known = [value for value in days if value is not None]
        return cls(of_known=sum(known) if known else None, known=len(known), days=len(days))

    @property
    def total(self) -> int | None:
        """The sum of all days; None unless all of them are known."""
        return self.of_known if self.known == self.days else None
