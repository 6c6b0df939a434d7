"""audit_registry and reconcile_registry: what they print, what they do, how they exit."""

from __future__ import annotations

import io
import json
from dataclasses import replace
from typing import TYPE_CHECKING, Any
from uuid import UUID

import pytest
from django.core.management import call_command
from django.core.management.base import CommandError

from ml_platform.cloud import cloud_run, vertex
from ml_platform.cloud.names import ModelName
from ml_platform.errors import NotFound
from ml_platform.models import (
    DeployedEndpoint,
    Finding,
    MirroredModel,
    Operation,
    Project,
    RegisteredModel,
    Sweep,
    TrainingRun,
    TrainingSchedule,
)
from ml_platform.models.clock import database_now
from ml_platform.models.states import OperationKind, ScheduleState
from ml_platform.services.access.scope import find_named_project
from ml_platform.services.findings.kinds import FindingKind
from ml_platform.services.operations.history import record
from ml_platform.services.operations.store import Actor, Subject, lineage_key, open_operation
from ml_platform.services.operations.subjects import subject_of_lineage
from ml_platform.services.ownership.labels import labels_for
from ml_platform.services.repairs.reconciliation import finish_operation
from ml_platform.services.serving.config import ServingConfig, service_spec
from ml_platform.services.workflows import WORKFLOWS
from ml_platform.tests.factories import (
    DeployedEndpointFactory,
    ProjectFactory,
    RegisteredModelFactory,
    TrainingScheduleFactory,
    version_of,
)
from ml_platform.tests.services.vertex_rows import managed
from ml_platform.tests.services.world import ANA

if TYPE_CHECKING:
    from ml_platform.localcloud import LocalCloud

pytestmark = pytest.mark.django_db


def run(*arguments: str) -> tuple[int, str]:
    """Exit code and output; an error's sentence counts as output."""
    out = io.StringIO()
    try:
        call_command(*arguments, stdout=out)
    except SystemExit as end:
        return int(str(end.code)), out.getvalue()
    except CommandError as error:
        return error.returncode, out.getvalue() + str(error)
    return 0, out.getvalue()


@pytest.fixture
def incident(cloud: LocalCloud) -> Project:
    """Ten rows, eight registered, nine in Vertex AI (incident.md in small)."""
    project: Project = ProjectFactory.create(name="test_v1")
    for n in range(7):
        managed(cloud, project=project, model_name=f"chern_{n}")
    stale = RegisteredModelFactory.create(project=project, model_name="chern_rank_v1")
    version_of(stale)
    TrainingRun.objects.filter(registered_model=stale).update(gcs_artifacts_path="")
    for name in ("chern_hybrid_v2", "short-test"):
        orphan = RegisteredModelFactory.create(project=project, model_name=name)
        TrainingScheduleFactory.create(registered_model=orphan, state=ScheduleState.CANCELLED)
    for number in ("252311530295525376", "4998894431311495168"):
        cloud.models.seed(number, display_name=f"trd-test-{number}")
    return project


def test_the_audit_of_planes_that_agree_exits_0(cloud: LocalCloud) -> None:
    managed(cloud, model_name="chern")
    code, text = run("audit_registry")
    assert code == 0
    assert "The planes agree." in text
    assert "No findings." in text
    assert "Ours: chern" in text


def test_planes_agree_only_in_what_was_compared(cloud: LocalCloud) -> None:
    lineage = managed(cloud, model_name="chern")
    key = lineage_key(project_id=lineage.project_id, model_name=lineage.model_name)
    subject = Subject(type="registeredmodel", id=str(lineage.pk), name="chern", lineage_key=key)
    open_operation(
        workflow=WORKFLOWS["delete-versions"],
        subject=subject,
        actor=Actor(label="ana", origin="page"),
        now=database_now(),
    )
    code, text = run("audit_registry")
    assert code == 0
    assert "The planes agree in what was compared." in text
    assert "2 rows left out:" in text
    assert "chern: an operation changes it" in text
    assert "chern v1: an operation changes it" in text


