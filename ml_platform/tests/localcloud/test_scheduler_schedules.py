"""English-like schedules of Cloud Scheduler, computed in the job's time zone.

The examples are those of App Engine's page about cron.yaml, whose syntax job.proto refers to.
"""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from zoneinfo import ZoneInfo

import pytest
from google.api_core import exceptions
from google.cloud import scheduler_v1

from ml_platform.localcloud import LocalCloud
from ml_platform.localcloud.scheduler.schedules import parse
from ml_platform.tests.localcloud.conftest import PARENT
from ml_platform.tests.localcloud.scheduler_tools import NAME, START, Hook, nightly

WARSAW = ZoneInfo("Europe/Warsaw")
NOON = datetime(2026, 3, 1, 12, tzinfo=UTC)  # a Sunday, 13:00 in Warsaw

DUE = {
    "every 24 hours": ["03-02 13:00", "03-03 13:00"],
    "every 5 minutes": ["03-01 13:05", "03-01 13:10"],
    "every 90 mins": ["03-01 14:30", "03-01 16:00"],
    "every day 00:00": ["03-02 00:00", "03-03 00:00"],
    "every monday 09:00": ["03-02 09:00", "03-09 09:00"],
    "every mon,wed 9:00": ["03-02 09:00", "03-04 09:00"],
    "Every  Monday 09:00": ["03-02 09:00", "03-09 09:00"],
    "every day of april 10:00": ["04-01 10:00", "04-02 10:00"],
    "1st monday of month 10:00": ["03-02 10:00", "04-06 10:00"],
    "first monday of sep,oct,nov 17:00": ["09-07 17:00", "10-05 17:00"],
    "2nd,third mon,wed,thu of march 17:00": ["03-09 17:00", "03-11 17:00", "03-12 17:00"],
    "1 of jan,april,july,oct 00:00": ["04-01 00:00", "07-01 00:00"],
    "1,15 of month 04:10": ["03-15 04:10", "04-01 04:10"],
    "every 2 hours synchronized": ["03-01 14:00", "03-01 16:00"],
    "every 5 minutes from 10:00 to 13:05": ["03-01 13:05", "03-02 10:00", "03-02 10:05"],
    "every 2 hours from 22:00 to 03:00": ["03-01 22:00", "03-02 00:00", "03-02 02:00"],
    "every 12 hours from 10:00 to 19:00": ["03-02 10:00", "03-03 10:00"],
}


@pytest.mark.parametrize("text", DUE)
def test_an_english_schedule_is_due(text: str) -> None:
    schedule, when = parse(text), NOON
    for expected in DUE[text]:
        when = schedule.next(when, WARSAW).astimezone(UTC)
        assert when.astimezone(WARSAW).strftime("%m-%d %H:%M") == expected


def test_days_that_are_rare_are_found() -> None:
    leap = parse("fifth friday of feb 01:00").next(NOON, WARSAW)
    assert leap.date().isoformat() == "2036-02-29"


def test_the_hour_of_the_day_stays_over_the_change_of_the_clocks() -> None:
    schedule, winter = parse("every day 04:00"), datetime(2026, 3, 27, 12, tzinfo=UTC)
    due = schedule.next(winter, WARSAW).astimezone(UTC)
    assert (due.hour, schedule.next(due, WARSAW).astimezone(UTC).hour) == (3, 2)


@pytest.mark.parametrize(
    "text",
    [
        "",
        "every",
        "every day",
        "every 0 minutes",
        "every 5 weeks",
        "every 7 minutes synchronized",
        "every 5 minutes from 10:00",
        "every day 24:00",
        "every monday 09:60",
        "every someday 09:00",
        "every monday of nonth 09:00",
        "6th monday of month 09:00",
        "1st day of month 09:00",
        "31 of feb 10:00",
        "32 of month 10:00",
        "@daily",
        "0 4 * * * *",
        "61 4 * * *",
        "0 4 L * *",
    ],
)
def test_what_is_no_schedule_is_refused_in_googles_words(
    jobs: scheduler_v1.CloudSchedulerClient, text: str
) -> None:
    """googleapis/google-cloud-go#1352, hashicorp/terraform#31571."""
    words = r"^400 Schedule or time zone is invalid\.$"
    with pytest.raises(exceptions.InvalidArgument, match=words):
        jobs.create_job(parent=PARENT, job=nightly("http://127.0.0.1:9/", schedule=text))


@pytest.mark.parametrize("zone", ["Mars/Olympus", "../etc", "Europe"])
def test_what_is_no_time_zone_is_refused_in_the_same_words(
    jobs: scheduler_v1.CloudSchedulerClient, zone: str
) -> None:
    with pytest.raises(exceptions.InvalidArgument, match="Schedule or time zone is invalid"):
        jobs.create_job(parent=PARENT, job=nightly("http://127.0.0.1:9/", time_zone=zone))


def test_an_english_job_rings_without_the_time_of_its_schedule(
    cloud: LocalCloud, jobs: scheduler_v1.CloudSchedulerClient, hook: Hook
) -> None:
    """The header is sent "for Cloud Scheduler jobs specified in the unix-cron format"."""
    jobs.create_job(parent=PARENT, job=nightly(hook.url, schedule="every day 04:00"))
    cloud.clock.advance(2 * 86400)
    assert [at.hour for at in (one.at for one in cloud.scheduler.attempts)] == [4, 4]
    assert all("X-CloudScheduler-ScheduleTime" not in headers for _, headers, _ in hook.rings)
    assert hook.rings[0][1]["X-CloudScheduler"] == "true"


def test_an_interval_begins_at_the_end_of_the_last_execution_and_its_retries(
    cloud: LocalCloud, jobs: scheduler_v1.CloudSchedulerClient, hook: Hook
) -> None:
    hook.status = 500
    job = nightly(hook.url, schedule="every 24 hours", retry_config={"retry_count": 1})
    jobs.create_job(parent=PARENT, job=job)
    cloud.clock.advance(2 * 86400 + 60)
    passed = [attempt.at - START for attempt in cloud.scheduler.attempts]
    day, pause = timedelta(days=1), timedelta(seconds=5)
    assert passed == [day, day + pause, 2 * day + pause, 2 * day + 2 * pause]
    following = jobs.get_job(name=NAME).schedule_time
    assert following - START == 3 * day + 2 * pause
