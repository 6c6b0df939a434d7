"""Where Cloud Scheduler rings: who gets in, what is done once, and the whole way end to end."""

from __future__ import annotations

import threading
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any

import pytest
from django.db import connections
from django.test import Client

from ml_platform.api import webhooks
from ml_platform.cloud.names import PipelineJobName
from ml_platform.cloud.transport import channels
from ml_platform.models import (
    Finding,
    Operation,
    RegisteredModel,
    ServiceDailyMetrics,
    Sweep,
    TrainingRun,
)
from ml_platform.models.clock import database_now
from ml_platform.models.states import OperationStatus
from ml_platform.services.access.rights import Right
from ml_platform.services.operations.worker import resume_operations
from ml_platform.tests.cloud.test_identity import (
    ACCEPTED,
    AUDIENCE,
    EMAIL,
    FORGED,
    NOW,
    Server,
    forge,
    server,
)
from ml_platform.tests.factories import (
    LONG_AGO,
    DeployedEndpointFactory,
    RegisteredModelFactory,
    TrainingRunFactory,
    TrainingScheduleFactory,
    UserFactory,
    version_of,
)
from ml_platform.tests.services.world import artifacts, write_artifact

from .api_tools import bearer, keeps_contract, member_of, post

if TYPE_CHECKING:
    from ml_platform.localcloud import LocalCloud

__all__ = ["server"]  # a fixture

ORPHANS = "/api/system/cleanup-orphan-models-webhook/"
ARTIFACTS = "/api/system/cleanup-artifacts-webhook/"
METRICS = "/api/system/collect-metrics-webhook/"
POLL = "/api/system/poll-training-runs-webhook/"
RESUME = "/api/system/resume-operations-webhook/"
AUDIT = "/api/system/audit-registry-webhook/"
PRUNE = "/api/system/prune-history-webhook/"
HOOKS = (ORPHANS, ARTIFACTS, METRICS, POLL, RESUME, AUDIT, PRUNE)
SETUPS = {
    "/api/system/setup-orphan-cleanup-scheduler/": ("cleanup-orphan-models", "0 4 * * *"),
    "/api/system/setup-cleanup-scheduler/": ("cleanup-gcs-artifacts", "0 3 * * *"),
    "/api/system/setup-metrics-scheduler/": ("collect-resource-metrics", "0 2 * * *"),
    "/api/system/setup-pruning-scheduler/": ("prune-history", "0 5 * * *"),
}
OFTEN = {
    "/api/system/setup-polling-scheduler/": ("poll-training-runs", "* * * * *"),
    "/api/system/setup-resume-scheduler/": ("resume-operations", "* * * * *"),
    "/api/system/setup-audit-scheduler/": ("audit-registry", "0 * * * *"),
}
TICK = {"X-CloudScheduler-ScheduleTime": "2026-03-01T04:00:00Z"}

pytestmark = [pytest.mark.django_db, pytest.mark.any_database]


@pytest.fixture
def hooks(server: Server, settings: Any, monkeypatch: pytest.MonkeyPatch) -> Server:
    """Our webhooks as the identity tests' own Google would ring them."""
    settings.ML_PLATFORM = {
        **settings.ML_PLATFORM,
        "WEBHOOK_AUDIENCE": AUDIENCE,
        "WEBHOOK_SERVICE_ACCOUNTS": [EMAIL],
        "WEBHOOK_CERTS_URL": server.url,
    }
    monkeypatch.setattr(webhooks, "database_now", lambda: NOW)
    return server


@pytest.fixture
def ringing(cloud: LocalCloud, settings: Any) -> str:
    """Our webhooks rung by the local cloud's Google; returns a good token."""
    settings.ML_PLATFORM = {
        **settings.ML_PLATFORM,
        "PUBLIC_URL": AUDIENCE,
        "WEBHOOK_SERVICE_ACCOUNTS": [EMAIL],
        "WEBHOOK_CERTS_URL": f"{cloud.http_url}/oauth2/v1/certs",
    }
    return cloud.identity.token(AUDIENCE, EMAIL)


def ring(path: str, token: str, **headers: str) -> Any:
    return post(Client(), path, headers={"Authorization": f"Bearer {token}", **headers})


