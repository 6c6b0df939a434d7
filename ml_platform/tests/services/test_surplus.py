"""Surplus versions on the wire: found, purged exactly, and nothing else with them."""

from __future__ import annotations

from datetime import timedelta
from typing import TYPE_CHECKING, Any, cast

import pytest
from django.db import transaction
from google.cloud.aiplatform_v1.types import UploadModelRequest

from ml_platform.cloud import vertex
from ml_platform.cloud.names import ModelName
from ml_platform.cloud.transport import channels
from ml_platform.models import Finding, Operation, RegisteredModel, TrainingRun
from ml_platform.models.clock import database_now
from ml_platform.models.states import FindingStatus, OperationStatus, Registration
from ml_platform.services.deletion.delete import delete_versions
from ml_platform.services.findings.kinds import FindingKind
from ml_platform.services.operations.store import Actor, Busy
from ml_platform.services.ownership.labels import labels_for
from ml_platform.services.registration.register import register_run
from ml_platform.services.registry.lineages import clear_pointer, sync_version_cache
from ml_platform.services.repairs.duplicate_versions import purge_surplus
from ml_platform.services.repairs.pointers import clear_stale_pointers
from ml_platform.services.repairs.reconciliation import finish_operation, repair_finding
from ml_platform.services.sweeps.sweep import sweep

from .vertex_rows import managed
from .world import Clock, a_run, no_pause, settle, vertex_versions

if TYPE_CHECKING:
    from ml_platform.localcloud import LocalCloud

pytestmark = [pytest.mark.django_db, pytest.mark.any_database]
ANA = Actor(label="ana", origin="command")
DELETES = ("ModelService.DeleteModel", "ModelService.DeleteModelVersion")


def upload(cloud: LocalCloud, lineage: RegisteredModel, labels: dict[str, str]) -> None:
    """A version that lands behind our back and takes the alias default, as uploads do."""
    cloud.storage.write("demo-artifacts", "late/saved_model.pb", b"late")
    vertex.upload_model(
        display_name=lineage.model_name,
        artifact_uri="gs://demo-artifacts/late",
        serving_image="image",
        labels=labels,
        parent_model=ModelName.parse(lineage.vertex_model_resource_name),
    )


def upload_request(lineage: RegisteredModel, labels: dict[str, str]) -> Any:
    """The same as the local cloud gets it, to land inside another call."""
    model = {"display_name": lineage.model_name, "labels": labels, "version_aliases": ["default"]}
    return UploadModelRequest(
        parent=channels.location_path(),
        parent_model=lineage.vertex_model_resource_name,
        model={**model, "container_spec": {"image_uri": "image"}},
    )


def late(cloud: LocalCloud, lineage: RegisteredModel, run: TrainingRun) -> None:
    upload(cloud, lineage, labels_for(lineage=lineage.uid, run=run.uid))


def runs_of(lineage: RegisteredModel) -> list[TrainingRun]:
    return list(lineage.training_runs.order_by("version"))


def look() -> None:
    sweep(actor=ANA, clock=database_now)


def finding() -> Finding:
    return Finding.objects.get(kind=FindingKind.SURPLUS_VERSION)


def repair() -> Operation:
    operation = repair_finding(finding=finding(), actor=ANA, now=database_now())
    return finish_operation(operation=operation, clock=database_now, pause=no_pause)


def deletions(cloud: LocalCloud) -> list[str]:
    calls = cloud.effects.mutations()
    return [call.resource.rpartition("/")[2] for call in calls if call.method in DELETES]


def forget(lineage: RegisteredModel, run: TrainingRun) -> None:
    """The run's version was deleted, by our rows."""
    with transaction.atomic():
        clear_pointer(run=run, registration=Registration.DELETED)
    TrainingRun.objects.filter(pk=run.pk).update(gcs_artifacts_path="")
    sync_version_cache(registered_model=lineage)


def settled() -> None:
    """One more look and repair would write nothing."""
    look()
    assert not Finding.objects.open().exists()


