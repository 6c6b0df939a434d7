"""Schedules: a lineage's recurring training, each kept as a Cloud Scheduler job that rings us."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any
from uuid import UUID, uuid4

from django.db import IntegrityError, transaction
from django.db.models import Model

from ml_platform.errors import Conflict, Invalid
from ml_platform.models import Operation, TrainingRun, TrainingSchedule
from ml_platform.models.locking import lock_row
from ml_platform.models.states import LIVE_SCHEDULE_STATES, Frequency, ScheduleState
from ml_platform.services.operations import worker
from ml_platform.services.operations.store import Actor, Subject, answered_before, open_operation
from ml_platform.services.operations.workflow import Workflow
from ml_platform.services.registry.lineages import claim_lineage
from ml_platform.services.training.runs import (
    add_run,
    check_names,
    check_recipe,
    keyed_uid,
    submit_run,
    was_deleted,
)
from ml_platform.services.training.templates import check_values

from .job import CHANGES, CREATION, require_webhook
from .times import cron_for, next_times, tick_of, to_minute

EARLY = timedelta(minutes=2)
"""A ring for a time further ahead was forced in the console: it carries the next tick's time."""
_MOVES: Mapping[ScheduleState, tuple[ScheduleState, ...]] = {
    ScheduleState.PAUSED: (ScheduleState.ACTIVE,),
    ScheduleState.ACTIVE: (ScheduleState.PAUSED,),
    ScheduleState.CANCELLED: LIVE_SCHEDULE_STATES,
    ScheduleState.COMPLETED: (ScheduleState.ACTIVE,),
}
"""To each state, from where a schedule may come."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Firing:
    """What came of a ring: its run, with its submission when the ring made it; or why none."""

    run: TrainingRun | None = None
    operation: Operation | None = None
    message: str = ""


def create_schedule(
    *,
    project: Model,
    name: str,
    model_name: str,
    model_type: str,
    template_uri: str,
    parameters: Mapping[str, Any],
    frequency: str,
    first: datetime,
    actor: Actor,
    now: datetime,
    time_zone: str = "UTC",
    idempotency_key: str = "",
) -> Operation:
    """Write a schedule and its lineage down, and open the making of its Cloud Scheduler job.

    It repeats what `first` is in its time zone: the time of day, the weekday, the day of the month.

    :raises Invalid: a name, the times, the template or a parameter is wrong; nothing was written.
    :raises Conflict: the project has a schedule of that name.
    :raises Misconfigured: the settings do not say where and as whom Google rings.
    """
    check_names(model_name=model_name, model_type=model_type)
    check_values(parameters)
    fields: dict[str, Any] = {
        "name": _checked_name(name),
        "model_name": model_name,
        "model_type": model_type,
        "template_uri": template_uri,
        "parameters": dict(parameters),
        "frequency": frequency,
        "starts_at": to_minute(first),
        "time_zone": time_zone,
        "cron": cron_for(frequency=frequency, first=first, time_zone=time_zone),
    }
    request = {"project": project.pk, **fields}
    if known := answered_before(idempotency_key=idempotency_key, request=request):
        return known
    require_webhook()
    schedule = TrainingSchedule(
        project_id=project.pk, created_by_id=actor.user_id, created_at=now, **fields
    )
    schedule.next_run_at = next_time(schedule, after=now)
    if schedule.next_run_at is None:
        raise Invalid(
            f"{first.isoformat()} has passed.", code="bad_time", advice="Give a time to come."
        )
    check_recipe(template_uri=template_uri, parameters=parameters)
    with transaction.atomic():
        schedule.registered_model = claim_lineage(
            project_id=project.pk, model_name=model_name, model_type=model_type
        )
        try:
            with transaction.atomic():
                schedule.save(force_insert=True)
        except IntegrityError as error:
            if known := answered_before(idempotency_key=idempotency_key, request=request):
                return known
            raise Conflict(
                f"The project has a schedule {name} already.",
                code="schedule_exists",
                advice="Choose another name.",
            ) from error
        return _open(
            CREATION, schedule, actor, now, idempotency_key=idempotency_key, request=request
        )


def create_schedule_from_run(
    *,
    run: TrainingRun,
    name: str,
    frequency: str,
    first: datetime,
    actor: Actor,
    now: datetime,
    time_zone: str = "UTC",
    idempotency_key: str = "",
) -> Operation:
    """Schedule the training that this run was; errors as with `create_schedule`."""
    return create_schedule(
        project=run.project,
        name=name,
        model_name=run.model_name,
        model_type=run.model_type,
        template_uri=run.template_uri,
        parameters=run.parameters,
        frequency=frequency,
        first=first,
        time_zone=time_zone,
        actor=actor,
        now=now,
        idempotency_key=idempotency_key,
    )


def pause_schedule(*, schedule: TrainingSchedule, actor: Actor, now: datetime) -> Operation:
    """Let a schedule ring no more until it is resumed.

    :raises Conflict: it is not active.
    """
    return _turn(schedule, ScheduleState.PAUSED, actor, now, next_run_at=None)


def resume_schedule(*, schedule: TrainingSchedule, actor: Actor, now: datetime) -> Operation:
    """Let a paused schedule ring again.

    :raises Conflict: it is not paused, or its only time has passed.
    """
    upcoming = require_time_left(schedule, now)
    return _turn(schedule, ScheduleState.ACTIVE, actor, now, next_run_at=upcoming)


def cancel_schedule(*, schedule: TrainingSchedule, actor: Actor, now: datetime) -> Operation:
    """End a schedule for good; its record, its runs and their versions stay.

    :raises Conflict: it has ended.
    """
    return _turn(schedule, ScheduleState.CANCELLED, actor, now, next_run_at=None)


def trigger_schedule(
    *, schedule: TrainingSchedule, actor: Actor, now: datetime, idempotency_key: str = ""
) -> Firing:
    """Train now, beside the schedule: no scheduled time is used up by it.

    :raises Conflict: the schedule has ended.
    """
    uid = keyed_uid("trigger", schedule.uid.hex, idempotency_key) if idempotency_key else uuid4()
    with transaction.atomic():
        locked = lock_row(TrainingSchedule.objects.filter(pk=schedule.pk))
        require_live(locked)
        return _start(locked, uid, None, actor, now)


def fire_schedule(
    *, schedule: TrainingSchedule, scheduled_for: datetime, actor: Actor, now: datetime
) -> Firing:
    """Answer a ring: create and submit the run of that time, once however often it rings.

    A schedule that is not active, or has not begun, is left alone. A ring that the console forced
    carries the time of the next tick; its run does not take that tick's place. One for once whose
    ring was missed ends, for cron would ring again a year later.

    :raises Invalid: `scheduled_for` has no time zone.
    """
    rung_for = to_minute(scheduled_for)
    with transaction.atomic():
        locked = lock_row(TrainingSchedule.objects.filter(pk=schedule.pk))
        tick = tick_of(frequency=locked.frequency, time_zone=locked.time_zone, rung_for=rung_for)
        if known := TrainingRun.objects.filter(schedule=locked, scheduled_for=tick).first():
            return Firing(run=known, message="The run of that time is there.")
        if locked.state != ScheduleState.ACTIVE:
            return Firing(message=f"The schedule is {locked.get_state_display().lower()}.")
        if _missed(locked, tick):
            _turn(locked, ScheduleState.COMPLETED, actor, now, next_run_at=None)
            return Firing(message="The schedule's only time has passed.")
        if tick > now + EARLY:
            uid = keyed_uid("forced", locked.uid.hex, tick.isoformat())
            return _start(locked, uid, None, actor, now)
        if locked.starts_at and tick < locked.starts_at:
            return Firing(message="The schedule has not begun.")
        firing = _start(
            locked, keyed_uid("tick", locked.uid.hex, tick.isoformat()), tick, actor, now
        )
        _after_tick(locked, tick, actor, now)
    return firing


def _missed(schedule: TrainingSchedule, tick: datetime) -> bool:
    """Whether a schedule for once is rung at a later time than its own."""
    once = schedule.frequency == Frequency.ONCE
    return bool(once and schedule.starts_at and tick > schedule.starts_at)


def next_time(schedule: TrainingSchedule, *, after: datetime) -> datetime | None:
    """The schedule's next time, None when there is none left."""
    upcoming = next_times(
        frequency=schedule.frequency,
        first=schedule.starts_at or after,
        time_zone=schedule.time_zone,
        after=after,
    )
    return upcoming[0] if upcoming else None


