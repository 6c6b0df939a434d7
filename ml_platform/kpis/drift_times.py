"""How long disagreements take to be seen, and then to be repaired."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from datetime import datetime, timedelta
from math import ceil
from typing import Self

from ml_platform.models import Finding
from ml_platform.models.states import FindingStatus

from .totals import Projects, of_projects

DAYS = 30


@dataclass(frozen=True, slots=True, kw_only=True)
class Times:
    """Percentiles of durations in seconds; None when none is known (law 15)."""

    p50: float | None
    p95: float | None
    known: int
    unknown: int = 0
    """How many more there were, whose duration is not known."""
    at_most: int = 0
    """How many of the known durations are upper bounds."""

    @classmethod
    def over(cls, lengths: Iterable[timedelta], *, unknown: int = 0, at_most: int = 0) -> Self:
        """The percentiles of these durations: of n in order, p is the one at ceil(p * n)."""
        seconds = sorted(length.total_seconds() for length in lengths)
        p50, p95 = (
            seconds[ceil(share * len(seconds) / 100) - 1] if seconds else None for share in (50, 95)
        )
        return cls(p50=p50, p95=p95, known=len(seconds), unknown=unknown, at_most=at_most)


@dataclass(frozen=True, slots=True, kw_only=True)
class DriftTimes:
    """How long the findings of the last days took to be seen, and to be repaired."""

    days: int
    detect: Times
    """From the time when it began, of the findings first seen in these days. Where Google does not
    tell that time, it counts from the sweep before, which is an upper bound."""
    repair: Times
    """From the time when it was first seen, of the findings repaired in these days."""


def drift_times(*, now: datetime, projects: Projects = None) -> DriftTimes:
    """Return the times to detect and to repair, exactly: from every finding of these days."""
    since = now - timedelta(days=DAYS)
    rows = of_projects(Finding.objects.all(), projects).order_by()
    seen = rows.filter(first_seen_at__gte=since)
    began = list(seen.values_list("began_at", "first_seen_at", "began_told"))
    known = [(first - start, told) for start, first, told in began if start is not None]
    repaired = rows.filter(status=FindingStatus.REPAIRED, ended_at__gte=since)
    return DriftTimes(
        days=DAYS,
        detect=Times.over(
            (length for length, _ in known),
            unknown=len(began) - len(known),
            at_most=sum(not told for _, told in known),
        ),
        repair=Times.over(
            ended - first
            for first, ended in repaired.values_list("first_seen_at", "ended_at")
            if ended is not None
        ),
    )
