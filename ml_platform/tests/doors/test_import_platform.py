"""The incident's platform is imported: its ten names, their runs, verdicts, services and jobs."""

from __future__ import annotations

import io
import json
import sys
from datetime import timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from django.core.management import call_command
from django.core.management.base import CommandError

from ml_platform.cloud import scheduler
from ml_platform.cloud.transport import channels
from ml_platform.cloud.types import JobState
from ml_platform.models import (
    DeployedEndpoint,
    Finding,
    Operation,
    Project,
    RegisteredModel,
    TrainingRun,
    TrainingSchedule,
)
from ml_platform.models.clock import database_now
from ml_platform.services.findings.kinds import FindingKind
from ml_platform.services.importing.mapping import READY
from ml_platform.services.registration.adoption import adopt_model
from ml_platform.services.sweeps.sweep import sweep
from ml_platform.tests.doors.api_tools import bearer, logged_in, member_of, post
from ml_platform.tests.host_tables import update
from ml_platform.tests.incident_platform import (
    IN_VERTEX,
    KEY,
    LONG_AGO,
    RINGER,
    THEIR_JOB,
    Platform,
)
from ml_platform.tests.incident_rows import DELETED_IN_VERTEX, NEVER_REGISTERED, REGISTERED
from ml_platform.tests.services.training_tools import TEMPLATE_URI
from ml_platform.tests.services.world import ANA, Clock, settle

if TYPE_CHECKING:
    from ml_platform.localcloud import LocalCloud

pytestmark = pytest.mark.django_db
MAP = "map.toml"


