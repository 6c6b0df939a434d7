"""A deletion frees its model first; its files go once a complete reading has found nobody."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta
from typing import TYPE_CHECKING, Any

import pytest
from django.db import connection, transaction

from ml_platform import jobs
from ml_platform.cloud import cloud_run, vertex
from ml_platform.cloud.names import ModelName
from ml_platform.cloud.types import ServiceSpec
from ml_platform.models import AwaitingRemoval, Finding, Operation, RegisteredModel, TrainingRun
from ml_platform.models.states import Registration
from ml_platform.services.artifacts import folders
from ml_platform.services.deletion import files
from ml_platform.services.deletion.delete import delete_versions
from ml_platform.services.deletion.preview import preview_deletion
from ml_platform.services.operations.engine import advance
from ml_platform.services.operations.retry_cancel import retry_operation
from ml_platform.services.operations.store import claim
from ml_platform.services.operations.worker import resume_operations
from ml_platform.services.registration.register import register_run
from ml_platform.services.registry.lineages import clear_pointer
from ml_platform.services.removal import removal, steps, waiting
from ml_platform.services.repairs.reconciliation import repair_finding
from ml_platform.services.sweeps.sweep import sweep
from ml_platform.services.workflows import WORKFLOWS

from .deploy_tools import deploy
from .installations import MARKER
from .people import client_of, edit_service, hold
from .test_locking import wait_until_it_waits
from .test_references import pin
from .world import ANA, BUCKET, Clock, a_lineage, a_run, artifacts, settle, write_artifact

if TYPE_CHECKING:
    from ml_platform.localcloud import LocalCloud

pytestmark = pytest.mark.django_db
READS = ("ModelService.ListModels", "ModelService.ListModelVersions", "Services.ListServices")
HELD = "is under active Temporary hold and cannot be deleted"


@pytest.fixture
def clock(cloud: LocalCloud) -> Clock:
    return Clock(now=cloud.clock.now() + timedelta(hours=1))


def delete(lineage: RegisteredModel, *runs: TrainingRun, clock: Clock) -> Operation:
    operation = delete_versions(lineage=lineage, runs=runs, actor=ANA, now=clock())
    settle(clock)
    operation.refresh_from_db()
    return operation


def remove(clock: Clock) -> Operation:
    """What the daily job does."""
    operation = removal.remove_waiting(actor=ANA, clock=clock)
    assert operation
    settle(clock)
    operation.refresh_from_db()
    return operation


def repair(clock: Clock) -> Operation:
    operation = repair_finding(finding=Finding.objects.get(), actor=ANA, now=clock())
    settle(clock)
    operation.refresh_from_db()
    return operation


def pushed(run: TrainingRun) -> str:
    return f"{run.gcs_artifacts_path}pushed_model/1"


def many_models(cloud: LocalCloud, count: int) -> None:
    for number in range(count):
        cloud.models.seed(f"m-{number}", display_name="m", artifact_uri="gs://elsewhere/x")


def counts(cloud: LocalCloud) -> list[int]:
    return [cloud.effects.count(method) for method in READS]


# ---- the model is free ---------------------------------------------------------------------------


@pytest.mark.slow
def test_a_refused_object_of_2000_lets_the_next_registration_and_deploy_begin_at_once(
    cloud: LocalCloud, clock: Clock
) -> None:
    lineage, (first, second) = a_lineage(cloud, clock, versions=2)
    with cloud.storage.tables.transaction():
        for number in range(1_999):
            write_artifact(cloud, first, f"data/{number:04}")
    held = artifacts(cloud, first)[700]
    hold(cloud, held)
    operation = delete_versions(lineage=lineage, runs=[first], actor=ANA, now=clock())
    run = a_run(cloud, project=lineage.project)
    registration = register_run(run=run, actor=ANA, now=clock())
    asked = clock()
    resume_operations(clock=clock)
    deployment = deploy(second, clock)
    settle(clock)
    for each in (operation, registration, deployment):
        each.refresh_from_db()
        assert (each.status, each.error) == ("succeeded", "")
        assert each.started_at
        assert each.started_at - asked < timedelta(minutes=1)
    assert artifacts(cloud, first) == [held]
    note = operation.steps[-1]["note"]
    assert note.startswith(
        "1,999 objects, 10 kB; kept a part of the artifacts of chern v1, 1 object"
    )
    assert note.count(HELD) == 1
    assert "{" not in note
    finding = Finding.objects.get()
    assert (finding.kind, finding.run, finding.status) == ("artifacts_left", first, "open")
    assert AwaitingRemoval.objects.get().refused == 1


@pytest.mark.slow
def test_a_registration_does_not_wait_for_the_files(cloud: LocalCloud, clock: Clock) -> None:
    lineage, (run,) = a_lineage(cloud, clock)
    operation = delete_versions(lineage=lineage, runs=[run], actor=ANA, now=clock())
    later = register_run(run=a_run(cloud, project=lineage.project), actor=ANA, now=clock())
    fault = cloud.faults.order("storage.objects.delete", "error", code="UNAVAILABLE", times=None)
    resume_operations(clock=clock)
    operation.refresh_from_db()
    later.refresh_from_db()
    assert (operation.status, later.status, fault.hits > 0) == ("running", "succeeded", True)
    assert Operation.objects.filter(lineage_key__endswith=":chern", status="running").count() == 0
    cloud.faults.clear()
    settle(clock)
    assert artifacts(cloud, run) == []


def test_a_sweep_beside_the_removal_does_not_take_the_deleted_version_for_a_surplus(
    cloud: LocalCloud, clock: Clock, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The listing of the sweep still had it."""
    lineage, runs = a_lineage(cloud, clock, versions=2)
    cloud.faults.order("storage.objects.delete", "error", code="UNAVAILABLE", times=None)
    listed = vertex.list_models

    def list_then_delete(**options: Any) -> Any:
        yield from list(listed(**options))
        if not Operation.objects.exists():
            clock.forward(1)
            delete_versions(lineage=lineage, runs=runs, actor=ANA, now=clock())
            resume_operations(clock=clock)

    monkeypatch.setattr(vertex, "list_models", list_then_delete)
    sweep(actor=ANA, clock=clock)
    runs[0].refresh_from_db()
    assert (runs[0].registration, Finding.objects.count()) == ("deleted", 0)


