"""Repairs of Cloud Scheduler jobs: bring them to what the schedule says, or to what was set up."""

from __future__ import annotations

from dataclasses import dataclass, replace
from datetime import datetime
from functools import partial
from typing import Any

from ml_platform.errors import NotFound
from ml_platform.models import Finding, Operation, RegisteredModel, TrainingSchedule
from ml_platform.models.states import FindingStatus, OperationKind, ScheduleState
from ml_platform.services.findings.comparisons.jobs import (
    JOB_KINDS,
    SCHEDULE_KINDS,
    job_subject,
    schedule_subject,
)
from ml_platform.services.operations.store import Actor
from ml_platform.services.operations.work import Work
from ml_platform.services.operations.workflow import Next, Outcome, Step, Workflow
from ml_platform.services.repairs.steps import close, open_repair

from . import job, platform_jobs
from .job import SchedulerState, subject_of_schedule
from .new_schedule import next_time
from .platform_jobs import SetupState, jobs_set_up, subject_of_job


@dataclass(frozen=True, slots=True, kw_only=True)
class ScheduleRepairState(SchedulerState):
    """What the steps of a schedule's repair hand on."""

    missed: bool = False
    """A time was missed, and the next one is expected instead."""


def repair_schedule(
    *, finding: Finding, registered_model: RegisteredModel, actor: Actor, now: datetime
) -> Operation:
    """Bring the job of the schedule to the state of its row.

    :raises NotFound: the schedule was deleted.
    :raises Busy: another operation changes it.
    """
    pk = finding.evidence["schedule_id"]
    schedule = TrainingSchedule.objects.select_related("registered_model").filter(pk=pk).first()
    if schedule is None:
        raise NotFound("The schedule was deleted.", advice="Check the registry again.")
    return open_repair(
        workflow=SCHEDULE,
        subject=subject_of_schedule(schedule),
        state=ScheduleRepairState(),
        kinds=SCHEDULE_KINDS,
        about=schedule_subject(schedule.pk),
        actor=actor,
        now=now,
    )


def repair_job(
    *, finding: Finding, registered_model: RegisteredModel | None, actor: Actor, now: datetime
) -> Operation:
    """Bring the job of the platform to what was set up.

    :raises Busy: another operation changes it.
    """
    job_id = finding.evidence["job_id"]
    return open_repair(
        workflow=JOB,
        subject=subject_of_job(job_id),
        state=SetupState(spec=jobs_set_up()[job_id]),
        kinds=JOB_KINDS,
        about=job_subject(job_id),
        actor=actor,
        now=now,
    )


def _pass_missed(work: Work[ScheduleRepairState]) -> Outcome:
    """Expect the next time instead of one that has passed; without one, the schedule is over."""
    schedule = TrainingSchedule.objects.get(pk=work.operation.subject_id)
    now, due = work.clock(), schedule.next_run_at
    if schedule.state != ScheduleState.ACTIVE or due is None or due >= now:
        return Next(note="No time was missed.")
    upcoming = next_time(schedule, after=now)
    state = ScheduleState.ACTIVE if upcoming else ScheduleState.COMPLETED
    work.state = replace(work.state, missed=True)
    then = f"the next is {upcoming.isoformat()}" if upcoming else "none is left, so it is over"
    return Next(
        change=partial(_move, schedule, state, upcoming),
        note=f"{due.isoformat()} was missed; {then}.",
    )


def _move(schedule: TrainingSchedule, state: ScheduleState, upcoming: datetime | None) -> None:
    rows = TrainingSchedule.objects.filter(pk=schedule.pk, state=schedule.state)
    rows.filter(next_run_at=schedule.next_run_at).update(state=state, next_run_at=upcoming)


def _close(work: Work[Any], *, repaired: bool = False) -> Next:
    """Close the findings; without a change to the job there was nothing to repair."""
    done = {step["step"] for step in work.operation.steps}
    changed = repaired or done & {step.name for step in (*job.EFFECTS, *platform_jobs.EFFECTS)}
    return close(work, status=FindingStatus.REPAIRED if changed else FindingStatus.GONE)


CLOSE = "close"
SCHEDULE = Workflow(
    slug="repair-schedule",
    kind=OperationKind.REPAIR,
    title="Put the job of the schedule {} in order",
    past="put the job of the schedule {} in order",
    state=ScheduleRepairState,
    steps=(
        Step(name="pass_missed", title="Expect the next time", run=_pass_missed),
        *job.STEPS,
        Step(
            name="record",
            title="Record the job",
            run=lambda work: Next(change=partial(job.note_job, work)),
        ),
        Step(
            name=CLOSE,
            title="End the finding",
            run=lambda work: _close(work, repaired=work.state.missed),
        ),
    ),
)
JOB = Workflow(
    slug="repair-job",
    kind=OperationKind.REPAIR,
    title="Put the job {} in order",
    past="put the job {} in order",
    state=SetupState,
    steps=(
        *platform_jobs.WORKFLOW.steps,
        Step(name=CLOSE, title="End the finding", run=_close),
    ),
)
