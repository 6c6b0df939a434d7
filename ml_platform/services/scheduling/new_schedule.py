"""A schedule before it is there: what it must be, and that its project has none of its name."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime
from typing import Any

from ml_platform.errors import Conflict, Invalid
from ml_platform.models import TrainingSchedule
from ml_platform.models.states import ScheduleState
from ml_platform.services.training.runs import check_names, check_recipe
from ml_platform.services.training.templates import check_values

from .job import require_webhook
from .times import cron_for, next_times, to_minute


def checked_fields(
    *,
    name: str,
    model_name: str,
    model_type: str,
    template_uri: str,
    parameters: Mapping[str, Any],
    frequency: str,
    first: datetime,
    time_zone: str,
) -> dict[str, Any]:
    """Return the columns of a new schedule.

    :raises Invalid: a name, a time or a parameter is wrong.
    """
    check_names(model_name=model_name, model_type=model_type)
    check_values(parameters)
    return {
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


def require_usable(schedule: TrainingSchedule, *, now: datetime) -> None:
    """Check that a new schedule has a time left and can train, and note its next time.

    :raises Invalid: it cannot; nothing was written.
    :raises Misconfigured: the settings lack the address or the account of Google's calls.
    """
    require_webhook()
    upcoming = next_time(schedule, after=now)
    if upcoming is None and schedule.starts_at:
        raise Invalid(
            f"{schedule.starts_at.isoformat()} has passed.",
            code="bad_time",
            advice="Use a time in the future.",
        )
    schedule.next_run_at = upcoming if schedule.state == ScheduleState.ACTIVE else None
    check_recipe(template_uri=schedule.template_uri, parameters=schedule.parameters)


def insert_schedule(schedule: TrainingSchedule) -> TrainingSchedule | None:
    """Write a new schedule in the caller's transaction; None if its project has one of its name.

    A name that is taken is an answer, so the database's log has no error.
    """
    TrainingSchedule.objects.bulk_create([schedule], ignore_conflicts=True)
    return TrainingSchedule.objects.filter(uid=schedule.uid).first()


def already_there(schedule: TrainingSchedule) -> Conflict:
    """Return the error for a name that another schedule of the project has."""
    return Conflict(
        f"The project has a schedule {schedule.name} already.",
        code="schedule_exists",
        advice="Choose another name.",
    )


def next_time(schedule: TrainingSchedule, *, after: datetime) -> datetime | None:
    """Return the schedule's next time, None if no time is left."""
    first, zone = schedule.starts_at or after, schedule.time_zone
    upcoming = next_times(frequency=schedule.frequency, first=first, time_zone=zone, after=after)
    return upcoming[0] if upcoming else None


def _checked_name(name: str) -> str:
    name = name.strip()
    if not 1 <= len(name) <= 128 or not name.isprintable() or set(name) & set("<>"):
        raise Invalid(
            "A schedule's name has 1 to 128 printable characters, without < and >.",
            code="bad_schedule_name",
            advice="Give it another name.",
        )
    return name