@pytest.mark.slow
@pytest.mark.usefixtures("incident")
def test_the_audit_of_the_incident_names_every_culprit_and_exits_1() -> None:
    code, text = run("audit_registry")
    assert code == 1
    numbers = [line.split()[-1] for line in cells(text, 2) if line]
    assert numbers[:3] == ["10", "8", "9"]
    for words in (
        "chern_rank_v1 points at",
        "chern_hybrid_v2 was never registered",
        "short-test was never registered",
        "trd-test-252311530295525376 is in Vertex AI and no record points at it",
        "Not listed, 1 look",
        "Never registered",
        "Safe repair: Ask Vertex AI for this exact name",
        "The planes differ.",
    ):
        assert words in text
    assert text.count("Ours: chern_") == 7
    assert text.count("Safe repair: ") == 5


def cells(text: str, column: int) -> list[str]:
    rows = [line.split("│") for line in text.splitlines() if line.startswith("│")]
    return [row[column].strip() for row in rows]


@pytest.mark.slow
def test_the_json_of_the_audit_keeps_its_form(incident: Project) -> None:
    code, text = run("audit_registry", "--format", "json")
    said = json.loads(text)
    sweep = Sweep.objects.get()
    assert (code, said["exit_code"], said["verdict"]) == (1, 1, "differ")
    assert list(said) == [
        "verdict",
        "exit_code",
        "project",
        "sweep",
        "planes",
        "counts",
        "vertex",
        "records",
        "findings",
    ]
    assert said["sweep"].keys() == {"id", "status", "started_at", "finished_at", "held", "left_out"}
    assert (said["sweep"]["id"], said["sweep"]["status"]) == (sweep.pk, "complete")
    read = {"read": True, "reason": "", "code": ""}
    assert said["planes"] == dict.fromkeys(
        ("vertex", "gcs", "cloud_run", "scheduler", "vertex_endpoints"), read
    )
    assert said["counts"] == {
        "rows": 10,
        "registered": 8,
        "vertex": 9,
        "gcs": 7,
        "cloud_run": 0,
        "scheduler": 0,
        "vertex_endpoints": 0,
        "endpoints": 0,
        "serving": 0,
    }
    vertex = {row["id"]: row for row in said["vertex"]}
    assert len(vertex) == 9
    assert vertex["252311530295525376"] == {
        "model": "trd-test-252311530295525376",
        "id": "252311530295525376",
        "resource_name": "projects/123456789012/locations/europe-central2/models/"
        "252311530295525376",
        "version": "1",
        "bucket": "",
        "lineage": "",
        "verdict": "unmanaged",
        "agrees": False,
        "as_of": MirroredModel.objects.get(model_id="252311530295525376").seen_at.isoformat(),
    }
    exists = [row["exists"] for row in said["records"]]
    assert exists == ["yes"] * 7 + ["not_listed", "never_registered", "never_registered"]
    assert said["records"][0].keys() == {
        "id",
        "project",
        "name",
        "resource_name",
        "versions",
        "serving",
        "exists",
        "looks",
        "agrees",
    }
    kinds = [finding["kind"] for finding in said["findings"]]
    assert kinds == ["stale_pointer", "unmanaged", "unmanaged", "orphan", "orphan"]
    stale = said["findings"][0]
    assert stale.keys() == {
        "id",
        "kind",
        "status",
        "subject",
        "title",
        "project",
        "looks",
        "seen_now",
        "first_seen_at",
        "last_seen_at",
        "evidence",
        "repair",
    }
    assert (stale["project"], stale["looks"], stale["status"]) == (str(incident), 1, "open")
    assert {finding["seen_now"] for finding in said["findings"]} == {True}


@pytest.mark.slow
def test_the_audit_of_a_project_shows_only_that_project(
    cloud: LocalCloud, incident: Project
) -> None:
    other = managed(cloud, project=ProjectFactory.create(name="other"), model_name="theirs")
    code, text = run("audit_registry", "--project", "other", "--format", "json")
    said = json.loads(text)
    assert (code, said["project"]) == (0, "other")
    assert [row["lineage"] for row in said["vertex"]] == ["theirs"]
    assert [row["id"] for row in said["records"]] == [other.pk]
    assert said["counts"] == {
        "rows": 1,
        "registered": 1,
        "vertex": 1,
        "gcs": 1,
        "cloud_run": 0,
        "scheduler": 0,
        "vertex_endpoints": 0,
        "endpoints": 0,
        "serving": 0,
    }
    assert run("audit_registry", "--project", str(incident))[0] == 1


