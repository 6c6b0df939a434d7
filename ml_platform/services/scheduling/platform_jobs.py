"""Set up the platform's own Cloud Scheduler jobs: create what is missing, correct what differs."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from typing import Any, TypeVar

from ml_platform.cloud import scheduler
from ml_platform.cloud.types import JobSpec, JobState, RemoteJob
from ml_platform.errors import (
    CloudAbsent,
    CloudConflict,
    CloudDenied,
    CloudExists,
    CloudRejected,
    CloudUnavailable,
    Conflict,
)
from ml_platform.models import Operation
from ml_platform.models.states import LIVE_OPERATION_STATUSES, OperationKind, OperationStatus
from ml_platform.services.installation import marker
from ml_platform.services.operations.engine import advance
from ml_platform.services.operations.retry_cancel import ask_again
from ml_platform.services.operations.store import Actor, Subject, open_operation
from ml_platform.services.operations.work import Clock, Work
from ml_platform.services.operations.workflow import Next, Outcome, Step, Workflow

from .job import NOT_RINGING, SchedulerState, our_address, webhook_job

JOB = "schedulerjob"
"""Subject type of an operation on one of these jobs."""
FIRST_STEP = "look_at_job"
T = TypeVar("T")


class SetupRefused(CloudRejected):
    """Cloud Scheduler refused it, or refused access: waiting does not help."""

    code = "setup_refused"


@dataclass(frozen=True, slots=True, kw_only=True)
class JobSetup:
    """The result for a job: created, updated, resumed or unchanged."""

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
    uri: str = ""
    """What the job calls, once it stands."""


class ForeignJob(Conflict):
    """A job of this name calls another installation, or anything else that is not ours."""

    code = "foreign_job"
    advice = (
        "Set JOB_PREFIX in ML_PLATFORM, so that the jobs of this installation have names of their "
        "own; or delete that job in Cloud Scheduler if nothing needs it."
    )


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
    """Have Cloud Scheduler call `webhook`, a path below PUBLIC_URL, by `cron` in UTC.

    A job that somebody paused is resumed.

    :raises Misconfigured: the settings lack the address or the account of the calls.
    :raises Busy: another operation is setting it up.
    :raises CloudUnavailable: Cloud Scheduler or the database gave no answer; a worker continues.
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
        subject=subject_of_job(job_id),
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


def subject_of_job(job_id: str) -> Subject:
    """Return the job as the subject of an operation."""
    return Subject(type=JOB, id=job_id, name=job_id, service_key=job_lock(job_id))


def job_lock(job_id: str) -> str:
    """Return the key of the lock on the job."""
    return f"job:{job_id}"


def jobs_set_up() -> dict[str, Mapping[str, Any]]:
    """Return what was requested last, as `job_spec` reads it, of each job that was set up."""
    rows = Operation.objects.filter(workflow=WORKFLOW.slug, status=OperationStatus.SUCCEEDED)
    newest = rows.order_by("created_at").values_list("subject_id", "data")
    return {job_id: SetupState.load(data).spec for job_id, data in newest.iterator()}


def job_spec(spec: Mapping[str, Any]) -> JobSpec:
    """Return the job for these arguments of `set_up_job`; errors as with `webhook_job`."""
    return webhook_job(path=spec["webhook"], **{k: v for k, v in spec.items() if k != "webhook"})


def _require_success(operation: Operation) -> None:
    if operation.status in LIVE_OPERATION_STATUSES:
        progress = f"Operation {operation.pk} continues in the background; watch its status."
        raise CloudUnavailable(
            operation.error or f"{operation} has not ended yet.",
            code=operation.error_code,
            advice=f"{operation.advice} {progress}".strip(),
        )
    if operation.status != OperationStatus.SUCCEEDED:
        raise SetupRefused(operation.error, code=operation.error_code, advice=operation.advice)


# ---- the steps -----------------------------------------------------------------------------------


def _call(change: Callable[[], T]) -> T:
    """Call Cloud Scheduler. The caller waits for the result, so a lack of access fails at once."""
    try:
        return change()
    except CloudDenied as error:
        raise SetupRefused(str(error), code=error.code, advice=error.advice) from error


