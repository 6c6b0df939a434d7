"""Executions of a Cloud Scheduler job: one at a time, retried, and what their requests look like.

Retold from google/cloud/scheduler/v1/{job,target,cloudscheduler}.proto.
"""

from __future__ import annotations

import threading
from collections.abc import Iterator
from datetime import datetime, timedelta
from typing import Any

import pytest
from google.api_core import exceptions
from google.cloud import scheduler_v1

from ml_platform.localcloud import LocalCloud
from ml_platform.tests.localcloud.conftest import PARENT
from ml_platform.tests.localcloud.scheduler_tools import NAME, START, Hook, nightly

HOURLY = "0 * * * *"


class Gate:
    """Holds every call of the hook until it is opened."""

    def __init__(self, hook: Hook) -> None:
        self.entered = threading.Semaphore(0)
        self.opened = threading.Event()
        hook.before = self._hold

    def _hold(self) -> None:
        self.entered.release()
        assert self.opened.wait(10)


@pytest.fixture
def gate(hook: Hook) -> Iterator[Gate]:
    """Calls of the hook wait."""
    gate = Gate(hook)
    yield gate
    gate.opened.set()


def times(cloud: LocalCloud) -> list[datetime]:
    """The scheduled times of the calls, in order of their ends."""
    return [attempt.schedule_time for attempt in cloud.scheduler.attempts]


def test_an_execution_that_is_due_while_another_runs_starts_when_that_ends(
    cloud: LocalCloud, jobs: scheduler_v1.CloudSchedulerClient, hook: Hook, gate: Gate
) -> None:
    """ "Cloud Scheduler will never allow two simultaneously outstanding executions." """
    jobs.create_job(parent=PARENT, job=nightly(hook.url, schedule=HOURLY))
    jobs.run_job(name=NAME)
    assert gate.entered.acquire(timeout=10)
    cloud.clock.advance(3 * 3600)
    assert len(hook.rings) == 1
    gate.opened.set()
    assert cloud.scheduler.wait_idle()
    # Three were due; the first of them waited, and its start made it the only one.
    assert times(cloud) == [START + timedelta(hours=1)] * 2
    assert [attempt.forced for attempt in cloud.scheduler.attempts] == [True, False]
    assert cloud.scheduler.attempts[1].at == START + timedelta(hours=3)
    cloud.clock.advance(3600)
    assert times(cloud)[2:] == [START + timedelta(hours=4)]


def test_a_forced_run_does_not_wait(
    cloud: LocalCloud, jobs: scheduler_v1.CloudSchedulerClient, hook: Hook, gate: Gate
) -> None:
    """ "Cloud Scheduler will dispatch the job, even if the job is already running." """
    jobs.create_job(parent=PARENT, job=nightly(hook.url))
    for _ in range(2):
        jobs.run_job(name=NAME)
        assert gate.entered.acquire(timeout=10)
    gate.opened.set()
    assert cloud.scheduler.wait_idle()
    assert len(cloud.scheduler.attempts) == 2


@pytest.mark.parametrize("verb", ["pause_job", "delete_job"])
def test_an_execution_that_waits_does_not_start_for_a_job_that_may_not_run(
    cloud: LocalCloud, jobs: scheduler_v1.CloudSchedulerClient, hook: Hook, gate: Gate, verb: str
) -> None:
    jobs.create_job(parent=PARENT, job=nightly(hook.url, schedule=HOURLY))
    jobs.run_job(name=NAME)
    assert gate.entered.acquire(timeout=10)
    cloud.clock.advance(3600)
    getattr(jobs, verb)(name=NAME)
    gate.opened.set()
    assert cloud.scheduler.wait_idle()
    assert [attempt.forced for attempt in cloud.scheduler.attempts] == [True]


def test_retries_end_with_the_next_scheduled_time(
    cloud: LocalCloud, jobs: scheduler_v1.CloudSchedulerClient, hook: Hook
) -> None:
    """ "retry_count times, or until the next scheduled execution time, whichever comes first" """
    hook.status = 503
    pause = timedelta(minutes=40)
    retry = {"retry_count": 5, "min_backoff_duration": pause, "max_backoff_duration": pause}
    jobs.create_job(parent=PARENT, job=nightly(hook.url, schedule=HOURLY, retry_config=retry))
    cloud.clock.advance(2 * 3600 + 60)
    assert [attempt.retry for attempt in cloud.scheduler.attempts] == [0, 1, 0]