def test_two_projects_of_one_name_are_told_apart_by_their_keys(
    cloud: LocalCloud, monkeypatch: pytest.MonkeyPatch
) -> None:
    first, second = (ProjectFactory.create(name=name) for name in ("a", "b"))
    theirs = managed(cloud, project=second, model_name="theirs")
    monkeypatch.setattr(Project, "__str__", lambda project: "shop")
    for asked in (
        ("audit_registry", "--project", "shop"),
        ("reconcile_registry", "--unmanaged", "adopt", "--project", "shop", "--yes"),
    ):
        code, text = run(*asked)
        assert (code, text) == (
            1,
            "2 projects have the name 'shop'. Give the key of the one that you mean: "
            f"{first.pk}, {second.pk}.",
        )
    assert Sweep.objects.count() == 0
    code, text = run("audit_registry", "--project", str(second.pk), "--format", "json")
    assert (code, [row["id"] for row in json.loads(text)["records"]]) == (0, [theirs.pk])
    ProjectFactory.create(name="c", pk=int(f"1{second.pk}"))  # for int() the name below is its key
    monkeypatch.setattr(Project, "__str__", lambda project: f"1_{project.pk}")
    assert find_named_project(f"1_{second.pk}") == second
    with pytest.raises(NotFound):
        find_named_project("0")


def test_an_unknown_project_is_told_the_known_ones_and_writes_nothing(cloud: LocalCloud) -> None:
    ProjectFactory.create(name="alpha")
    ProjectFactory.create(name="beta")
    code, text = run("audit_registry", "--project", "gamma")
    assert (code, text) == (1, "The project 'gamma' does not exist. Projects are: alpha, beta.")
    assert (Sweep.objects.count(), cloud.effects.count()) == (0, 0)


@pytest.fixture(params=["UNAVAILABLE", "PERMISSION_DENIED", "hang"])
def without_vertex(
    request: pytest.FixtureRequest, cloud: LocalCloud, incident: Project, settings: Any
) -> None:
    """The incident was swept, and then Vertex AI gives no answer any more."""
    settings.ML_PLATFORM = {**settings.ML_PLATFORM, "CALL_TIMEOUT": 0.3, "RETRY_TIMEOUT": 0.0}
    run("audit_registry")
    if request.param == "hang":
        cloud.faults.order("ModelService.*", "hang", times=None)
    else:
        cloud.faults.order("ModelService.*", "error", code=request.param, times=None)


@pytest.mark.any_database
@pytest.mark.slow
@pytest.mark.usefixtures("without_vertex")
def test_without_vertex_nothing_is_called_missing() -> None:
    code, text = run("audit_registry")
    assert code == 2
    assert "Unknown: Vertex AI could not be read, so nothing is reported as missing." in text
    assert "Not listed" not in text
    now, last_known = text.split("Not checked now; last known\n")
    assert "does not list it" not in now
    assert now.count("Safe repair: ") == 2, "the orphans, which need no plane"
    older = [line for line in last_known.splitlines() if "does not list it" in line]
    assert len(older) == 1
    assert ", not checked now, last seen 20" in older[0]
    assert "Safe repair" not in last_known
    assert "Vertex AI Model Registry" in text
    code, text = run("audit_registry", "--format", "json")
    said = json.loads(text)
    assert (code, said["verdict"], said["counts"]["vertex"]) == (2, "unknown", None)
    assert {row["exists"] for row in said["records"]} == {"unknown", "never_registered"}
    assert {row["agrees"] for row in said["vertex"]} == {None}
    assert {row["as_of"] < said["sweep"]["started_at"] for row in said["vertex"]} == {True}
    assert {row["agrees"] for row in said["records"] if row["exists"] == "unknown"} == {None}
    seen = {finding["kind"]: finding["seen_now"] for finding in said["findings"]}
    assert seen == {"orphan": True, "stale_pointer": False, "unmanaged": False}


