"""When schedules are due, held against croniter over years, zones and their clock changes."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from itertools import islice
from zoneinfo import ZoneInfo

import pytest
from croniter import croniter
from hypothesis import example, given, settings
from hypothesis import strategies as st

from ml_platform.errors import Invalid
from ml_platform.models.states import Frequency
from ml_platform.services.scheduling.times import (
    cron_for,
    cron_zone,
    next_times,
    tick_of,
    to_minute,
    zone_of,
)

ZONES = [
    "UTC",
    "Europe/Berlin",
    "Europe/London",
    "America/New_York",
    "America/Sao_Paulo",
    "America/St_Johns",
    "Asia/Kolkata",
    "Asia/Kathmandu",
    "Asia/Tokyo",
    "Australia/Lord_Howe",
    "Australia/Sydney",
    "Pacific/Apia",
    "Pacific/Auckland",
    "Pacific/Chatham",
]
RECURRING = [f for f in Frequency if f != Frequency.ONCE]
moments = st.datetimes(
    min_value=datetime(2015, 1, 1),  # noqa: DTZ001
    max_value=datetime(2036, 1, 1),  # noqa: DTZ001
    timezones=st.just(UTC),
)


def at(text: str, zone: str = "UTC") -> datetime:
    return datetime.fromisoformat(text).replace(tzinfo=ZoneInfo(zone))


def by_croniter(cron: str, zone: ZoneInfo, after: datetime, *, hourly: bool) -> list[datetime]:
    """croniter's next ticks; it takes a time of day that comes twice at both, we only once."""
    ticks = croniter(cron, after.astimezone(zone))
    found = (ticks.get_next(datetime) for _ in range(100))
    return list(islice((t.astimezone(UTC) for t in found if hourly or t.fold == 0), 4))


@given(
    frequency=st.sampled_from(RECURRING),
    zone=st.sampled_from(ZONES),
    first=moments,
    later=st.timedeltas(min_value=timedelta(0), max_value=timedelta(days=2000)),
)
@example("daily", "Europe/Berlin", at("2026-03-01T01:30"), timedelta(days=27))
@example("daily", "Europe/Berlin", at("2026-03-01T00:30"), timedelta(days=27))
@example("hourly", "Europe/Berlin", at("2026-03-28T22:15"), timedelta(hours=1))
@example("monthly", "Asia/Tokyo", at("2026-01-31T02:00"), timedelta(0))
@example("monthly", "America/New_York", at("2023-12-29T12:00"), timedelta(days=20))
@settings(max_examples=400, deadline=None)
@pytest.mark.slow
def test_next_times_are_croniters(
    frequency: str, zone: str, first: datetime, later: timedelta
) -> None:
    cron = cron_for(frequency=frequency, first=first, time_zone=zone)
    after = to_minute(first) + later
    ours = next_times(frequency=frequency, first=first, time_zone=zone, after=after, count=4)
    hourly = frequency == Frequency.HOURLY
    assert ours == by_croniter(cron, ZoneInfo(zone), after, hourly=hourly)


@given(st.sampled_from(RECURRING), st.sampled_from(ZONES), moments)
@settings(max_examples=200, deadline=None)
def test_the_first_time_is_the_one_that_was_asked_for(
    frequency: str, zone: str, first: datetime
) -> None:
    before = first - timedelta(days=40)
    found = next_times(frequency=frequency, first=first, time_zone=zone, after=before)
    wall = to_minute(first).astimezone(ZoneInfo(zone))
    if wall.fold == 0 or frequency == Frequency.HOURLY:
        assert found == [to_minute(first)]
    assert found[0] >= to_minute(first)


@pytest.mark.parametrize(
    ("frequency", "cron"),
    [
        ("once", "30 2 31 1 *"),
        ("hourly", "30 * * * *"),
        ("daily", "30 3 * * *"),
        ("weekly", "30 3 * * 6"),
        ("monthly", "30 3 31 * *"),
    ],
)
def test_each_frequency_has_its_cron_in_its_zone(frequency: str, cron: str) -> None:
    first = at("2026-01-31T03:30:59", "Europe/Berlin")
    assert cron_for(frequency=frequency, first=first, time_zone="Europe/Berlin") == cron
    zone = "Etc/UTC" if frequency == "once" else "Europe/Berlin"
    assert cron_zone(frequency=frequency, time_zone="Europe/Berlin") == zone