@pytest.mark.slow
@pytest.mark.parametrize("debug", [False, True])
@pytest.mark.parametrize("path", [*HOOKS, "/api/training/schedules/1/webhook/"])
def test_no_forged_token_gets_in(hooks: Server, settings: Any, path: str, debug: bool):
    settings.DEBUG = debug
    said = {name: ring(path, token) for name, token in FORGED.items()}
    assert len(said) >= 40
    assert {name for name, answer in said.items() if answer.status_code != 401} == set()
    words = {answer.json()["detail"] for answer in said.values()}
    assert words == {"The token was refused.", "The request has no OIDC token."}
    assert Operation.objects.count() == 0


def test_a_key_that_google_may_have_published_since_answers_503(hooks: Server):
    assert ring(ORPHANS, forge()).status_code == 200
    answer = ring(ORPHANS, forge(header={"alg": "RS256", "kid": "k2"}))
    keeps_contract(answer, ORPHANS, "post")
    assert (answer.status_code, answer.json()["code"]) == (503, "cloud_unavailable")
    assert int(answer["Retry-After"]) > 0


@pytest.mark.parametrize("name", ACCEPTED)
def test_a_good_token_gets_in(hooks: Server, name: str):
    answer = ring(ORPHANS, ACCEPTED[name])
    keeps_contract(answer, ORPHANS, "post")
    assert answer.json() == {
        "status": "success",
        "message": "Orphan model cleanup completed",
        "output": "Found 0 orphaned RegisteredModel(s) older than 7 days.\n\n"
        "Deleted 0 orphaned RegisteredModel(s), skipped 0 with active training runs\n",
    }


@pytest.mark.parametrize("header", ["", "Basic dGVzdA==", "Bearer", "bearer", "Token x"])
def test_no_token_is_no_way_in(hooks: Server, header: str):
    headers = {"Authorization": header} if header else {}
    for path in HOOKS:
        answer = post(Client(), path, headers=headers)
        assert (answer.status_code, answer["WWW-Authenticate"]) == (401, "Bearer")


def test_neither_a_session_nor_a_token_of_ours_rings(hooks: Server):
    root = UserFactory.create(is_superuser=True, is_staff=True)
    browser = Client()
    browser.force_login(root)
    assert post(browser, ORPHANS).status_code == 401
    assert post(bearer(root), ORPHANS).status_code == 401


def test_the_host_header_says_nothing_about_the_audience(
    hooks: Server, settings: Any, caplog: pytest.LogCaptureFixture
):
    settings.ALLOWED_HOSTS = ["*"]
    settings.ML_PLATFORM = {**settings.ML_PLATFORM, "WEBHOOK_AUDIENCE": "https://other.example/"}
    answer = ring(ORPHANS, forge(), Host="ml.example.com")
    assert answer.status_code == 401
    assert "audience" in caplog.text
    assert "audience" not in answer.content.decode()


def test_unset_settings_close_the_door(hooks: Server, settings: Any):
    for key, value in (("WEBHOOK_AUDIENCE", ""), ("WEBHOOK_SERVICE_ACCOUNTS", [])):
        settings.ML_PLATFORM = {**settings.ML_PLATFORM, key: value}
        answer = ring(ORPHANS, forge())
        assert (answer.status_code, answer.json()["code"]) == (500, "misconfigured")
        assert "WEBHOOK_SERVICE_ACCOUNTS" in answer.json()["advice"]


def test_with_the_certificates_gone_a_known_key_still_works_and_an_unknown_one_is_unknown(
    hooks: Server, monkeypatch: pytest.MonkeyPatch
):
    assert ring(ORPHANS, forge()).status_code == 200
    hooks.status = 500
    assert ring(ORPHANS, forge()).status_code == 200
    later = NOW + timedelta(minutes=2)
    monkeypatch.setattr(webhooks, "database_now", lambda: later)
    answer = ring(ORPHANS, forge(header={"alg": "RS256", "kid": "k2"}))
    assert (answer.status_code, answer["Retry-After"]) == (503, "30")
    keeps_contract(answer, ORPHANS, "post")