@pytest.mark.any_database
@pytest.mark.slow
@pytest.mark.usefixtures("without_vertex")
def test_without_vertex_nothing_is_repaired(cloud: LocalCloud) -> None:
    before = list(Finding.objects.order_by("pk").values_list("kind", "status"))
    code, text = run("reconcile_registry", "--yes", "--unmanaged", "delete")
    cloud.faults.clear()
    assert (code, Operation.objects.count()) == (2, 0)
    assert "No repair was started." in text
    assert list(Finding.objects.order_by("pk").values_list("kind", "status")) == before
    assert cloud.effects.mutations() == []


def test_a_cloud_that_nobody_answers_for_is_one_sentence(settings: Any) -> None:
    settings.ML_PLATFORM = {**settings.ML_PLATFORM, "RETRY_TIMEOUT": 0.0}
    for command in (["audit_registry"], ["reconcile_registry", "--yes"]):
        code, text = run(*command)
        assert code == 2
        assert text.startswith("No plane could be read, so nothing is concluded. Vertex AI")
        assert text.count("\n") == 0
    assert Finding.objects.count() == 0


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"PROJECT_ID": ""}, "ML_PLATFORM has no PROJECT_ID"),
        ({"NO_SUCH_KEY": 1}, "unknown keys: NO_SUCH_KEY"),
        ({"CALL_TIMEOUT": "soon"}, "which is not a float"),
    ],
)
def test_wrong_settings_are_one_sentence(settings: Any, change: dict[str, Any], words: str) -> None:
    settings.ML_PLATFORM = {**settings.ML_PLATFORM, **change}
    for command in ("audit_registry", "reconcile_registry"):
        code, text = run(command)
        assert code == 1
        assert words in text
    assert Sweep.objects.count() == 0


def test_a_silenced_check_stops_no_command(cloud: LocalCloud, settings: Any) -> None:
    cloud.storage.write(settings.ML_PLATFORM["BUCKET"], "runs/a", b"a")
    settings.ML_PLATFORM = {**settings.ML_PLATFORM, "LEASE_SECONDS": 1}
    assert run("audit_registry")[0] == 1
    settings.SILENCED_SYSTEM_CHECKS = ["mlp.E013"]
    assert run("audit_registry")[0] == 0


def test_a_location_the_cloud_does_not_know_is_said(cloud: LocalCloud, settings: Any) -> None:
    managed(cloud)
    settings.ML_PLATFORM = {**settings.ML_PLATFORM, "LOCATION": "mars-north1"}
    code, text = run("audit_registry")
    assert code == 2
    assert "mars-north1" in text
    assert Finding.objects.filter(kind=FindingKind.STALE_POINTER).count() == 0


# ---- reconcile ---------------------------------------------------------------------------------


@pytest.mark.slow
@pytest.mark.usefixtures("incident")
def test_reconciling_repairs_what_is_safe_and_leaves_the_unmanaged(cloud: LocalCloud) -> None:
    code, text = run("reconcile_registry", "--yes")
    assert code == 1
    assert text.count("succeeded ") == 3
    assert (RegisteredModel.objects.count(), RegisteredModel.objects.registered().count()) == (8, 7)
    assert {f.kind for f in Finding.objects.open()} == {FindingKind.UNMANAGED}
    assert TrainingSchedule.objects.filter(registered_model=None).count() == 2
    assert cloud.effects.mutations() == []


@pytest.mark.slow
@pytest.mark.usefixtures("incident")
def test_reconciling_with_the_choice_to_delete_brings_the_counts_together() -> None:
    code, text = run("reconcile_registry", "--yes", "--unmanaged", "delete")
    assert code == 0
    assert [number for number in cells(text, 2) if number.isdigit()][-9:-6] == ["8", "7", "7"]
    assert "The planes agree." in text
    assert run("audit_registry")[0] == 0
    code, text = run("reconcile_registry", "--yes")
    assert (code, "0 findings to repair." in text) == (0, True)


