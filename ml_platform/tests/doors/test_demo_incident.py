"""The incident as the demo makes it: what each plane holds, what is found, and how it ends."""

from __future__ import annotations

import io
from collections import Counter
from datetime import UTC, datetime, timedelta

import pytest
from django.contrib.auth import get_user_model
from rich.console import Console

from ml_platform import kpis
from ml_platform.cloud import cloud_run, scheduler, storage, vertex
from ml_platform.cloud.names import ObjectPath
from ml_platform.cloud.transport import channels
from ml_platform.conf import get_settings
from ml_platform.demo import incident_data as data
from ml_platform.demo import incident_endpoints, site, story
from ml_platform.demo.incident import load_incident
from ml_platform.demo.stage import load_empty
from ml_platform.jobs import JOBS
from ml_platform.models import (
    DeployedEndpoint,
    Finding,
    Operation,
    Project,
    RegisteredModel,
    ServiceDailyMetrics,
    TrainingRun,
    TrainingSchedule,
)
from ml_platform.models.clock import database_now
from ml_platform.models.states import LIVE_OPERATION_STATUSES, OperationStatus, Registration
from ml_platform.services.operations.store import Actor
from ml_platform.services.operations.worker import resume_operations
from ml_platform.services.repairs.pointers import clear_stale_pointers
from ml_platform.services.scheduling.job import job_spec
from ml_platform.services.sweeps.sweep import sweep
from ml_platform.services.training.polling import poll_training_runs
from ml_platform.tests.planes import Planes

pytestmark = [pytest.mark.django_db, pytest.mark.slow, pytest.mark.any_database]
ACTOR = Actor(label="demo", origin="command")
VERTEX = {
    "chern_retriv_v2": ("5241525861236080640", "1"),
    "chern_retriv_v5": ("8920403806844354560", "5"),
    "chern_retriv_v6": ("7334503419312340992", "1"),
    "chern_rank_v3": ("2864962264123834368", "1"),
    "chern_rank_v4": ("3326581225929310208", "4"),
    "chern_hybrid_v1": ("174413330490851328", "2"),
    "chern_hybrid_v3": ("7115797362408161280", "1"),
    "trd-test-20260129-123106": ("252311530295525376", "1"),
    "trd-test-20260129-123928": ("4998894431311495168", "1"),
}
NAMES = [
    "chern_retriv_v2", "chern_retriv_v5", "chern_rank_v1", "chern_hybrid_v1", "chern_hybrid_v2",
    "chern_hybrid_v3", "short-test-20260129", "chern_rank_v3", "chern_rank_v4", "chern_retriv_v6",
]  # fmt: skip
QUICK_TESTS = {name for name in VERTEX if name.startswith("trd-test")}


@pytest.fixture(scope="module")
def made():
    """The incident, once it was made."""
    return []


@pytest.fixture
def anew(made):
    """The incident is made again, because the calls to Google are not kept with it."""
    made.clear()


@pytest.fixture
def incident(cloud, settings, made):
    settings.ML_PLATFORM = {
        **settings.ML_PLATFORM,
        "BUCKET": "b2b-recs-training-artifacts",
        "PUBLIC_URL": "http://127.0.0.1:8000/",
        "WEBHOOK_SERVICE_ACCOUNTS": ["scheduler@b2b-recs.iam.gserviceaccount.com"],
    }
    if made:
        made[0].put_back(cloud)
        return cloud
    user = get_user_model().objects.create_superuser("demo")
    load_incident(cloud=cloud, user=user, now=database_now())
    made.append(Planes.kept(cloud))
    return cloud


@pytest.fixture
def live_incident(cloud, settings, live_server):
    settings.ML_PLATFORM = {
        **settings.ML_PLATFORM,
        "PUBLIC_URL": f"{live_server.url}/",
        "WEBHOOK_SERVICE_ACCOUNTS": ["scheduler@b2b-recs.iam.gserviceaccount.com"],
        "WEBHOOK_CERTS_URL": f"{cloud.http_url}/oauth2/v1/certs",
    }
    user = get_user_model().objects.create_superuser("demo")
    load_incident(cloud=cloud, user=user, now=database_now())
    return cloud


