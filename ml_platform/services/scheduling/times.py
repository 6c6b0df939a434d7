"""When a schedule is due: its cron expression, and its next times. Pure functions.

Cloud Scheduler uses local time
(https://cloud.google.com/scheduler/docs/configuring/cron-job-schedules). Where clocks go forward, a
time of day that does not exist is moved to the end of the gap. Where they go back, a time of day
that occurs twice counts once, the first time; an hourly schedule takes both hours. A monthly one on
the 29th, 30th or 31st skips the months that have no such day.
"""

from __future__ import annotations

import itertools
from datetime import UTC, datetime, timedelta
from functools import lru_cache
from zoneinfo import ZoneInfo, available_timezones

from ml_platform.errors import Invalid
from ml_platform.models.states import Frequency

MINUTE = timedelta(minutes=1)
DAY = timedelta(days=1)
YEARS = range(2000, 2200)
"""The years in which a schedule may run: far from the limits of `datetime`."""
_FORMS = {
    Frequency.ONCE: "{first.minute} {first.hour} {first.day} {first.month} *",
    Frequency.HOURLY: "{first.minute} * * * *",
    Frequency.DAILY: "{first.minute} {first.hour} * * *",
    Frequency.WEEKLY: "{first.minute} {first.hour} * * {weekday}",
    Frequency.MONTHLY: "{first.minute} {first.hour} {first.day} * *",
}


_known_zones = lru_cache(maxsize=1)(available_timezones)


def zone_of(name: str) -> ZoneInfo:
    """Return the time zone of an IANA name.

    :raises Invalid: no time zone has that name.
    """
    if name not in _known_zones():
        raise Invalid(
            f"{name!r:.80} is not a time zone.",
            code="bad_time_zone",
            advice="Use an IANA name, for example Europe/Berlin.",
        )
    return ZoneInfo(name)


def to_minute(moment: datetime) -> datetime:
    """Return the moment in UTC without its seconds, which cron does not have.

    :raises Invalid: it has no time zone, or is not in YEARS.
    """
    if moment.tzinfo is None:
        raise Invalid(
            f"{moment.isoformat()} has no time zone.",
            code="bad_time",
            advice="Write it as 2026-03-01T04:00:00Z.",
        )
    if moment.year not in YEARS:
        raise Invalid(
            f"{moment.isoformat()} is too far away.",
            code="bad_time",
            advice=f"Use a time of the years {YEARS[0]} to {YEARS[-1]}.",
        )
    return moment.astimezone(UTC).replace(second=0, microsecond=0)


def cron_zone(*, frequency: str, time_zone: str) -> str:
    """Return the zone of the cron expression: UTC for a single moment, where each is unique."""
    return "Etc/UTC" if frequency == Frequency.ONCE else time_zone


def cron_for(*, frequency: str, first: datetime, time_zone: str) -> str:
    """Return the cron expression that repeats `first` in that zone: its time of day, and for weekly
    schedules its weekday, for monthly ones its day.

    :raises Invalid: the frequency or the zone does not exist.
    """
    if frequency not in Frequency.values:
        raise Invalid(
            f"{frequency!r:.80} is not a frequency.",
            code="bad_frequency",
            advice=f"Frequencies: {', '.join(Frequency.values)}.",
        )
    zone_of(time_zone)
    local = to_minute(first).astimezone(
        zone_of(cron_zone(frequency=frequency, time_zone=time_zone))
    )
    return _FORMS[Frequency(frequency)].format(first=local, weekday=local.isoweekday() % 7)


def next_times(
    *, frequency: str, first: datetime, time_zone: str, after: datetime, count: int = 1
) -> list[datetime]:
    """Return up to `count` times later than `after` and not before `first`, in UTC."""
    first = to_minute(first)
    after = max(after, first - MINUTE)
    if frequency == Frequency.ONCE:
        return [first] if first > after else []
    zone = zone_of(time_zone)
    local = first.astimezone(zone)
    if frequency == Frequency.HOURLY:
        minutes = (to_minute(after) + n * MINUTE for n in itertools.count(1))
        moments = (m for m in minutes if m.astimezone(zone).minute == local.minute)
    else:
        start = datetime.combine(after.astimezone(zone).date() - DAY, local.time())
        walls = (start + n * DAY for n in itertools.count())
        due = (_on_the_wall(wall, zone) for wall in walls if _is_due(frequency, local, wall))
        moments = (moment for moment in due if moment > after)
    return list(itertools.islice(moments, count))


def tick_of(*, frequency: str, time_zone: str, at: datetime) -> datetime:
    """Return the scheduled time that a call is for: the first of two equal times of day."""
    tick = to_minute(at)
    if frequency in (Frequency.ONCE, Frequency.HOURLY):
        return tick
    local = tick.astimezone(zone_of(time_zone))
    return local.replace(fold=0).astimezone(UTC)


def _is_due(frequency: str, first: datetime, day: datetime) -> bool:
    if frequency == Frequency.WEEKLY:
        return day.weekday() == first.weekday()
    return frequency == Frequency.DAILY or day.day == first.day


def _on_the_wall(wall: datetime, zone: ZoneInfo) -> datetime:
    """Return the moment when clocks in that zone show this, or first show a later time."""
    moment = wall.replace(tzinfo=zone).astimezone(UTC)
    if moment.astimezone(zone).replace(tzinfo=None) == wall:
        return moment
    while (moment - MINUTE).astimezone(zone).replace(tzinfo=None) > wall:
        moment -= MINUTE
    return moment
