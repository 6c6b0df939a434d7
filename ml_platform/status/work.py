"""The work that is due, its workers, the sweeps, and the platform's own jobs in Cloud Scheduler."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping
from datetime import datetime
from typing import Any

from ml_platform.cloud.types import RemoteJob
from ml_platform.conf import get_settings
from ml_platform.errors import Misconfigured
from ml_platform.jobs import JOBS, Job
from ml_platform.models import MirroredJob, Sweep
from ml_platform.models.endpoints.serving_truth import fresh_for
from ml_platform.services.findings.comparisons.jobs import compare_platform_job
from ml_platform.services.mirror.brake import PLANES, PlaneShrunk
from ml_platform.services.operations.liveness import (
    Liveness,
    backend,
    keeps_tasks,
    last_taken,
)
from ml_platform.services.scheduling.platform_jobs import job_spec, jobs_set_up
from ml_platform.text import counted, rough

from .item import Item, State

NEVER, NOT_YET = "No sweep has ended yet.", "No worker has taken work yet."


def work_items(found: Liveness) -> tuple[Item, Item]:
    """The oldest due operation, and when a worker last took or held work."""
    oldest = _age(found.now, found.due_since)
    due = f"{counted(found.due, 'operation')} due, the oldest for {oldest}."
    seen = found.taken_at or last_taken(now=found.now)
    worker = f"Work was last taken {_age(found.now, seen)} ago." if seen else NOT_YET
    if not seen and not keeps_tasks():
        worker = f"{backend() or 'No backend'} keeps no rows that say when a worker took work."
    return (
        Item(
            name="operations",
            title="Due operations",
            state=State.ATTENTION if found.stalled or found.behind else State.FINE,
            detail=due if found.due_since else "None is due.",
            advice=found.behind,
            at=found.due_since,
        ),
        Item(
            name="worker",
            title="Worker",
            state=State.ATTENTION if found.stalled else State.FINE,
            detail=found.stalled or worker,
            at=seen,
        ),
    )


def sweep_items(now: datetime) -> Iterator[Item]:
    """The newest sweep, and when each plane was last read."""
    newest = Sweep.objects.finished().first()
    if newest is None or newest.finished_at is None:
        yield _sweep_item(State.ATTENTION, NEVER, None)
        return
    late = now - newest.finished_at > fresh_for()
    state = State.ATTENTION if late else State.FINE
    yield _sweep_item(state, f"It ended {_age(now, newest.finished_at)} ago.", newest.finished_at)
    for plane, (service, one) in PLANES.items():
        yield _plane_item(newest, plane, f"Sweep of {service}, {one}s", now)


def job_items(listed: Collection[RemoteJob] | None, *, believed: bool) -> Iterator[Item]:
    """Each job of the platform as it is `listed` now, or, with None, by the newest sweep, if that
    could read Cloud Scheduler (`believed`)."""
    set_up = jobs_set_up()
    seen: Mapping[str, MirroredJob] = (
        {row.job_id: row for row in MirroredJob.objects.filter(job_id__in=set_up)}
        if listed is None
        else {job.name.job_id: _row(job) for job in listed}
    )
    for job in JOBS.values():
        job_id = f"{get_settings().JOB_PREFIX}{job.name}"
        spec, row = set_up.get(job_id), seen.get(job_id)
        yield Item(
            name=f"job_{job.name}",
            title=f"Job {job.name}",
            at=row.last_attempt_at if row else None,
            **_job(job, spec, row, known=believed or listed is not None),
        )


def _job(
    job: Job, spec: Mapping[str, Any] | None, row: MirroredJob | None, *, known: bool
) -> dict[str, Any]:
    """State, detail and advice of a job."""
    if spec is None:
        return {
            "state": State.UNUSED,
            "detail": f"It was not set up in Cloud Scheduler ({job.cron} UTC), so cron has to run "
            "its command.",
        }
    if not known:
        return {"state": State.UNKNOWN, "detail": "Cloud Scheduler could not be read."}
    try:
        found = compare_platform_job(row, job_spec(spec))
    except Misconfigured as error:
        return {"state": State.ATTENTION, "detail": str(error), "advice": error.advice}
    if found:
        return {"state": State.ATTENTION, "detail": f"{found.title}.", "advice": found.repair}
    if row and row.last_error:
        return {
            "state": State.ATTENTION,
            "detail": f"Its last call failed: {row.last_error}.",
            "advice": "The log of this site, or of Cloud Scheduler, says why.",
        }
    return {"state": State.FINE, "detail": f"{job.cron} UTC."}


def _row(job: RemoteJob) -> MirroredJob:
    """The job as a sweep would keep it."""
    return MirroredJob(
        job_id=job.name.job_id,
        state=job.state,
        schedule=job.spec.schedule,
        time_zone=job.spec.time_zone,
        uri=job.spec.uri,
        service_account=job.spec.service_account,
        next_at=job.next_run,
        last_attempt_at=job.last_attempt,
        last_error=job.last_error,
    )


def _sweep_item(state: State, detail: str, at: datetime | None) -> Item:
    advice = "Run `manage.py audit_registry` each hour." if state != State.FINE else ""
    return Item(
        name="sweep", title="Newest sweep", state=state, detail=detail, advice=advice, at=at
    )


def _plane_item(newest: Sweep, plane: str, title: str, now: datetime) -> Item:
    read = newest.planes.get(plane, {})
    state = State.FINE if read.get("read") else State.UNKNOWN
    if read.get("code") == PlaneShrunk.code:
        state = State.ATTENTION
    last = Sweep.objects.finished().filter(**{f"planes__{plane}__read": True}).first()
    at = last.finished_at if last else None
    detail = f"It was last read {_age(now, at)} ago." if at else "It was never read."
    return Item(
        name=f"sweep_{plane}",
        title=title,
        state=state,
        detail=f"{read.get('reason') or ''} {detail}".strip(),
        at=at,
    )


def _age(now: datetime, then: datetime | None) -> str:
    return (rough(now - then) if then else "") or "less than a minute"