@pytest.mark.slow
def test_a_late_second_upload_goes_and_the_runs_own_version_stays(cloud: LocalCloud) -> None:
    lineage = managed(cloud, versions=2)
    late(cloud, lineage, runs_of(lineage)[0])
    look()
    assert finding().evidence["surplus_versions"] == ["3"]
    assert finding().run == runs_of(lineage)[0]
    before = runs_of(lineage)
    operation = repair()
    model_id = lineage.vertex_model_resource_name.rpartition("/")[2]
    assert (operation.status, operation.kind) == (OperationStatus.SUCCEEDED, "cleanup")
    assert deletions(cloud) == [f"{model_id}@3"]
    assert vertex_versions(lineage) == {"1": (), "2": ("default",)}
    assert [r.vertex_model_version for r in runs_of(lineage)] == ["1", "2"]
    assert [r.registration for r in runs_of(lineage)] == [r.registration for r in before]
    assert runs_of(lineage)[1].aliases == ["default"]
    assert finding().status == FindingStatus.REPAIRED
    settled()


@pytest.mark.slow
def test_a_version_of_a_deleted_run_goes_and_its_siblings_stay(cloud: LocalCloud) -> None:
    lineage = managed(cloud, versions=2)
    forget(lineage, runs_of(lineage)[1])
    look()
    assert finding().evidence["our_registration"] == "deleted"
    assert repair().status == OperationStatus.SUCCEEDED
    assert vertex_versions(lineage) == {"1": ("default",)}
    settled()


@pytest.mark.slow
def test_a_model_that_holds_nothing_but_surplus_goes_whole(cloud: LocalCloud) -> None:
    lineage = managed(cloud)
    run = runs_of(lineage)[0]
    late(cloud, lineage, run)
    name = lineage.vertex_model_resource_name
    forget(lineage, run)
    look()
    assert (finding().subject, finding().registered_model) == (name, lineage)
    assert repair().status == OperationStatus.SUCCEEDED
    assert deletions(cloud) == [name.rpartition("/")[2]]
    settled()


@pytest.mark.parametrize(
    "labels",
    [{}, {"mlp_owner": "another", "mlp_run": "RUN"}, {"mlp_owner": "tests", "mlp_run": "0" * 32}],
    ids=["no label", "another installation", "no run of ours"],
)
def test_what_is_not_surplus_of_ours_keeps_its_model(
    cloud: LocalCloud, labels: dict[str, str]
) -> None:
    lineage = managed(cloud)
    run = runs_of(lineage)[0]
    theirs = {k: run.uid.hex if v == "RUN" else v for k, v in labels.items()}
    upload(cloud, lineage, theirs)
    late(cloud, lineage, run)
    name = lineage.vertex_model_resource_name
    forget(lineage, run)
    look()
    assert repair().status == OperationStatus.SUCCEEDED
    left = list(vertex.list_model_versions(ModelName.parse(name)))
    assert [(v.version, dict(v.labels)) for page in left for v in page] == [("2", theirs)]


@pytest.mark.slow
@pytest.mark.parametrize("when", ["before the listing", "after it"])
def test_labels_that_changed_since_the_look_keep_a_version(
    cloud: LocalCloud, monkeypatch: pytest.MonkeyPatch, when: str
) -> None:
    lineage = managed(cloud)
    late(cloud, lineage, runs_of(lineage)[0])
    look()
    name = ModelName.parse(lineage.vertex_model_resource_name).at("2")
    vertex.merge_version_aliases(name.at("1"), ["default"])
    listed: list[str] = []

    def change(method: str) -> None:
        if method == "ModelService.GetModel" and not listed:
            listed.append(method)
            vertex.update_model_labels(name, {"mlp_owner": "another"})

    if when == "after it":
        monkeypatch.setattr(channels, "before_call", [change])
        assert repair().status == OperationStatus.SUCCEEDED
        assert listed
    else:
        vertex.update_model_labels(name, {"mlp_owner": "another"})
        assert repair().status == OperationStatus.SUCCEEDED
    assert deletions(cloud) == []
    assert finding().status == FindingStatus.GONE


