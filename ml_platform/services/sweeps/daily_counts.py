"""Keep the counts of the day, so that charts show what was and not what is left of it."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator
from datetime import UTC, date, datetime, timedelta
from typing import Any, TypeAlias

from django.db.models import Count, Q, QuerySet, Sum

from ml_platform.models import (
    DailyCount,
    DeployedEndpoint,
    Finding,
    ModelCount,
    TrainingRun,
)
from ml_platform.models.database import atomic
from ml_platform.models.endpoints.serving_truth import ServingTruth, count_serving
from ml_platform.models.states import STANDING_FINDING_STATUSES, ServingStatus

DAYS_BEFORE = 90
"""Days before the first kept count for which the registrations of that moment are kept."""
Counts: TypeAlias = dict[Any, dict[str, Any]]
"""Numbers by project; None is of no project."""


def keep_daily_counts(*, now: datetime, serving_known: bool = True) -> None:
    """Keep the counts of this moment as those of the day; a later sweep of the day replaces them.

    `serving_known` is whether this sweep has read the planes that decide what is verified.

    The first time, the days before are kept too, as far as the versions that are registered now
    tell: what was deleted before is not known.
    """
    today = now.astimezone(UTC).date()
    counts = _counts_now(now, serving_known=serving_known)
    with atomic():
        if not DailyCount.objects.exists():
            for rows in _days_before(today, now):
                _keep(rows)
        _keep(_rows(today, now, counts))


def _counts_now(now: datetime, *, serving_known: bool) -> Counts:
    none = dict.fromkeys(("models", "versions", "deployed", "findings"), 0)
    unserved = dict.fromkeys(("endpoints_active", "serving_verified"), 0 if serving_known else None)
    counts: Counts = defaultdict(lambda: {**none, **unserved})
    registered: Any = (
        ModelCount.objects.order_by()
        .values("project")
        .annotate(
            models=Sum("n"),
            versions=Sum("versions"),
            deployed=Sum("n", filter=Q(serving=ServingStatus.DEPLOYED), default=0),
        )
    )
    for row in registered:
        counts[row.pop("project")].update(row)
    rows = Finding.objects.filter(status__in=STANDING_FINDING_STATUSES).order_by()
    standing: Any = rows.values("project").annotate(findings=Count("pk"))
    for row in standing:
        counts[row.pop("project")].update(row)
    endpoints = count_serving(DeployedEndpoint.objects.all(), now=now) if serving_known else {}
    for truth, by_project in endpoints.items():
        for project, n in by_project.items():
            counts[project]["endpoints_active"] += n
            counts[project]["serving_verified"] += n if truth == ServingTruth.VERIFIED else 0
    counts[None]  # the row that says that this day was counted
    return counts


def _days_before(today: date, now: datetime) -> Iterator[list[DailyCount]]:
    first = today - timedelta(days=DAYS_BEFORE)
    versions: QuerySet[Any, Any] = TrainingRun.objects.versions().order_by("registered_at", "pk")
    came = versions.values_list("registered_at", "project", "registered_model").iterator()
    totals: Counts = defaultdict(lambda: {"models": 0, "versions": 0})
    totals[None]  # as above
    known: set[int] = set()
    day = first
    for at, project, model in came:
        came_on = at.astimezone(UTC).date()
        while day < min(came_on, today):
            yield _rows(day, now, totals)
            day += timedelta(days=1)
        totals[project]["versions"] += 1
        totals[project]["models"] += model not in known
        known.add(model)
    while day < today:
        yield _rows(day, now, totals)
        day += timedelta(days=1)


def _rows(day: date, now: datetime, counts: Counts) -> list[DailyCount]:
    """The rows of a day, in one order: two sweeps that lock rows in different orders would
    deadlock."""
    keys = {project: "" if project is None else str(project) for project in counts}
    return [
        DailyCount(
            day=day,
            project_key=keys[project],
            project_id=project,
            counted_at=now,
            **counts[project],
        )
        for project in sorted(counts, key=keys.__getitem__)
    ]


def _keep(rows: list[DailyCount]) -> None:
    DailyCount.objects.bulk_create(
        rows,
        batch_size=500,
        update_conflicts=True,
        unique_fields=["day", "project_key"],
        update_fields=[
            "project",
            "models",
            "versions",
            "deployed",
            "findings",
            "endpoints_active",
            "serving_verified",
            "counted_at",
        ],
    )
