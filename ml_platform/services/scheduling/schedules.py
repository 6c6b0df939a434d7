"""Schedules: recurring training of a model. A Cloud Scheduler job calls us for each run."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any
from uuid import UUID, uuid4

from django.db import transaction
from django.db.models import Model

from ml_platform.errors import Conflict, Invalid
from ml_platform.models import Operation, TrainingRun, TrainingSchedule
from ml_platform.models.locking import lock_row
from ml_platform.models.states import LIVE_SCHEDULE_STATES, Frequency, ScheduleState
from ml_platform.services.operations.store import Actor, answered_before
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

from .job import CHANGES, CREATION, open_job_change, require_webhook
from .times import cron_for, next_times, tick_of, to_minute

EARLY = timedelta(minutes=2)
"""A call for a later time was forced in the console: it has the time of the next regular call."""
_MOVES: Mapping[ScheduleState, tuple[ScheduleState, ...]] = {
    ScheduleState.PAUSED: (ScheduleState.ACTIVE,),
    ScheduleState.ACTIVE: (ScheduleState.PAUSED,),
    ScheduleState.CANCELLED: LIVE_SCHEDULE_STATES,
    ScheduleState.COMPLETED: (ScheduleState.ACTIVE,),
}
"""For each state, those from which a schedule may change to it."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Firing:
    """The run of a call, with its submission if the call created it; or why it has no run."""

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
    """Create a schedule and its lineage, and open the creation of its Cloud Scheduler job.

    It repeats `first` in its time zone: the time of day, the weekday, the day of the month.

    :raises Invalid: a name, the times, the template or a parameter is wrong; nothing was written.
    :raises Conflict: the project has a schedule of that name.
    :raises Misconfigured: the settings lack the address or the account of Google's calls.
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
    replay: dict[str, Any] = {"idempotency_key": idempotency_key, "request": request}
    if known := answered_before(**replay):
        return known
    require_webhook()
    schedule = TrainingSchedule(
        project_id=project.pk, created_by_id=actor.user_id, created_at=now, **fields
    )
    schedule.next_run_at = next_time(schedule, after=now)
    if schedule.next_run_at is None:
        raise Invalid(
            f"{first.isoformat()} has passed.", code="bad_time", advice="Use a time in the future."
        )
    check_recipe(template_uri=template_uri, parameters=parameters)
    with transaction.atomic():
        schedule.registered_model = claim_lineage(
            project_id=project.pk, model_name=model_name, model_type=model_type
        )
        # A name that is taken is an answer, so the database's log has no error.
        TrainingSchedule.objects.bulk_create([schedule], ignore_conflicts=True)
        created = TrainingSchedule.objects.filter(uid=schedule.uid).first()
        if created is None:
            if known := answered_before(**replay):
                return known
            raise Conflict(
                f"The project has a schedule {name} already.",
                code="schedule_exists",
                advice="Choose another name.",
            )
        return open_job_change(CREATION, created, actor, now, **replay)


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
    """Schedule the training of this run again; errors as with `create_schedule`."""
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
    """Stop a schedule until it is resumed.

    :raises Conflict: it is not active.
    """
    return _turn(schedule, ScheduleState.PAUSED, actor, now)


def resume_schedule(*, schedule: TrainingSchedule, actor: Actor, now: datetime) -> Operation:
    """Resume a paused schedule.

    :raises Conflict: it is not paused, or its only time has passed.
    """
    upcoming = require_time_left(schedule, now)
    return _turn(schedule, ScheduleState.ACTIVE, actor, now, upcoming)


def cancel_schedule(*, schedule: TrainingSchedule, actor: Actor, now: datetime) -> Operation:
    """End a schedule for good; its record, its runs and their versions stay.

    :raises Conflict: it has ended.
    """
    return _turn(schedule, ScheduleState.CANCELLED, actor, now)


def trigger_schedule(
    *, schedule: TrainingSchedule, actor: Actor, now: datetime, idempotency_key: str = ""
) -> Firing:
    """Train now; the scheduled times stay as they are.

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
    """Create and submit the run of that time, once for any number of calls by Cloud Scheduler.

    A call for a schedule that is not active or has not started does nothing. A call that was
    forced in the console has the time of the next regular call; its run does not replace the run
    of that time. A schedule whose single time was missed ends, because cron would repeat it a year
    later.

    :raises Invalid: `scheduled_for` has no time zone.
    """
    with transaction.atomic():
        locked = lock_row(TrainingSchedule.objects.filter(pk=schedule.pk))
        tick = tick_of(frequency=locked.frequency, time_zone=locked.time_zone, at=scheduled_for)
        if known := TrainingRun.objects.filter(schedule=locked, scheduled_for=tick).first():
            return Firing(run=known, message="The run of that time exists.")
        if locked.state != ScheduleState.ACTIVE:
            return Firing(message=f"The schedule is {locked.get_state_display().lower()}.")
        once = locked.frequency == Frequency.ONCE
        if once and locked.starts_at and tick > locked.starts_at:
            _turn(locked, ScheduleState.COMPLETED, actor, now)
            return Firing(message="The schedule's only time has passed.")
        if tick > now + EARLY:
            uid = keyed_uid("forced", locked.uid.hex, tick.isoformat())
            return _start(locked, uid, None, actor, now)
        if locked.starts_at and tick < locked.starts_at:
            return Firing(message="The schedule has not started yet.")
        uid = keyed_uid("tick", locked.uid.hex, tick.isoformat())
        firing = _start(locked, uid, tick, actor, now)
        _after_tick(locked, tick, actor, now)
    return firing


def next_time(schedule: TrainingSchedule, *, after: datetime) -> datetime | None:
    """Return the schedule's next time, None if no time is left."""
    first, zone = schedule.starts_at or after, schedule.time_zone
    upcoming = next_times(frequency=schedule.frequency, first=first, time_zone=zone, after=after)
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
        return Firing(run=run, message="The run of that time exists.")
    operation = submit_run(run=run, actor=actor, now=now)
    TrainingSchedule.objects.filter(pk=schedule.pk).update(last_run_at=now)
    return Firing(run=run, operation=operation, message="The run is being submitted.")


def _after_tick(schedule: TrainingSchedule, tick: datetime, actor: Actor, now: datetime) -> None:
    if schedule.frequency == Frequency.ONCE:
        _turn(schedule, ScheduleState.COMPLETED, actor, now)
    else:
        upcoming = next_time(schedule, after=max(tick, now))
        TrainingSchedule.objects.filter(pk=schedule.pk).update(next_run_at=upcoming)


def _turn(
    schedule: TrainingSchedule,
    to: ScheduleState,
    actor: Actor,
    now: datetime,
    next_run_at: datetime | None = None,
) -> Operation:
    with transaction.atomic():
        there = TrainingSchedule.objects.filter(pk=schedule.pk, state__in=_MOVES[to])
        if not there.update(state=to, next_run_at=next_run_at):
            raise _wrong_state(TrainingSchedule.objects.get(pk=schedule.pk))
        schedule.refresh_from_db()
        return open_job_change(CHANGES[to], schedule, actor, now)


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
    """Check that a schedule has a time in the future; returns it.

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