@pytest.mark.slow
@pytest.mark.usefixtures("incident")
def test_reconciling_with_the_choice_to_adopt_registers_them(cloud: LocalCloud) -> None:
    cloud.models.seed("79", display_name="Chern Rank (v2)")
    cloud.models.seed("80", display_name="Größe")
    asked = ("--unmanaged", "adopt", "--project", "test_v1", "--name", "Größe=size")
    code, text = run("reconcile_registry", "--yes", *asked)
    assert code == 0
    assert "Adopt it into the project test_v1 as chern_rank_v2." in " ".join(text.split())
    assert RegisteredModel.objects.registered().count() == 11
    assert RegisteredModel.objects.filter(model_name__in=["chern_rank_v2", "size"]).count() == 2
    assert cloud.effects.count("ModelService.DeleteModel") == 0


@pytest.mark.slow
@pytest.mark.usefixtures("incident")
def test_a_dry_run_changes_nothing(cloud: LocalCloud) -> None:
    code, text = run("reconcile_registry", "--dry-run", "--unmanaged", "delete")
    assert code == 1
    assert "5 findings to repair." in text
    assert "Delete it with all its versions" in text
    assert (Operation.objects.count(), RegisteredModel.objects.count()) == (0, 10)
    assert cloud.effects.mutations() == []


@pytest.mark.slow
@pytest.mark.usefixtures("incident")
def test_only_the_kinds_asked_for_are_repaired() -> None:
    run("reconcile_registry", "--yes", "--kind", "orphan")
    assert {operation.kind for operation in Operation.objects.all()} == {"cleanup"}
    assert RegisteredModel.objects.registered().count() == 8


@pytest.mark.usefixtures("incident")
def test_without_a_terminal_it_asks_for_yes(cloud: LocalCloud) -> None:
    code, text = run("reconcile_registry")
    assert (code, "give --yes" in text) == (1, True)
    assert (Sweep.objects.count(), cloud.effects.count()) == (0, 0)


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


@pytest.mark.any_database
@pytest.mark.slow
@pytest.mark.parametrize(("answer", "left"), [("y\n", 8), ("\n", 10), ("", 10)])
@pytest.mark.usefixtures("incident")
def test_on_a_terminal_it_asks(monkeypatch: pytest.MonkeyPatch, answer: str, left: int) -> None:
    monkeypatch.setattr("sys.stdin", Terminal(answer))
    code, text = run("reconcile_registry")
    assert "Repair 3 findings? [y/N]" in text
    assert (code, RegisteredModel.objects.count()) == (1, left)


def test_a_name_is_given_for_a_name() -> None:
    arguments = ["--unmanaged", "adopt", "--project", "test_v1", "--name", "size"]
    assert run("reconcile_registry", "--yes", *arguments) == (
        1,
        "Give --name SHOWN=NAME, not size.",
    )


@pytest.mark.parametrize("arguments", [["--unmanaged", "adopt"], ["--project", "test_v1"]])
def test_adopting_and_its_project_are_given_together(arguments: list[str]) -> None:
    code, text = run("reconcile_registry", "--yes", *arguments)
    assert (code, text) == (1, "Give --unmanaged adopt and --project NAME together.")


