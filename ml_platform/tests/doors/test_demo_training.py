"""The training scenario: runs to their told ends, a schedule that rings by itself, equal counts."""

from __future__ import annotations

import time
from collections import Counter

import pytest
from django.contrib.auth import get_user_model

from ml_platform import kpis
from ml_platform.demo import site
from ml_platform.demo.training import ENDINGS, HOURLY, STAGE_SECONDS, load_training, next_minute
from ml_platform.models import Operation, RegisteredModel, TrainingRun, TrainingSchedule
from ml_platform.models.clock import database_now
from ml_platform.services.operations.store import Actor
from ml_platform.services.operations.worker import resume_operations
from ml_platform.services.sweeps.sweep import sweep
from ml_platform.services.training.polling import poll_training_runs

pytestmark = [pytest.mark.django_db, pytest.mark.slow, pytest.mark.any_database]
ACTOR = Actor(label="demo", origin="command")
A_RUN = STAGE_SECONDS * 7
ENDED = {"completed": 2, "failed": 2, "not_blessed": 1, "running": 1}


@pytest.fixture
def training(cloud, settings, live_server):
    settings.ML_PLATFORM = {
        **settings.ML_PLATFORM,
        "PUBLIC_URL": f"{live_server.url}/",
        "WEBHOOK_SERVICE_ACCOUNTS": ["scheduler@demo-project.iam.gserviceaccount.com"],
        "WEBHOOK_CERTS_URL": f"{cloud.http_url}/oauth2/v1/certs",
    }
    user = get_user_model().objects.create_superuser("demo")
    cloud.clock.freeze()  # the schedule's first minute comes when a test lets it
    load_training(cloud=cloud, user=user, now=database_now())
    return cloud


def statuses() -> Counter[str]:
    return Counter(TrainingRun.objects.values_list("status", flat=True))


def follow() -> None:
    poll_training_runs(actor=ACTOR, clock=database_now)
    resume_operations(clock=database_now)


def test_runs_show_their_stage_end_as_told_and_only_good_ones_count(training):
    resume_operations(clock=database_now)
    assert statuses() == {"running": len(ENDINGS)}
    training.clock.advance(STAGE_SECONDS * 2.5)
    follow()
    assert set(TrainingRun.objects.values_list("stage", "progress")) == {("transform", 20)}
    assert RegisteredModel.objects.registered().count() == 0
    training.clock.advance(A_RUN)
    follow()
    manual = TrainingRun.objects.filter(schedule=None)
    assert Counter(manual.values_list("status", flat=True)) == ENDED
    failed = manual.filter(status="failed").order_by("model_name")
    assert [(run.model_name, run.stage) for run in failed] == [
        ("chern_hybrid_v4", "train"),
        ("chern_rank_v6", "transform"),
    ]
    assert all("failed tasks" in run.error for run in failed)
    hung = manual.get(status="running")
    assert (hung.model_name, hung.stage, hung.progress) == ("chern_hybrid_v5", "train", 40)
    names = RegisteredModel.objects.registered().values_list("model_name", flat=True)
    assert sorted(names) == ["chern_rank_v5", "chern_retriv_v7"]


def test_the_schedule_rings_at_its_minute_and_its_run_becomes_the_first_version(training):
    schedule = TrainingSchedule.objects.get()
    assert schedule.registered_model is not None
    assert schedule.registered_model.latest_run is None
    resume_operations(clock=database_now)
    assert schedule.starts_at is not None
    wait = (schedule.starts_at - training.clock.now()).total_seconds()
    assert wait < 80
    training.clock.advance(max(wait, 0) + 1)
    assert training.scheduler.wait_idle(30)
    assert [(one.http_status, one.schedule_time) for one in training.scheduler.attempts] == [
        (200, schedule.starts_at)
    ]
    run = schedule.training_runs.get()
    assert run.scheduled_for == schedule.starts_at
    follow()
    training.clock.advance(A_RUN)
    follow()
    run.refresh_from_db()
    assert (run.status, run.version) == ("completed", 1)
    sweep(actor=ACTOR, clock=database_now)
    counts = kpis.four_counts()
    assert (counts.database, counts.projects, counts.registry_page, counts.vertex) == (3, 3, 3, 3)
    assert Operation.objects.exclude(status="succeeded").count() == 0
    assert RegisteredModel.objects.filter(model_name=HOURLY).exists()


def test_a_whole_night_rings_schedule_and_jobs_and_nothing_breaks(training):
    resume_operations(clock=database_now)
    training.clock.advance(86_400)
    assert training.scheduler.wait_idle(30)
    rung = training.scheduler.attempts
    jobs = Counter(one.job.split("/")[-1] for one in rung)
    assert {name: count for name, count in jobs.items() if not name.startswith("mlp-")} == {
        "collect-resource-metrics": 1,
        "cleanup-gcs-artifacts": 1,
        "cleanup-orphan-models": 1,
    }
    assert {one.http_status for one in rung} == {200}
    hourly = TrainingRun.objects.exclude(schedule=None).count()
    assert hourly == len(rung) - 3 == 24
    assert RegisteredModel.objects.filter(model_name=HOURLY).exists()


def test_worker_and_follower_bring_runs_to_their_end_by_themselves(training):
    sweep(actor=ACTOR, clock=database_now)
    with site.working(), site.following(actor=ACTOR, pause=0.1):
        wait_for(lambda: statuses()["running"] == len(ENDINGS))
        training.clock.advance(A_RUN)
        wait_for(lambda: kpis.four_counts().vertex == kpis.four_counts().database >= 2)
    assert RegisteredModel.objects.registered().count() >= 2


def wait_for(condition) -> None:
    until = time.monotonic() + 30
    while not condition():
        assert time.monotonic() < until, statuses()
        time.sleep(0.05)


def test_the_first_ring_is_at_a_full_minute_that_has_not_passed():
    now = database_now().replace(second=0, microsecond=0)
    assert next_minute(now) == now
    assert next_minute(now.replace(microsecond=1)) == next_minute(now.replace(second=59))
    assert (next_minute(now.replace(second=1)) - now).total_seconds() == 60
