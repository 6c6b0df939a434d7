"""Deletion: previewed, refused while it serves, marked first, and nothing beyond its run."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest

from ml_platform.cloud import cloud_run, vertex
from ml_platform.cloud.names import ModelName
from ml_platform.cloud.transport import channels
from ml_platform.cloud.types import ServiceSpec
from ml_platform.errors import Conflict
from ml_platform.kpis import four_counts
from ml_platform.models import DeployedEndpoint, Operation, RegisteredModel, TrainingRun
from ml_platform.models.states import EndpointState, Registration
from ml_platform.services.artifacts.folders import UnsafePath, guard
from ml_platform.services.deletion.delete import delete_versions
from ml_platform.services.deletion.plan import DeployedModel
from ml_platform.services.deletion.preview import preview_deletion
from ml_platform.services.operations.engine import advance
from ml_platform.services.operations.retry_cancel import request_cancel, retry_operation
from ml_platform.services.operations.store import Busy
from ml_platform.services.operations.worker import resume_operations
from ml_platform.services.ownership.labels import RUN, labels_for
from ml_platform.services.registration.register import NotRegistrable, register_run
from ml_platform.services.sweeps.sweep import sweep
from ml_platform.services.workflows import WORKFLOWS
from ml_platform.tests.factories import DeployedEndpointFactory
from ml_platform.tests.memory import peak_of

from .world import (
    ANA,
    BUCKET,
    Clock,
    a_lineage,
    a_run,
    artifacts,
    registered_lineage,
    settle,
    vertex_versions,
    write_artifact,
)

if TYPE_CHECKING:
    from ml_platform.localcloud import LocalCloud

pytestmark = pytest.mark.django_db


@pytest.fixture
def clock(cloud: LocalCloud) -> Clock:
    return Clock()


def delete(lineage: RegisteredModel, *runs: TrainingRun, clock: Clock, **options: Any) -> Operation:
    return delete_versions(lineage=lineage, runs=runs, actor=ANA, now=clock(), **options)


def test_deleting_one_version_of_five_leaves_the_four_others_everywhere(
    cloud: LocalCloud, clock: Clock
) -> None:
    lineage, runs = a_lineage(cloud, clock, versions=5)
    operation = delete(lineage, runs[1], clock=clock)
    settle(clock)
    operation.refresh_from_db()
    lineage.refresh_from_db()
    assert operation.status == "succeeded"
    assert sorted(vertex_versions(lineage)) == ["1", "3", "4", "5"]
    assert [len(artifacts(cloud, run)) for run in runs] == [1, 0, 1, 1, 1]
    states = [r.registration for r in TrainingRun.objects.order_by("version")]
    assert states == ["registered", "deleted", "registered", "registered", "registered"]
    assert (lineage.total_versions, lineage.latest_run) == (4, runs[4])
    assert cloud.effects.count("ModelService.DeleteModel") == 0
    assert cloud.effects.count("ModelService.DeleteModelVersion") == 1


@pytest.mark.slow
def test_deleting_the_last_version_ends_the_registration_and_keeps_the_lineage_readable(
    cloud: LocalCloud, clock: Clock
) -> None:
    lineage, (run,) = a_lineage(cloud, clock)
    pointer = f"{run.vertex_model_resource_name}@1"
    sweep(actor=ANA, clock=clock)
    lineage.refresh_from_db()
    assert lineage.registry_state == "verified"
    delete(lineage, run, clock=clock)
    settle(clock)
    lineage.refresh_from_db()
    run.refresh_from_db()
    assert RegisteredModel.objects.registered().count() == 0
    assert sum(len(page) for page in vertex.list_models()) == 0
    assert (lineage.total_versions, lineage.generation, lineage.next_version) == (0, 2, 2)
    assert (lineage.registry_state, lineage.registry_checked_at) == ("", None)
    assert (run.registration, run.last_vertex_version) == ("deleted", pointer)
    assert artifacts(cloud, run) == []


def test_the_four_counts_agree_after_each_change_without_another_sweep(
    cloud: LocalCloud, clock: Clock
) -> None:
    sweep(actor=ANA, clock=clock)
    assert four_counts().vertex == 0
    lineage, (run,) = registered_lineage(cloud, clock)
    assert (four_counts().vertex, four_counts().agree) == (1, True)
    delete(lineage, run, clock=clock)
    settle(clock)
    assert (four_counts().vertex, four_counts().agree) == (0, True)


def test_a_deleted_name_can_be_used_again_and_its_numbers_do_not_repeat(
    cloud: LocalCloud, clock: Clock
) -> None:
    lineage, (old,) = a_lineage(cloud, clock)
    delete(lineage, old, clock=clock)
    settle(clock)
    with pytest.raises(NotRegistrable, match="deleted"):
        register_run(run=TrainingRun.objects.get(pk=old.pk), actor=ANA, now=clock())
    new = a_run(cloud, project=lineage.project)
    register_run(run=new, actor=ANA, now=clock())
    settle(clock)
    new.refresh_from_db()
    assert (new.registered_model, new.version, new.vertex_model_version) == (lineage, 2, "1")
    assert new.vertex_model_resource_name.endswith("-2")


def test_the_default_alias_moves_to_the_newest_version_that_stays(
    cloud: LocalCloud, clock: Clock
) -> None:
    lineage, runs = a_lineage(cloud, clock, versions=3)
    delete(lineage, runs[2], clock=clock)
    settle(clock)
    assert vertex_versions(lineage) == {"1": (), "2": ("default",)}
    assert TrainingRun.objects.get(pk=runs[1].pk).aliases == ["default"]


def test_a_whole_lineage_goes_with_one_call(cloud: LocalCloud, clock: Clock) -> None:
    lineage, runs = a_lineage(cloud, clock, versions=3)
    delete(lineage, *runs, clock=clock)
    settle(clock)
    assert RegisteredModel.objects.registered().count() == 0
    assert cloud.effects.count("ModelService.DeleteModel") == 1
    assert cloud.effects.count("ModelService.DeleteModelVersion") == 0
    assert set(TrainingRun.objects.values_list("registration", flat=True)) == {"deleted"}


def test_a_version_somebody_else_put_under_our_model_survives_its_deletion(
    cloud: LocalCloud, clock: Clock
) -> None:
    lineage, (run,) = a_lineage(cloud, clock)
    vertex.upload_model(
        display_name="theirs",
        artifact_uri=f"{run.gcs_artifacts_path}pushed_model/1",
        serving_image="image",
        labels={"team": "theirs"},
        parent_model=ModelName.parse(lineage.vertex_model_resource_name),
    )
    delete(lineage, run, clock=clock)
    settle(clock)
    assert sorted(vertex_versions(lineage)) == ["2"]
    assert cloud.effects.count("ModelService.DeleteModel") == 0


@pytest.mark.parametrize(
    ("state", "is_active"),
    [
        (EndpointState.ACTIVE, True),
        (EndpointState.DEPLOYING, False),
        (EndpointState.UNDEPLOYING, True),
        (EndpointState.UNDEPLOYING, False),
    ],
)
def test_a_version_that_an_endpoint_protects_cannot_be_deleted_and_the_refusal_is_kept(
    cloud: LocalCloud, clock: Clock, state: EndpointState, is_active: bool
) -> None:
    lineage, (run,) = a_lineage(cloud, clock)
    DeployedEndpointFactory(
        registered_model=lineage, run=run, intended_run=run, state=state, is_active=is_active
    )
    with pytest.raises(DeployedModel, match=r"Cannot delete a deployed model\."):
        delete(lineage, run, clock=clock)
    run.refresh_from_db()
    assert run.registration == Registration.REGISTERED
    refusal = Operation.objects.get(kind="delete")
    assert (refusal.status, refusal.error_code) == ("failed", "model_deployed")
    assert cloud.effects.count("ModelService.Delete*") == 0


def test_a_version_that_only_cloud_run_shows_as_served_cannot_be_deleted(
    cloud: LocalCloud, clock: Clock
) -> None:
    lineage, (run,) = a_lineage(cloud, clock)
    spec = ServiceSpec(image="image", labels=labels_for(run=run.uid))
    cloud_run.create_service("ghost", spec)
    operation = delete(lineage, run, clock=clock)
    settle(clock)
    operation.refresh_from_db()
    run.refresh_from_db()
    assert (operation.status, operation.error_code) == ("failed", "model_deployed")
    assert run.registration == Registration.REGISTERED
    assert cloud.effects.count("ModelService.Delete*") == 0
    plan = preview_deletion(lineage=lineage, runs=[run])
    assert [block.error.code for block in plan.blocks] == ["model_deployed"]


def test_inactive_endpoints_are_marked_model_deleted(cloud: LocalCloud, clock: Clock) -> None:
    lineage, (run, sibling) = a_lineage(cloud, clock, versions=2)
    marked = DeployedEndpointFactory(registered_model=lineage, run=run)
    other = DeployedEndpointFactory(registered_model=lineage, run=sibling)
    delete(lineage, run, clock=clock)
    settle(clock)
    flags = dict(DeployedEndpoint.objects.values_list("pk", "model_deleted"))
    assert flags == {marked.pk: True, other.pk: False}


def test_the_preview_says_what_goes_what_stays_and_what_blocks(
    cloud: LocalCloud, clock: Clock
) -> None:
    lineage, runs = a_lineage(cloud, clock, versions=2)
    write_artifact(cloud, runs[1], "eval/report.json")
    idle = DeployedEndpointFactory(registered_model=lineage, run=runs[1])
    before = cloud.effects.mutations()
    plan = preview_deletion(lineage=lineage, runs=[runs[1]])
    assert [version.number for version in plan.versions] == [2]
    assert [version.number for version in plan.siblings] == [1]
    assert (plan.size.objects, plan.size.bytes) == (2, 10)
    assert plan.default_moves_to
    assert plan.default_moves_to.number == 1
    assert [endpoint.id for endpoint in plan.endpoints_marked] == [idle.pk]
    assert (plan.ends_registration, plan.blocks, plan.unknown) == (False, (), ())
    assert cloud.effects.mutations() == before


def test_the_preview_calls_an_unread_plane_unknown(cloud: LocalCloud, clock: Clock) -> None:
    lineage, (run,) = a_lineage(cloud, clock)
    cloud.faults.order(method="Services.*", kind="error", code="PERMISSION_DENIED", times=None)
    cloud.faults.order(method="storage.*", kind="error", code="PERMISSION_DENIED", times=None)
    plan = preview_deletion(lineage=lineage, runs=[run])
    assert [reason.split(":")[0] for reason in plan.unknown] == ["Cloud Run", "GCS"]
    assert plan.ends_registration


def test_run_1_never_touches_run_10() -> None:
    own = frozenset({"1"})

    def prefix(path: str) -> str:
        return guard(path=path, bucket=BUCKET, root="runs", own=own).key

    assert prefix(f"gs://{BUCKET}/runs/1") == "runs/1/"
    assert prefix(f"gs://{BUCKET}/runs/1/") == "runs/1/"
    for path in (
        f"gs://{BUCKET}/runs/10/",
        f"gs://{BUCKET}/",
        f"gs://{BUCKET}",
        f"gs://{BUCKET}/runs/",
        f"gs://{BUCKET}/runs/1/../2/",
        f"gs://{BUCKET}/runs//1/",
        f"gs://{BUCKET}/other/1/",
        "gs://elsewhere/runs/1/",
        "runs/1/",
        "",
        f"gs://{BUCKET}/runs/1//",
        f"gs://{BUCKET}/runs/1/?x",
        f"gs://{BUCKET}/runs/1/\n",
    ):
        with pytest.raises(UnsafePath):
            prefix(path)


def test_a_path_outside_the_run_is_refused_before_any_call(cloud: LocalCloud, clock: Clock) -> None:
    lineage, (run,) = a_lineage(cloud, clock)
    TrainingRun.objects.filter(pk=run.pk).update(gcs_artifacts_path=f"gs://{BUCKET}/")
    run.refresh_from_db()
    before = len(cloud.effects.calls("*"))
    with pytest.raises(UnsafePath):
        delete(lineage, run, clock=clock)
    assert len(cloud.effects.calls("*")) == before


FAULTS = [
    {"method": "ModelService.DeleteModel", "kind": "lost", "code": "UNAVAILABLE"},
    {"method": "ModelService.DeleteModel", "kind": "lost", "code": "INTERNAL"},
    {"method": "ModelService.DeleteModel", "kind": "error", "code": "UNAVAILABLE"},
    {"method": "ModelService.DeleteModel", "kind": "error", "code": "RESOURCE_EXHAUSTED"},
    {"method": "ModelService.DeleteModel", "kind": "error", "code": "ABORTED"},
    {"method": "ModelService.DeleteModel", "kind": "late", "seconds": 300.0},
    {"method": "ModelService.GetModel", "kind": "error", "code": "PERMISSION_DENIED"},
    {"method": "Services.ListServices", "kind": "error", "code": "PERMISSION_DENIED"},
    {"method": "storage.*", "kind": "error", "code": "UNAVAILABLE", "times": 4},
    {"method": "storage.*", "kind": "lost", "code": "UNAVAILABLE", "times": 4},
]


@pytest.mark.any_database
@pytest.mark.slow
@pytest.mark.parametrize(
    "fault", FAULTS, ids=lambda f: f"{f['method']}-{f['kind']}-{f.get('code')}"
)
def test_trouble_on_the_way_only_delays_a_deletion(
    cloud: LocalCloud, clock: Clock, fault: dict[str, Any]
) -> None:
    lineage, (run,) = a_lineage(cloud, clock)
    cloud.faults.order(**fault)
    operation = delete(lineage, run, clock=clock)
    for _ in range(30):
        resume_operations(clock=clock)
        clock.forward(60)
        cloud.clock.advance(60)
    operation.refresh_from_db()
    run.refresh_from_db()
    assert (operation.status, operation.error) == ("succeeded", "")
    assert run.registration == Registration.DELETED
    assert artifacts(cloud, run) == []
    assert sum(len(page) for page in vertex.list_models()) == 0


def test_a_version_deleted_in_the_console_already_counts_as_done(
    cloud: LocalCloud, clock: Clock
) -> None:
    lineage, (run,) = a_lineage(cloud, clock)
    vertex.delete_model(ModelName.parse(lineage.vertex_model_resource_name))
    operation = delete(lineage, run, clock=clock)
    settle(clock)
    operation.refresh_from_db()
    assert operation.status == "succeeded"
    assert cloud.effects.count("ModelService.DeleteModel") == 1
    assert RegisteredModel.objects.registered().count() == 0


def test_a_deletion_denied_for_good_gives_the_version_back_and_can_be_retried(
    cloud: LocalCloud, clock: Clock
) -> None:
    lineage, (run,) = a_lineage(cloud, clock)
    cloud.faults.order(
        method="ModelService.DeleteModel", kind="error", code="PERMISSION_DENIED", times=None
    )
    operation = delete(lineage, run, clock=clock)
    settle(clock)
    operation.refresh_from_db()
    run.refresh_from_db()
    assert (operation.status, operation.error_code) == ("failed", "cloud_denied")
    assert (run.registration, operation.step) == (Registration.REGISTERED, "check")
    assert operation.advice


@pytest.mark.slow
def test_a_waiting_deletion_that_is_cancelled_frees_nothing_that_another_has_marked(
    cloud: LocalCloud, clock: Clock
) -> None:
    lineage, (run, _) = a_lineage(cloud, clock, versions=2)
    cloud.faults.order(
        method="ModelService.DeleteModelVersion", kind="error", code="PERMISSION_DENIED", times=None
    )
    waiting = delete(lineage, run, clock=clock)
    settle(clock)
    waiting.refresh_from_db()
    delete(lineage, run, clock=clock)
    retry_operation(operation=waiting, actor=ANA)
    request_cancel(operation=waiting, actor=ANA, now=clock())
    run.refresh_from_db()
    assert (waiting.status, run.registration) == ("cancelled", Registration.DELETING)


def test_a_deletion_keeps_its_name_at_google_for_the_next_worker(
    cloud: LocalCloud, clock: Clock
) -> None:
    lineage, (run,) = a_lineage(cloud, clock)
    cloud.faults.order(method="ModelService.DeleteModel", kind="late", seconds=3600.0)
    operation = delete(lineage, run, clock=clock)
    resume_operations(clock=clock)
    operation.refresh_from_db()
    assert (operation.step, "/operations/" in operation.remote_operation) == ("wait", True)


def test_only_one_of_two_deletions_of_a_lineage_is_opened(cloud: LocalCloud, clock: Clock) -> None:
    lineage, (run,) = a_lineage(cloud, clock)
    delete(lineage, run, clock=clock)
    with pytest.raises(Busy):
        delete(lineage, run, clock=clock)


def test_a_run_that_is_no_version_cannot_be_deleted_as_one(cloud: LocalCloud, clock: Clock) -> None:
    lineage, _ = a_lineage(cloud, clock)
    with pytest.raises(Conflict, match="is not a version"):
        delete(lineage, a_run(cloud, project=lineage.project), clock=clock)


def test_an_empty_page_is_not_the_end_of_the_artifacts(cloud: LocalCloud, clock: Clock) -> None:
    lineage, (run, _) = a_lineage(cloud, clock, versions=2)
    for number in range(5):
        write_artifact(cloud, run, f"data/{number}")
    cloud.storage.thin_pages = 2
    operation = delete(lineage, run, clock=clock)
    settle(clock)
    operation.refresh_from_db()
    assert artifacts(cloud, run) == []
    assert operation.steps[-1]["note"] == "6 objects, 30 bytes"


def test_what_went_or_changed_meanwhile_does_not_count_as_freed(
    cloud: LocalCloud, clock: Clock, monkeypatch: pytest.MonkeyPatch
) -> None:
    lineage, (run, _) = a_lineage(cloud, clock, versions=2)
    for name in ("a", "b"):
        write_artifact(cloud, run, name)
    prefix = run.gcs_artifacts_path.removeprefix(f"gs://{BUCKET}/")
    met: list[str] = []

    def somebody_else(method: str) -> None:
        if method == "storage.batch" and not met:
            met.append(method)
            cloud.storage.tables.delete(BUCKET, f"{prefix}a")
            write_artifact(cloud, run, "b")

    monkeypatch.setattr(channels, "before_call", [somebody_else])
    operation = delete(lineage, run, clock=clock)
    settle(clock)
    operation.refresh_from_db()
    assert artifacts(cloud, run) == []
    assert operation.steps[-1]["note"] == "2 objects, 10 bytes"


def test_a_version_that_lost_the_label_of_its_run_is_not_made_the_default(
    cloud: LocalCloud, clock: Clock
) -> None:
    cloud.models.behavior.default_moves = False
    lineage, runs = a_lineage(cloud, clock, versions=2)
    name = ModelName.parse(lineage.vertex_model_resource_name)
    labels = dict(vertex.get_model(name.at("1")).labels)
    vertex.merge_version_aliases(name.at("2"), ["default"])
    del labels[RUN]
    vertex.update_model_labels(name.at("1"), labels)
    operation = delete(lineage, runs[1], clock=clock)
    settle(clock)
    operation.refresh_from_db()
    assert (operation.status, operation.error_code) == ("failed", "default_version")
    assert vertex_versions(lineage) == {"1": (), "2": ("default",)}


def test_a_default_version_is_not_handed_to_somebody_elses_version(
    cloud: LocalCloud, clock: Clock
) -> None:
    cloud.models.behavior.default_moves = False
    lineage, (run,) = a_lineage(cloud, clock)
    name = ModelName.parse(lineage.vertex_model_resource_name)
    vertex.upload_model(
        display_name="theirs",
        artifact_uri=f"{run.gcs_artifacts_path}pushed_model/1",
        serving_image="image",
        labels={},
        parent_model=name,
        is_default=False,
    )
    operation = delete(lineage, run, clock=clock)
    settle(clock)
    operation.refresh_from_db()
    run.refresh_from_db()
    assert (operation.status, operation.error_code) == ("failed", "default_version")
    assert "default to another version" in operation.advice
    assert run.registration == Registration.REGISTERED
    assert vertex_versions(lineage) == {"1": ("default",), "2": ()}
    vertex.merge_version_aliases(name.at("2"), ["default"])
    retry_operation(operation=operation, actor=ANA)
    settle(clock)
    assert vertex_versions(lineage) == {"2": ("default",)}


def test_a_sibling_stays_though_its_label_is_that_of_the_version_which_goes(
    cloud: LocalCloud, clock: Clock
) -> None:
    """As it would be if Vertex AI kept one set of labels for a model."""
    lineage, (run, _) = a_lineage(cloud, clock, versions=2)
    name = ModelName.parse(lineage.vertex_model_resource_name)
    labels = dict(vertex.get_model(name.at("1")).labels)
    vertex.update_model_labels(name.at("2"), labels)
    delete(lineage, run, clock=clock)
    settle(clock)
    assert sorted(vertex_versions(lineage)) == ["2"]


def test_run_1_goes_and_run_10_stays(cloud: LocalCloud, clock: Clock) -> None:
    """With the ids of rows as folders, as runs from before the uids have them."""
    lineage, (run, other) = a_lineage(cloud, clock, versions=2)
    paths = {}
    for row, number in ((run, run.pk), (other, f"{run.pk}0")):
        paths[row.pk] = f"runs/{number}/"
        cloud.storage.write(BUCKET, f"runs/{number}/pushed_model/1/saved_model.pb", b"model")
        path = f"gs://{BUCKET}/runs/{number}/"
        TrainingRun.objects.filter(pk=row.pk).update(gcs_artifacts_path=path)
    run.refresh_from_db()
    delete(lineage, run, clock=clock)
    settle(clock)
    assert cloud.storage.names(BUCKET, paths[run.pk]) == []
    assert len(cloud.storage.names(BUCKET, paths[other.pk])) == 1


@pytest.mark.any_database
@pytest.mark.timeout(300)
@pytest.mark.slow
def test_the_memory_of_a_deletion_does_not_grow_with_its_objects(
    cloud: LocalCloud, clock: Clock, monkeypatch: pytest.MonkeyPatch
) -> None:
    def record_version_deleted(method: str) -> None:
        if method == "storage.batch":
            cloud.effects.reset()  # the local cloud's own record, in this process too

    monkeypatch.setattr(channels, "before_call", [record_version_deleted])
    peaks = [peak_of_deleting(cloud, clock, count) for count in (1_000, 2_500)]
    assert peaks[1] < 1.1 * peaks[0] + 100_000, peaks


def peak_of_deleting(cloud: LocalCloud, clock: Clock, objects: int) -> int:
    """The most bytes that Python held at once while that many objects were deleted."""
    lineage, (run,) = a_lineage(cloud, clock)
    with cloud.storage.tables.transaction():
        for number in range(objects - 1):
            write_artifact(cloud, run, f"data/{number:05}")
    delete(lineage, run, clock=clock)
    peak = peak_of(lambda: settle(clock))
    assert artifacts(cloud, run) == []
    return peak


@pytest.mark.any_database
@pytest.mark.slow
def test_three_thousand_objects_go_in_at_most_thirty_batches_with_progress_between(
    cloud: LocalCloud, clock: Clock
) -> None:
    lineage, (run,) = a_lineage(cloud, clock)
    with cloud.storage.tables.transaction():
        for number in range(2_999):
            write_artifact(cloud, run, f"data/{number:05}")
    operation = delete(lineage, run, clock=clock)
    advance(operation_id=operation.pk, workflows=WORKFLOWS, clock=clock, steps=9)
    operation.refresh_from_db()
    halfway = operation.steps[-1]["note"]
    settle(clock)
    operation.refresh_from_db()
    assert halfway == "1,000 objects, 5 kB so far"
    assert operation.steps[-1]["note"] == "3,000 objects, 15 kB"
    assert cloud.effects.count("storage.batch") <= 30
    assert artifacts(cloud, run) == []
