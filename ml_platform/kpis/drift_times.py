"""How long disagreements take to be seen, and then to be repaired."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from datetime import datetime, timedelta
from math import ceil
from typing import Any, Self

from django.db.models import Q

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
    ended = Q(status=FindingStatus.REPAIRED, ended_at__gte=since)
    rows = of_projects(Finding.objects.filter(Q(first_seen_at__gte=since) | ended), projects)
    columns = ("began_at", "began_told", "first_seen_at", "status", "ended_at")
    found: list[Any] = list(rows.order_by().values_list(*columns, named=True))
    seen = [row for row in found if row.first_seen_at >= since]
    began = [row for row in seen if row.began_at is not None]
    repaired = [
        row for row in found if row.status == FindingStatus.REPAIRED and row.ended_at >= since
    ]
    return DriftTimes(
        days=DAYS,
        detect=Times.over(
            (row.first_seen_at - row.began_at for row in began),
            unknown=len(seen) - len(began),
            at_most=sum(not row.began_told for row in began),
        ),
        repair=Times.over(row.ended_at - row.first_seen_at for row in repaired),
    )