@pytest.fixture
def platform(
    cloud: LocalCloud, settings: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> Platform:
    """Its mapping is the ready one, with this database, a template, and our users as a model."""
    settings.ML_PLATFORM = {
        **settings.ML_PLATFORM,
        "PUBLIC_URL": "http://127.0.0.1:9/ml/",
        "WEBHOOK_SERVICE_ACCOUNTS": (RINGER,),
    }
    mapping = (READY / "b2b_recs.toml").read_text()
    for ready, ours in (
        ('database = "b2b_recs"', 'database = "default"'),
        ('table = "auth_user"', 'table = "auth.User"'),
        ('default = ""', f'default = "{TEMPLATE_URI}"'),
    ):
        assert ready in mapping
        mapping = mapping.replace(ready, ours)
    (tmp_path / MAP).write_text(mapping)
    monkeypatch.chdir(tmp_path)
    made = Platform(cloud)
    cloud.effects.reset()
    return made


def run(*arguments: str) -> tuple[int, str]:
    out = io.StringIO()
    try:
        call_command("import_platform", "--map", MAP, *arguments, stdout=out)
    except SystemExit as end:
        return int(str(end.code)), out.getvalue()
    except CommandError as error:
        return error.returncode, f"{out.getvalue()}{error}"
    return 0, out.getvalue()


def report(*arguments: str) -> dict[str, Any]:
    code, said = run("--json", *arguments)
    found: dict[str, Any] = json.loads(said)
    assert found["exit_code"] == code
    return found


def of(found: dict[str, Any], kind: str) -> dict[str, tuple[str, str]]:
    return {r["name"]: (r["outcome"], r["why"]) for r in found["rows"] if r["kind"] == kind}


@pytest.mark.slow
def test_the_incidents_platform_works_here_after_its_import(
    cloud: LocalCloud, platform: Platform
) -> None:
    plan = report("--dry-run")
    assert cloud.effects.mutations() == []
    assert not Project.objects.exists()
    assert not Operation.objects.exists()
    done = report("--yes")
    assert (done["counts"], done["exit_code"]) == (plan["counts"], 0)
    models = of(done, "model")
    assert sorted(n for n, (outcome, _) in models.items() if outcome == "imported") == IN_VERTEX
    assert models[DELETED_IN_VERTEX][0] == "left_out"
    assert models[DELETED_IN_VERTEX][1].startswith("It is gone; its runs come as history.")
    for name in NEVER_REGISTERED:
        assert models[name] == (
            "left_out", "It was never registered in Vertex AI; its runs come as history.",
        )  # fmt: skip
    _models_are_as_vertex_ai_has_them(platform)
    _history_is_kept(platform)
    _schedules_ring_here()
    _endpoints_are_as_cloud_run_has_them()
    _pages_and_the_audit_agree(cloud, platform)


def _models_are_as_vertex_ai_has_them(platform: Platform) -> None:
    names = RegisteredModel.objects.registered().values_list("model_name", flat=True)
    assert (sorted(names), RegisteredModel.objects.count()) == (IN_VERTEX, 7)
    five = RegisteredModel.objects.get(model_name="chern_retriv_v5")
    assert (five.total_versions, five.model_type, five.description) == (5, "retrieval", "Chern.")
    newest = five.latest_run
    assert newest is not None
    assert newest.metrics == {"recall_at_100": 0.35}
    assert (newest.is_blessed, newest.status) == (True, "deployed")
    assert newest.registered_at == LONG_AGO + timedelta(days=5)
    assert newest.created_by == platform.ana
    assert newest.parameters["epochs"] == 5
    assert newest.parameters["gpu"] == {"count": 1}
    assert RegisteredModel.objects.get(model_name="chern_hybrid_v1").model_type == "hybrid"


def _history_is_kept(platform: Platform) -> None:
    runs = TrainingRun.objects.all()
    assert (runs.count(), runs.versions().count()) == (platform.run, platform.run - 4)
    gone = TrainingRun.objects.get(model_name=DELETED_IN_VERTEX, status="completed")
    assert (gone.registered_model, gone.registration, gone.is_blessed) == (None, "", True)
    failed = TrainingRun.objects.get(model_name=NEVER_REGISTERED[0])
    assert (failed.status, failed.stage, failed.error) == ("failed", "train", "Out of memory.")
    assert failed.registered_model is None


def _schedules_ring_here() -> None:
    nightly = TrainingSchedule.objects.get(state="active")
    assert (nightly.cron, nightly.time_zone) == ("0 4 * * *", "Europe/Warsaw")
    assert nightly.training_runs.count() == 2
    assert scheduler.get_job(THEIR_JOB).state == JobState.PAUSED
    assert scheduler.get_job(f"mlp-{nightly.uid.hex}").state == JobState.ENABLED
    ended = TrainingSchedule.objects.exclude(pk=nightly.pk).order_by("name")
    assert [(s.state, s.registered_model) for s in ended] == [
        ("cancelled", None), ("completed", None),
    ]  # fmt: skip


def _endpoints_are_as_cloud_run_has_them() -> None:
    serving = DeployedEndpoint.objects.filter(is_active=True)
    assert {e.registered_model.model_name for e in serving} == {"chern_retriv_v5", "chern_rank_v4"}
    assert all(e.run == e.registered_model.latest_run for e in serving)
    stopped = DeployedEndpoint.objects.get(is_active=False)
    lineage = stopped.registered_model
    assert (lineage.model_name, stopped.run) == ("chern_rank_v3", lineage.latest_run)


def _pages_and_the_audit_agree(cloud: LocalCloud, platform: Platform) -> None:
    for _ in range(2):
        cloud.clock.advance(600)
        sweep(actor=ANA, clock=database_now)
    kinds = list(Finding.objects.open().values_list("kind", flat=True))
    assert kinds == [FindingKind.UNMANAGED] * 2
    states = RegisteredModel.objects.values_list("registry_state", flat=True).distinct()
    assert list(states) == ["verified"]
    project = Project.objects.get()
    assert list(project.members.all()) == [platform.ana]
    reader = member_of(project)
    listed = bearer(reader).get("/api/models/").json()
    assert listed["pagination"]["total"] == 7
    page = logged_in(reader)
    five = RegisteredModel.objects.get(model_name="chern_retriv_v5")
    for path in ("/", f"/projects/{project.pk}/training/", f"/models/{five.pk}/", "/operations/"):
        assert page.get(path).status_code == 200, path
    gone = TrainingRun.objects.get(model_name=DELETED_IN_VERTEX, status="completed")
    refused = post(bearer(reader), f"/api/training-runs/{gone.pk}/register/")
    assert "it was trained elsewhere" in refused.content.decode()


@pytest.mark.slow
def test_what_a_plane_does_not_say_waits_and_comes_later(
    cloud: LocalCloud, platform: Platform
) -> None:
    cloud.faults.order("ModelService.ListModelVersions", code="PERMISSION_DENIED", times=None)
    cloud.faults.order("Services.GetService", code="PERMISSION_DENIED", times=None)
    update("training_trainingrun", 1, status="running")
    found = report("--yes")
    assert found["exit_code"] == 2
    assert not RegisteredModel.objects.exists()
    assert of(found, "model")["chern_rank_v3"][0] == "waits"
    assert of(found, "endpoint")["test-v1-chern-rank-v4"][0] == "waits"
    assert of(found, "schedule")["Train chern_retriv_v5"][0] == "waits"
    assert TrainingRun.objects.count() == 4, "only those that name no version"
    cloud.faults.clear()
    cloud.faults.order("ModelService.ListModels", code="PERMISSION_DENIED", times=None)
    found = report("--dry-run")
    assert of(found, "model")[DELETED_IN_VERTEX][0] == "waits", "NOT_FOUND proves nothing now"
    assert of(found, "model")["chern_rank_v3"][0] == "imported"
    cloud.faults.clear()
    found = report("--yes")
    assert found["exit_code"] == 2
    waiting = [row for row in found["rows"] if row["outcome"] == "waits"]
    assert [(row["kind"], row["key"]) for row in waiting] == [("run", "1")]
    update("training_trainingrun", 1, status="completed")
    assert RegisteredModel.objects.registered().count() == 7


@pytest.mark.slow
def test_what_an_earlier_adoption_did_not_know_is_added(platform: Platform, tmp_path: Path) -> None:
    """Here the host's tenants are our projects: its rows, whatever their names."""
    mapping = (tmp_path / MAP).read_text().replace('member = "created_by_id"', "")
    mapping = mapping.replace('"ml_platform_modelendpoint"', '"ml_platform.Project"')
    (tmp_path / MAP).write_text(mapping)
    name, (vertex_id, _) = "chern_rank_v3", REGISTERED["chern_rank_v3"]
    project = Project.objects.create(pk=1, name="ours")
    adopt_model(
        resource_name=f"{platform.parent}/models/{vertex_id}", project=project, model_name=name,
        actor=ANA, now=database_now(),
    )  # fmt: skip
    settle(Clock(database_now()))
    assert TrainingRun.objects.get().metrics == {}
    found = report("--yes")
    assert found["exit_code"] == 0
    version = TrainingRun.objects.get(model_name=name)
    assert (version.metrics, version.is_blessed) == ({"recall_at_100": 0.31}, True)
    assert Project.objects.count() == 1
    assert report("--yes")["counts"]["imported"] == 0


@pytest.mark.slow
def test_it_shows_what_would_come_and_asks(
    platform: Platform, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert run() == (1, "There is no terminal to confirm on: give --yes or --dry-run.")
    update("training_trainingrun", 2, status="archived")
    update("training_registeredmodel", KEY["chern_rank_v4"], model_name="Chern Rank 4")
    answers = io.StringIO("n\ny\n")
    monkeypatch.setattr(answers, "isatty", lambda: True)
    monkeypatch.setattr(sys, "stdin", answers)
    code, said = run()
    assert code == 1
    assert "What would come" in said
    assert said.endswith("Import 32 rows? [y/N] Nothing was changed.\n")
    assert "status is 'archived': Input should be 'pending'" in " ".join(said.split())
    assert not RegisteredModel.objects.exists()
    code, said = run()
    assert "What came" in said
    assert RegisteredModel.objects.filter(model_name="chern_rank_4").exists()


@pytest.mark.parametrize(
    ("old", "new", "words"),
    [
        ('name = "username"', "", "users.name: Field required."),
        ('name = "username"', 'nome = "u"', "users.nome: Extra inputs are not permitted."),
        ('loss = "loss"', 'loss = "lost"', "runs.metrics.loss: the table training_trainingrun"),
        ('"auth.User"', '"auth.Nobody"', "users.table: App 'auth' doesn't have a 'Nobody' model."),
        ('"training_deployedendpoint"', '"gone"', "endpoints: the database default has no table "),
        ('database = "default"', 'database = "else"', "database: The connection 'else' doesn't"),
        ("[users]", "[users", "is not a TOML file"),
    ],
)  # fmt: skip
def test_a_wrong_mapping_names_its_key(
    platform: Platform, tmp_path: Path, old: str, new: str, words: str
) -> None:
    mapping = (tmp_path / MAP).read_text()
    assert old in mapping
    (tmp_path / MAP).write_text(mapping.replace(old, new))
    code, said = run("--dry-run")
    assert code == 1
    assert words in said


@pytest.mark.slow
def test_it_may_run_again_and_after_a_death_anywhere(
    cloud: LocalCloud, platform: Platform, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It dies at one call to Google after the other, until one import has only few left to make."""
    deaths = 0
    while _dies(monkeypatch, at=13):
        deaths += 1
        assert deaths < 40
        Operation.objects.live().update(lease_until=database_now() - timedelta(hours=1))
    assert deaths > 3
    assert report("--yes")["exit_code"] == 0
    assert RegisteredModel.objects.registered().count() == 7
    assert TrainingRun.objects.count() == platform.run
    assert TrainingSchedule.objects.count() == 3
    assert DeployedEndpoint.objects.filter(is_active=True).count() == 2
    assert not Operation.objects.exclude(status="succeeded").exists()
    cloud.effects.reset()
    again = report("--yes")
    assert again["counts"]["imported"] == 0
    assert cloud.effects.mutations() == []


class Died(BaseException):
    """The process ends."""


def _dies(monkeypatch: pytest.MonkeyPatch, *, at: int) -> bool:
    calls = [0]

    def die(_: str) -> None:
        calls[0] += 1
        if calls[0] == at:
            raise Died

    with monkeypatch.context() as patch:
        patch.setattr(channels, "before_call", [die])
        try:
            run("--yes")
        except Died:
            return True
    return False
