"""Take over a schedule of another program: its job is paused, and one of ours calls us instead."""

from __future__ import annotations

from dataclasses import dataclass, replace
from datetime import datetime
from functools import partial
from typing import Any
from uuid import UUID

from django.db.models import Model

from ml_platform.cloud import scheduler
from ml_platform.cloud.names import JobName
from ml_platform.errors import CloudAbsent
from ml_platform.models import Operation, TrainingSchedule
from ml_platform.models.database import atomic
from ml_platform.models.states import OperationKind, ScheduleState
from ml_platform.services.access.rights import Right
from ml_platform.services.operations.store import Actor
from ml_platform.services.operations.work import Work
from ml_platform.services.operations.workflow import Next, Outcome, Step, Workflow
from ml_platform.services.registry.lineages import claim_lineage

from .job import FIRST_STEP, NOT_RINGING, STEPS, SchedulerState, note_job, open_job_change
from .new_schedule import already_there, checked_fields, insert_schedule, require_usable

LOOK = "look_at_theirs"


@dataclass(frozen=True, slots=True, kw_only=True)
class TakeoverState(SchedulerState):
    """What the steps of a takeover hand on."""

    theirs: str = ""
    """The name of the other program's job, '' if it had none."""
    rang: bool = False
    """Whether it was seen to be active before it was paused."""


def take_over_schedule(
    *,
    project: Model,
    uid: UUID,
    state: str,
    job: str,
    created_by: Any,
    actor: Actor,
    now: datetime,
    **given: Any,
) -> Operation:
    """Create a schedule in the place of another program's, whose `job` is paused first, so that
    nothing is trained twice. If that job is paused already, so is the schedule. A second request
    for the same `uid` returns the same operation.

    `given` is as for `create_schedule`; so are the errors.

    :raises Conflict: the project has another schedule of that name.
    """
    schedule = TrainingSchedule(
        project_id=project.pk,
        uid=uid,
        state=state,
        created_by_id=created_by,
        created_at=now,
        **checked_fields(**given),
    )
    require_usable(schedule, now=now)
    with atomic():
        schedule.registered_model = claim_lineage(
            project_id=project.pk,
            model_name=schedule.model_name,
            model_type=schedule.model_type,
        )
        created = insert_schedule(schedule)
        if created is None:
            raise already_there(schedule)
        return open_job_change(
            WORKFLOW,
            created,
            actor,
            now,
            state=TakeoverState(theirs=job),
            idempotency_key=f"take-over:{uid.hex}",
        )


def _look(work: Work[TakeoverState]) -> Outcome:
    if not work.state.theirs:
        return Next(to=FIRST_STEP, note="It had no job.")
    name = JobName.parse(work.state.theirs)
    try:
        job = scheduler.get_job(name.job_id)
    except CloudAbsent as gone:
        return Next(to=FIRST_STEP, note=str(gone))
    if job.state not in NOT_RINGING:
        work.state = replace(work.state, rang=True)
        return Next(note=f"{name.job_id} is {job.state}.")
    if work.state.rang:
        return Next(to=FIRST_STEP, note=f"{name.job_id} is paused.")
    return Next(
        to=FIRST_STEP,
        note=f"{name.job_id} was paused, so the schedule is too.",
        change=partial(_pause_row, work.operation.subject_id),
    )


def _pause_row(pk: str) -> None:
    rows = TrainingSchedule.objects.filter(pk=pk, state=ScheduleState.ACTIVE)
    rows.update(state=ScheduleState.PAUSED, next_run_at=None)


def _pause(work: Work[TakeoverState]) -> Outcome:
    name = JobName.parse(work.state.theirs)
    try:
        scheduler.pause_job(name.job_id)
    except CloudAbsent as gone:
        return Next(to=FIRST_STEP, note=str(gone))
    return Next(note=f"{name.job_id} no longer calls.")


def _record(work: Work[Any]) -> Outcome:
    theirs = work.state.theirs and JobName.parse(work.state.theirs).job_id
    note = f"{theirs} no longer calls; delete it when you like." if theirs else "It has a job."
    return Next(note=note, change=partial(note_job, work))


WORKFLOW = Workflow(
    slug="take-over-schedule",
    kind=OperationKind.SCHEDULE,
    title="Take over the schedule {}",
    past="took over the schedule {}",
    right=Right.TRAIN,
    state=TakeoverState,
    steps=(
        Step(name=LOOK, title="Read the other program's job", run=_look),
        Step(name="pause_theirs", title="Pause the other program's job", run=_pause, probe=LOOK),
        *STEPS,
        Step(name="record", title="Record the job", run=_record),
    ),
)