def told() -> tuple[bool, str]:
    console = Console(file=io.StringIO(), width=110)
    agree = story.tell(console=console, actor=ACTOR)
    assert isinstance(console.file, io.StringIO)
    return agree, console.file.getvalue()


def test_our_table_holds_the_ten_rows_in_their_order(incident):
    rows = RegisteredModel.objects.order_by("pk")
    assert [row.model_name for row in rows] == NAMES
    unregistered = rows.filter(vertex_model_resource_name="")
    assert [row.model_name for row in unregistered] == ["chern_hybrid_v2", "short-test-20260129"]
    assert RegisteredModel.objects.registered().count() == 8
    stale = RegisteredModel.objects.get(model_name="chern_rank_v1")
    assert stale.vertex_model_resource_name.endswith("/models/6812719181234962432")


def test_vertex_lists_the_nine_models_with_their_ids_versions_and_buckets(incident):
    listed = [model for page in vertex.list_models() for model in page]
    assert {m.display_name: (m.name.model_id, m.version) for m in listed} == VERTEX
    buckets = {m.display_name: ObjectPath.parse(m.artifact_uri).bucket for m in listed}
    quick = {name for name, bucket in buckets.items() if bucket == data.QUICKTEST_BUCKET}
    assert quick == QUICK_TESTS
    assert {m.display_name for m in listed if not m.labels} == QUICK_TESTS


def test_every_version_points_at_its_label_and_its_files(incident):
    versions = TrainingRun.objects.versions().exclude(model_name="chern_rank_v1")
    by_label = {
        version.labels["mlp_run"]: version
        for name, (model_id, _) in VERTEX.items()
        if name not in QUICK_TESTS
        for version in _versions(model_id)
    }
    assert set(by_label) == {run.uid.hex for run in versions}
    for run in versions:
        remote = by_label[run.uid.hex]
        assert remote.version == run.vertex_model_version
        assert str(remote.name) == run.vertex_model_resource_name
        path = ObjectPath.parse(remote.artifact_uri).folder
        assert storage.has_objects(path.bucket, f"{path.key}saved_model.pb")
        assert remote.create_time
        assert run.registered_at
        assert remote.create_time < run.registered_at < datetime.now(UTC)


def _versions(model_id):
    model = next(m for page in vertex.list_models() for m in page if m.name.model_id == model_id)
    return [version for page in vertex.list_model_versions(model.name) for version in page]


def test_only_runs_of_schedules_and_versions_belong_to_a_lineage(incident):
    others = TrainingRun.objects.exclude(registration=Registration.REGISTERED)
    assert others.filter(registered_model__isnull=False, schedule__isnull=True).count() == 0
    assert others.filter(registered_model__isnull=True, schedule__isnull=False).count() == 0
    assert TrainingRun.objects.filter(finished_at__gt=database_now()).count() == 0


def test_active_endpoints_are_real_services_and_the_stopped_one_is_gone(incident):
    services = {s.service_id: s for page in cloud_run.list_services() for s in page}
    active = {endpoint.service_name for endpoint in DeployedEndpoint.objects.filter(is_active=True)}
    assert set(services) == active == {"test-v1-retriv", "test-v1-rank", "test-v1-hybrid"}
    for endpoint in DeployedEndpoint.objects.filter(is_active=True):
        service = services[endpoint.service_name]
        assert (service.ready, service.uri) == (True, endpoint.url)
        assert endpoint.run
        assert service.labels["mlp_run"] == endpoint.run.uid.hex
    assert DeployedEndpoint.objects.filter(is_active=False).count() == 1