def test_sunday_is_day_0_of_the_week() -> None:
    sunday = at("2026-02-08T00:00")
    assert cron_for(frequency="weekly", first=sunday, time_zone="UTC") == "0 0 * * 0"


def times(frequency: str, first: datetime, zone: str, count: int = 4) -> list[str]:
    after = first - timedelta(minutes=1)
    found = next_times(frequency=frequency, first=first, time_zone=zone, after=after, count=count)
    return [moment.astimezone(ZoneInfo(zone)).isoformat() for moment in found]


def test_a_time_of_day_that_is_left_out_is_taken_at_the_end_of_the_gap() -> None:
    assert times("daily", at("2026-03-28T02:30", "Europe/Berlin"), "Europe/Berlin", 3) == [
        "2026-03-28T02:30:00+01:00",
        "2026-03-29T03:00:00+02:00",
        "2026-03-30T02:30:00+02:00",
    ]


def test_a_time_of_day_that_comes_twice_counts_once() -> None:
    assert times("daily", at("2026-10-24T02:30", "Europe/Berlin"), "Europe/Berlin", 3) == [
        "2026-10-24T02:30:00+02:00",
        "2026-10-25T02:30:00+02:00",
        "2026-10-26T02:30:00+01:00",
    ]


def test_an_hourly_schedule_takes_both_of_two_equal_hours() -> None:
    assert times("hourly", at("2026-10-25T01:30", "Europe/Berlin"), "Europe/Berlin") == [
        "2026-10-25T01:30:00+02:00",
        "2026-10-25T02:30:00+02:00",
        "2026-10-25T02:30:00+01:00",
        "2026-10-25T03:30:00+01:00",
    ]


def test_the_31st_skips_shorter_months() -> None:
    found = times("monthly", at("2026-01-31T04:00"), "UTC", 7)
    assert [moment[5:7] for moment in found] == ["01", "03", "05", "07", "08", "10", "12"]


def test_the_29th_of_february_is_there_in_leap_years() -> None:
    found = times("monthly", at("2027-01-29T04:00"), "UTC", 14)
    assert found[1].startswith("2027-03-29")
    assert found[12].startswith("2028-02-29")
    daily = times("daily", at("2028-02-28T04:00"), "UTC", 3)
    assert [moment[5:10] for moment in daily] == ["02-28", "02-29", "03-01"]


def test_a_schedule_for_once_has_one_time() -> None:
    first = at("2026-10-25T02:30", "Europe/Berlin").replace(fold=1)
    assert next_times(
        frequency="once", first=first, time_zone="Europe/Berlin", after=at("2026-01-01T00:00")
    ) == [at("2026-10-25T01:30")]
    assert next_times(frequency="once", first=first, time_zone="UTC", after=first) == []


def test_both_rings_of_a_time_of_day_that_comes_twice_are_about_the_same_time() -> None:
    first, second = at("2026-10-25T00:30"), at("2026-10-25T01:30:07")
    for frequency, same in [("daily", True), ("weekly", True), ("hourly", False)]:
        ticks = {
            tick_of(frequency=frequency, time_zone="Europe/Berlin", at=moment)
            for moment in (first, second)
        }
        assert (len(ticks) == 1) is same


@pytest.mark.parametrize(
    "name", ["", "Berlin", "../../etc/passwd", "/etc/passwd", "America", "x" * 999]
)
def test_what_is_no_zone_is_refused(name: str) -> None:
    with pytest.raises(Invalid, match="not a time zone"):
        zone_of(name)


def test_a_wrong_frequency_or_a_time_without_zone_is_refused() -> None:
    with pytest.raises(Invalid, match="not a frequency"):
        cron_for(frequency="yearly", first=at("2026-01-01T00:00"), time_zone="UTC")
    with pytest.raises(Invalid, match="no time zone"):
        cron_for(frequency="daily", first=datetime(2026, 1, 1), time_zone="UTC")  # noqa: DTZ001
