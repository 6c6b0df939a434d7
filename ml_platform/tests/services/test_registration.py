"""Registration through Google's clients: one run, one version, whatever happens on the way."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest

from ml_platform.cloud import vertex
from ml_platform.cloud.names import ModelName, model_id
from ml_platform.errors import Conflict
from ml_platform.models import Event, Finding, Operation, RegisteredModel, TrainingRun
from ml_platform.models.states import EventKind, OperationStatus, Registration, RunStatus
from ml_platform.services.deployment.deploy import deploy_run
from ml_platform.services.findings.kinds import FindingKind
from ml_platform.services.operations.engine import advance
from ml_platform.services.operations.retry_cancel import request_cancel
from ml_platform.services.operations.store import Actor
from ml_platform.services.operations.worker import resume_operations
from ml_platform.services.ownership.labels import OWNER, RUN
from ml_platform.services.registration.register import NotRegistrable, register_run
from ml_platform.services.registry.aliases import set_aliases
from ml_platform.services.registry.lineages import lineage_uid
from ml_platform.services.workflows import WORKFLOWS
from ml_platform.tests.factories import ProjectFactory, TrainingRunFactory

from .training_tools import CloudClock, poll, start_run
from .training_tools import settle as training_settle
from .world import ANA, BUCKET, Clock, a_run, settle, write_artifact

if TYPE_CHECKING:
    from ml_platform.localcloud import LocalCloud

BO = Actor(label="bo", origin="api")
pytestmark = pytest.mark.django_db


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


@pytest.mark.any_database
@pytest.mark.slow
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
    refusal = Operation.objects.get()
    assert (refusal.status, refusal.step, refusal.error_code) == ("failed", "", "not_registrable")
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
    assert (old.registration, old.last_vertex_version) == ("lost", f"{former}@1")
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


def test_a_registration_that_was_cancelled_can_be_asked_for_again(
    cloud: LocalCloud, clock: Clock
) -> None:
    run = a_run(cloud)
    operation = register_run(run=run, actor=ANA, now=clock())
    request_cancel(operation=operation, actor=ANA, now=clock())
    again = register_run(run=run, actor=BO, now=clock())
    assert (again.status, again.actor_label) == ("pending", "bo")
    assert register_run(run=run, actor=ANA, now=clock()) == again
    settle(clock)
    run.refresh_from_db()
    operation.refresh_from_db()
    assert operation.status == OperationStatus.CANCELLED
    assert run.registration == Registration.REGISTERED


def test_a_wish_to_cancel_a_try_that_failed_does_not_stop_the_next(
    cloud: LocalCloud, clock: Clock
) -> None:
    run = a_run(cloud)
    cloud.faults.order("ModelService.*", "error", "PERMISSION_DENIED", times=None)
    operation = register_run(run=run, actor=ANA, now=clock())
    resume_operations(clock=clock)
    with pytest.raises(Conflict, match="cannot be cancelled"):
        request_cancel(operation=operation, actor=ANA, now=clock())
    Operation.objects.update(cancel_requested=True)  # accepted by an earlier release
    settle(clock)
    cloud.faults.clear()
    register_run(run=run, actor=ANA, now=clock())
    settle(clock)
    run.refresh_from_db()
    assert run.registration == Registration.REGISTERED


@pytest.mark.parametrize("reason", ["", "  \n"])
def test_a_reason_that_says_nothing_forces_nothing(
    cloud: LocalCloud, clock: Clock, reason: str
) -> None:
    run = a_run(cloud, status=RunStatus.NOT_BLESSED, is_blessed=False)
    with pytest.raises(NotRegistrable) as refused:
        register_run(run=run, actor=ANA, now=clock(), force_reason=reason)
    assert refused.value.code == "not_blessed"


def test_who_forces_a_registration_after_a_failure_is_recorded_with_his_reason(
    cloud: LocalCloud, clock: Clock
) -> None:
    run = a_run(cloud, versions=(), status=RunStatus.NOT_BLESSED, is_blessed=False)
    register_run(run=run, actor=ANA, now=clock(), force_reason="Compared by hand.")
    settle(clock)
    write_artifact(cloud, run, "pushed_model/1/saved_model.pb")
    operation = register_run(run=run, actor=BO, now=clock(), force_reason=" The board decided. ")
    settle(clock)
    operation.refresh_from_db()
    assert (operation.status, operation.actor_label) == ("succeeded", "bo")
    assert operation.reason == "The board decided."
    asked = next(entry for entry in operation.steps if entry["step"] == "retry")
    assert (asked["title"], asked["note"]) == ("Requested again by bo", "The board decided.")


def test_a_forced_version_is_approved_from_its_pipeline_on_and_deployed(
    cloud: LocalCloud,
) -> None:
    clock = CloudClock(cloud)
    cloud.pipelines.outcome("unblessed_pushed")
    run = start_run(ProjectFactory(), clock)
    clock.forward(100)
    assert poll(clock).ended == {"not_blessed": 1}
    run.refresh_from_db()
    register_run(run=run, actor=ANA, now=clock(), force_reason="Compared by hand.")
    training_settle(clock)
    run.refresh_from_db()
    assert (run.registration, run.status) == (Registration.REGISTERED, RunStatus.NOT_BLESSED)
    assert (run.is_blessed, run.approval, run.approval_by) == (False, "approved", "ana")
    assert run.approval_reason == "Compared by hand."
    approved = Event.objects.get(kind=EventKind.VERSION_APPROVED)
    assert (approved.subject_name, approved.actor_label) == (f"{run.model_name} v1", "ana")
    deployment = deploy_run(run=run, actor=ANA, now=clock())
    training_settle(clock)
    deployment.refresh_from_db()
    assert deployment.status == "succeeded"


@pytest.mark.any_database
@pytest.mark.parametrize(
    ("folders", "chosen"),
    [
        (("007",), "007"),
        (("1", "002"), "002"),
        (("1", "\u00b2"), "1"),
        (("1", "\u0663"), "1"),
        (("\u00b2",), None),
    ],
    ids=str,
)
def test_the_folder_with_the_highest_number_is_taken_as_it_is_written(
    cloud: LocalCloud, clock: Clock, folders: tuple[str, ...], chosen: str | None
) -> None:
    run = a_run(cloud, versions=())
    for folder in folders:
        write_artifact(cloud, run, f"pushed_model/{folder}/saved_model.pb")
    operation = register_run(run=run, actor=ANA, now=clock())
    settle(clock)
    operation.refresh_from_db()
    if chosen is None:
        assert operation.error_code == "artifacts_missing"
        return
    run.refresh_from_db()
    model = vertex.get_model(ModelName.parse(run.vertex_model_resource_name))
    assert model.artifact_uri == f"{run.gcs_artifacts_path}pushed_model/{chosen}"


LISTING = "ModelService.ListModelVersions"
UNSEEN: list[dict[str, Any]] = [
    {"kind": "error", "code": "UNAVAILABLE"},
    {"kind": "error", "code": "NOT_FOUND"},
    {"kind": "stale", "seconds": 300.0},
    {"kind": "stale", "seconds": 5000.0},
]


@pytest.mark.any_database
@pytest.mark.parametrize("fault", UNSEEN, ids=str)
def test_after_a_second_upload_the_copy_of_the_first_is_found_whatever_the_listing_says_at_first(
    cloud: LocalCloud, settings: Any, fault: dict[str, Any]
) -> None:
    settings.ML_PLATFORM = {**settings.ML_PLATFORM, "UPLOAD_HORIZON": 60, "RETRY_TIMEOUT": 0.0}
    clock, project = CloudClock(cloud), ProjectFactory()
    register_run(run=a_run(cloud, project=project), actor=ANA, now=clock())
    training_settle(clock)
    clock.forward(1000)
    run = a_run(cloud, project=project)
    cloud.faults.order("ModelService.UploadModel", "late", seconds=150.0)
    cloud.faults.order("ModelService.UploadModel", "lost", "INTERNAL")
    operation = register_run(run=run, actor=ANA, now=clock())
    while operation.step != "record":
        advance(operation_id=operation.pk, workflows=WORKFLOWS, clock=clock, steps=1)
        operation.refresh_from_db()
        clock.forward(5)
    clock.forward(200)
    times = None if fault["kind"] == "stale" else 1
    order = cloud.faults.order(LISTING, times=times, **fault)
    resume_operations(clock=clock)
    assert order.hits
    cloud.faults.clear()
    training_settle(clock)
    run.refresh_from_db()
    operation.refresh_from_db()
    assert (operation.status, run.registration) == ("succeeded", Registration.REGISTERED)
    assert run.vertex_model_version == "2"
    assert versions_in_vertex(run).count(run.uid.hex) == 2
    assert Finding.objects.get().kind == FindingKind.SURPLUS_VERSION


@pytest.mark.slow
def test_a_version_that_is_found_late_does_not_take_the_default_alias_in_our_records(
    cloud: LocalCloud, clock: Clock, settings: Any
) -> None:
    settings.ML_PLATFORM = {**settings.ML_PLATFORM, "RETRY_TIMEOUT": 0.0}
    project = ProjectFactory()
    first, late, newer = (a_run(cloud, project=project) for _ in range(3))
    register_run(run=first, actor=ANA, now=clock())
    settle(clock)
    cloud.faults.order("ModelService.UploadModel", "lost", "INTERNAL")
    register_run(run=late, actor=ANA, now=clock())
    resume_operations(clock=clock)
    cloud.faults.order(LISTING, "error", "PERMISSION_DENIED", times=7)
    settle(clock)
    cloud.faults.clear()
    for run in (newer, late):
        register_run(run=run, actor=ANA, now=clock())
        settle(clock)
    first.refresh_from_db()
    pages = vertex.list_model_versions(ModelName.parse(first.vertex_model_resource_name))
    held = {model.version: list(model.aliases) for page in pages for model in page}
    ours = TrainingRun.objects.versions().values_list("vertex_model_version", "aliases")
    assert dict(ours) == held == {"1": [], "2": [], "3": ["default"]}


def test_aliases_are_not_moved_on_a_model_that_took_the_versions_place(
    cloud: LocalCloud, clock: Clock
) -> None:
    run = a_run(cloud)
    register_run(run=run, actor=ANA, now=clock())
    settle(clock)
    run.refresh_from_db()
    model = ModelName.parse(run.vertex_model_resource_name).model_id
    vertex.delete_model(ModelName.parse(run.vertex_model_resource_name))
    cloud.models.seed(model, display_name="theirs", versions=[1])
    operation = set_aliases(run=run, add=["golden"], actor=ANA, now=clock())
    settle(clock)
    operation.refresh_from_db()
    assert (operation.status, operation.error_code) == ("failed", "foreign_version")
    assert cloud.effects.count("ModelService.MergeVersionAliases") == 0


def test_the_upload_is_kept_by_its_name_at_google(cloud: LocalCloud, clock: Clock) -> None:
    operation = register_run(run=a_run(cloud), actor=ANA, now=clock())
    settle(clock)
    operation.refresh_from_db()
    assert operation.remote_operation.startswith("projects/")
    assert "/operations/" in operation.remote_operation