def test_the_time_of_a_retry_is_shown_and_a_pause_takes_it_away(
    cloud: LocalCloud, jobs: scheduler_v1.CloudSchedulerClient, hook: Hook
) -> None:
    """schedule_time "may be a retry of a previously failed attempt"."""
    hook.status = 503
    jobs.create_job(
        parent=PARENT, job=nightly(hook.url, schedule=HOURLY, retry_config={"retry_count": 5})
    )
    cloud.clock.advance(3600)
    shown = jobs.get_job(name=NAME).schedule_time
    assert shown == START + timedelta(hours=1, seconds=5)
    jobs.pause_job(name=NAME)
    cloud.clock.advance(3600)
    assert len(hook.rings) == 1
    jobs.resume_job(name=NAME)
    hook.status = 200
    cloud.clock.advance(3600)
    assert jobs.get_job(name=NAME).schedule_time == START + timedelta(hours=4)


def test_headers_that_are_schedulers_own_are_replaced(
    cloud: LocalCloud, jobs: scheduler_v1.CloudSchedulerClient, hook: Hook
) -> None:
    given = {
        "user-agent": "mine",
        "Host": "evil.example",
        "X-Google-Secret": "1",
        "X-AppEngine-QueueName": "1",
        "x-cloudscheduler-jobname": "other",
        "authorization": "Basic 1",
        "X-Mine": "kept",
    }
    job = nightly(hook.url)
    job.http_target.headers = given
    made = jobs.create_job(parent=PARENT, job=job)
    assert made.http_target.headers["User-Agent"] == "Google-Cloud-Scheduler"
    cloud.clock.advance(86400)
    ((_, headers, _),) = hook.rings
    lower = {name.lower(): text for name, text in headers.items()}
    assert len(lower) == len(headers)
    assert (lower["user-agent"], lower["x-mine"]) == ("Google-Cloud-Scheduler", "kept")
    assert lower["x-cloudscheduler-jobname"] == "nightly"
    assert lower["authorization"].startswith("Bearer ")
    assert lower["host"].startswith("127.0.0.1:")
    assert lower["content-type"] == "application/octet-stream"
    assert not {"x-google-secret", "x-appengine-queuename"} & set(lower)


@pytest.mark.parametrize(
    ("status", "line"), [(307, "POST /there"), (308, "POST /there"), (302, "GET /there")]
)
def test_a_redirect_is_followed(
    cloud: LocalCloud,
    jobs: scheduler_v1.CloudSchedulerClient,
    hook: Hook,
    status: int,
    line: str,
) -> None:
    """ "the response returned by the redirected request is considered" (HttpTarget)."""
    hook.status, hook.headers = status, {"Location": "/there"}

    def arrive() -> None:
        if len(hook.rings) == 2:
            hook.status, hook.headers = 204, {}

    hook.before = arrive
    jobs.create_job(parent=PARENT, job=nightly(hook.url))
    cloud.clock.advance(86400)
    assert [ring[0] for ring in hook.rings] == ["POST /hook/?a=1", line]
    assert [attempt.http_status for attempt in cloud.scheduler.attempts] == [204]


@pytest.mark.parametrize(
    ("kind", "target"),
    [
        ("pubsub_target", {"topic_name": "projects/demo-project/topics/t", "data": b"x"}),
        ("app_engine_http_target", {"relative_uri": "/"}),
    ],
)
def test_other_targets_are_unimplemented_by_name(
    jobs: scheduler_v1.CloudSchedulerClient, kind: str, target: dict[str, Any]
) -> None:
    asked = scheduler_v1.Job(name=NAME, schedule=HOURLY, **{kind: target})
    with pytest.raises(exceptions.MethodNotImplemented, match=kind):
        jobs.create_job(parent=PARENT, job=asked)


@pytest.mark.parametrize(
    "more",
    [
        {"description": "x" * 501},
        {"retry_config": {"retry_count": -1}},
        {"retry_config": {"max_doublings": -1}},
        {"retry_config": {"min_backoff_duration": timedelta(seconds=-1)}},
        {"http_target": {"uri": "http://a/", "http_method": "GET", "body": b"x"}},
        {"http_target": {"uri": "http://a/" + "x" * 2083}},
        {"http_target": {"uri": "http://[a/"}},
        {"http_target": {"uri": "http://a/", "http_method": 99}},
        {"http_target": {"uri": "http://a/", "headers": {"X": "x" * 80 * 1024}}},
        {"http_target": {"uri": "http://a/", "body": b"x" * 1024 * 1024}},
    ],
    ids=lambda more: str(more)[:60],
)
def test_the_limits_of_a_job_hold(
    jobs: scheduler_v1.CloudSchedulerClient, more: dict[str, Any]
) -> None:
    with pytest.raises(exceptions.InvalidArgument):
        jobs.create_job(parent=PARENT, job=nightly("http://a/", **more))
    assert list(jobs.list_jobs(parent=PARENT)) == []