def _look(work: Work[SetupState]) -> Outcome:
    wanted = job_spec(work.state.spec)
    try:
        job = _call(lambda: scheduler.get_job(wanted.job_id))
    except CloudAbsent:
        return Next(to="create_job", note="Cloud Scheduler has no such job yet.")
    work.state = replace(work.state, job=str(job.name))
    if job.spec != wanted or job.state == JobState.UPDATE_FAILED:
        _require_own_target(work, job)
        return Next(to="update_job", note="The job differs from what is requested.")
    return _after_update(job, f"{job.name} calls {wanted.uri}.")


def _after_update(job: RemoteJob, note: str) -> Next:
    if job.state in NOT_RINGING:
        return Next(to="resume_job", note=f"{job.name} is {job.state}.")
    return Next(to="job_stands", note=note)


def _require_own_target(work: Work[SetupState], job: RemoteJob) -> None:
    """Check that the job calls us, or an address at which this database has set it up before.

    :raises ForeignJob: it calls something else.
    :raises InstallationUnconfirmed: this database may be a copy of the one that set it up.
    """
    base = our_address()
    if job.spec.uri.startswith(base):
        return
    before = Operation.objects.filter(
        workflow=WORKFLOW.slug,
        subject_id=job.name.job_id,
        status=OperationStatus.SUCCEEDED,
        data__uri=job.spec.uri,
    )
    if not job.spec.uri or not before.exists():
        target = job.spec.uri or "no HTTP address"
        raise ForeignJob(f"{job.name} calls {target}, which is not below {base}: it is not ours.")
    marker.require_ours(clock=work.clock)


def _create(work: Work[SetupState]) -> Outcome:
    # Before it is sent: if the answer is lost, the next read finds the job that it made.
    work.state = replace(work.state, action="created")
    try:
        job = _call(lambda: scheduler.create_job(job_spec(work.state.spec)))
    except CloudExists as error:
        raise CloudConflict(str(error)) from error
    return Next(to=FIRST_STEP, note=str(job.name))


def _update(work: Work[SetupState]) -> Outcome:
    wanted = job_spec(work.state.spec)
    action = "updated" if work.state.action == "unchanged" else work.state.action
    work.state = replace(work.state, action=action)
    try:
        job = _call(lambda: scheduler.update_job(wanted))
    except CloudAbsent as gone:
        return Next(to=FIRST_STEP, note=str(gone))
    if job.spec != wanted:
        raise CloudConflict(
            f"Cloud Scheduler has {job.name} in another form than requested.",
            advice="Compare the job in Cloud Scheduler with the settings, then retry.",
        )
    work.state = replace(work.state, job=str(job.name))
    return _after_update(job, str(job.name))


def _resume(work: Work[SetupState]) -> Outcome:
    if work.state.action != "created":
        work.state = replace(work.state, action="resumed")
    try:
        job = _call(lambda: scheduler.resume_job(job_spec(work.state.spec).job_id))
    except CloudAbsent as gone:
        return Next(to=FIRST_STEP, note=str(gone))
    if job.state in NOT_RINGING:
        raise CloudConflict(f"Cloud Scheduler resumed {job.name}, but it is {job.state}.")
    return Next(to="job_stands", note=str(job.name))


def _confirm(work: Work[SetupState]) -> Outcome:
    work.state = replace(work.state, uri=job_spec(work.state.spec).uri)
    return Next(note=f"{work.state.action}: {work.state.job}")


EFFECTS = (
    Step(name="create_job", title="Create the job", run=_create, probe=FIRST_STEP, optional=True),
    Step(name="update_job", title="Correct the job", run=_update, probe=FIRST_STEP, optional=True),
    Step(name="resume_job", title="Resume the job", run=_resume, probe=FIRST_STEP, optional=True),
)
WORKFLOW = Workflow(
    slug="set-up-job",
    kind=OperationKind.SCHEDULE,
    title="Set up the job {}",
    past="set up the job {}",
    state=SetupState,
    steps=(
        Step(name=FIRST_STEP, title="Read the job from Cloud Scheduler", run=_look),
        *EFFECTS,
        Step(name="job_stands", title="Confirm the job", run=_confirm),
    ),
)