def _start(
    schedule: TrainingSchedule, uid: UUID, tick: datetime | None, actor: Actor, now: datetime
) -> Firing:
    if was_deleted(uid):
        return Firing(message="The run of that time was deleted.")
    run, new = add_run(
        uid=uid,
        project_id=schedule.project_id,
        actor=actor,
        now=now,
        schedule=schedule,
        scheduled_for=tick,
        model_name=schedule.model_name,
        model_type=schedule.model_type,
        template_uri=schedule.template_uri,
        parameters=schedule.parameters,
    )
    if not new:
        return Firing(run=run, message="The run of that time is there.")
    operation = submit_run(run=run, actor=actor, now=now)
    TrainingSchedule.objects.filter(pk=schedule.pk).update(last_run_at=now)
    return Firing(run=run, operation=operation, message="The run is being submitted.")


def _after_tick(schedule: TrainingSchedule, tick: datetime, actor: Actor, now: datetime) -> None:
    if schedule.frequency == Frequency.ONCE:
        _turn(schedule, ScheduleState.COMPLETED, actor, now, next_run_at=None)
        return
    upcoming = next_time(schedule, after=max(tick, now))
    TrainingSchedule.objects.filter(pk=schedule.pk).update(next_run_at=upcoming)


def _turn(
    schedule: TrainingSchedule, to: ScheduleState, actor: Actor, now: datetime, **changes: Any
) -> Operation:
    with transaction.atomic():
        there = TrainingSchedule.objects.filter(pk=schedule.pk, state__in=_MOVES[to])
        if not there.update(state=to, **changes):
            raise _wrong_state(TrainingSchedule.objects.get(pk=schedule.pk))
        schedule.refresh_from_db()
        return _open(CHANGES[to], schedule, actor, now)