def test_the_live_schedule_has_its_job_and_the_ended_ones_have_none(incident):
    listed = channels.client("CloudScheduler").list_jobs(parent=channels.location_path())
    ids = [job.name.rpartition("/")[2] for job in listed]
    jobs = [scheduler.get_job(job_id) for job_id in ids if job_id not in JOBS]
    assert len(ids) - len(jobs) == 1
    live = TrainingSchedule.objects.get(state="active")
    assert [job.spec for job in jobs] == [job_spec(live)]
    assert live.scheduler_job_name == str(jobs[0].name)
    assert live.next_run_at == jobs[0].next_run
    assert live.next_run_at
    assert live.last_run_at
    assert live.next_run_at > database_now() > live.last_run_at
    ended = TrainingSchedule.objects.exclude(pk=live.pk).order_by("pk")
    assert [(s.model_name, s.state) for s in ended] == [
        ("chern_hybrid_v2", "cancelled"),
        ("short-test-20260129", "completed"),
    ]


@pytest.mark.usefixtures("anew")
def test_a_month_of_what_the_services_did_is_read_from_monitoring(incident):
    days = ServiceDailyMetrics.objects.filter(complete=True)
    by_service = Counter(days.exclude(requests=None).values_list("service_name", flat=True))
    rank = DeployedEndpoint.objects.get(service_name="test-v1-rank")
    since_rank = (database_now().date() - rank.created_at.date()).days
    assert since_rank in (20, 21)  # it was made 20.8 days ago, by whatever time it is now
    expected = {"test-v1-retriv": 29, "test-v1-rank": since_rank, "test-v1-hybrid": 29}
    assert by_service == expected
    assert days.filter(requests__gt=0, latency_p95__gt=0).count() == sum(expected.values())
    assert incident.effects.count("MetricService.*") > 0


def test_a_run_is_under_way_at_the_pace_of_a_real_one_and_counts_nowhere(incident):
    run = TrainingRun.objects.get(status="running")
    assert (run.model_name, run.stage, run.progress) == ("chern_retriv_v7", "train", 40)
    assert run.registered_model is None
    assert not RegisteredModel.objects.filter(model_name=run.model_name).exists()
    incident.clock.advance(timedelta(hours=2).total_seconds())
    poll_training_runs(actor=ACTOR, clock=database_now)
    run.refresh_from_db()
    assert (run.status, run.registration) == ("not_blessed", "")
    assert RegisteredModel.objects.count() == 10


def test_a_deploy_is_under_way_and_the_story_ends_as_ever(incident):
    incident_endpoints.start_deploy(cloud=incident, actor=ACTOR, now=database_now())
    deploy = Operation.objects.live().get()
    assert (deploy.kind, deploy.step) == ("deploy", "wait")
    assert incident.core.operations.lro_seconds == 0
    agree, text = told()
    assert agree
    assert "Vertex AI: 8 8 8 9, they differ." in text
    assert "Vertex AI: 7 7 7 7, they agree." in text
    assert Operation.objects.live().get() == deploy
    incident.clock.advance(incident_endpoints.BRING_UP_SECONDS)
    later = database_now() + timedelta(seconds=30)
    resume_operations(clock=lambda: later)
    deploy.refresh_from_db()
    assert deploy.status == OperationStatus.SUCCEEDED
    assert DeployedEndpoint.objects.get(service_name="test-v1-hybrid-v3").is_active


def test_the_night_rings_with_good_tokens_and_its_run_becomes_a_version(live_incident):
    cloud = live_incident
    cloud.clock.advance(timedelta(days=1).total_seconds())
    assert cloud.scheduler.wait_idle(30)
    rung = [(one.job.split("/")[-1][:7], one.http_status) for one in cloud.scheduler.attempts]
    assert rung.count(("collect", 200)) == rung.count(("mlp-" + uid_of_nightly()[:3], 200)) == 1
    assert len(rung) == 2
    run = TrainingRun.objects.filter(schedule__name=data.NIGHTLY).latest("pk")
    resume_operations(clock=database_now)
    cloud.clock.advance(60)
    poll_training_runs(actor=ACTOR, clock=database_now)
    resume_operations(clock=database_now)
    run.refresh_from_db()
    assert (run.error, run.registration, run.version) == ("", "registered", 6)
    assert run.registered_model == RegisteredModel.objects.get(model_name="chern_retriv_v5")
    sweep(actor=ACTOR, clock=database_now)
    counts = kpis.four_counts()
    assert (counts.database, counts.projects, counts.registry_page, counts.vertex) == (8, 8, 8, 9)


