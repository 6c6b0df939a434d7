"""Registration through Google's clients: one run, one version, whatever happens on the way."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest

from ml_platform.cloud import vertex
from ml_platform.cloud.names import ModelName, model_id
from ml_platform.models import Operation, RegisteredModel, TrainingRun
from ml_platform.models.states import OperationStatus, Registration, RunStatus
from ml_platform.services.labels import OWNER, RUN
from ml_platform.services.lineages import lineage_uid
from ml_platform.services.registration import NotRegistrable, register_run
from ml_platform.services.worker import resume_operations
from ml_platform.tests.factories import ProjectFactory, TrainingRunFactory

from .world import ANA, BUCKET, Clock, a_run, settle

if TYPE_CHECKING:
    from ml_platform.localcloud import LocalCloud

pytestmark = pytest.mark.django_db(transaction=True)


@pytest.fixture
def clock(cloud: LocalCloud) -> Clock:
    return Clock()


def versions_in_vertex(run: TrainingRun) -> list[str]:
    uid = lineage_uid(project_id=run.project_id, model_name=run.model_name)
    name = ModelName("demo-project", "europe-central2", model_id(uid, 1))
    pages = vertex.list_model_versions(name)
    return sorted(model.labels[RUN] for page in pages for model in page)


def test_a_run_that_succeeded_becomes_the_first_version_of_its_lineage(
    cloud: LocalCloud, clock: Clock
) -> None:
    run = a_run(cloud, versions=(3, 20, 100))
    assert RegisteredModel.objects.count() == 0
    operation = register_run(run=run, actor=ANA, now=clock())
    settle(clock)
    run.refresh_from_db()
    operation.refresh_from_db()
    lineage = RegisteredModel.objects.registered().get()
    assert operation.status == OperationStatus.SUCCEEDED
    assert (run.registration, run.version, run.vertex_model_version) == ("registered", 1, "1")
    assert run.aliases == ["default"]
    assert (lineage.total_versions, lineage.latest_run, lineage.next_version) == (1, run, 2)
    model = vertex.get_model(ModelName.parse(run.vertex_model_resource_name))
    assert model.artifact_uri == f"{run.gcs_artifacts_path}pushed_model/100"
    assert (model.labels[OWNER], model.labels[RUN]) == ("tests", run.uid.hex)
    assert cloud.effects.count("ModelService.UploadModel") == 1
    assert {call.reason for call in cloud.effects.calls("ModelService.UploadModel")} == {
        f"operation {operation.pk}"
    }


def test_later_runs_become_versions_under_the_same_parent_and_take_the_default_alias(
    cloud: LocalCloud, clock: Clock
) -> None:
    project = ProjectFactory()
    runs = [a_run(cloud, project=project) for _ in range(3)]
    for run in runs:
        register_run(run=run, actor=ANA, now=clock())
    settle(clock)
    lineage = RegisteredModel.objects.get()
    assert lineage.total_versions == 3
    kept = list(TrainingRun.objects.order_by("version").values_list("version", "aliases"))
    assert kept == [(1, []), (2, []), (3, ["default"])]
    assert versions_in_vertex(runs[0]) == sorted(run.uid.hex for run in runs)
    assert sum(len(page) for page in vertex.list_models()) == 1


def test_asking_twice_gives_the_same_operation_and_one_version(
    cloud: LocalCloud, clock: Clock
) -> None:
    run = a_run(cloud)
    first = register_run(run=run, actor=ANA, now=clock())
    assert register_run(run=run, actor=ANA, now=clock()).pk == first.pk
    settle(clock)
    assert register_run(run=run, actor=ANA, now=clock()).pk == first.pk
    assert cloud.effects.count("ModelService.UploadModel") == 1


FAULTS = [
    {"kind": "lost", "code": "UNAVAILABLE"},
    {"kind": "lost", "code": "INTERNAL"},
    {"kind": "lost", "code": "DEADLINE_EXCEEDED"},
    {"kind": "error", "code": "UNAVAILABLE"},
    {"kind": "error", "code": "RESOURCE_EXHAUSTED"},
    {"kind": "error", "code": "PERMISSION_DENIED"},
    {"kind": "error", "code": "INTERNAL", "times": 3},
    {"kind": "late", "seconds": 240.0},
]


@pytest.mark.parametrize("fault", FAULTS, ids=lambda f: f"{f['kind']}-{f.get('code', '')}")
@pytest.mark.parametrize("first", [True, False], ids=["first-version", "later-version"])
def test_an_upload_that_met_trouble_ends_as_exactly_one_version(
    cloud: LocalCloud, clock: Clock, fault: dict[str, Any], first: bool
) -> None:
    project = ProjectFactory()
    if not first:
        register_run(run=a_run(cloud, project=project), actor=ANA, now=clock())
        settle(clock)
    run = a_run(cloud, project=project)
    cloud.faults.order(method="ModelService.UploadModel", **fault)
    register_run(run=run, actor=ANA, now=clock())
    for _ in range(40):
        resume_operations(clock=clock)
        clock.forward(60)
        cloud.clock.advance(60)
    run.refresh_from_db()
    assert run.registration == Registration.REGISTERED
    assert versions_in_vertex(run).count(run.uid.hex) == 1
    assert RegisteredModel.objects.get().total_versions == (1 if first else 2)


def test_a_run_that_was_not_blessed_is_registered_only_by_force_with_the_reason_kept(
    cloud: LocalCloud, clock: Clock
) -> None:
    run = a_run(cloud, status=RunStatus.NOT_BLESSED, is_blessed=False)
    with pytest.raises(NotRegistrable, match="not blessed"):
        register_run(run=run, actor=ANA, now=clock())
    assert RegisteredModel.objects.count() == 0
    operation = register_run(run=run, actor=ANA, now=clock(), force_reason="Compared by hand.")
    settle(clock)
    run.refresh_from_db()
    operation.refresh_from_db()
    assert run.registration == Registration.REGISTERED
    assert operation.reason == "Compared by hand."


@pytest.mark.parametrize(
    "status", [RunStatus.PENDING, RunStatus.RUNNING, RunStatus.FAILED, RunStatus.CANCELLED]
)
def test_a_run_that_did_not_succeed_cannot_be_registered(
    cloud: LocalCloud, clock: Clock, status: RunStatus
) -> None:
    run = TrainingRunFactory(status=status)
    with pytest.raises(NotRegistrable):
        register_run(run=run, actor=ANA, now=clock())
    assert Operation.objects.count() == 0
    assert cloud.effects.mutations() == [] or all(
        not call.method.startswith("ModelService") for call in cloud.effects.mutations()
    )


def test_missing_artifacts_stop_a_registration_before_anything_is_made(
    cloud: LocalCloud, clock: Clock
) -> None:
    run = a_run(cloud, versions=())
    cloud.storage.write(BUCKET, "runs/another/pushed_model/1/saved_model.pb", b"model")
    operation = register_run(run=run, actor=ANA, now=clock())
    settle(clock)
    operation.refresh_from_db()
    assert (operation.status, operation.error_code) == ("failed", "artifacts_missing")
    assert RegisteredModel.objects.count() == 0
    assert cloud.effects.count("ModelService.*") == 0


def test_a_parent_deleted_in_the_console_is_believed_at_the_second_look_and_never_reborn(
    cloud: LocalCloud, clock: Clock
) -> None:
    project = ProjectFactory()
    old = a_run(cloud, project=project)
    register_run(run=old, actor=ANA, now=clock())
    settle(clock)
    old.refresh_from_db()
    vertex.delete_model(ModelName.parse(old.vertex_model_resource_name))
    new = a_run(cloud, project=project)
    register_run(run=new, actor=ANA, now=clock())
    settle(clock)
    former = old.vertex_model_resource_name
    old.refresh_from_db()
    new.refresh_from_db()
    assert (old.registration, old.former_vertex_version) == ("lost", f"{former}@1")
    assert (new.version, new.vertex_model_version) == (2, "1")
    assert new.vertex_model_resource_name.endswith("-2")
    assert RegisteredModel.objects.get().total_versions == 1


def test_a_model_of_somebody_else_under_our_id_is_left_alone(
    cloud: LocalCloud, clock: Clock
) -> None:
    run = a_run(cloud)
    uid = lineage_uid(project_id=run.project_id, model_name=run.model_name)
    cloud.models.seed(model_id(uid, 1), display_name="theirs")
    operation = register_run(run=run, actor=ANA, now=clock())
    settle(clock)
    operation.refresh_from_db()
    assert (operation.status, operation.error_code) == ("failed", "foreign_model")
    assert cloud.effects.count("ModelService.UploadModel") == 0