def test_a_tick_that_is_delivered_twice_is_done_once(ringing: str):
    orphan = RegisteredModelFactory.create(model_name="short-test")
    first = ring(ORPHANS, ringing, **TICK)
    assert "Deleted 1 orphaned" in first.json()["output"]
    assert f"Deleted short-test (id {orphan.pk}" in first.json()["output"]
    again = RegisteredModelFactory.create(model_name="later")
    second = ring(ORPHANS, ringing, **TICK)
    assert "Deleted 1 orphaned" in second.json()["output"]
    assert RegisteredModel.objects.filter(pk=again.pk).exists()
    assert Operation.objects.count() == 1
    next_day = {"X-CloudScheduler-ScheduleTime": "2026-03-02T04:00:00Z"}
    ring(ORPHANS, ringing, **next_day)
    assert not RegisteredModel.objects.filter(pk=again.pk).exists()
    operation = Operation.objects.order_by("created_at").last()
    assert operation is not None
    assert (operation.actor_label, operation.origin) == (EMAIL, "scheduler")


@pytest.mark.django_db(transaction=True)
def test_two_rings_at_once_delete_each_orphan_once_and_both_are_answered(ringing: str):
    RegisteredModelFactory.create_batch(30)
    barrier = threading.Barrier(2)
    answers: list[Any] = []

    def one() -> None:
        barrier.wait()
        answers.append(ring(ORPHANS, ringing))
        connections.close_all()

    threads = [threading.Thread(target=one) for _ in range(2)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert [answer.status_code for answer in answers] == [200, 200]
    assert RegisteredModel.objects.count() == 0
    lines = [line for answer in answers for line in answer.json()["output"].splitlines()]
    deleted = [line for line in lines if line.startswith("Deleted model-")]
    assert len(deleted) == len(set(deleted)) == 30


def test_a_key_of_the_api_says_nothing_to_a_webhook(ringing: str):
    for _ in range(2):
        answer = ring(ORPHANS, ringing, **TICK, **{"Idempotency-Key": "k1"})
        assert answer.status_code == 200
        assert "Idempotent-Replayed" not in answer
    assert Operation.objects.count() == 1


@pytest.mark.parametrize("time", ["yesterday", "2026-03-01T04:00:00"])
def test_a_schedule_time_that_is_none_is_refused(ringing: str, time: str):
    answer = ring(ORPHANS, ringing, **{"X-CloudScheduler-ScheduleTime": time})
    assert (answer.status_code, answer.json()["code"]) == (422, "bad_schedule_time")


def test_a_schedule_rings_for_one_run_however_often(ringing: str, cloud: LocalCloud):
    schedule = TrainingScheduleFactory.create(cron="0 4 * * *")
    path = f"/api/training/schedules/{schedule.pk}/webhook/"
    for _ in range(3):
        answer = ring(path, ringing, **TICK)
        assert answer.status_code == 200
        keeps_contract(answer, "/api/training/schedules/{schedule_id}/webhook/", "post")
    run = TrainingRun.objects.get()
    assert (run.schedule, run.scheduled_for) == (schedule, datetime(2026, 3, 1, 4, tzinfo=UTC))
    assert answer.json()["output"] == f"Run {run.pk} of {schedule.model_name}."
    assert ring("/api/training/schedules/999/webhook/", ringing).status_code == 404


def test_an_artifact_cleanup_takes_old_runs_that_are_no_version(ringing: str, cloud: LocalCloud):
    failed = TrainingRunFactory.create(failed=True)
    version = version_of(RegisteredModelFactory.create())
    for run in (failed, version):
        write_artifact(cloud, run, "pushed_model/1/saved_model.pb")
    answer = ring(ARTIFACTS, ringing, **TICK)
    assert (
        "Deleted the artifacts of 1 run(s) older than 7 days: 1 object,"
        in (answer.json()["output"])
    )
    assert artifacts(cloud, failed) == []
    assert len(artifacts(cloud, version)) == 1
    assert ring(ARTIFACTS, ringing, **TICK).json()["message"] == "Artifact cleanup completed"


def test_a_cleanup_that_cannot_reach_google_says_it_goes_on(
    ringing: str, cloud: LocalCloud, settings: Any
):
    failed = TrainingRunFactory.create(failed=True)
    write_artifact(cloud, failed, "pushed_model/1/saved_model.pb")
    settings.ML_PLATFORM = {**settings.ML_PLATFORM, "RETRY_TIMEOUT": 0}
    cloud.faults.order("storage.*", "error", code="UNAVAILABLE", times=None)
    answer = ring(ARTIFACTS, ringing, **TICK)
    keeps_contract(answer, ARTIFACTS, "post")
    assert (answer.status_code, answer.json()["status"]) == (503, "error")
    assert answer.json()["message"] == "Artifact cleanup continues"
    assert Operation.objects.get().status == OperationStatus.RUNNING
    cloud.faults.clear()
    Operation.objects.update(next_attempt_at=LONG_AGO)
    resume_operations(clock=database_now)
    again = ring(ARTIFACTS, ringing, **TICK)
    assert (again.status_code, again.json()["status"]) == (200, "success")


@pytest.mark.slow
def test_the_scheduler_itself_rings_the_daily_jobs_and_they_work(
    cloud: LocalCloud, settings: Any, live_server: Any
):
    """Set up through the API, rung by the local cloud on its clock, verified, done, kept."""
    base = f"{live_server.url}/"
    settings.ML_PLATFORM = {
        **settings.ML_PLATFORM,
        "PUBLIC_URL": base,
        "WEBHOOK_SERVICE_ACCOUNTS": [EMAIL],
        "WEBHOOK_CERTS_URL": f"{cloud.http_url}/oauth2/v1/certs",
    }
    orphan = RegisteredModelFactory.create()
    failed = TrainingRunFactory.create(failed=True)
    write_artifact(cloud, failed, "transform/part-0")
    yesterday = datetime.now(UTC).date() - timedelta(days=1)
    lineage = RegisteredModelFactory.create()
    endpoint = DeployedEndpointFactory.create(
        registered_model=lineage,
        run=version_of(lineage),
        serving=True,
        service_name="chern",
        deployed_at=datetime.now(UTC) - timedelta(days=3),
    )
    cloud.monitoring.seed("chern", yesterday, requests=240, errors=24, p50=30.0, p95=90.0)
    root = bearer(UserFactory.create(is_superuser=True, is_staff=True))
    for path, (name, cron) in SETUPS.items():
        answer = post(root, path)
        keeps_contract(answer, path, "post")
        assert answer.json() == {
            "status": "success",
            "action": "created",
            "job_name": f"projects/demo-project/locations/europe-central2/jobs/{name}",
            "schedule": cron,
        }
    cloud.clock.advance(86400)
    assert cloud.scheduler.wait_idle(30)
    assert [attempt.http_status for attempt in cloud.scheduler.attempts] == [200] * 4
    assert not RegisteredModel.objects.filter(pk=orphan.pk).exists()
    assert artifacts(cloud, failed) == []
    day = ServiceDailyMetrics.objects.get(day=yesterday)
    assert (day.endpoint, day.requests, day.errors) == (endpoint, 240, 24)
    done = Operation.objects.exclude(origin="api").values_list("actor_label", "status")
    assert list(done) == [(EMAIL, "succeeded")] * 3


@pytest.mark.slow
def test_what_repeats_within_the_day_is_set_up_and_rung(
    cloud: LocalCloud, settings: Any, live_server: Any
):
    settings.ML_PLATFORM = {
        **settings.ML_PLATFORM,
        "PUBLIC_URL": f"{live_server.url}/",
        "WEBHOOK_SERVICE_ACCOUNTS": [EMAIL],
        "WEBHOOK_CERTS_URL": f"{cloud.http_url}/oauth2/v1/certs",
    }
    gone = PipelineJobName("demo-project", "europe-central2", "deleted")
    run = TrainingRunFactory.create(
        status="running", pipeline_job_name=str(gone), submitted_at=LONG_AGO
    )
    cloud.models.seed("stray", display_name="stray")
    root = bearer(UserFactory.create(is_superuser=True, is_staff=True))
    for path, (name, cron) in OFTEN.items():
        answer = post(root, path)
        keeps_contract(answer, path, "post")
        assert (answer.json()["action"], answer.json()["schedule"]) == ("created", cron)
        assert answer.json()["job_name"].endswith(f"/jobs/{name}")
    cloud.clock.advance(3600)
    assert cloud.scheduler.wait_idle(60)
    assert {attempt.http_status for attempt in cloud.scheduler.attempts} == {200}
    assert len(cloud.scheduler.attempts) in (121, 122)  # an hour from now may begin on a minute
    run.refresh_from_db()
    assert run.status == "failed"
    assert [finding.kind for finding in Finding.objects.all()] == ["unmanaged"]
    assert Sweep.objects.get().actor_label == EMAIL


def test_an_operation_that_nobody_holds_goes_on_when_it_is_rung_for(
    ringing: str, cloud: LocalCloud, settings: Any
):
    settings.ML_PLATFORM = {**settings.ML_PLATFORM, "RETRY_TIMEOUT": 0.0}
    RegisteredModelFactory.create()
    cloud.faults.order("storage.*", "error", code="UNAVAILABLE", times=None)
    failed = TrainingRunFactory.create(failed=True)
    write_artifact(cloud, failed, "a")
    ring(ARTIFACTS, ringing, **TICK)
    cloud.faults.clear()
    Operation.objects.update(next_attempt_at=LONG_AGO)
    answer = ring(RESUME, ringing)
    keeps_contract(answer, RESUME, "post")
    assert answer.json() == {
        "status": "success",
        "message": "Operations resumed",
        "output": "1 continued, 0 of them failed.",
    }
    assert Operation.objects.get().status == OperationStatus.SUCCEEDED
    assert artifacts(cloud, failed) == []


def test_a_setup_is_repeated_corrected_and_kept_to_administrators(cloud: LocalCloud, settings: Any):
    settings.ML_PLATFORM = {
        **settings.ML_PLATFORM,
        "PUBLIC_URL": AUDIENCE,
        "WEBHOOK_SERVICE_ACCOUNTS": [EMAIL],
    }
    project = RegisteredModelFactory.create().project
    path = "/api/system/setup-orphan-cleanup-scheduler/"
    refused = post(bearer(member_of(project, Right.VIEW, Right.TRAIN)), path)
    assert (refused.status_code, refused.json()["code"]) == (403, "right_missing")
    narrow = post(bearer(member_of(project)), path)
    assert (narrow.status_code, narrow.json()["code"]) == (403, "needs_everything")
    assert cloud.effects.count("*") == 0
    root = bearer(UserFactory.create(is_superuser=True, is_staff=True))
    assert post(root, path).json()["action"] == "created"
    assert post(root, path).json()["action"] == "unchanged"
    settings.ML_PLATFORM = {**settings.ML_PLATFORM, "PUBLIC_URL": "https://new.example.com/"}
    channels.storage_client().create_bucket("demo-artifacts")  # for the marker of who we are
    assert post(root, path).json()["action"] == "updated"
    assert cloud.effects.count("CloudScheduler.CreateJob") == 1
    assert cloud.effects.count("CloudScheduler.UpdateJob") == 1
    cloud.faults.order("CloudScheduler.*", "error", code="PERMISSION_DENIED", times=2)
    for _ in range(2):  # the first has failed for good, and holds up nobody
        denied = post(root, path)
        keeps_contract(denied, path, "post")
        assert (denied.status_code, denied.json()["code"]) == (502, "cloud_denied")
        assert "Check the service account's roles" in denied.json()["advice"]
    assert post(root, path).json()["action"] == "unchanged"
    settings.ML_PLATFORM = {**settings.ML_PLATFORM, "RETRY_TIMEOUT": 0.0}
    cloud.faults.order("CloudScheduler.*", "error", code="UNAVAILABLE", times=None)
    blind = post(root, path)
    assert blind.status_code == 503
    assert "try again in a minute. Operation " in blind.json()["advice"]
    assert blind.json()["advice"].endswith("continues in the background; watch its status.")


def test_a_setup_without_settings_says_which(cloud: LocalCloud):
    root = bearer(UserFactory.create(is_superuser=True, is_staff=True))
    answer = post(root, "/api/system/setup-metrics-scheduler/")
    assert answer.status_code == 500
    assert "PUBLIC_URL" in answer.json()["detail"]
    keeps_contract(answer, "/api/system/setup-metrics-scheduler/", "post")
