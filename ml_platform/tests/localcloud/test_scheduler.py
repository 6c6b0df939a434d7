"""Cloud Scheduler really rings: on the Clock, with a token Google's verifier accepts."""

from __future__ import annotations

import threading
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
import requests
from google.api_core import exceptions
from google.auth.transport.requests import Request
from google.cloud import scheduler_v1
from google.oauth2 import id_token

from ml_platform.localcloud import LocalCloud
from ml_platform.localcloud.scheduler.rules import Job as RawJob
from ml_platform.localcloud.scheduler.rules import backoff, next_tick
from ml_platform.tests.localcloud.conftest import PARENT
from ml_platform.tests.localcloud.scheduler_tools import NAME, RINGER, START, Hook, nightly


def rung(cloud: LocalCloud) -> list[datetime]:
    """When it rang."""
    return [attempt.at for attempt in cloud.scheduler.attempts]


def test_a_ring_carries_a_token_that_googles_verifier_accepts(
    cloud: LocalCloud, jobs: scheduler_v1.CloudSchedulerClient, hook: Hook
) -> None:
    jobs.create_job(parent=PARENT, job=nightly(hook.url))
    cloud.clock.advance(86400)
    ((line, headers, body),) = hook.rings
    assert (line, body) == ("POST /hook/?a=1", b"{}")
    assert headers["User-Agent"] == "Google-Cloud-Scheduler"
    assert headers["X-CloudScheduler"] == "true"
    assert headers["X-CloudScheduler-JobName"] == "nightly"
    assert headers["X-CloudScheduler-ScheduleTime"] == "2026-03-02T04:00:00Z"
    assert headers["Content-Type"] == "application/json"
    kind, _, token = headers["Authorization"].partition(" ")
    with requests.Session() as session:
        claims = id_token.verify_token(
            token,
            Request(session),
            audience=hook.url,
            certs_url=f"{cloud.http_url}/oauth2/v1/certs",
        )
    assert (kind, claims["email"], claims["email_verified"]) == ("Bearer", RINGER, True)


def test_every_tick_that_is_passed_over_rings_once_in_order(
    cloud: LocalCloud, jobs: scheduler_v1.CloudSchedulerClient, hook: Hook
) -> None:
    jobs.create_job(parent=PARENT, job=nightly(hook.url))
    seen: list[datetime] = []
    hook.before = lambda: seen.append(cloud.clock.now())
    cloud.clock.advance(3 * 86400)
    ticks = [datetime(2026, 3, day, 4, tzinfo=UTC) for day in (2, 3, 4)]
    assert rung(cloud) == ticks
    assert seen == ticks
    job = jobs.get_job(name=NAME)
    assert (job.last_attempt_time, job.status.code) == (ticks[-1], 0)
    assert job.schedule_time == datetime(2026, 3, 5, 4, tzinfo=UTC)


def test_a_target_may_call_the_cloud_while_it_is_rung(
    cloud: LocalCloud, jobs: scheduler_v1.CloudSchedulerClient, hook: Hook
) -> None:
    jobs.create_job(parent=PARENT, job=nightly(hook.url))
    seen: list[str] = []
    hook.before = lambda: seen.append(jobs.get_job(name=NAME, timeout=5).name)
    cloud.clock.advance(86400)
    assert seen == [NAME]


def test_a_paused_job_is_silent_until_it_is_resumed(
    cloud: LocalCloud, jobs: scheduler_v1.CloudSchedulerClient, hook: Hook
) -> None:
    jobs.create_job(parent=PARENT, job=nightly(hook.url))
    assert jobs.pause_job(name=NAME).state == scheduler_v1.Job.State.PAUSED
    with pytest.raises(exceptions.FailedPrecondition):
        jobs.pause_job(name=NAME)
    cloud.clock.advance(2 * 86400)
    assert hook.rings == []
    assert jobs.resume_job(name=NAME).state == scheduler_v1.Job.State.ENABLED
    with pytest.raises(exceptions.FailedPrecondition):
        jobs.resume_job(name=NAME)
    cloud.clock.advance(86400)
    assert len(hook.rings) == 1


