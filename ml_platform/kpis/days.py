"""The numbers of the dashboards day by day: traffic, registrations and findings."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, date, datetime, time, timedelta
from itertools import accumulate
from typing import Any

from django.db.models import (
    Case,
    CharField,
    Count,
    Exists,
    IntegerField,
    Max,
    Min,
    OuterRef,
    Q,
    QuerySet,
    When,
)
from django.db.models import Sum as Total
from django.db.models.functions import Cast, Coalesce, Substr

from ml_platform.models import DailyCount, Finding, ServiceDailyMetrics, TrainingRun
from ml_platform.models.prepared import Prepared, number
from ml_platform.models.states import STANDING_FINDING_STATUSES

from .sums import Sum
from .totals import Projects, of_projects, registered_models

TRAFFIC_DAYS = 7
WORST_P95 = "The p95 latency of the worst of the last seven full days."


@dataclass(frozen=True, slots=True, kw_only=True)
class HistoryPoint:
    """How many models and versions were registered at the end of that day, and how many active
    endpoints served verified versions only; None when that is not known."""

    day: date
    models: int | None
    versions: int | None
    serving_verified: int | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Traffic:
    """Requests of the last seven full days and of the seven before; worst p95 of the last seven."""

    requests: Sum
    before: Sum
    p95: float | None
    days: tuple[int | None, ...]
    """Requests on each of the 14 days, the newest last; None for a day that nobody read, or for
    which Cloud Monitoring had no number."""


def traffic(projects: Projects, *, today: date) -> dict[Any, Traffic]:
    """Return the traffic by project; projects without data from Cloud Monitoring are left out."""
    return _traffic_by("project", today, projects=projects)


def service_traffic(names: Collection[str], *, project_id: Any, today: date) -> dict[str, Traffic]:
    """Return the traffic of a project's services, by the same definitions.

    A service name may have belonged to another project before; its days then are not counted.
    """
    return _traffic_by("service_name", today, projects=[project_id], names=names)


def _traffic_by(column: str, today: date, **of: Any) -> dict[Any, Traffic]:
    first = today - timedelta(days=2 * TRAFFIC_DAYS)
    found: dict[Any, dict[int, Mapping[str, Any]]] = {}
    for row in _service_days(column, first=first, today=today, **of):
        found.setdefault(row[column], {})[(row["day"] - first).days] = row
    return {key: _traffic(by_day) for key, by_day in found.items()}


@Prepared
def _service_days(
    column: str, *, first: Any, today: Any, projects: Any, names: Any = None
) -> QuerySet[Any, dict[str, Any]]:
    rows = of_projects(ServiceDailyMetrics.objects.all(), projects)
    rows = rows if names is None else rows.filter(service_name__in=names)
    return (
        rows.filter(day__gte=first, day__lt=today)
        .order_by()
        .values(column, "day")
        .annotate(
            requests=Total("requests"),
            p95=Max("latency_p95"),
            unread=Count("pk", filter=Q(complete=False)),
        )
    )


def _traffic(by_day: Mapping[int, Mapping[str, Any]]) -> Traffic:
    # A day on which one of the services could not be read is unknown: a part is not the whole.
    whole = {n: row for n, row in by_day.items() if not row["unread"]}
    counts = [whole[n]["requests"] if n in whole else None for n in range(2 * TRAFFIC_DAYS)]
    worst = [row["p95"] for n, row in whole.items() if n >= TRAFFIC_DAYS]
    return Traffic(
        requests=Sum.over(counts[TRAFFIC_DAYS:]),
        before=Sum.over(counts[:TRAFFIC_DAYS]),
        p95=max((p95 for p95 in worst if p95 is not None), default=None),
        days=tuple(counts),
    )


def history(*, today: date, days: int = 90, projects: Projects = None) -> tuple[HistoryPoint, ...]:
    """Return the models and versions of each day, as the sweeps of these days counted them.

    Today is as it is now; what serves, which only a sweep knows, as the newest sweep of today
    counted it. Days before the first kept count are the running totals of the models
    that are registered now; a later day that no sweep counted is unknown.
    """
    kept = _kept(today, days, projects)
    points = _registrations(today=today, days=days, projects=projects)
    return tuple(
        HistoryPoint(
            day=point.day,
            models=kept.at(point.day, "models", point.models),
            versions=kept.at(point.day, "versions", point.versions),
            serving_verified=kept.days.get(point.day, {}).get("serving_verified"),
        )
        for point in points
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class _Kept:
    """The kept counts of a window."""

    today: date
    first: date | None
    """The first day that was ever counted."""
    days: Mapping[date, Mapping[str, int | None]]

    def at(self, day: date, name: str, computed: int | None) -> int | None:
        """The number of a day; `computed` is what the rows of now tell of it."""
        if self.first is None or day < self.first or day == self.today:
            return computed
        if day not in self.days:
            return None
        number = self.days[day][name]
        return computed if number is None else number


def _kept(today: date, days: int, projects: Projects) -> _Kept:
    """The counts that sweeps kept; two statements."""
    window, _ = _window(today, days)
    found = _daily_counts(since=window[0], today=today, projects=projects)
    [ever] = _first_count()
    return _Kept(today=today, first=ever["first"], days={row["day"]: row for row in found})


@Prepared
def _first_count() -> QuerySet[Any, dict[str, Any]]:
    return number(DailyCount.objects.all(), first=Min("day"))


@Prepared
def _daily_counts(*, since: Any, today: Any, projects: Any) -> QuerySet[Any, dict[str, Any]]:
    rows = DailyCount.objects.filter(day__gte=since, day__lte=today)
    if projects is not None:
        # The row of no project says that the day was counted, and has nothing of these projects.
        rows = rows.filter(Q(project__in=projects) | Q(project_key=""))
    mine = None if projects is None else ~Q(project_key="")
    return (
        rows.order_by()
        .values("day")
        .annotate(counted=Count("findings"), judged=Count("serving_verified"))
        .annotate(
            models=Total("models", filter=mine, default=0),
            versions=Total("versions", filter=mine, default=0),
            findings=Case(
                When(counted__gt=0, then=Total("findings", filter=mine, default=0)),
                output_field=IntegerField(),
            ),
            serving_verified=Case(
                When(judged__gt=0, then=Total("serving_verified", filter=mine, default=0)),
                output_field=IntegerField(),
            ),
        )
    )


def _registrations(*, today: date, days: int, projects: Projects) -> tuple[HistoryPoint, ...]:
    """The running totals of the models and versions of now, by the day of registration.

    Only the registrations of these days are read; the total before them is today's total less them.
    """
    window, since = _window(today, days)
    [now] = _now(projects=projects)
    new_models = _by_day(_new_models(since=since, projects=projects))
    new_versions = _by_day(_new_versions(since=since, projects=projects))
    totals = zip(
        window,
        _running_totals(now["models"], new_models, window),
        _running_totals(now["versions"], new_versions, window),
        strict=True,
    )
    return tuple(HistoryPoint(day=day, models=m, versions=v) for day, m, v in totals)


@Prepared
def _now(*, projects: Any) -> QuerySet[Any, dict[str, Any]]:
    versions = Coalesce(Total("total_versions"), 0)
    return number(registered_models(projects), models=Count("pk"), versions=versions)


@Prepared
def _new_versions(*, since: Any, projects: Any) -> QuerySet[Any, dict[str, Any]]:
    return _days(_recent(since, projects), "registered_at")


@Prepared
def _new_models(*, since: Any, projects: Any) -> QuerySet[Any, dict[str, Any]]:
    earlier = TrainingRun.objects.versions().filter(
        registered_model=OuterRef("registered_model"), version__lt=OuterRef("version")
    )
    return _days(_recent(since, projects).filter(~Exists(earlier)), "registered_at")


def _recent(since: Any, projects: Any) -> QuerySet[TrainingRun]:
    return of_projects(TrainingRun.objects.versions(), projects).filter(registered_at__gte=since)


def drift_history(
    *, today: date, days: int = 90, projects: Projects = None
) -> tuple[int | None, ...]:
    """Return the number of open and ignored findings at the end of each day, the newest last.

    A day after the first kept count that no sweep counted is unknown.
    """
    window, since = _window(today, days)
    came = _by_day(_findings("first_seen_at", since=since, projects=projects))
    went = _by_day(_findings("ended_at", since=since, projects=projects))
    [standing] = _standing(projects=projects)
    changes = {day: came.get(day, 0) - went.get(day, 0) for day in window}
    kept = _kept(today, days, projects)
    computed = zip(window, _running_totals(standing["n"], changes, window), strict=True)
    return tuple(kept.at(day, "findings", total) for day, total in computed)


@Prepared
def _findings(column: str, *, since: Any, projects: Any) -> QuerySet[Any, dict[str, Any]]:
    rows = of_projects(Finding.objects.all(), projects)
    return _days(rows.filter(**{f"{column}__gte": since}), column)


@Prepared
def _standing(*, projects: Any) -> QuerySet[Any, dict[str, Any]]:
    rows = of_projects(Finding.objects.all(), projects)
    return number(rows.filter(status__in=STANDING_FINDING_STATUSES), n=Count("pk"))


def _window(today: date, days: int) -> tuple[Sequence[date], datetime]:
    """The last days, the oldest first, and when they began."""
    window = [today - timedelta(days=n) for n in reversed(range(days))]
    return window, datetime.combine(window[0], time.min, tzinfo=UTC)


def _running_totals(now: int, new: Mapping[date, int], window: Sequence[date]) -> list[int]:
    """The total at the end of each day: `now` is the present one, `new` what each day added."""
    before = now - sum(new.values())
    return [before + added for added in accumulate(new.get(day, 0) for day in window)]


def _by_day(rows: Iterable[Mapping[str, Any]]) -> dict[date, int]:
    return {date.fromisoformat(row["day"]): row["n"] for row in rows}


def _days(rows: QuerySet[Any], column: str) -> QuerySet[Any, dict[str, Any]]:
    """The number `n` of rows by `day`: the first ten characters of the time as text.

    Both databases store times in UTC and write the day first. Django's Trunc functions would call
    back into Python for each row on SQLite.
    """
    day = Substr(Cast(column, CharField()), 1, 10)
    return rows.order_by().annotate(day=day).values("day").annotate(n=Count("pk"))
