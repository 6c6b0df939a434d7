"""Times for people: how long ago, how long it took, and the exact time as a tooltip."""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta

from ml_platform.text import rough


@dataclass(frozen=True, slots=True)
class Moment:
    """A time in three formats: ISO 8601, exact, and relative to when the page was rendered."""

    iso: str
    exact: str
    relative: str = field(repr=False)

    @property
    def short(self) -> str:
        """`3m`, `now`, `in 2h`, to be shown beside a badge."""
        text = self.relative.removesuffix(" ago").removeprefix("just ")
        return re.sub(r"(\d+) ([a-z])[a-z]*", r"\1\2", text)


def moment(when: datetime | None, now: datetime) -> Moment | None:
    """Format a time; None stays None."""
    if when is None:
        return None
    when = when.astimezone(UTC)
    return Moment(
        iso=iso(when),
        exact=f"{when:%Y-%m-%d %H:%M:%S} UTC",
        relative=relative(now - when),
    )


def relative(age: timedelta) -> str:
    """`3 min ago`; under a minute `just now`; in the future `in 3 min`."""
    length = rough(age)
    if not length:
        return "just now"
    return f"{length} ago" if age > timedelta() else f"in {length}"


def elapsed(began: datetime | None, ended: datetime | None, now: datetime) -> timedelta | None:
    """How long it took, or how long it has run so far; None before it began."""
    return None if began is None else (ended or now) - began


def iso(when: datetime | None) -> str:
    """A time for machines; '' for None."""
    return when.isoformat(timespec="seconds") if when else ""


def clock(length: timedelta | None) -> str:
    """`0:41`, `12:05`, `1:02:05`; '' for None."""
    if length is None:
        return ""
    minutes, seconds = divmod(max(0, int(length.total_seconds())), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02}:{seconds:02}" if hours else f"{minutes}:{seconds:02}"


def duration(length: timedelta | None) -> str:
    """`850 ms`, `12 s`, `3 min 05 s`, `2 h 10 min`; '' for None."""
    if length is None:
        return ""
    seconds = max(0.0, length.total_seconds())
    if seconds < 1:
        return f"{round(seconds * 1000)} ms"
    minutes, rest = divmod(int(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    if hours:
        return f"{hours} h {minutes:02} min"
    return f"{minutes} min {rest:02} s" if minutes else f"{rest} s"