def _open(
    workflow: Workflow,
    schedule: TrainingSchedule,
    actor: Actor,
    now: datetime,
    *,
    idempotency_key: str = "",
    request: dict[str, Any] | None = None,
) -> Operation:
    """Open the operation that brings the Cloud Scheduler job to where the row is."""
    operation, _ = open_operation(
        workflow=workflow,
        subject=Subject(
            type="trainingschedule",
            id=str(schedule.pk),
            name=schedule.name,
            project_id=schedule.project_id,
            lineage=schedule.registered_model,
            service_key=f"schedule:{schedule.uid.hex}",
        ),
        actor=actor,
        now=now,
        idempotency_key=idempotency_key,
        request=request,
        queue=True,
    )
    worker.enqueue(operation)
    return operation


def _checked_name(name: str) -> str:
    name = name.strip()
    if not 1 <= len(name) <= 128 or not name.isprintable() or set(name) & set("<>"):
        raise Invalid(
            "A schedule's name has 1 to 128 printable characters, without < and >.",
            code="bad_schedule_name",
            advice="Give it another name.",
        )
    return name


def require_move(schedule: TrainingSchedule, to: ScheduleState) -> None:
    """Check that a schedule can come to that state from its own.

    :raises Conflict: it cannot.
    """
    if schedule.state not in _MOVES[to]:
        raise _wrong_state(schedule)


def require_live(schedule: TrainingSchedule) -> None:
    """Check that a schedule has not ended.

    :raises Conflict: it has.
    """
    if schedule.state not in LIVE_SCHEDULE_STATES:
        raise _wrong_state(schedule)


def require_time_left(schedule: TrainingSchedule, now: datetime) -> datetime:
    """Check that a schedule has a time to come; returns it.

    :raises Conflict: its only time has passed.
    """
    upcoming = next_time(schedule, after=now)
    if upcoming is None:
        raise Conflict(
            f"The time of {schedule} has passed.",
            code="schedule_over",
            advice="Cancel it and create another one.",
        )
    return upcoming


def _wrong_state(schedule: TrainingSchedule) -> Conflict:
    return Conflict(
        f"{schedule} is {schedule.get_state_display().lower()}.",
        code="wrong_schedule_state",
        advice="An active schedule can be paused, a paused one resumed, both cancelled.",
    )
