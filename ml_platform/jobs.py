"""The recurring jobs: one table for Cloud Scheduler, its webhooks, the API and `manage.py`."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any, Literal, TypeAlias

from ml_platform.conf import get_settings
from ml_platform.errors import CloudUnavailable, PlatformError
from ml_platform.models import Operation
from ml_platform.models.states import LIVE_OPERATION_STATUSES, OperationStatus
from ml_platform.services.cleanup import artifacts as artifact_cleanup
from ml_platform.services.cleanup import orphans
from ml_platform.services.cleanup.history import prune_history
from ml_platform.services.events.hooks import send_due
from ml_platform.services.metrics import service_metrics
from ml_platform.services.operations.log import NothingRead, WriteLine, write_lines
from ml_platform.services.operations.store import Actor
from ml_platform.services.operations.work import Clock
from ml_platform.services.operations.worker import resume_operations
from ml_platform.services.removal import removal
from ml_platform.services.scheduling.platform_jobs import JobSetup, set_up_job
from ml_platform.services.sweeps.operation import check_registry_here, sweep_of
from ml_platform.services.training.polling import poll_training_runs

Status: TypeAlias = Literal["success", "partial", "error"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Report:
    """The result of a job; `unknown` lists what could not be read or done."""

    message: str
    output: str
    operation: Operation | None = None
    unknown: tuple[str, ...] = ()

    @property
    def status(self) -> Status:
        """Whether all was done, a part, or nothing yet because Google does not answer."""
        if self.waits and self.operation is not None and self.operation.error:
            return "error"
        return "partial" if self.waits or self.unknown else "success"

    @property
    def waits(self) -> str:
        """What its operation waits for; '' if it has ended."""
        if self.operation is None or self.operation.status not in LIVE_OPERATION_STATUSES:
            return ""
        return self.operation.error or f"operation {self.operation.pk} is running."


@dataclass(frozen=True, slots=True, kw_only=True)
class Job:
    """A recurring job: its cron schedule (UTC), its webhook, and what it does.

    `noun` and `setup` are parts of public URLs and operation ids.
    """

    name: str
    noun: str
    setup: str
    title: str
    cron: str
    webhook: str
    description: str
    run: Callable[..., Report]


class JobFailed(PlatformError):
    """The operation of the job failed, for the reason in the message."""

    code = "job_failed"


class JobBlind(JobFailed, CloudUnavailable):
    """The job could read none of the data that it needs; call it again later."""


def run_job(
    name: str,
    *,
    actor: Actor,
    clock: Clock,
    dry_run: bool = False,
    write_line: WriteLine = lambda line: None,
    due: datetime | None = None,
    **options: Any,
) -> Report:
    """Run a job. Two calls with the same `due` time run it once and get the same answer.

    :raises JobFailed: its operation failed. (One that only waits continues by itself.)
    :raises JobBlind: none of the data that it needs could be read.
    """
    key = f"tick:{name}:{due.astimezone(UTC).isoformat()}" if due else ""
    report = JOBS[name].run(
        actor=actor,
        clock=clock,
        dry_run=dry_run,
        write_line=write_line,
        idempotency_key=key,
        **options,
    )
    if report.operation is not None:
        _require_not_failed(JOBS[name].title, report.operation)
    return report


def _require_not_failed(title: str, operation: Operation) -> None:
    """Raise the error of a failed operation, and let another call for that time run it again."""
    if operation.status not in (OperationStatus.FAILED, OperationStatus.CANCELLED):
        return
    Operation.objects.filter(pk=operation.pk).update(idempotency_key=None)
    blind = operation.error_code == NothingRead.code
    raise (JobBlind if blind else JobFailed)(
        f"{title} failed: {operation.error}",
        code=operation.error_code,
        advice=operation.advice or f"Open operation {operation.pk} for details.",
    )


def set_up(name: str, *, actor: Actor, clock: Clock, idempotency_key: str = "") -> JobSetup:
    """Set up the Cloud Scheduler job; errors are those of `set_up_job`."""
    job = JOBS[name]
    return set_up_job(
        job_id=f"{get_settings().JOB_PREFIX}{job.name}",
        cron=job.cron,
        webhook=job.webhook,
        deadline=DEADLINE,
        description=job.description,
        actor=actor,
        clock=clock,
        idempotency_key=idempotency_key,
    )


DEADLINE = 1800
"""Seconds that a call may take: the maximum of Cloud Scheduler for an HTTP target."""


def _message(title: str, operation: Operation | None, *, dry_run: bool) -> str:
    if dry_run:
        return f"{title} rehearsed"
    live = operation is not None and operation.status in LIVE_OPERATION_STATUSES
    return f"{title} continues" if live else f"{title} completed"


def _clean_up_orphans(*, dry_run: bool, days: int | None = None, **common: Any) -> Report:
    result = orphans.clean_up_orphans(days=days, dry_run=dry_run, **common)
    return Report(
        message=_message("Orphan model cleanup", result.operation, dry_run=dry_run),
        output=f"{result.heading}\n\n{result.summary}\n",
        operation=result.operation,
    )


def _clean_up_artifacts(
    *,
    dry_run: bool,
    days: int | None = None,
    include_registered: bool = False,
    delete_strays: bool = False,
    **common: Any,
) -> Report:
    """It also removes the files of deleted versions that were used, or refused, before."""
    result = artifact_cleanup.clean_up_artifacts(
        days=get_settings().ORPHAN_DAYS if days is None else days,
        include_registered=include_registered,
        delete_strays=delete_strays,
        dry_run=dry_run,
        **common,
    )
    said, left = ("", ()) if dry_run else _remove_waiting(**common)
    return Report(
        message=_message("Artifact cleanup", result.operation, dry_run=dry_run),
        output=f"{result.summary}.\n{said}",
        operation=result.operation,
        unknown=tuple(filter(None, [result.strays_unknown, result.refusals, *left])),
    )


def _remove_waiting(
    *, actor: Actor, clock: Clock, write_line: WriteLine, **_: Any
) -> tuple[str, tuple[str, ...]]:
    """Delete the files of deleted versions that still wait; returns what it did and what it left.

    Two calls try twice, which does no harm.
    """
    operation = removal.remove_waiting(actor=actor, clock=clock)
    if operation is None:
        return "", ()
    last = operation.steps[-1].get("note") if operation.steps else ""
    said = f"Files of deleted versions: {operation.error or last or 'a worker goes on with them'}."
    write_lines(write_line, [said])
    return f"{said}\n", removal.left_of(operation)


def _collect_metrics(*, dry_run: bool, **common: Any) -> Report:
    result = service_metrics.collect_metrics(dry_run=dry_run, **common)
    return Report(
        message=_message("Metrics collection", result.operation, dry_run=dry_run),
        output=f"{result.summary}\n",
        operation=result.operation,
        unknown=tuple(result.unknown),
    )


def _poll(*, actor: Actor, clock: Clock, write_line: WriteLine, **_: Any) -> Report:
    """Two calls poll twice, which does no harm."""
    result = poll_training_runs(actor=actor, clock=clock)
    write_lines(write_line, (f"Unknown: {reason}" for reason in result.unknown))
    if result.is_blind:
        raise JobBlind(f"No pipeline could be read. {result.unknown[0]}")
    return Report(
        message="Training runs polled", output=result.summary, unknown=tuple(result.unknown)
    )


def _resume(*, clock: Clock, **_: Any) -> Report:
    """A second call continues what the first one left."""
    moved = resume_operations(clock=clock)
    send_due()
    failed = sum(operation.status == OperationStatus.FAILED for operation in moved)
    return Report(
        message="Operations resumed", output=f"{len(moved)} continued, {failed} of them failed."
    )


def _prune(*, clock: Clock, dry_run: bool, days: int | None = None, **_: Any) -> Report:
    """A second call deletes what has become old since."""
    pruned = prune_history(now=clock(), days=days, dry_run=dry_run)
    verb = "would be" if dry_run else "were"
    rows = ", ".join(f"{number:,} {name}" for name, number in pruned.items())
    return Report(message="History pruned", output=f"{rows} {verb} deleted.")


def _audit(*, dry_run: bool, **common: Any) -> Report:
    """It changes only what we know, so a dry run does the same."""
    operation = check_registry_here(**common)
    done = sweep_of(operation)
    planes = done.planes.values() if done else ()
    return Report(
        message="Registry audited",
        output=str(operation.steps[-1]["note"]) if operation.steps else "",
        operation=operation,
        unknown=tuple(plane["reason"] for plane in planes if not plane["read"]),
    )


JOBS: Mapping[str, Job] = {
    job.name: job
    for job in (
        Job(
            name="poll-training-runs",
            noun="polling",
            setup="setup-polling-scheduler/",
            title="Polling",
            cron="* * * * *",
            webhook="api/system/poll-training-runs-webhook/",
            description="Reads the state of the pipelines of running training runs.",
            run=_poll,
        ),
        Job(
            name="resume-operations",
            noun="resumption",
            setup="setup-resume-scheduler/",
            title="Resumption",
            cron="* * * * *",
            webhook="api/system/resume-operations-webhook/",
            description="Continues operations that no worker holds.",
            run=_resume,
        ),
        Job(
            name="audit-registry",
            noun="audit",
            setup="setup-audit-scheduler/",
            title="Audit",
            cron="0 * * * *",
            webhook="api/system/audit-registry-webhook/",
            description="Compares the database with Google Cloud and records the differences.",
            run=_audit,
        ),
        Job(
            name="collect-resource-metrics",
            noun="metrics",
            setup="setup-metrics-scheduler/",
            title="Metrics collection",
            cron="0 2 * * *",
            webhook="api/system/collect-metrics-webhook/",
            description="Reads the metrics of the active services from Cloud Monitoring.",
            run=_collect_metrics,
        ),
        Job(
            name="cleanup-gcs-artifacts",
            noun="artifact_cleanup",
            setup="setup-cleanup-scheduler/",
            title="Artifact cleanup",
            cron="0 3 * * *",
            webhook="api/system/cleanup-artifacts-webhook/",
            description="Deletes old artifacts of runs that are not a version.",
            run=_clean_up_artifacts,
        ),
        Job(
            name="cleanup-orphan-models",
            noun="orphan_cleanup",
            setup="setup-orphan-cleanup-scheduler/",
            title="Orphan model cleanup",
            cron="0 4 * * *",
            webhook="api/system/cleanup-orphan-models-webhook/",
            description="Deletes unneeded models that were never registered.",
            run=_clean_up_orphans,
        ),
        Job(
            name="prune-history",
            noun="pruning",
            setup="setup-pruning-scheduler/",
            title="Pruning",
            cron="0 5 * * *",
            webhook="api/system/prune-history-webhook/",
            description="Deletes old rows of the history from the database.",
            run=_prune,
        ),
    )
}
"""By name, in the order of their schedules."""