# ---- the reading ---------------------------------------------------------------------------------


@pytest.mark.slow
def test_up_to_200_models_the_files_go_with_the_deletion(cloud: LocalCloud, clock: Clock) -> None:
    lineage, (run,) = a_lineage(cloud, clock)
    many_models(cloud, 200)
    before = counts(cloud)
    operation = delete(lineage, run, clock=clock)
    assert operation.steps[-1]["note"] == "1 object, 5 bytes"
    assert artifacts(cloud, run) == []
    assert AwaitingRemoval.objects.count() == 0
    assert cloud.effects.count(READS[0]) - before[0] == 2


@pytest.mark.slow
def test_above_that_all_waiting_folders_share_one_reading_in_the_background(
    cloud: LocalCloud, clock: Clock
) -> None:
    made = [a_lineage(cloud, clock, name=f"name-{number}") for number in range(3)]
    kept = a_lineage(cloud, clock, name="stays")[1]
    many_models(cloud, 450)
    cloud_run.create_service("theirs", ServiceSpec(image="image", labels={}))
    operations = [
        delete_versions(lineage=lineage, runs=runs, actor=ANA, now=clock())
        for lineage, runs in made
    ]
    for operation in operations:
        advance(operation_id=operation.pk, workflows=WORKFLOWS, clock=clock)
        operation.refresh_from_db()
        assert operation.status == "succeeded"
        assert operation.steps[-1]["note"].endswith("they go in the background")
    assert [len(artifacts(cloud, run)) for _, (run,) in made] == [1, 1, 1]
    background = Operation.objects.get(workflow="remove-files")
    before = counts(cloud)
    spent = []
    while background.status != "succeeded":
        advance(operation_id=background.pk, workflows=WORKFLOWS, clock=clock)
        background.refresh_from_db()
        spent.append(cloud.effects.count(READS[1]) - before[1])
        clock.forward(60)
    assert [now - was for now, was in zip(counts(cloud), before, strict=True)] == [5, 451, 1]
    assert spent == [200, 400, 451]  # a minute each
    assert background.steps[-1]["note"] == "3 objects, 15 bytes"
    assert [len(artifacts(cloud, run)) for _, (run,) in made] == [0, 0, 0]
    assert [len(artifacts(cloud, run)) for run in kept] == [1]