def test_a_deleted_job_is_silent(
    cloud: LocalCloud, jobs: scheduler_v1.CloudSchedulerClient, hook: Hook
) -> None:
    jobs.create_job(parent=PARENT, job=nightly(hook.url))
    jobs.delete_job(name=NAME)
    cloud.clock.advance(86400)
    assert hook.rings == []
    for call in (jobs.get_job, jobs.delete_job, jobs.run_job, jobs.pause_job):
        with pytest.raises(exceptions.NotFound):
            call(name=NAME)


def test_a_forced_run_rings_now_with_the_time_of_the_next_tick(
    cloud: LocalCloud, jobs: scheduler_v1.CloudSchedulerClient, hook: Hook
) -> None:
    jobs.create_job(parent=PARENT, job=nightly(hook.url))
    jobs.run_job(name=NAME)
    assert cloud.scheduler.wait_idle()
    (attempt,) = cloud.scheduler.attempts
    assert (attempt.forced, attempt.at) == (True, START)
    assert attempt.schedule_time == datetime(2026, 3, 2, 4, tzinfo=UTC)


def test_a_failed_ring_is_tried_again_with_growing_pauses(
    cloud: LocalCloud, jobs: scheduler_v1.CloudSchedulerClient, hook: Hook
) -> None:
    hook.status = 503
    jobs.create_job(parent=PARENT, job=nightly(hook.url, retry_config={"retry_count": 3}))
    cloud.clock.advance(86400)
    first = datetime(2026, 3, 2, 4, tzinfo=UTC)
    assert rung(cloud) == [first + timedelta(seconds=s) for s in (0, 5, 15, 35)]
    assert {attempt.schedule_time for attempt in cloud.scheduler.attempts} == {first}
    status = jobs.get_job(name=NAME).status
    assert (status.code, "503" in status.message) == (14, True)


@pytest.mark.parametrize(("count", "seconds", "retries"), [(0, 16, 2), (1, 16, 2), (3, 16, 3)])
def test_retries_end_when_both_limits_are_reached_or_with_success(
    cloud: LocalCloud,
    jobs: scheduler_v1.CloudSchedulerClient,
    hook: Hook,
    count: int,
    seconds: int,
    retries: int,
) -> None:
    """A job is retried "until both limits are reached" (RetryConfig)."""
    hook.status = 500
    retry = {"retry_count": count, "max_retry_duration": timedelta(seconds=seconds)}
    jobs.create_job(parent=PARENT, job=nightly(hook.url, retry_config=retry))
    cloud.clock.advance(86400)
    made = len(cloud.scheduler.attempts)
    assert [attempt.retry for attempt in cloud.scheduler.attempts] == list(range(retries + 1))
    hook.before = lambda: setattr(hook, "status", 200)
    cloud.clock.advance(86400)
    assert [attempt.http_status for attempt in cloud.scheduler.attempts[made:]] == [200]


def test_nobody_at_the_other_end_is_unavailable(
    cloud: LocalCloud, jobs: scheduler_v1.CloudSchedulerClient, hook: Hook
) -> None:
    hook.close()
    jobs.create_job(parent=PARENT, job=nightly(hook.url))
    cloud.clock.advance(86400)
    (attempt,) = cloud.scheduler.attempts
    assert (attempt.http_status, attempt.code) == (None, 14)


def test_an_update_changes_what_its_mask_names(
    cloud: LocalCloud, jobs: scheduler_v1.CloudSchedulerClient, hook: Hook
) -> None:
    jobs.create_job(parent=PARENT, job=nightly(hook.url, description="before"))
    asked = scheduler_v1.Job(name=NAME, schedule="30 5 * * *", description="after")
    changed = jobs.update_job(job=asked, update_mask={"paths": ["schedule"]})
    assert (changed.schedule, changed.description) == ("30 5 * * *", "before")
    assert changed.schedule_time == datetime(2026, 3, 2, 5, 30, tzinfo=UTC)
    cloud.clock.advance(86400)
    assert rung(cloud) == [datetime(2026, 3, 2, 5, 30, tzinfo=UTC)]
    with pytest.raises(exceptions.InvalidArgument):
        jobs.update_job(job=asked, update_mask={"paths": ["state"]})


