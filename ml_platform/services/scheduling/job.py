"""Bring a schedule's Cloud Scheduler job, step by step, to the state of the schedule's row."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from datetime import datetime
from functools import partial
from typing import Any

from django.db.models import Q

from ml_platform.cloud import scheduler
from ml_platform.cloud.types import JobSpec, JobState, RemoteJob
from ml_platform.conf import get_settings
from ml_platform.errors import CloudAbsent, CloudConflict, CloudExists, Misconfigured
from ml_platform.models import Operation, TrainingSchedule
from ml_platform.models.states import LIVE_SCHEDULE_STATES, OperationKind, ScheduleState
from ml_platform.services.access.rights import Right
from ml_platform.services.installation import marker
from ml_platform.services.operations import worker
from ml_platform.services.operations.state import State
from ml_platform.services.operations.store import Actor, Subject, open_operation
from ml_platform.services.operations.work import Work
from ml_platform.services.operations.workflow import Next, Outcome, Step, Workflow

from .times import cron_zone

FIRST_STEP = "look"
NOT_RINGING = (JobState.PAUSED, JobState.DISABLED)
ATTEMPT_SECONDS = 60
RETRIES = 3
"""Cloud Scheduler repeats a call that got no answer; the run of a time is created only once."""


@dataclass(frozen=True, slots=True, kw_only=True)
class SchedulerState(State):
    """What the steps of a change of a Cloud Scheduler job hand on."""

    job: str = ""
    """The job's resource name."""


def require_webhook() -> None:
    """Check that the settings name the address and the account of Cloud Scheduler's calls.

    :raises Misconfigured: they do not.
    """
    settings = get_settings()
    needed = ("PUBLIC_URL", "WEBHOOK_SERVICE_ACCOUNTS")
    if missing := [key for key in needed if not getattr(settings, key)]:
        raise Misconfigured(
            f"ML_PLATFORM has no {', '.join(missing)}.",
            advice="Cloud Scheduler calls PUBLIC_URL with a token of the first of "
            "WEBHOOK_SERVICE_ACCOUNTS; set both to use schedules.",
        )


def job_id_of(schedule: TrainingSchedule) -> str:
    """Return the only id that the schedule's job can have."""
    return f"mlp-{schedule.uid.hex}"


def our_address() -> str:
    """Return how the addresses begin that our jobs call."""
    return f"{get_settings().PUBLIC_URL.rstrip('/')}/"


def webhook_job(*, path: str, **spec: Any) -> JobSpec:
    """Return the job that calls this path below PUBLIC_URL.

    :raises Misconfigured: the settings lack the address or the account of the calls.
    """
    require_webhook()
    settings = get_settings()
    return JobSpec(
        uri=f"{our_address()}{path}",
        audience=settings.WEBHOOK_AUDIENCE or settings.PUBLIC_URL,
        service_account=settings.WEBHOOK_SERVICE_ACCOUNTS[0],
        body=b"{}",
        retry_count=RETRIES,
        **spec,
    )


def job_spec(schedule: TrainingSchedule) -> JobSpec:
    """Return the job that the schedule needs; errors as with `webhook_job`."""
    return webhook_job(
        path=f"api/training/schedules/{schedule.pk}/webhook/",
        job_id=job_id_of(schedule),
        schedule=schedule.cron,
        time_zone=cron_zone(frequency=schedule.frequency, time_zone=schedule.time_zone),
        description=f"Trains {schedule.model_name}.",
        attempt_deadline=ATTEMPT_SECONDS,
    )


def next_step(schedule: TrainingSchedule, job: RemoteJob | None) -> str:
    """Return the step that brings the job nearer to the row, `record` if they agree."""
    if schedule.state not in LIVE_SCHEDULE_STATES:
        return "delete" if job else "record"
    if job is None:
        return "create"
    # A job whose update failed takes another one only (`Job.State` in
    # google/cloud/scheduler_v1/types/job.py); one that Google disabled can at most be resumed.
    if job.spec != job_spec(schedule) or job.state == JobState.UPDATE_FAILED:
        return "update"
    paused = job.state in NOT_RINGING
    if paused == (schedule.state == ScheduleState.PAUSED):
        return "record"
    return "resume" if paused else "pause"


def _look(work: Work[SchedulerState]) -> Outcome:
    schedule = _schedule(work)
    try:
        job = scheduler.get_job(job_id_of(schedule))
    except CloudAbsent:
        return Next(to=next_step(schedule, None), note="Cloud Scheduler has no job for it yet.")
    work.state = replace(work.state, job=str(job.name))
    following = next_step(schedule, job)
    if following == "update" and not job.spec.uri.startswith(our_address()):
        # A person changed the address, or this database is a copy and its original has the job.
        marker.require_ours(clock=work.clock)
    return Next(to=following, note=f"Its job is {job.state.lower()}.")


