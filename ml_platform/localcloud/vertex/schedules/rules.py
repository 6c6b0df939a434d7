"""What ScheduleService accepts and when a schedule runs: pure, no store, no clock.

Behavior after google/cloud/aiplatform/v1/{schedule,schedule_service}.proto.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from datetime import UTC, datetime
from typing import Any
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

from croniter import CroniterError, croniter
from google.cloud.aiplatform_v1.types import schedule as gca_schedule
from google.protobuf import field_mask_pb2

from ...core.errors import invalid, precondition
from ..unsupported import refuse_set

Schedule: Any = gca_schedule.Schedule.meta.pb
State: Any = gca_schedule.Schedule.State
FILTERS = (
    "display_name",
    "state",
    "create_pipeline_job_request",
    "create_notebook_execution_job_request",
    "create_time",
    "start_time",
    "end_time",
    "next_run_time",
)
ORDERS = ("create_time", "start_time", "end_time", "next_run_time")
TIMES = frozenset(ORDERS)
_SETTABLE = (
    "display_name",
    "cron",
    "start_time",
    "end_time",
    "max_run_count",
    "max_concurrent_run_count",
    "max_concurrent_active_run_count",
    "allow_queueing",
    "create_pipeline_job_request",
)
_ZONE = re.compile(r"(?:CRON_TZ|TZ)=(\S+)\s+(.+)")
_COUNTS = ("max_run_count", "max_concurrent_run_count", "max_concurrent_active_run_count")


def new_schedule(asked: Any) -> Any:
    """A schedule with what the client may set of it; INVALID_ARGUMENT for what is refused."""
    refuse_set(asked, ("create_notebook_execution_job_request",))
    schedule = Schedule()
    for field in _SETTABLE:
        _copy(asked, schedule, field)
    check(schedule)
    return schedule


def updated(stored: Any, asked: Any, paths: Iterable[str]) -> Any:
    """The schedule after UpdateSchedule: output fields are ignored, nothing can be unset."""
    wanted = list(paths)
    known = {field.name for field in Schedule.DESCRIPTOR.fields}
    unknown = sorted({path for path in wanted if path.partition(".")[0] not in known})
    if unknown or not wanted:
        raise invalid("update_mask", f"Unsupported field(s): {', '.join(unknown) or '-'}.")
    fresh = Schedule()
    fresh.CopyFrom(stored)
    settable = [path for path in wanted if path.partition(".")[0] in _SETTABLE]
    try:
        field_mask_pb2.FieldMask(paths=settable).MergeMessage(
            asked, fresh, replace_message_field=True, replace_repeated_field=True
        )
    except ValueError as error:
        raise invalid("update_mask", str(error)) from error
    for field in _SETTABLE:
        if _is_set(stored, field) and not _is_set(fresh, field) and field != "allow_queueing":
            raise invalid(f"schedule.{field}", "A non-empty field cannot be unset.")
    check(fresh)
    return fresh


def check(schedule: Any) -> None:
    """INVALID_ARGUMENT for what a schedule lacks or has wrong."""
    if not 1 <= len(schedule.display_name) <= 128:
        raise invalid("schedule.display_name", "The display name must have 1 to 128 characters.")
    if not schedule.HasField("create_pipeline_job_request"):
        raise invalid("schedule.request", "Required field is not set.")
    for field in _COUNTS:
        least = 1 if field == "max_concurrent_run_count" else 0
        if getattr(schedule, field) < least:
            raise invalid(f"schedule.{field}", f"The count must be at least {least}.")
    start, end = time_of(schedule, "start_time"), time_of(schedule, "end_time")
    if start is not None and end is not None and end <= start:
        raise invalid("schedule.end_time", "The end time must be after the start time.")
    next_run(schedule.cron, start or datetime.now(UTC))


def next_run(cron: str, after: datetime) -> datetime:
    """The first time of a unix-cron line later than `after`, in UTC.

    The line may begin with `TZ=` or `CRON_TZ=` and an IANA time zone. INVALID_ARGUMENT otherwise.
    """
    match = _ZONE.fullmatch(cron.strip())
    zone, line = (match[1], match[2]) if match else ("UTC", cron.strip())
    # croniter would also take @names, seconds, L and #.
    if not re.fullmatch(r"[\d*/,\-A-Za-z]+(\s+[\d*/,\-A-Za-z]+){4}", line):
        raise invalid("schedule.cron", f"Invalid cron expression {cron!r}.")
    try:
        local = after.astimezone(ZoneInfo(zone))
        found: datetime = croniter(line, local).get_next(datetime)
    except (CroniterError, ZoneInfoNotFoundError, ValueError) as error:
        raise invalid("schedule.cron", f"Invalid cron expression {cron!r}.") from error
    return found.astimezone(UTC)


def turned(schedule: Any, before: Any, after: Any) -> Any:
    """The schedule in state `after`; FAILED_PRECONDITION unless it is in state `before`."""
    if schedule.state != before:
        raise precondition(
            f"The Schedule is in state {State(schedule.state).name}: expected {before.name}."
        )
    schedule.state = after
    return schedule


def has_run(schedule: Any, now: datetime) -> bool:
    """Whether a run is due: before the end, and the count is not reached."""
    due, end = time_of(schedule, "next_run_time"), time_of(schedule, "end_time")
    return due is not None and due <= now and (end is None or due < end) and not _is_spent(schedule)


def is_complete(schedule: Any, now: datetime) -> bool:
    """Whether no run is left: the count is reached, or the end, and no earlier run waits."""
    end = time_of(schedule, "end_time")
    ended = end is not None and end <= now and not has_run(schedule, now)
    return ended or _is_spent(schedule)


def wakes_at(schedule: Any) -> datetime:
    """When it has something to do: a run, or its end."""
    times = (time_of(schedule, "next_run_time"), time_of(schedule, "end_time"))
    return min(when for when in times if when is not None)


def time_of(schedule: Any, field: str) -> datetime | None:
    """A time of the schedule, None when it is unset."""
    if not schedule.HasField(field):
        return None
    found: datetime = getattr(schedule, field).ToDatetime(UTC)
    return found


def field_of(schedule: Any, field: str) -> Any:
    """A field of FILTERS."""
    if field in TIMES:
        return time_of(schedule, field)
    if field == "state":
        return State(schedule.state).name
    if field.endswith("_request"):
        return field if schedule.HasField(field) else None
    return schedule.display_name


def order_key(schedule: Any, field: str) -> str:
    """The text by which a field of ORDERS sorts."""
    value = getattr(schedule, field)
    return f"{value.seconds:020}.{value.nanos:09}"


def _is_spent(schedule: Any) -> bool:
    return bool(0 < schedule.max_run_count <= schedule.started_run_count)


def _copy(source: Any, target: Any, field: str) -> None:
    if _is_set(source, field):
        field_mask_pb2.FieldMask(paths=[field]).MergeMessage(source, target)


def _is_set(message: Any, field: str) -> bool:
    return any(descriptor.name == field for descriptor, _ in message.ListFields())