def test_a_version_that_lost_its_labels_is_not_gone_and_no_copy_takes_its_place(
    cloud: LocalCloud,
) -> None:
    lineage = managed(cloud)
    run = runs_of(lineage)[0]
    late(cloud, lineage, run)
    look()
    TrainingRun.objects.update(registered_at=database_now() - timedelta(hours=1))
    name = ModelName.parse(lineage.vertex_model_resource_name)
    vertex.update_model_labels(name.at("1"), {})
    operation = repair()
    assert (operation.status, operation.error_code) == ("failed", "foreign_version")
    run.refresh_from_db()
    assert (run.vertex_model_version, deletions(cloud)) == ("1", [])


@pytest.mark.slow
def test_the_only_copy_that_is_left_is_the_runs_version(cloud: LocalCloud) -> None:
    lineage = managed(cloud, versions=2)
    run = runs_of(lineage)[0]
    late(cloud, lineage, run)
    pointer = f"{run.vertex_model_resource_name}@1"
    vertex.delete_model_version(ModelName.parse(pointer))
    cloud.effects.reset()
    look()
    assert repair().status == OperationStatus.SUCCEEDED
    run.refresh_from_db()
    assert (run.vertex_model_version, run.last_vertex_version) == ("3", pointer)
    assert cloud.effects.mutations() == []
    assert finding().status == FindingStatus.GONE
    settled()


def test_a_surplus_model_that_is_gone_already_is_done(cloud: LocalCloud) -> None:
    lineage = managed(cloud)
    forget(lineage, runs_of(lineage)[0])
    look()
    vertex.delete_model(ModelName.parse(finding().subject))
    cloud.effects.reset()
    assert repair().status == OperationStatus.SUCCEEDED
    assert cloud.effects.mutations() == []
    assert finding().status == FindingStatus.GONE


@pytest.mark.slow
@pytest.mark.parametrize(
    ("method", "fault"),
    [
        ("ModelService.DeleteModelVersion", "error"),
        ("ModelService.DeleteModelVersion", "lost"),
        ("ModelService.MergeVersionAliases", "error"),
        ("ModelService.MergeVersionAliases", "lost"),
    ],
)
def test_an_effect_that_fails_or_loses_its_answer_is_looked_up(
    cloud: LocalCloud, method: str, fault: str
) -> None:
    lineage = managed(cloud, versions=2)
    late(cloud, lineage, runs_of(lineage)[0])
    look()
    cloud.faults.order(method, cast("Any", fault), code="UNAVAILABLE")
    assert repair().status == OperationStatus.SUCCEEDED
    assert vertex_versions(lineage) == {"1": (), "2": ("default",)}
    assert runs_of(lineage)[1].aliases == ["default"]
    assert len(deletions(cloud)) == 1
    settled()


@pytest.mark.slow
@pytest.mark.parametrize("code", ["UNAVAILABLE", "PERMISSION_DENIED"])
@pytest.mark.parametrize("method", ["ModelService.ListModelVersions", "ModelService.GetModel"])
def test_what_cannot_be_read_is_not_purged(
    cloud: LocalCloud, settings: Any, method: str, code: str
) -> None:
    settings.ML_PLATFORM = {**settings.ML_PLATFORM, "CALL_TIMEOUT": 0.3, "RETRY_TIMEOUT": 0.0}
    lineage = managed(cloud)
    late(cloud, lineage, runs_of(lineage)[0])
    look()
    cloud.effects.reset()
    cloud.faults.order(method, "error", code=code, times=None)
    operation = repair()
    cloud.faults.clear()
    assert (operation.status, operation.error_code) == ("failed", "cloud_unavailable")
    assert cloud.effects.mutations() == []
    assert finding().status == FindingStatus.OPEN
    assert repair().status == OperationStatus.SUCCEEDED
    settled()