def _create(work: Work[SchedulerState]) -> Outcome:
    try:
        job = scheduler.create_job(job_spec(_schedule(work)))
    except CloudExists as error:
        raise CloudConflict(str(error)) from error  # of an earlier try: it is read next
    return Next(to=FIRST_STEP, note=str(job.name))


def _effect(name: str, act: Callable[[TrainingSchedule], RemoteJob | None]) -> Step:
    """Return a step that changes the job, and continues according to Google's answer.

    If the answer needs the same change again, that is a conflict, which the engine retries.
    """

    def run(work: Work[SchedulerState]) -> Outcome:
        schedule = _schedule(work)
        try:
            job = act(schedule)
        except CloudAbsent as gone:
            return Next(to=FIRST_STEP, note=str(gone))
        following = next_step(schedule, job)
        if following == name:
            raise CloudConflict(
                f"Cloud Scheduler has {job_id_of(schedule)} in another form than requested.",
                advice="Compare the job in Cloud Scheduler with the schedule, then retry.",
            )
        return Next(to=following)

    return _step(name, f"{name.capitalize()} the job", run)


def note_job(work: Work[SchedulerState]) -> None:
    """Record the job's name; '' if the schedule has ended and its job is deleted."""
    schedule = TrainingSchedule.objects.filter(pk=work.operation.subject_id)
    ended = ~Q(state__in=LIVE_SCHEDULE_STATES)
    schedule.filter(ended).update(scheduler_job_name="")
    schedule.exclude(ended).update(scheduler_job_name=work.state.job)


def _schedule(work: Work[SchedulerState]) -> TrainingSchedule:
    return TrainingSchedule.objects.get(pk=work.operation.subject_id)


def _step(name: str, title: str, run: Callable[[Work[SchedulerState]], Outcome]) -> Step:
    return Step(name=name, title=title, run=run, probe=FIRST_STEP)


EFFECTS = (
    _step("create", "Create the job", _create),
    _effect("update", lambda s: scheduler.update_job(job_spec(s))),
    _effect("pause", lambda s: scheduler.pause_job(job_id_of(s))),
    _effect("resume", lambda s: scheduler.resume_job(job_id_of(s))),
    _effect("delete", lambda s: scheduler.delete_job(job_id_of(s))),
)
STEPS = (
    Step(name=FIRST_STEP, title="Read the job from Cloud Scheduler", run=_look),
    *(replace(step, optional=True) for step in EFFECTS),
)
"""They read and change the job until it agrees with the row, in whatever order the operations of a
schedule run; then they continue at the step `record`."""


def _workflow(slug: str, verb: str, past: str, usual: str) -> Workflow:
    """Return the workflow of a change, whose job usually needs the step `usual` only."""
    return Workflow(
        slug=slug,
        kind=OperationKind.SCHEDULE,
        title=f"{verb} the schedule {{}}",
        past=f"{past} the schedule {{}}",
        right=Right.TRAIN,
        state=SchedulerState,
        steps=(
            *(replace(step, optional=step.optional and step.name != usual) for step in STEPS),
            Step(
                name="record",
                title="Record the job",
                run=lambda work: Next(change=partial(note_job, work)),
            ),
        ),
    )


CREATION = _workflow("create-schedule", "Create", "created", "create")
RESUMPTION = _workflow("resume-schedule", "Resume", "resumed", "resume")
PAUSE = _workflow("pause-schedule", "Pause", "paused", "pause")
END = _workflow("end-schedule", "End", "ended", "delete")
CHANGES = {
    ScheduleState.ACTIVE: RESUMPTION,
    ScheduleState.PAUSED: PAUSE,
    ScheduleState.CANCELLED: END,
    ScheduleState.COMPLETED: END,
}
"""By the new state of the schedule."""


def schedule_lock(schedule: TrainingSchedule) -> str:
    """Return the key of the lock on the schedule's job."""
    return f"schedule:{schedule.uid.hex}"


def subject_of_schedule(schedule: TrainingSchedule) -> Subject:
    """Return the schedule as the subject of an operation on its job."""
    return Subject(
        type="trainingschedule",
        id=str(schedule.pk),
        name=schedule.name,
        project_id=schedule.project_id,
        lineage=schedule.registered_model,
        service_key=schedule_lock(schedule),
    )


def open_job_change(
    workflow: Workflow, schedule: TrainingSchedule, actor: Actor, now: datetime, **replay: Any
) -> Operation:
    """Open the operation that brings the Cloud Scheduler job to the state of the row."""
    operation, _ = open_operation(
        workflow=workflow,
        subject=subject_of_schedule(schedule),
        actor=actor,
        now=now,
        queue=True,
        **replay,
    )
    worker.enqueue(operation)
    return operation
