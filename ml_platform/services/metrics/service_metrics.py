"""Read the daily metrics of each active service from Cloud Monitoring into our table."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, date, datetime, time, timedelta
from functools import partial
from typing import Any

from django.db.models import F, FloatField, Max, QuerySet, Sum
from django.db.models.functions import Coalesce

from ml_platform.cloud import monitoring
from ml_platform.cloud.answers import Present, ask
from ml_platform.cloud.monitoring import Aligner, Reducer
from ml_platform.conf import require_settings
from ml_platform.models import DeployedEndpoint, Operation, ServiceDailyMetrics
from ml_platform.models.states import OperationKind
from ml_platform.services.operations.engine import advance
from ml_platform.services.operations.log import (
    LoggedState,
    NothingRead,
    WriteLine,
    logged,
    write_lines,
)
from ml_platform.services.operations.store import Actor, Subject, open_operation
from ml_platform.services.operations.work import Clock, Heartbeat, Work
from ml_platform.services.operations.workflow import Continue, Next, Outcome, Step, Workflow
from ml_platform.text import counted

DAYS_BACK = 40
"""Cloud Monitoring stores six weeks: https://cloud.google.com/monitoring/quotas#data_retention"""
DAY_SECONDS = 86_400
STEP = "read_metrics"

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
"""How each column is read: one request for all missing days of a service."""
WHOLE = ("requests", "errors")


@dataclass(frozen=True, slots=True, kw_only=True)
class MetricsState(LoggedState):
    """What the reads of a collection hand on."""

    after: int = 0
    """The id of the last endpoint that was considered."""
    services: int = 0
    asked: int = 0
    """The number of services for which Cloud Monitoring was called."""
    days: int = 0
    unknown: tuple[str, ...] = ()
    """The services that could not be read, with the reasons."""


@dataclass(frozen=True, slots=True, kw_only=True)
class MetricsReport(MetricsState):
    """What a collection did so far; without an operation: what one would do."""

    operation: Operation | None = None

    @property
    def summary(self) -> str:
        """The result in a sentence."""
        read = "Would read" if self.operation is None else "Read"
        services = counted(self.services, "active service")
        text = f"{read} {counted(self.days, 'day')} of {services}"
        return f"{text}, {len(self.unknown)} unknown." if self.unknown else f"{text}."


def collect_metrics(
    *,
    actor: Actor,
    clock: Clock,
    dry_run: bool = False,
    write_line: WriteLine = lambda line: None,
    idempotency_key: str = "",
) -> MetricsReport:
    """Read the missing past days of each active service, as one operation.

    The days of a service that cannot be read stay missing until the next collection; if no service
    could be read, the operation fails. Two collections may run at the same time: each writes the
    same numbers. A dry run does not call Google.

    :raises Misconfigured: PROJECT_ID, LOCATION or BUCKET is missing.
    :raises KeyReused: the key was used for a different request.
    """
    require_settings()
    if dry_run:
        return _rehearse(clock(), write_line)
    operation, _ = open_operation(
        workflow=WORKFLOW,
        subject=Subject(type="metrics", id="", name="resource metrics"),
        actor=actor,
        now=clock(),
        idempotency_key=idempotency_key,
        request={"job": "metrics"},
    )
    advance(
        operation_id=operation.pk,
        workflows={WORKFLOW.slug: workflow(write_line=write_line)},
        clock=clock,
    )
    operation.refresh_from_db()
    return metrics_report_of(operation)


def metrics_report_of(operation: Operation) -> MetricsReport:
    """Return how far an operation that collects metrics is."""
    return replace(MetricsReport.load(operation.data), operation=operation)


def _rehearse(now: datetime, write_line: WriteLine) -> MetricsReport:
    services = days = 0
    for endpoint in _active().iterator():
        services += 1
        if missing := missing_days(endpoint=endpoint, now=now):
            days += len(missing)
            write_lines(
                write_line,
                [f"Would read {counted(len(missing), 'day')} of {endpoint.service_name}."],
            )
    return MetricsReport(services=services, days=days)


