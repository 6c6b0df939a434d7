"""Read the daily metrics of each active service from Cloud Monitoring into our table."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import date, datetime, timedelta
from functools import partial
from typing import Any

from django.db.models import (
    Count,
    F,
    FloatField,
    Max,
    Q,
    QuerySet,
    Sum,
)

from ml_platform.cloud.answers import Present, ask
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
from ml_platform.services.operations.work import Clock, Work
from ml_platform.services.operations.workflow import Continue, Next, Outcome, Step, Workflow
from ml_platform.text import counted

from .days import note_unread, read_days, store_days
from .unread_days import deleted_after, missing_days, served

STEP = "read_metrics"


@dataclass(frozen=True, slots=True, kw_only=True)
class MetricsState(LoggedState):
    """What the reads of a collection hand on."""

    after: int = 0
    """The id of the last endpoint that was considered."""
    after_deleted: str = ""
    """The last service whose endpoint is deleted that was considered, in the order of names."""
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
    for endpoint in served(now).iterator():
        services += endpoint.is_active
        if missing := missing_days(endpoint=endpoint, now=now, stopped_at=endpoint.stopped_at):
            services += not endpoint.is_active
            days += len(missing)
            write_lines(write_line, [_would_read(endpoint, missing)])
    name = ""
    while deleted := deleted_after(name, now):
        (endpoint, missing), services = deleted, services + 1
        days, name = days + len(missing), endpoint.service_name
        write_lines(write_line, [_would_read(endpoint, missing)])
    return MetricsReport(services=services, days=days)


def _would_read(endpoint: DeployedEndpoint, days: Sequence[date]) -> str:
    return f"Would read {counted(len(days), 'day')} of {endpoint.service_name}."


def _collect_next(work: Work[MetricsState], write_line: WriteLine) -> Outcome:
    """Read one more service; fail if none of the services could be read."""
    found = _next_service(work.state, work.clock())
    if found is None:
        state = work.state
        if state.unknown and len(state.unknown) == state.asked:
            # A retry begins again.
            work.state = replace(state, after=0, after_deleted="", services=0, asked=0, unknown=())
            raise NothingRead(f"No metrics could be read. {state.unknown[0]}")
        return Next(note=metrics_report_of(work.operation).summary)
    endpoint, missing, state = found
    if not missing:
        work.state = state
        return Continue(note=endpoint.service_name)
    answer = ask(
        lambda: read_days(endpoint.service_name, missing[0], missing[-1], work.renew_lease)
    )
    if isinstance(answer, Present):
        state = replace(state, days=state.days + len(missing))
        line = f"Read {counted(len(missing), 'day')} of {endpoint.service_name}."
        change = partial(store_days, endpoint, missing, answer.value, work.clock())
    else:
        reason = f"{endpoint.service_name}: {answer.reason}"
        state = replace(state, unknown=(*state.unknown, reason))
        line, change = f"Unknown: {reason}", partial(note_unread, endpoint, missing, work.clock())
    work.state = logged(replace(state, asked=state.asked + 1), [line])
    write_lines(write_line, [line])
    return Continue(note=line, change=change)


def _next_service(
    state: MetricsState, now: datetime
) -> tuple[DeployedEndpoint, list[date], MetricsState] | None:
    """The next service, its days that are not read, and the state behind it; None at the end."""
    endpoint = served(now).filter(pk__gt=state.after).first()
    if endpoint is not None:
        missing = missing_days(endpoint=endpoint, now=now, stopped_at=endpoint.stopped_at)
        counts = endpoint.is_active or bool(missing)
        behind = replace(state, after=endpoint.pk, services=state.services + counts)
        return endpoint, missing, behind
    if (deleted := deleted_after(state.after_deleted, now)) is None:
        return None
    endpoint, missing = deleted
    name, services = endpoint.service_name, state.services + 1
    return endpoint, missing, replace(state, after_deleted=name, services=services)


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
    """Return the totals of all services by day, oldest first; a day that nobody read is left out.

    The median is weighted by requests, over the services whose median is known; p95, CPU and
    memory are those of the worst service. None is a number that no service has. A day on which one
    of them could not be read has no number at all: those of a part are not those of the whole.
    """
    since = today - timedelta(days=days)
    rows = ServiceDailyMetrics.objects.filter(day__gt=since, day__lt=today)
    if projects is not None:
        rows = rows.filter(project__in=projects.order_by().values("pk"))
    weighed = rows.values("day").annotate(
        total=Sum("requests"),
        failed=Sum("errors"),
        p50=Sum(F("latency_p50") * F("requests"), output_field=FloatField()),
        weight=Sum("requests", filter=Q(latency_p50__isnull=False)),
        medians=Count("latency_p50"),
        only_p50=Max("latency_p50"),
        p95=Max("latency_p95"),
        most_cpu=Max("cpu"),
        most_memory=Max("memory"),
        all_instances=Sum("instances"),
        unread=Count("pk", filter=Q(complete=False)),
    )
    return [{"day": row["day"].isoformat(), **_totals(row)} for row in weighed.order_by("day")]


def _totals(row: Mapping[str, Any]) -> dict[str, Any]:
    totals = {
        "requests": row["total"],
        "errors": row["failed"],
        "latency_p50": _median(row),
        "latency_p95": row["p95"],
        "cpu": row["most_cpu"],
        "memory": row["most_memory"],
        "instances": row["all_instances"],
    }
    return dict.fromkeys(totals) if row["unread"] else totals


def _median(row: Mapping[str, Any]) -> float | None:
    """The median of a day. That of a single service needs no weight."""
    if row["medians"] == 1:
        return float(row["only_p50"])
    return row["p50"] / row["weight"] if row["weight"] else None
