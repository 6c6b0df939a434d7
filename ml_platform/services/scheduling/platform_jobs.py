"""The platform's own Cloud Scheduler jobs, brought to what they shall be when asked to."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from typing import Any

from ml_platform.cloud import scheduler
from ml_platform.cloud.types import JobSpec
from ml_platform.conf import get_settings
from ml_platform.errors import (
    CloudAbsent,
    CloudConflict,
    CloudDenied,
    CloudExists,
    CloudRejected,
    CloudUnavailable,
)
from ml_platform.models import Operation
from ml_platform.models.states import LIVE_OPERATION_STATUSES, OperationKind, OperationStatus
from ml_platform.services.operations.engine import advance
from ml_platform.services.operations.retry_cancel import ask_again
from ml_platform.services.operations.store import Actor, Subject, open_operation
from ml_platform.services.operations.work import Clock, Work
from ml_platform.services.operations.workflow import Next, Outcome, Step, Workflow

from .job import SchedulerState, require_webhook

JOB = "schedulerjob"
"""Subject type of an operation on one of these jobs."""
FIRST_STEP = "look_at_job"
RETRIES = 3
"""A ring that got no answer is repeated; a tick is done once all the same."""


class SetupRefused(CloudRejected):
    """Cloud Scheduler refused it for good, or refused access: waiting alone changes nothing."""

    code = "setup_refused"


@dataclass(frozen=True, slots=True, kw_only=True)
class JobSetup:
    """What became of a job: created, updated or unchanged."""

    action: str
    job_name: str
    schedule: str
    operation: Operation


@dataclass(frozen=True, slots=True, kw_only=True)
class SetupState(SchedulerState):
    """What the steps of a setup hand on."""

    spec: Mapping[str, Any] = field(default_factory=dict)
    """What was requested, as `job_spec` reads it."""
    action: str = "unchanged"


def set_up_job(
    *,
    job_id: str,
    cron: str,
    webhook: str,
    deadline: int,
    description: str,
    actor: Actor,
    clock: Clock,
    idempotency_key: str = "",
) -> JobSetup:
    """Have Cloud Scheduler ring `webhook`, a path below PUBLIC_URL, by `cron` in UTC.

    A job that was paused stays so.

    :raises Misconfigured: the settings do not say where and as whom it rings.
    :raises Busy: somebody else is at it.
    :raises CloudUnavailable: Cloud Scheduler or the database gave no answer yet; a worker goes on.
    :raises SetupRefused: it failed, with the reason and what to do about it.
    """
    spec = {
        "job_id": job_id,
        "schedule": cron,
        "webhook": webhook,
        "attempt_deadline": deadline,
        "description": description,
    }
    job_spec(spec)
    operation, new = open_operation(
        workflow=WORKFLOW,
        subject=Subject(type=JOB, id=job_id, name=job_id, service_key=f"job:{job_id}"),
        actor=actor,
        now=clock(),
        state=SetupState(spec=spec),
        idempotency_key=idempotency_key,
        request=spec,
    )
    if not new and operation.status == OperationStatus.FAILED:
        operation = ask_again(operation=operation, actor=actor)
    advance(operation_id=operation.pk, workflows={WORKFLOW.slug: WORKFLOW}, clock=clock)
    operation.refresh_from_db()
    _require_success(operation)
    state = SetupState.load(operation.data)
    return JobSetup(
        action=state.action,
        job_name=state.job,
        schedule=cron,
        operation=operation,
    )


def job_spec(spec: Mapping[str, Any]) -> JobSpec:
    """The job as Cloud Scheduler shall have it.

    :raises Misconfigured: the settings do not say where and as whom it rings.
    """
    require_webhook()
    settings = get_settings()
    return JobSpec(
        job_id=spec["job_id"],
        schedule=spec["schedule"],
        uri=f"{settings.PUBLIC_URL.rstrip('/')}/{spec['webhook']}",
        audience=settings.WEBHOOK_AUDIENCE or settings.PUBLIC_URL,
        service_account=settings.WEBHOOK_SERVICE_ACCOUNTS[0],
        body=b"{}",
        description=spec["description"],
        attempt_deadline=spec["attempt_deadline"],
        retry_count=RETRIES,
    )


def _require_success(operation: Operation) -> None:
    if operation.status in LIVE_OPERATION_STATUSES:
        goes_on = f"Operation {operation.pk} goes on by itself; watch it."
        raise CloudUnavailable(
            operation.error or f"{operation} has not ended yet.",
            code=operation.error_code,
            advice=f"{operation.advice} {goes_on}".strip(),
        )
    if operation.status != OperationStatus.SUCCEEDED:
        raise SetupRefused(operation.error, code=operation.error_code, advice=operation.advice)


# ---- the steps -----------------------------------------------------------------------------------


@contextmanager
def _access_needed() -> Iterator[None]:
    """Who asked waits for the answer: without access it fails at once, and holds up nobody."""
    try:
        yield
    except CloudDenied as error:
        raise SetupRefused(str(error), code=error.code, advice=error.advice) from error


def _look(work: Work[SetupState]) -> Outcome:
    wanted = job_spec(work.state.spec)
    try:
        with _access_needed():
            job = scheduler.get_job(wanted.job_id)
    except CloudAbsent:
        return Next(to="create_job", note="Cloud Scheduler has no such job yet.")
    work.state = replace(work.state, job=str(job.name))
    if job.spec != wanted:
        return Next(to="update_job", note="The job differs from what it shall be.")
    return Next(to="job_stands", note=f"{job.name} rings at {wanted.uri}.")


def _create(work: Work[SetupState]) -> Outcome:
    # Said before it is sent: if the answer is lost, the look that follows finds what it made.
    work.state = replace(work.state, action="created")
    try:
        with _access_needed():
            job = scheduler.create_job(job_spec(work.state.spec))
    except CloudExists as error:
        raise CloudConflict(str(error)) from error
    return Next(to=FIRST_STEP, note=str(job.name))


def _update(work: Work[SetupState]) -> Outcome:
    wanted = job_spec(work.state.spec)
    if work.state.action == "unchanged":
        work.state = replace(work.state, action="updated")
    try:
        with _access_needed():
            job = scheduler.update_job(wanted)
    except CloudAbsent as gone:
        return Next(to=FIRST_STEP, note=str(gone))
    if job.spec != wanted:
        raise CloudConflict(
            f"Cloud Scheduler keeps {job.name} otherwise than it was told.",
            advice="Compare the job in Cloud Scheduler with the settings, then retry.",
        )
    work.state = replace(work.state, job=str(job.name))
    return Next(to="job_stands", note=str(job.name))


def _stands(work: Work[SetupState]) -> Outcome:
    return Next(note=f"{work.state.action}: {work.state.job}")


WORKFLOW = Workflow(
    slug="set-up-job",
    kind=OperationKind.SCHEDULE,
    title="Set up the job {}",
    past="set up the job {}",
    state=SetupState,
    steps=(
        Step(name=FIRST_STEP, title="Look at the job in Cloud Scheduler", run=_look),
        Step(
            name="create_job",
            title="Create the job",
            run=_create,
            probe=FIRST_STEP,
            optional=True,
        ),
        Step(
            name="update_job",
            title="Correct the job",
            run=_update,
            probe=FIRST_STEP,
            optional=True,
        ),
        Step(name="job_stands", title="See that it stands", run=_stands),
    ),
)