def _active() -> QuerySet[DeployedEndpoint]:
    return DeployedEndpoint.objects.filter(is_active=True).order_by("pk")


def missing_days(*, endpoint: DeployedEndpoint, now: datetime) -> list[date]:
    """Return the past days since its first deploy that are not stored, oldest first."""
    today = now.astimezone(UTC).date()
    began = min(filter(None, (endpoint.deployed_at, endpoint.created_at))).astimezone(UTC).date()
    first = max(began, today - timedelta(days=DAYS_BACK))
    kept = set(
        ServiceDailyMetrics.objects.filter(
            service_name=endpoint.service_name, day__gte=first, complete=True
        ).values_list("day", flat=True)
    )
    days = (first + timedelta(days=n) for n in range((today - first).days))
    return [day for day in days if day not in kept]


def _collect_next(work: Work[MetricsState], write_line: WriteLine) -> Outcome:
    """Read one more service; fail if none of the services could be read."""
    state = work.state
    endpoint = _active().filter(pk__gt=state.after).first()
    if endpoint is None:
        if state.unknown and len(state.unknown) == state.asked:
            # A retry begins again.
            work.state = replace(state, after=0, services=0, asked=0, unknown=())
            raise NothingRead(f"No metrics could be read. {state.unknown[0]}")
        return Next(note=metrics_report_of(work.operation).summary)
    state = replace(state, after=endpoint.pk, services=state.services + 1)
    missing = missing_days(endpoint=endpoint, now=work.clock())
    if not missing:
        work.state = state
        return Continue(note=endpoint.service_name)
    answer = ask(lambda: _read(endpoint.service_name, missing[0], missing[-1], work.renew_lease))
    if isinstance(answer, Present):
        state = replace(state, days=state.days + len(missing))
        line = f"Read {counted(len(missing), 'day')} of {endpoint.service_name}."
        change = partial(_store, endpoint, missing, answer.value, work.clock())
    else:
        reason = f"{endpoint.service_name}: {answer.reason}"
        state = replace(state, unknown=(*state.unknown, reason))
        line, change = f"Unknown: {reason}", None
    work.state = logged(replace(state, asked=state.asked + 1), [line])
    write_lines(write_line, [line])
    return Continue(note=line, change=change)


def _store(
    endpoint: DeployedEndpoint,
    days: Sequence[date],
    numbers: Mapping[date, Mapping[str, float | int]],
    now: datetime,
) -> None:
    rows = [
        ServiceDailyMetrics(
            service_name=endpoint.service_name,
            endpoint=endpoint,
            project_id=endpoint.project_id,
            day=day,
            complete=True,
            read_at=now,
            **numbers.get(day, {}),
        )
        for day in days
    ]
    ServiceDailyMetrics.objects.bulk_create(
        rows,
        update_conflicts=True,
        unique_fields=["service_name", "day"],
        update_fields=["endpoint", "project", "complete", "read_at", *SERIES],
    )


def _read(
    service: str, first: date, last: date, heartbeat: Heartbeat
) -> dict[date, dict[str, float | int]]:
    """Return the numbers of each day, without those that Cloud Monitoring has no data for."""
    midnight = time(tzinfo=UTC)
    found: dict[date, dict[str, float | int]] = {}
    for column, series in SERIES.items():
        heartbeat()
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


def workflow(*, write_line: WriteLine = lambda line: None) -> Workflow:
    """Return the workflow, a service at a time; `write_line` receives a line for each."""
    step = Step(
        name=STEP,
        title="Read each service's days",
        run=partial(_collect_next, write_line=write_line),
    )
    return Workflow(
        slug="collect-metrics",
        kind=OperationKind.METRICS,
        title="Collect {}",
        past="collected {}",
        state=MetricsState,
        steps=(step,),
    )


WORKFLOW = workflow()


def daily_totals(
    *, today: date, days: int = 30, projects: QuerySet[Any] | None = None
) -> list[dict[str, Any]]:
    """Return the totals of all services by day, oldest first.

    The median is weighted by requests; p95, CPU and memory are those of the worst service.
    """
    rows = ServiceDailyMetrics.objects.filter(day__gt=today - timedelta(days=days))
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