@pytest.mark.parametrize(
    "wrong",
    [
        {"schedule": "every day"},
        {"schedule": "@daily"},
        {"schedule": "0 4 * * * *"},
        {"schedule": "61 4 * * *"},
        {"schedule": "0 4 L * *"},
        {"time_zone": "Mars/Olympus"},
        {"attempt_deadline": timedelta(seconds=14)},
        {"attempt_deadline": timedelta(minutes=31)},
        {"retry_config": {"retry_count": 6}},
        {"name": f"{PARENT}/jobs/with space"},
        {"http_target": {"uri": "ftp://host/"}},
        {"http_target": None},
    ],
)
def test_what_google_refuses_is_refused(
    jobs: scheduler_v1.CloudSchedulerClient, hook: Hook, wrong: dict[str, Any]
) -> None:
    with pytest.raises(exceptions.InvalidArgument):
        jobs.create_job(parent=PARENT, job=nightly(hook.url, **wrong))


def test_names_are_taken_once_and_listed_in_pages(
    jobs: scheduler_v1.CloudSchedulerClient, hook: Hook
) -> None:
    for number in range(4):
        jobs.create_job(parent=PARENT, job=nightly(hook.url, name=f"{PARENT}/jobs/j{number}"))
    with pytest.raises(exceptions.AlreadyExists):
        jobs.create_job(parent=PARENT, job=nightly(hook.url, name=f"{PARENT}/jobs/j0"))
    pages = list(jobs.list_jobs(request={"parent": PARENT, "page_size": 2}).pages)
    assert [len(page.jobs) for page in pages] == [2, 2]
    assert len(list(jobs.list_jobs(request={"parent": PARENT, "page_size": 9999}))) == 4


def test_ticks_follow_the_time_zone_over_the_change_of_the_clocks() -> None:
    job = RawJob(schedule="0 4 * * *", time_zone="Europe/Warsaw")
    winter = next_tick(job, datetime(2026, 3, 27, 12, tzinfo=UTC))
    summer = next_tick(job, datetime(2026, 3, 28, 12, tzinfo=UTC))
    assert (winter.hour, summer.hour) == (3, 2)


def test_pauses_double_then_grow_evenly_up_to_the_longest() -> None:
    retry = RawJob().retry_config
    retry.min_backoff_duration.FromSeconds(10)
    retry.max_backoff_duration.FromSeconds(100)
    retry.max_doublings = 2
    pauses = [backoff(retry, number).total_seconds() for number in range(1, 6)]
    assert pauses == [10, 20, 40, 80, 100]


def test_after_a_restart_the_next_tick_rings_and_the_missed_do_not(
    tmp_path: Path, hook: Hook
) -> None:
    state = tmp_path / "cloud.sqlite"
    with LocalCloud(state=state) as first:
        first.clock.freeze()
        first.clock.set(START)
        request = scheduler_v1.CreateJobRequest(parent=PARENT, job=nightly(hook.url))
        with first.core.lock:
            first.scheduler.create_job(request)
    with LocalCloud(state=state) as second:
        assert hook.rings == []
        second.clock.advance(86400)
        assert len(hook.rings) == 1


def test_real_time_rings_too(cloud: LocalCloud, hook: Hook) -> None:
    request = scheduler_v1.CreateJobRequest(
        parent=PARENT, job=nightly(hook.url, schedule="* * * * *")
    )
    now = datetime.now(UTC)
    cloud.clock.set(now.replace(second=59, microsecond=800_000))
    rings = threading.Event()
    hook.before = rings.set
    cloud.scheduler.create_job(request)
    assert rings.wait(10)
    assert cloud.scheduler.wait_idle()
    assert [attempt.forced for attempt in cloud.scheduler.attempts] == [False]
