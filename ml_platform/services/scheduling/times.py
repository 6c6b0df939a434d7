"""When a schedule is due: the cron it is kept as, and its next times. Pure.

Cloud Scheduler goes by the clock on the wall
(https://cloud.google.com/scheduler/docs/configuring/cron-job-schedules). Where clocks go forward, a
time of day that is left out is taken at the end of the gap. Where they go back, a time of day that
comes twice counts once, at the first; an hourly schedule, whose hours both pass, takes both. A
monthly one on the 29th, 30th or 31st skips the months that have no such day.
"""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, date, datetime, timedelta
from functools import lru_cache
from itertools import islice
from zoneinfo import ZoneInfo, available_timezones

from ml_platform.errors import Invalid
from ml_platform.models.states import Frequency

MINUTE = timedelta(minutes=1)
DAY = timedelta(days=1)
YEARS = range(2000, 2200)
"""In these a schedule may begin and be rung; far from where dates end."""
_FORMS = {
    Frequency.ONCE: "{first.minute} {first.hour} {first.day} {first.month} *",
    Frequency.HOURLY: "{first.minute} * * * *",
    Frequency.DAILY: "{first.minute} {first.hour} * * *",
    Frequency.WEEKLY: "{first.minute} {first.hour} * * {weekday}",
    Frequency.MONTHLY: "{first.minute} {first.hour} {first.day} * *",
}


@lru_cache(maxsize=1)
def _known_zones() -> frozenset[str]:
    return frozenset(available_timezones())


def zone_of(name: str) -> ZoneInfo:
    """The time zone of an IANA name.

    :raises Invalid: there is none of that name.
    """
    if name not in _known_zones():
        raise Invalid(
            f"{name!r:.80} is no time zone.",
            code="bad_time_zone",
            advice="Use an IANA name, for example Europe/Berlin.",
        )
    return ZoneInfo(name)


def to_minute(moment: datetime) -> datetime:
    """The moment in UTC without its seconds: cron knows none.

    :raises Invalid: it has no time zone, or lies outside of YEARS.
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
    """The zone in which the cron is read: a single moment is kept in UTC, where each is unique."""
    return "Etc/UTC" if frequency == Frequency.ONCE else time_zone


def cron_for(*, frequency: str, first: datetime, time_zone: str) -> str:
    """The Unix cron of a schedule that repeats what `first` is in that zone: its time of day, and
    for weekly ones its weekday, for monthly ones its day.

    :raises Invalid: no such frequency or zone.
    """
    if frequency not in Frequency.values:
        raise Invalid(
            f"{frequency!r:.80} is no frequency.",
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
    """Up to `count` times later than `after` and not before `first`, in UTC."""
    first = to_minute(first)
    after = max(after, first - MINUTE)
    if frequency == Frequency.ONCE:
        return [first] if first > after else []
    zone = zone_of(time_zone)
    local = first.astimezone(zone)
    if frequency == Frequency.HOURLY:
        return list(islice(_each_hour(after, local.minute, zone), count))
    wall_times = (
        datetime(day.year, day.month, day.day, local.hour, local.minute)  # noqa: DTZ001
        for day in _days(frequency, local, after.astimezone(zone).date() - DAY)
    )
    moments = (_on_the_wall(wall, zone) for wall in wall_times)
    return list(islice((moment for moment in moments if moment > after), count))


def tick_of(*, frequency: str, time_zone: str, rung_for: datetime) -> datetime:
    """The scheduled time a ring is about: of two equal times of day it is the first."""
    tick = to_minute(rung_for)
    if frequency in (Frequency.ONCE, Frequency.HOURLY):
        return tick
    local = tick.astimezone(zone_of(time_zone))
    return local.replace(fold=0).astimezone(UTC)


def _each_hour(after: datetime, minute: int, zone: ZoneInfo) -> Iterator[datetime]:
    moment = to_minute(after) + MINUTE
    while True:
        if moment.astimezone(zone).minute == minute:
            yield moment
        moment += MINUTE


def _days(frequency: str, first: datetime, start: date) -> Iterator[date]:
    day = start
    while True:
        if _is_due(frequency, first, day):
            yield day
        day += DAY


def _is_due(frequency: str, first: datetime, day: date) -> bool:
    if frequency == Frequency.WEEKLY:
        return day.weekday() == first.weekday()
    return frequency == Frequency.DAILY or day.day == first.day


def _on_the_wall(wall: datetime, zone: ZoneInfo) -> datetime:
    """When clocks in that zone show this, or first show something later."""
    moment = wall.replace(tzinfo=zone).astimezone(UTC)
    if moment.astimezone(zone).replace(tzinfo=None) == wall:
        return moment
    while (moment - MINUTE).astimezone(zone).replace(tzinfo=None) > wall:
        moment -= MINUTE
    return moment
