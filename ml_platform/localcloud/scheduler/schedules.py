"""When a job is due: unix-cron, and the English-like schedules of App Engine's cron.

https://cloud.google.com/appengine/docs/standard/scheduling-jobs-with-cron-yaml#defining_the_cron_job_schedule
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime, time, timedelta
from typing import Protocol
from zoneinfo import ZoneInfo

from croniter import CroniterError, croniter

_DAYS = ("monday", "tuesday", "wednesday", "thursday", "friday", "saturday", "sunday")
_MONTHS = (
    "january",
    "february",
    "march",
    "april",
    "may",
    "june",
    "july",
    "august",
    "september",
    "october",
    "november",
    "december",
)
_ORDINALS = (
    ("1st", "first"),
    ("2nd", "second"),
    ("3rd", "third"),
    ("4th", "fourth"),
    ("5th", "fifth"),
)
_TIME = r"([01]?\d|2[0-3]):([0-5]\d)"
_WORDS = r"[a-z0-9]+(?:,[a-z0-9]+)*"
_INTERVAL = re.compile(
    rf"every (\d+) (minutes|mins|hours)(?: (synchronized)| from {_TIME} to {_TIME})?"
)
_ON_DAYS = re.compile(rf"(every|{_WORDS}) ({_WORDS})(?: of ({_WORDS}))? {_TIME}")
_OF_MONTH = re.compile(rf"({_WORDS}) of ({_WORDS}) {_TIME}")
# unix-cron: five fields of numbers or names, without the @names, L and # croniter would take.
_ONE = r"(\d{1,2}|[A-Za-z]{3})"
_ITEM = rf"(\*|{_ONE}(-{_ONE})?)(/\d+)?"
_FIELD = rf"{_ITEM}(,{_ITEM})*"
_CRON = re.compile(rf"{_FIELD}(\s+{_FIELD}){{4}}")
_DAY = 24 * 60
# A leap day on a given weekday comes at the latest after 40 years (1900 and 2100 between).
_FAR = 41 * 366


class Schedule(Protocol):
    """A schedule that was understood."""

    @property
    def from_end(self) -> bool:
        """Whether the time to the next execution begins at the end of the last one."""

    def next(self, after: datetime, zone: ZoneInfo) -> datetime:
        """The first due time later than `after`, aware. ValueError when there is none."""


def parse(text: str) -> Schedule:
    """ValueError for a schedule that is neither unix-cron nor English-like."""
    if _CRON.fullmatch(text.strip()):
        return Cron(text.strip())
    words = " ".join(text.lower().replace(", ", ",").split())
    if match := _INTERVAL.fullmatch(words):
        return _interval(*match.groups())
    if match := _OF_MONTH.fullmatch(words):
        days, months, hour, minute = match.groups()
        if days.replace(",", "").isdigit():
            dates = frozenset(int(day) for day in days.split(","))
            if not dates <= set(range(1, 32)):
                raise ValueError(f"{days} are no days of a month.")
            return OnDays(_at(hour, minute), _months(months), dates=dates)
    if match := _ON_DAYS.fullmatch(words):
        return _on_days(*match.groups())
    raise ValueError(f"{text!r} is no schedule.")


@dataclass(frozen=True)
class Cron:
    """Five fields of unix-cron."""

    text: str
    from_end = False

    def next(self, after: datetime, zone: ZoneInfo) -> datetime:
        """ValueError for a field out of range."""
        try:
            found: datetime = croniter(self.text, after.astimezone(zone)).get_next(datetime)
        except CroniterError as error:
            raise ValueError(str(error)) from error
        return found


@dataclass(frozen=True)
class Interval:
    """`every 12 hours`: so long after the end of the last execution."""

    minutes: int
    from_end = True

    def next(self, after: datetime, zone: ZoneInfo) -> datetime:
        """The time zone does not matter."""
        del zone
        return after + timedelta(minutes=self.minutes)


@dataclass(frozen=True)
class Window:
    """`every 5 minutes from 10:00 to 14:00`: at fixed times, beginning anew each day.

    `last` is the number of minutes after `first`; a window may pass midnight.
    """

    minutes: int
    first: time
    last: int
    from_end = False

    def next(self, after: datetime, zone: ZoneInfo) -> datetime:
        """The first step of a window later than `after`."""
        today = after.astimezone(zone).date()
        for day in range(-1, 3):
            opened = datetime.combine(today + timedelta(days=day), self.first)
            for step in range(0, self.last + 1, self.minutes):
                due = (opened + timedelta(minutes=step)).replace(tzinfo=zone)
                if due.astimezone(UTC) > after:
                    return due
        raise AssertionError("A window opens every day.")


@dataclass(frozen=True)
class OnDays:
    """`2nd,third mon,wed of march 17:00`, or `1,15 of month 09:00` by dates."""

    at: time
    months: frozenset[int]
    weekdays: frozenset[int] = frozenset(range(7))
    ordinals: frozenset[int] = frozenset(range(1, 6))
    dates: frozenset[int] = frozenset(range(1, 32))
    from_end = False

    def next(self, after: datetime, zone: ZoneInfo) -> datetime:
        """ValueError for days that do not exist, such as `31 of feb`."""
        for due in self._from(after, zone):
            if due.astimezone(UTC) > after:
                return due
        raise ValueError("These days do not exist.")

    def _from(self, after: datetime, zone: ZoneInfo) -> Iterator[datetime]:
        today = after.astimezone(zone).date()
        for ahead in range(_FAR):
            day = today + timedelta(days=ahead)
            ordinal = (day.day - 1) // 7 + 1
            if (
                day.month in self.months
                and day.day in self.dates
                and day.weekday() in self.weekdays
                and ordinal in self.ordinals
            ):
                yield datetime.combine(day, self.at, zone)


def _interval(
    number: str,
    unit: str,
    synchronized: str | None,
    from_hour: str | None,
    from_minute: str | None,
    to_hour: str | None,
    to_minute: str | None,
) -> Schedule:
    minutes = int(number) * (60 if unit == "hours" else 1)
    if not 0 < minutes <= 366 * _DAY:
        raise ValueError("An interval is at least a minute.")
    if synchronized:
        if _DAY % minutes:
            raise ValueError("A synchronized interval divides 24 hours.")
        return Window(minutes, time(0), _DAY - 1)
    if from_hour is None or from_minute is None or to_hour is None or to_minute is None:
        return Interval(minutes)
    first, last = _at(from_hour, from_minute), _at(to_hour, to_minute)
    length = (last.hour - first.hour) * 60 + last.minute - first.minute
    return Window(minutes, first, length % _DAY)


def _on_days(ordinals: str, days: str, months: str | None, hour: str, minute: str) -> Schedule:
    every = ordinals == "every"
    if days == "day":
        if not every:
            raise ValueError("Only `every` goes with `day`.")
        return OnDays(_at(hour, minute), _months(months or "month"))
    weekdays = frozenset(_named(day, _DAYS) for day in days.split(","))
    at, within = _at(hour, minute), _months(months or "month")
    if every:
        return OnDays(at, within, weekdays)
    return OnDays(at, within, weekdays, frozenset(map(_ordinal, ordinals.split(","))))


def _at(hour: str, minute: str) -> time:
    return time(int(hour), int(minute))


def _months(text: str) -> frozenset[int]:
    if text == "month":
        return frozenset(range(1, 13))
    return frozenset(_named(month, _MONTHS) + 1 for month in text.split(","))


def _named(word: str, names: tuple[str, ...]) -> int:
    """The place of a name, whole or by its first three letters."""
    for place, name in enumerate(names):
        if word in (name, name[:3]):
            return place
    raise ValueError(f"{word} is none of {', '.join(names)}.")


def _ordinal(word: str) -> int:
    for number, names in enumerate(_ORDINALS, start=1):
        if word in names:
            return number
    raise ValueError(f"{word} is no ordinal.")