def uid_of_nightly() -> str:
    return TrainingSchedule.objects.get(name=data.NIGHTLY).uid.hex


def test_the_sweep_finds_exactly_the_five_culprits(incident):
    sweep(actor=ACTOR, clock=database_now)
    assert Counter(Finding.objects.open().values_list("kind", flat=True)) == {
        "orphan": 2,
        "stale_pointer": 1,
        "unmanaged": 2,
    }
    counts = kpis.four_counts()
    assert (counts.database, counts.projects, counts.registry_page, counts.vertex) == (8, 8, 8, 9)


def test_the_story_ends_with_seven_everywhere_and_loses_no_schedule(incident):
    agree, text = told()
    assert agree
    assert "Vertex AI: 8 8 8 9, they differ." in text
    assert "Vertex AI: 7 7 7 7, they agree." in text
    afterwards = text.partition("4. The planes afterwards")[2]
    assert "chern_rank_v1 is among the table rows alone: it keeps its name" in afterwards
    assert "/operations/" not in text
    assert "no such thing" not in text
    assert Finding.objects.open().count() == 0
    ended = TrainingSchedule.objects.filter(state__in=["cancelled", "completed"])
    assert [schedule.registered_model for schedule in ended] == [None, None]
    detached = TrainingRun.objects.filter(schedule__in=ended)
    assert (detached.count(), detached.filter(registered_model=None).count()) == (4, 4)
    lost = TrainingRun.objects.get(registration=Registration.LOST)
    assert lost.last_vertex_version.endswith("/models/6812719181234962432@1")
    files = [item for page in storage.list_objects(data.QUICKTEST_BUCKET, "") for item in page]
    assert len(files) == 2


def test_the_story_is_not_over_while_vertex_cannot_be_read(incident, settings):
    settings.ML_PLATFORM = {**settings.ML_PLATFORM, "RETRY_TIMEOUT": 0.0}
    incident.faults.order("ModelService.*", "error", code="PERMISSION_DENIED", times=None)
    agree, text = told()
    assert not agree
    assert text.count("8 8 8 unknown, it is unknown whether they agree.") == 2
    assert incident.effects.mutations("ModelService.*") == []
    assert Finding.objects.filter(kind__in=["stale_pointer", "unmanaged"]).count() == 0
    assert RegisteredModel.objects.registered().count() == 8


@pytest.mark.django_db(transaction=True)
def test_the_worker_of_the_demo_carries_out_what_a_door_opened(incident):
    stale = RegisteredModel.objects.get(model_name="chern_rank_v1")
    with site.working():
        operation = clear_stale_pointers(registered_model=stale, actor=ACTOR, now=database_now())
        until = datetime.now(UTC) + timedelta(seconds=30)
        while operation.status in LIVE_OPERATION_STATUSES and datetime.now(UTC) < until:
            operation.refresh_from_db()
    assert operation.status == OperationStatus.SUCCEEDED
    assert RegisteredModel.objects.registered().count() == 7


def test_the_empty_scenario_is_a_project_and_a_bucket_that_agree(cloud):
    user = get_user_model().objects.create_user("demo")
    load_empty(cloud=cloud, user=user, now=database_now())
    assert list(Project.objects.get().members.all()) == [user]
    assert storage.get_bucket(get_settings().BUCKET).location == "europe-central2"
    agree, text = told()
    assert agree
    assert text.count("Vertex AI: 0 0 0 0, they agree.") == 2
    assert text.count("Nothing.\n") == 2
    assert "Safe repair" not in text
    assert Operation.objects.count() == 0