@pytest.fixture
def _small_parts(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(steps, "PART", 2)


@pytest.mark.usefixtures("_small_parts")
def test_an_interrupted_reading_begins_again_and_finds_who_came_meanwhile(
    cloud: LocalCloud, clock: Clock
) -> None:
    lineage, (run,) = a_lineage(cloud, clock)
    many_models(cloud, 5)
    delete_versions(lineage=lineage, runs=[run], actor=ANA, now=clock())
    advance(operation_id=Operation.objects.get().pk, workflows=WORKFLOWS, clock=clock)
    background = Operation.objects.get(workflow="remove-files")
    advance(operation_id=background.pk, workflows=WORKFLOWS, clock=clock)  # reads two of five
    cloud.models.seed("late", display_name="late", artifact_uri=pushed(run))
    Operation.objects.filter(pk=background.pk).update(lease_until=clock(), next_attempt_at=None)
    clock.forward(120)  # its worker died
    settle(clock)
    background.refresh_from_db()
    assert background.status == "succeeded"
    assert len(artifacts(cloud, run)) == 1
    assert AwaitingRemoval.objects.get().reason == "used by model late@1 in Vertex AI"


@pytest.mark.slow
@pytest.mark.usefixtures("_small_parts")
@pytest.mark.parametrize("method", [*READS[1:], "Revisions.GetRevision"])
def test_what_is_unknown_keeps_the_files_and_nothing_waits_behind_them(
    cloud: LocalCloud, clock: Clock, method: str
) -> None:
    lineage, (run,) = a_lineage(cloud, clock)
    many_models(cloud, 3)
    cloud_run.create_service("theirs", ServiceSpec(image="image", labels={}, env={"A": "b"}))
    _pin_first_revision()
    delete_versions(lineage=lineage, runs=[run], actor=ANA, now=clock())
    advance(operation_id=Operation.objects.get().pk, workflows=WORKFLOWS, clock=clock)
    cloud.faults.order(method, "error", code="PERMISSION_DENIED", times=None)
    settle(clock)
    background = Operation.objects.get(workflow="remove-files")
    assert (background.status, background.error_code) == ("failed", "cloud_denied")
    assert len(artifacts(cloud, run)) == 1
    cloud.faults.clear()
    assert remove(clock).status == "succeeded"
    assert artifacts(cloud, run) == []


def _pin_first_revision() -> None:
    first = cloud_run.get_service("theirs").latest_ready_revision
    edit_service("theirs", lambda service: pin(service, first))


def test_who_uses_the_files_is_told_and_asked_again_every_day(
    cloud: LocalCloud, clock: Clock
) -> None:
    lineage, (run,) = a_lineage(cloud, clock)
    name = cloud.models.seed("4711", display_name="theirs", artifact_uri=pushed(run))
    delete(lineage, run, clock=clock)
    assert AwaitingRemoval.objects.get().reason == "used by model 4711@1 in Vertex AI"
    assert remove(clock).steps[-1]["note"].endswith("used by model 4711@1 in Vertex AI")
    assert len(artifacts(cloud, run)) == 1
    vertex.delete_model(ModelName.parse(name))
    assert remove(clock).steps[-1]["note"] == "1 object, 5 bytes"
    assert artifacts(cloud, run) == []
    assert removal.remove_waiting(actor=ANA, clock=clock) is None


def test_the_row_says_when_a_complete_reading_began_and_it_began_after_the_mark(
    cloud: LocalCloud, clock: Clock
) -> None:
    lineage, (run,) = a_lineage(cloud, clock)
    cloud.models.seed("4711", display_name="theirs", artifact_uri=pushed(run))
    delete(lineage, run, clock=clock)
    row = AwaitingRemoval.objects.get()
    assert row.looked_at
    assert row.looked_at >= row.marked_at
    assert row.folder == run.gcs_artifacts_path


@pytest.mark.slow
def test_a_deletion_that_failed_after_vertex_goes_on_with_the_files(
    cloud: LocalCloud, clock: Clock
) -> None:
    lineage, (run,) = a_lineage(cloud, clock)
    cloud.faults.order("storage.objects.list", "error", code="PERMISSION_DENIED", times=None)
    operation = delete(lineage, run, clock=clock)
    assert (operation.status, operation.error_code) == ("failed", "cloud_denied")
    assert operation.step == "list_models"
    cloud.faults.clear()
    retry_operation(operation=operation, actor=ANA)
    settle(clock)
    operation.refresh_from_db()
    assert (operation.status, artifacts(cloud, run)) == ("succeeded", [])


# ---- what may not be deleted ---------------------------------------------------------------------


@pytest.mark.slow
def test_600_held_objects_that_sort_first_keep_none_of_the_others(
    cloud: LocalCloud, clock: Clock, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(folders, "CHUNK", 50)
    lineage, (run, other) = a_lineage(cloud, clock, versions=2)
    with cloud.storage.tables.transaction():
        for number in range(120):
            write_artifact(cloud, run, f"a/{number:03}")
    held = [name for name in artifacts(cloud, run) if "/a/0" in name][:60]
    hold(cloud, *held)
    operation = delete(lineage, run, other, clock=clock)
    assert operation.status == "succeeded"
    assert artifacts(cloud, run) == held
    assert artifacts(cloud, other) == []
    assert AwaitingRemoval.objects.get().refused == 60


@pytest.mark.slow
def test_the_repair_deletes_what_is_left_and_ends_the_finding(
    cloud: LocalCloud, clock: Clock
) -> None:
    lineage, (run,) = a_lineage(cloud, clock)
    (name,) = artifacts(cloud, run)
    hold(cloud, name)
    delete(lineage, run, clock=clock)
    refused = repair(clock)
    assert (refused.status, refused.error_code) == ("failed", "objects_left")
    assert refused.error.count(HELD) == 1
    assert Finding.objects.get().status == "open"
    hold(cloud, name, on=False)
    assert repair(clock).status == "succeeded"
    assert artifacts(cloud, run) == []
    assert Finding.objects.get().status == "repaired"


def test_the_repair_does_not_delete_what_somebody_uses_by_now(
    cloud: LocalCloud, clock: Clock
) -> None:
    lineage, (run,) = a_lineage(cloud, clock)
    (name,) = artifacts(cloud, run)
    hold(cloud, name)
    delete(lineage, run, clock=clock)
    hold(cloud, name, on=False)
    cloud.models.seed("4711", display_name="theirs", artifact_uri=pushed(run))
    said = repair(clock)
    assert (said.status, "used by model 4711@1" in said.error) == ("failed", True)
    assert artifacts(cloud, run) == [name]


@pytest.mark.slow
def test_a_sweep_sees_the_finding_again_and_closes_it_when_the_files_went(
    cloud: LocalCloud, clock: Clock
) -> None:
    lineage, (run, _) = a_lineage(cloud, clock, versions=2)
    (name,) = artifacts(cloud, run)
    hold(cloud, name)
    delete(lineage, run, clock=clock)
    clock.forward(60)
    sweep(actor=ANA, clock=clock)
    assert Finding.objects.get().status == "open"
    hold(cloud, name, on=False)
    assert remove(clock).status == "succeeded"
    assert Finding.objects.get().status == "repaired"
    clock.forward(60)
    sweep(actor=ANA, clock=clock)
    assert Finding.objects.count() == 1


@pytest.mark.slow
def test_the_daily_job_says_what_it_left_and_the_next_one_runs_too(
    cloud: LocalCloud, clock: Clock
) -> None:
    lineage, (run, other) = a_lineage(cloud, clock, versions=2)
    (name,) = artifacts(cloud, run)
    hold(cloud, name)
    delete(lineage, run, clock=clock)
    for _ in range(2):
        clock.forward(86_400)
        report = jobs.run_job("cleanup-gcs-artifacts", actor=ANA, clock=clock, days=7)
        assert report.status == "partial"
        assert (
            "kept a part of the artifacts of chern v1, 1 object may not be deleted" in report.output
        )
    delete(lineage, other, clock=clock)
    assert artifacts(cloud, other) == []
    hold(cloud, name, on=False)
    clock.forward(86_400)
    assert jobs.run_job("cleanup-gcs-artifacts", actor=ANA, clock=clock, days=7).status == "success"
    assert cloud.storage.names(BUCKET, "runs/") == [MARKER]


def test_the_daily_job_says_so_if_a_worker_has_taken_its_removal_before_it(
    cloud: LocalCloud, clock: Clock, monkeypatch: pytest.MonkeyPatch
) -> None:
    a_lineage(cloud, clock)
    begun = removal.request_removal(actor=ANA, now=clock())
    monkeypatch.setattr(removal, "remove_waiting", lambda **_: begun)
    report = jobs.run_job("cleanup-gcs-artifacts", actor=ANA, clock=clock, days=7)
    assert "Files of deleted versions: a worker goes on with them." in report.output


def test_removals_that_wait_to_begin_take_all_folders_so_no_second_one_is_opened(
    cloud: LocalCloud, clock: Clock
) -> None:
    assert removal.request_removal(actor=ANA, now=clock())
    assert removal.request_removal(actor=ANA, now=clock()) is None
    settle(clock)
    assert removal.request_removal(actor=ANA, now=clock())


# ---- the plan ------------------------------------------------------------------------------------


def bucket_settings(cloud: LocalCloud, **settings: Any) -> None:
    """What a person does with `gcloud storage buckets update`."""
    bucket = client_of(cloud).get_bucket(BUCKET)
    bucket.versioning_enabled = settings.get("versioning", False)
    bucket.soft_delete_policy.retention_duration_seconds = settings.get("soft_delete", 0)
    bucket.patch()


def test_the_plan_says_when_files_go_and_what_brings_them_back_until_when(
    cloud: LocalCloud, clock: Clock
) -> None:
    lineage, runs = a_lineage(cloud, clock)
    said = []
    for settings in ({}, {"soft_delete": 604_800}, {"versioning": True, "soft_delete": 864_000}):
        bucket_settings(cloud, **settings)
        plan = preview_deletion(lineage=lineage, runs=runs)
        assert plan.files_go.startswith("with the deletion")
        said.append(plan.files_brought_back)
    assert said == [
        "Nothing: the bucket has neither object versioning nor soft delete.",
        "Soft delete is on: until 7 days after they are deleted.",
        "Object versioning is on: they stay as noncurrent versions, until those are deleted by the "
        "bucket's lifecycle rules or by a person. "
        "Soft delete is on: until 10 days after their noncurrent versions are deleted.",
    ]


def test_what_soft_delete_keeps_can_be_restored_after_the_deletion(
    cloud: LocalCloud, clock: Clock
) -> None:
    lineage, (run,) = a_lineage(cloud, clock)
    bucket_settings(cloud, soft_delete=604_800)
    (name,) = artifacts(cloud, run)
    delete(lineage, run, clock=clock)
    (gone,) = client_of(cloud).list_blobs(BUCKET, prefix=name, soft_deleted=True)
    client_of(cloud).bucket(BUCKET).restore_blob(name, generation=gone.generation)
    assert artifacts(cloud, run) == [name]


def test_a_plan_whose_bucket_cannot_be_read_says_so_and_is_not_held_up(
    cloud: LocalCloud, clock: Clock
) -> None:
    lineage, runs = a_lineage(cloud, clock)
    cloud.faults.order("storage.buckets.get", "error", code="PERMISSION_DENIED", times=None)
    plan = preview_deletion(lineage=lineage, runs=runs)
    assert plan.unknown == ()
    assert plan.files_brought_back.startswith("Unknown, because the bucket's settings could not")


@pytest.mark.usefixtures("_small_parts")
def test_the_plan_of_a_large_installation_does_not_read_all_versions(
    cloud: LocalCloud, clock: Clock, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(files, "PART", 2)
    lineage, (run,) = a_lineage(cloud, clock)
    many_models(cloud, 3)
    spec = ServiceSpec(image="image", labels={}, env={"MODEL": pushed(run)})
    cloud_run.create_service("theirs", spec)
    plan = preview_deletion(lineage=lineage, runs=[run])
    assert plan.files_go.startswith("in the background")
    assert [version.used_by for version in plan.versions] == ["service theirs on Cloud Run"]
    assert cloud.effects.count(READS[1]) == 1  # whether the version is ours


# ---- beside others -------------------------------------------------------------------------------


@pytest.mark.slow
def test_a_lost_version_that_is_deleted_cannot_be_registered_beside_the_removal(
    cloud: LocalCloud, clock: Clock
) -> None:
    lineage, (run, _) = a_lineage(cloud, clock, versions=2)
    pointer = f"{run.vertex_model_resource_name}@{run.vertex_model_version}"
    clear_pointer(run=run, registration=Registration.LOST)
    vertex.delete_model_version(ModelName.parse(pointer))
    run.refresh_from_db()
    cloud.faults.order("storage.objects.delete", "error", code="UNAVAILABLE", times=3)
    deletion = delete_versions(lineage=lineage, runs=[run], actor=ANA, now=clock())
    registration = register_run(run=run, actor=ANA, now=clock())
    settle(clock)
    deletion.refresh_from_db()
    registration.refresh_from_db()
    assert (deletion.status, registration.error_code) == ("succeeded", "not_registrable")
    assert artifacts(cloud, run) == []
    assert cloud.effects.count("ModelService.UploadModel") == 0


@pytest.mark.django_db(transaction=True)
def test_a_removal_that_is_about_to_begin_waits_for_the_mark_that_counts_on_it(
    cloud: LocalCloud, clock: Clock
) -> None:
    """Another process may claim it at the moment when a deletion opens none of its own."""
    if connection.vendor != "postgresql":
        return  # SQLite has one writer
    _, runs = a_lineage(cloud, clock)
    waits = removal.request_removal(actor=ANA, now=clock())
    assert waits
    by = Operation.objects.get()
    with ThreadPoolExecutor(1) as pool:
        with transaction.atomic():
            assert removal.request_removal(actor=ANA, now=clock()) is None
            claiming = pool.submit(_claim, waits.pk, clock)
            wait_until_it_waits(claiming.done)
            folders = {run.pk: run.gcs_artifacts_path for run in runs}
            waiting.add_folders(folders=folders, operation=by, now=clock())
        assert claiming.result(timeout=30) == 1


def _claim(key: Any, clock: Clock) -> int:
    """Claim the removal; returns how many folders it sees."""
    try:
        assert claim(operation_id=key, clock=clock)
        return AwaitingRemoval.objects.count()
    finally:
        connection.close()