@pytest.mark.slow
def test_a_repair_that_fails_does_not_keep_the_others(
    cloud: LocalCloud, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Somebody wants the first name while its repair is on its way."""
    cloud.storage.write("demo-artifacts", "runs/x", b"")
    wanted, _ = (RegisteredModelFactory.create() for _ in range(2))

    def late(**about: Any) -> Operation:
        if about["operation"].subject_id == str(wanted.pk):
            TrainingScheduleFactory.create(registered_model=wanted)
        return finish_operation(**about)

    command = "ml_platform.management.commands.reconcile_registry"
    monkeypatch.setattr(f"{command}.finish_operation", late)
    code, text = run("reconcile_registry", "--yes")
    assert text.count("is not an orphan any more") == 1
    assert text.count("succeeded ") == 1
    assert [row.pk for row in RegisteredModel.objects.all()] == [wanted.pk]
    assert code == 0


# ---- surplus versions and services -------------------------------------------------------------


@pytest.fixture
def drifted(cloud: LocalCloud) -> Project:
    """A run uploaded twice, a leftover service, an endpoint without one, a service of nobody."""
    project: Project = ProjectFactory.create(name="test_v1")
    lineage = managed(cloud, project=project, model_name="chern", versions=2)
    run = lineage.training_runs.get(version=1)
    labels = labels_for(lineage=lineage.uid, run=run.uid)
    cloud.storage.write("demo-artifacts", "late/saved_model.pb", b"late")
    vertex.upload_model(
        display_name="chern",
        artifact_uri="gs://demo-artifacts/late",
        serving_image="image",
        labels=labels,
        parent_model=ModelName.parse(lineage.vertex_model_resource_name),
    )
    DeployedEndpointFactory.create(
        serving=True, registered_model=lineage, run=run, service_name="chern-gone"
    )
    for name, of_run in (("chern-left", run.uid), ("chern-whose", UUID(int=1))):
        theirs = labels_for(lineage=lineage.uid, run=of_run, endpoint=UUID(int=2))
        spec = service_spec(ServingConfig(image="image"), artifact_uri="gs://b/x", labels=theirs)
        cloud_run.create_service(name, spec)
    had = replace(subject_of_lineage(lineage), service_key="chern-left")
    deletion = WORKFLOWS["delete-endpoint"]
    record(workflow=deletion, subject=had, actor=ANA, now=database_now(), note="its row")
    return project


KINDS = ["leftover_service", "leftover_service", "service_missing", "surplus_version"]


@pytest.mark.slow
@pytest.mark.usefixtures("drifted")
def test_the_audit_shows_surplus_versions_and_the_drift_of_services() -> None:
    code, text = run("audit_registry")
    assert code == 1
    for words in (
        "chern: Vertex AI has v3 of run",
        "chern-left is on Cloud Run with our label, but no endpoint uses it",
        "chern-whose is on Cloud Run with our label, but no endpoint uses it",
        "chern-gone is active, but Cloud Run does not list it",
        "Safe repair: No automatic repair: we have no endpoint and no run for it",
    ):
        assert words in text
    code, text = run("audit_registry", "--format", "json")
    said = json.loads(text)
    assert (code, sorted(finding["kind"] for finding in said["findings"])) == (1, KINDS)
    assert said["vertex"][0]["verdict"] == "surplus_version"
    surplus = next(f for f in said["findings"] if f["kind"] == "surplus_version")
    assert surplus["evidence"]["surplus_versions"] == ["3"]
    assert {f["project"] for f in said["findings"]} == {"test_v1", None}


@pytest.mark.slow
@pytest.mark.usefixtures("drifted")
def test_what_is_safe_is_repaired_and_the_service_of_nobody_stays() -> None:
    code, text = run("reconcile_registry", "--yes")
    assert "3 findings to repair." in text
    assert code == 1
    assert [f.kind for f in Finding.objects.open()] == ["leftover_service"]
    left = [service.service_id for page in cloud_run.list_services() for service in page]
    assert left == ["chern-whose"]
    endpoint = DeployedEndpoint.objects.get()
    assert (endpoint.state, endpoint.is_active) == ("inactive", False)
    before = Operation.objects.count()
    code, text = run("reconcile_registry", "--yes")
    assert (code, "0 findings to repair." in text) == (1, True)
    assert Operation.objects.count() == before


@pytest.mark.slow
def test_services_of_which_one_kind_is_asked_for(drifted: Project) -> None:
    _, text = run("reconcile_registry", "--dry-run", "--kind", "service_missing")
    assert "1 finding to repair." in text
    assert not Operation.objects.exclude(kind=OperationKind.DELETE).exists()  # the fixture's own
    code, text = run("audit_registry", "--project", drifted.name)
    assert (code, "chern-gone" in text, "chern-whose" in text) == (1, True, False)


@pytest.mark.parametrize("limit", ["0", "-1", "many"])
@pytest.mark.django_db
def test_a_limit_that_is_no_number_of_operations_is_one_sentence(limit: str) -> None:
    code, text = run("resume_operations", f"--limit={limit}")
    assert code == 1
    assert f"'{limit}' is not a number of operations from 1 to 1000000" in text
