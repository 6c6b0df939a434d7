"""Schedules: create, pause, resume, end, train now."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from functools import partial
from typing import TYPE_CHECKING, Any

from ml_platform.models import Operation, TrainingRun, TrainingSchedule
from ml_platform.models.states import ScheduleState
from ml_platform.services.access.rights import Right
from ml_platform.services.scheduling import schedules as scheduling
from ml_platform.services.scheduling.ringing import with_job_finding
from ml_platform.services.training.runs import require_repeatable

from .action import Action
from .caller import Caller
from .models import find_run

if TYPE_CHECKING:
    from .inputs import ScheduledTrainingIn, TimesIn


SCHEDULES = with_job_finding(TrainingSchedule.objects.select_related("project", "registered_model"))


def find_schedule(caller: Caller, key: object) -> TrainingSchedule:
    """The schedule of that key."""
    return caller.find(SCHEDULES, key)


def _times(given: TimesIn, caller: Caller) -> dict[str, Any]:
    """The arguments that both services that create a schedule take."""
    return {
        "name": given.name,
        "frequency": given.frequency,
        "first": given.first,
        "time_zone": given.time_zone,
        "actor": caller.actor,
        "now": caller.now(),
        "idempotency_key": caller.key,
    }


def _create(project: Any, given: ScheduledTrainingIn, caller: Caller) -> Operation:
    return scheduling.create_schedule(
        project=project,
        model_name=given.model_name,
        model_type=given.model_type,
        template_uri=given.template_uri,
        parameters=given.parameters,
        **_times(given, caller),
    )


def _create_from_run(run: TrainingRun, given: TimesIn, caller: Caller) -> Operation:
    return scheduling.create_schedule_from_run(run=run, **_times(given, caller))


@dataclass(frozen=True, slots=True)
class ResumeFacts:
    """The facts of a resume: the time of a schedule that trains once may have passed."""

    schedule: TrainingSchedule
    now: datetime


def _to_resume(schedules: Sequence[TrainingSchedule], _: None, caller: Caller) -> list[ResumeFacts]:
    now = caller.now()
    return [ResumeFacts(schedule, now) for schedule in schedules]


def _require_resumable(facts: ResumeFacts) -> None:
    scheduling.require_move(facts.schedule, ScheduleState.ACTIVE)
    scheduling.require_time_left(facts.schedule, facts.now)


CREATE: Action[Any, Operation] = Action(
    name="create-schedule",
    right=Right.TRAIN,
    find=Caller.find_project,
    begins=True,
    input="ScheduledTrainingIn",
    run=_create,
    on_page=False,
)
CREATE_FROM_RUN: Action[TrainingRun, Operation] = Action(
    name="schedule-run",
    right=Right.TRAIN,
    find=find_run,
    begins=True,
    require=require_repeatable,
    input="TimesIn",
    run=_create_from_run,
    on_page=False,
)
TRIGGER: Action[TrainingSchedule, scheduling.Firing] = Action(
    name="trigger-schedule",
    right=Right.TRAIN,
    find=find_schedule,
    begins=True,
    require=scheduling.require_live,
    run=lambda schedule, _, caller: scheduling.trigger_schedule(
        schedule=schedule, actor=caller.actor, now=caller.now(), idempotency_key=caller.key
    ),
)
PAUSE: Action[TrainingSchedule, Operation] = Action(
    name="pause-schedule",
    right=Right.TRAIN,
    find=find_schedule,
    require=partial(scheduling.require_move, to=ScheduleState.PAUSED),
    run=lambda schedule, _, caller: scheduling.pause_schedule(
        schedule=schedule, actor=caller.actor, now=caller.now()
    ),
)
RESUME: Action[TrainingSchedule, Operation] = Action(
    name="resume-schedule",
    right=Right.TRAIN,
    find=find_schedule,
    begins=True,
    facts=_to_resume,
    require=_require_resumable,
    run=lambda facts, _, caller: scheduling.resume_schedule(
        schedule=facts.schedule, actor=caller.actor, now=caller.now()
    ),
)
CANCEL: Action[TrainingSchedule, Operation] = Action(
    name="cancel-schedule",
    right=Right.TRAIN,
    find=find_schedule,
    require=partial(scheduling.require_move, to=ScheduleState.CANCELLED),
    run=lambda schedule, _, caller: scheduling.cancel_schedule(
        schedule=schedule, actor=caller.actor, now=caller.now()
    ),
)
ACTIONS: tuple[Action[Any, Any], ...] = (CREATE, CREATE_FROM_RUN, TRIGGER, PAUSE, RESUME, CANCEL)
