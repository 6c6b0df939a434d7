"""What each active service did, day by day, read from Cloud Monitoring into our table."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, date, datetime, time, timedelta
from typing import Any

from django.db.models import F, FloatField, Max, QuerySet, Sum
from django.db.models.functions import Coalesce

from ml_platform.cloud import monitoring
from ml_platform.cloud.answers import Present, ask
from ml_platform.cloud.channels import because
from ml_platform.cloud.monitoring import Aligner, Reducer
from ml_platform.conf import require_settings
from ml_platform.models import DeployedEndpoint, Operation, ServiceDay
from ml_platform.models.states import OperationKind

from .operations import Actor, Clock, Subject, record

DAYS_BACK = 40
"""Cloud Monitoring keeps six weeks: https://cloud.google.com/monitoring/quotas#data_retention"""
DAY_SECONDS = 86_400
Tell = Callable[[str], None]

SERIES: Mapping[str, Mapping[str, Any]] = {
    "requests": {"metric": "request_count", "aligner": Aligner.DELTA},
    "errors": {
        "metric": "request_count",
        "aligner": Aligner.DELTA,
        "response_class": "5xx",
    },
    "latency_p50": {
        "metric": "request_latencies",
        "aligner": Aligner.DELTA,
        "reducer": Reducer.P50,
    },
    "latency_p95": {
        "metric": "request_latencies",
        "aligner": Aligner.DELTA,
        "reducer": Reducer.P95,
    },
    "cpu": {
        "metric": "container/cpu/utilizations",
        "aligner": Aligner.P99,
        "reducer": Reducer.MAX,
    },
    "memory": {
        "metric": "container/memory/utilizations",
        "aligner": Aligner.P99,
        "reducer": Reducer.MAX,
    },
    "instances": {
        "metric": "container/instance_count",
        "aligner": Aligner.MAX,
        "reducer": Reducer.MAX,
    },
}
"""Column -> how it is asked for; one request each for all missing days of a service."""
WHOLE = ("requests", "errors")


@dataclass(slots=True, kw_only=True)
class MetricsReport:
    """What a collection did; `unknown` says of which services nothing could be read, and why."""

    services: int = 0
    days: int = 0
    unknown: list[str] = field(default_factory=list)
    operation: Operation | None = None

    @property
    def summary(self) -> str:
        """What was read, in a sentence."""
        said = f"Read {self.days} day(s) of {self.services} active service(s)"
        return f"{said}, {len(self.unknown)} unknown." if self.unknown else f"{said}."


def collect_metrics(
    *,
    actor: Actor,
    clock: Clock,
    dry_run: bool = False,
    tell: Tell = lambda line: None,
    idempotency_key: str = "",
) -> MetricsReport:
    """Read the days of each active service that are over and not kept yet.

    A service that cannot be read leaves a gap, which the next collection fills. Twice at once is
    the same as once: a day is written over by what Monitoring says of it. A key is only noted:
    a ring that is repeated finds the days kept, and asks Google nothing.

    :raises Misconfigured: PROJECT_ID, LOCATION or BUCKET is missing.
    """
    require_settings()
    now = clock()
    report = MetricsReport()
    with because("collect-resource-metrics"):
        for endpoint in DeployedEndpoint.objects.filter(is_active=True).order_by("pk").iterator():
            report.services += 1
            missing = missing_days(endpoint=endpoint, now=now)
            if missing and not dry_run:
                _collect(endpoint, missing, now, report, tell)
            elif missing:
                report.days += len(missing)
                tell(f"Would read {len(missing)} day(s) of {endpoint.service_name}.")
    if not dry_run:
        report.operation = record(
            kind=OperationKind.METRICS,
            subject=Subject(type="metrics", id="", name="resource metrics"),
            actor=actor,
            now=now,
            note=report.summary,
            reason=idempotency_key,
        )
    return report


def missing_days(*, endpoint: DeployedEndpoint, now: datetime) -> list[date]:
    """The days since its first deploy that are over and not kept, oldest first."""
    today = now.astimezone(UTC).date()
    began = min(filter(None, (endpoint.deployed_at, endpoint.created_at))).astimezone(UTC).date()
    first = max(began, today - timedelta(days=DAYS_BACK))
    kept = set(
        ServiceDay.objects.filter(
            service_name=endpoint.service_name, day__gte=first, complete=True
        ).values_list("day", flat=True)
    )
    days = (first + timedelta(days=n) for n in range((today - first).days))
    return [day for day in days if day not in kept]


def _collect(
    endpoint: DeployedEndpoint,
    missing: Sequence[date],
    now: datetime,
    report: MetricsReport,
    tell: Tell,
) -> None:
    answer = ask(lambda: _read(endpoint.service_name, missing[0], missing[-1]))
    if not isinstance(answer, Present):
        report.unknown.append(f"{endpoint.service_name}: {answer.reason}")
        tell(f"Unknown: {report.unknown[-1]}")
        return
    rows = [
        ServiceDay(
            service_name=endpoint.service_name,
            endpoint=endpoint,
            project_id=endpoint.project_id,
            day=day,
            complete=True,
            read_at=now,
            **answer.value.get(day, {}),
        )
        for day in missing
    ]
    ServiceDay.objects.bulk_create(
        rows,
        update_conflicts=True,
        unique_fields=["service_name", "day"],
        update_fields=["endpoint", "project", "complete", "read_at", *SERIES],
    )
    report.days += len(rows)
    tell(f"Read {len(rows)} day(s) of {endpoint.service_name}.")


def _read(service: str, first: date, last: date) -> dict[date, dict[str, float | int]]:
    """Each day's numbers; what Monitoring has no data for is not among them."""
    midnight = time(tzinfo=UTC)
    found: dict[date, dict[str, float | int]] = {}
    for column, series in SERIES.items():
        points = monitoring.read_series(
            service=service,
            start=datetime.combine(first, midnight),
            end=datetime.combine(last + timedelta(days=1), midnight),
            period_seconds=DAY_SECONDS,
            **series,
        )
        for point in points:
            day = (point.end - timedelta(microseconds=1)).astimezone(UTC).date()
            value = round(point.value) if column in WHOLE else point.value
            found.setdefault(day, {})[column] = value
    return found


def daily_totals(
    *, today: date, days: int = 30, projects: QuerySet[Any] | None = None
) -> list[dict[str, Any]]:
    """All services' days together, oldest first.

    The median is weighted by requests; p95, CPU and memory are those of the worst service.
    """
    rows = ServiceDay.objects.filter(day__gt=today - timedelta(days=days))
    if projects is not None:
        rows = rows.filter(project__in=projects.order_by().values("pk"))
    weighed = rows.values("day").annotate(
        total=Coalesce(Sum("requests"), 0),
        failed=Coalesce(Sum("errors"), 0),
        p50=Sum(F("latency_p50") * F("requests"), output_field=FloatField()),
        p95=Max("latency_p95"),
        most_cpu=Max("cpu"),
        most_memory=Max("memory"),
        all_instances=Sum("instances"),
    )
    return [
        {
            "day": row["day"].isoformat(),
            "requests": row["total"],
            "errors": row["failed"],
            "latency_p50": row["p50"] / row["total"] if row["p50"] else row["p50"],
            "latency_p95": row["p95"],
            "cpu": row["most_cpu"],
            "memory": row["most_memory"],
            "instances": row["all_instances"],
        }
        for row in weighed.order_by("day")
    ]