def test_the_purge_holds_the_lineage(cloud: LocalCloud) -> None:
    lineage = managed(cloud)
    late(cloud, lineage, runs_of(lineage)[0])
    look()
    clear_stale_pointers(registered_model=lineage, actor=ANA, now=database_now())
    with pytest.raises(Busy):
        repair_finding(finding=finding(), actor=ANA, now=database_now())


def test_a_model_with_a_pointer_of_ours_is_never_deleted_whole(cloud: LocalCloud) -> None:
    lineage = managed(cloud, versions=2)
    gone, kept = runs_of(lineage)
    vertex.delete_model_version(
        ModelName.parse(kept.vertex_model_resource_name).at(kept.vertex_model_version)
    )
    forget(lineage, gone)
    cloud.effects.reset()
    operation = purge_surplus(
        registered_model=lineage,
        resource_name=lineage.vertex_model_resource_name,
        actor=ANA,
        now=database_now(),
    )
    finish_operation(operation=operation, clock=database_now, pause=no_pause)
    assert (operation.status, operation.error_code) == ("failed", "pointer_not_listed")
    assert cloud.effects.mutations() == []


@pytest.mark.slow
def test_a_registration_that_finds_two_versions_of_its_run_leaves_a_trace(
    cloud: LocalCloud,
) -> None:
    lineage = managed(cloud)
    clock = Clock()
    run = a_run(cloud, lineage.model_name, project=lineage.project)
    late(cloud, lineage, run)
    late(cloud, lineage, run)
    register_run(run=run, actor=ANA, now=clock())
    settle(clock)
    run.refresh_from_db()
    assert run.vertex_model_version == "2"
    assert finding().evidence["surplus_versions"] == ["3"]
    assert finding().registered_model == lineage
    assert repair().status == OperationStatus.SUCCEEDED
    assert vertex_versions(lineage) == {"1": (), "2": ("default",)}
    settled()


@pytest.mark.slow
def test_an_upload_that_was_sent_twice_leaves_one_version(cloud: LocalCloud) -> None:
    lineage = managed(cloud)
    clock = Clock()
    run = a_run(cloud, lineage.model_name, project=lineage.project)
    register_run(run=run, actor=ANA, now=clock())
    cloud.faults.order("ModelService.UploadModel", "error", code="DEADLINE_EXCEEDED")
    first = upload_request(lineage, labels_for(lineage=lineage.uid, run=run.uid))
    landed: list[str] = []

    def land(call: Any) -> None:
        if call.method == "ModelService.UploadModel" and not landed:
            landed.append(call.resource)
            cloud.core.gate(call.method, first, lambda: cloud.models.upload_model(first))

    leave = cloud.effects.subscribe(land)
    settle(clock)
    leave()
    run.refresh_from_db()
    assert run.vertex_model_version == "2"
    assert finding().evidence["surplus_versions"] == ["3"]
    assert repair().status == OperationStatus.SUCCEEDED
    assert vertex_versions(lineage) == {"1": (), "2": ("default",)}
    settled()


def test_the_deletion_of_a_version_takes_its_late_copies_and_no_sibling(cloud: LocalCloud) -> None:
    lineage = managed(cloud, versions=3)
    first, second, _ = runs_of(lineage)
    late(cloud, lineage, first)
    late(cloud, lineage, second)
    late(cloud, lineage, first)
    cloud.effects.reset()
    operation = delete_versions(lineage=lineage, runs=[first], actor=ANA, now=database_now())
    finish_operation(operation=operation, clock=database_now, pause=no_pause)
    assert operation.status == OperationStatus.SUCCEEDED
    assert sorted(name.partition("@")[2] for name in deletions(cloud)) == ["1", "4", "6"]
    assert sorted(vertex_versions(lineage)) == ["2", "3", "5"]
    first.refresh_from_db()
    assert first.registration == Registration.DELETED
