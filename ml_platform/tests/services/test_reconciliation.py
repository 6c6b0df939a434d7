"""Repairs on the wire: each looks at the very thing again, and changes only what that proves."""

from __future__ import annotations

from datetime import timedelta
from typing import TYPE_CHECKING, Any

import pytest
from django.db import transaction

from ml_platform import kpis
from ml_platform.cloud import vertex
from ml_platform.cloud.names import ModelName
from ml_platform.errors import Conflict, Invalid
from ml_platform.models import (
    Finding,
    Operation,
    RegisteredModel,
    Sweep,
    TrainingRun,
    TrainingSchedule,
)
from ml_platform.models.clock import database_now
from ml_platform.models.states import FindingStatus, OperationStatus, Registration, ScheduleState
from ml_platform.services.cleanup.orphans import clean_up_orphan
from ml_platform.services.findings.decisions import ignore_finding, reopen_finding
from ml_platform.services.findings.kinds import FindingKind
from ml_platform.services.operations.store import Actor, Busy
from ml_platform.services.ownership.labels import OWNER, RUN
from ml_platform.services.registration.adoption import adopt_model
from ml_platform.services.registry.lineages import lose_versions
from ml_platform.services.repairs.pointers import clear_stale_pointers, restore_lost_versions
from ml_platform.services.repairs.reconciliation import NoRepair, finish_operation, repair_finding
from ml_platform.services.repairs.unmanaged_models import Managed, delete_unmanaged_model
from ml_platform.services.sweeps.sweep import sweep
from ml_platform.tests.factories import (
    ProjectFactory,
    RegisteredModelFactory,
    TrainingRunFactory,
    TrainingScheduleFactory,
    version_of,
)

from .installations import a_bucket
from .vertex_rows import BUCKET, managed, replace_model
from .world import no_pause

if TYPE_CHECKING:
    from ml_platform.localcloud import LocalCloud

pytestmark = pytest.mark.django_db
ANA = Actor(label="ana", origin="command")
NAME = "projects/123456789012/locations/europe-central2/models/{}"


def look() -> Sweep:
    return sweep(actor=ANA, clock=database_now)


def finish(operation: Operation, patience: float = 20.0) -> Operation:
    return finish_operation(
        operation=operation, clock=database_now, patience=patience, pause=no_pause
    )


def repair(**about: Any) -> Operation:
    finding = Finding.objects.get(status=FindingStatus.OPEN, **about)
    return finish(repair_finding(finding=finding, actor=ANA, now=database_now()))


def stale(**fields: Any) -> RegisteredModel:
    lineage: RegisteredModel = RegisteredModelFactory.create(**fields)
    version_of(lineage)
    return lineage


def quick(settings: Any) -> None:
    settings.ML_PLATFORM = {**settings.ML_PLATFORM, "CALL_TIMEOUT": 0.3, "RETRY_TIMEOUT": 0.0}


# ---- orphans -----------------------------------------------------------------------------------


def test_an_orphan_goes_and_what_ended_with_it_stays(cloud: LocalCloud) -> None:
    orphan = RegisteredModelFactory.create()
    schedule = TrainingScheduleFactory.create(
        registered_model=orphan, state=ScheduleState.CANCELLED
    )
    run = TrainingRunFactory.create(
        failed=True, project=orphan.project, registered_model=orphan, model_name=orphan.model_name
    )
    look()
    operation = repair(kind=FindingKind.ORPHAN)
    assert (operation.status, operation.kind) == (OperationStatus.SUCCEEDED, "cleanup")
    assert operation.data["deleted"]["detached_schedules"] == [schedule.pk]
    assert operation.data["deleted"]["detached_runs"] == [run.pk]
    assert not RegisteredModel.objects.exists()
    schedule.refresh_from_db()
    run.refresh_from_db()
    assert (schedule.registered_model, run.registered_model) == (None, None)
    assert schedule.model_name == run.model_name == orphan.model_name
    finding = Finding.objects.get()
    assert (finding.status, finding.operation) == (FindingStatus.REPAIRED, operation)
    look()
    assert Finding.objects.count() == 1


@pytest.mark.parametrize(
    "want",
    [
        lambda m: TrainingScheduleFactory.create(registered_model=m, state=ScheduleState.PAUSED),
        lambda m: TrainingRunFactory.create(project=m.project, model_name=m.model_name),
        version_of,
    ],
    ids=["schedule", "run", "version"],
)
def test_a_name_that_is_wanted_by_the_time_of_its_deletion_stays(
    cloud: LocalCloud, want: Any
) -> None:
    orphan = RegisteredModelFactory.create()
    look()
    finding = Finding.objects.get()
    operation = repair_finding(finding=finding, actor=ANA, now=database_now())
    want(orphan)
    before = (TrainingSchedule.objects.count(), TrainingRun.objects.count())
    finish(operation)
    operation.refresh_from_db()
    assert (operation.status, operation.error_code) == ("failed", "not_an_orphan")
    assert RegisteredModel.objects.get().pk == orphan.pk
    assert (TrainingSchedule.objects.count(), TrainingRun.objects.count()) == before
    finding.refresh_from_db()
    assert finding.status == FindingStatus.OPEN


def test_an_orphan_that_is_worked_on_is_not_cleaned_up(cloud: LocalCloud) -> None:
    orphan = RegisteredModelFactory.create()
    clean_up_orphan(registered_model=orphan, actor=ANA, now=database_now())
    with pytest.raises(Busy, match="is held by Delete the orphan"):
        clean_up_orphan(registered_model=orphan, actor=ANA, now=database_now())


# ---- stale pointers ----------------------------------------------------------------------------


def test_a_stale_pointer_is_cleared_after_a_direct_not_found(cloud: LocalCloud) -> None:
    lineage = stale()
    version_of(lineage)
    pointers = [f"{lineage.vertex_model_resource_name}@{n}" for n in (1, 2)]
    TrainingRun.objects.update(gcs_artifacts_path="")
    look()
    cloud.effects.reset()
    operation = repair(kind=FindingKind.STALE_POINTER)
    lineage.refresh_from_db()
    assert operation.status == OperationStatus.SUCCEEDED
    assert sorted(operation.data["pointers"]) == pointers
    assert all("NOT_FOUND" in reason for reason in operation.data["lost"].values())
    assert (lineage.vertex_model_resource_name, lineage.total_versions) == ("", 0)
    assert (lineage.generation, lineage.latest_run, lineage.registry_state) == (2, None, "")
    runs = TrainingRun.objects.order_by("version")
    assert [run.registration for run in runs] == [Registration.LOST, Registration.LOST]
    assert [run.last_vertex_version for run in runs] == pointers
    assert Finding.objects.get().status == FindingStatus.REPAIRED
    assert [call.method for call in cloud.effects.calls()] == [
        "ModelService.ListModels",
        "ModelService.GetModel",
    ]
    assert cloud.effects.mutations() == []
    look()
    assert Finding.objects.count() == 1


def test_a_model_that_is_there_after_all_keeps_its_pointer(cloud: LocalCloud) -> None:
    lineage = managed(cloud)
    cloud.faults.order("ModelService.ListModels", "stale", seconds=10**9)
    look()
    operation = repair(kind=FindingKind.STALE_POINTER)
    lineage.refresh_from_db()
    assert operation.status == OperationStatus.SUCCEEDED
    assert lineage.total_versions == 1
    assert Finding.objects.get().status == FindingStatus.GONE


@pytest.mark.any_database
@pytest.mark.parametrize("method", ["ModelService.GetModel", "ModelService.ListModels"])
@pytest.mark.parametrize("fault", ["UNAVAILABLE", "PERMISSION_DENIED", "hang"])
def test_an_answer_that_proves_nothing_clears_nothing(
    cloud: LocalCloud, settings: Any, method: str, fault: str
) -> None:
    quick(settings)
    lineage = stale()
    look()
    if fault == "hang":
        cloud.faults.order(method, "hang", times=None)
    else:
        cloud.faults.order(method, "error", code=fault, times=None)
    operation = repair(kind=FindingKind.STALE_POINTER)
    cloud.faults.clear()
    lineage.refresh_from_db()
    assert (operation.status, operation.error_code) == ("failed", "cloud_unavailable")
    assert "Nothing was changed" in operation.advice
    assert (lineage.total_versions, lineage.generation) == (1, 1)
    assert Finding.objects.get().status == FindingStatus.OPEN


def test_a_single_version_that_is_gone_is_lost_and_its_siblings_stay(cloud: LocalCloud) -> None:
    lineage = managed(cloud, versions=3)
    name = ModelName.parse(lineage.vertex_model_resource_name)
    vertex.delete_model_version(name.at("2"))
    operation = clear_stale_pointers(registered_model=lineage, actor=ANA, now=database_now())
    finish(operation)
    lineage.refresh_from_db()
    states = list(TrainingRun.objects.order_by("version").values_list("registration", flat=True))
    assert states == ["registered", "lost", "registered"]
    assert (lineage.total_versions, lineage.generation) == (2, 1)


def test_a_version_that_still_differs_after_another_was_lost_stays_open(cloud: LocalCloud) -> None:
    lineage = managed(cloud, versions=2)
    name = ModelName.parse(lineage.vertex_model_resource_name)
    now = database_now()
    finding = Finding.objects.create(
        kind=FindingKind.VERSION_MISMATCH, subject=str(name), title="It differs", repair="r",
        registered_model=lineage, run=lineage.latest_run, first_seen_at=now, last_seen_at=now,
    )  # fmt: skip
    TrainingRun.objects.update(registered_at=now - timedelta(minutes=2))
    vertex.update_model_labels(name.at("2"), {})
    vertex.delete_model_version(name.at("1"))
    operation = finish(repair_finding(finding=finding, actor=ANA, now=now))
    assert operation.status == OperationStatus.SUCCEEDED
    assert TrainingRun.objects.filter(registration=Registration.LOST).count() == 1
    finding.refresh_from_db()
    assert finding.status == FindingStatus.OPEN
    assert operation.steps[-1]["note"].startswith("Still open: It differs.")


@pytest.mark.slow
def test_a_model_born_again_under_our_id_is_not_ours(cloud: LocalCloud) -> None:
    lineage = managed(cloud)
    replace_model(cloud, lineage, run_uid="0" * 32)
    look()
    operation = repair(kind=FindingKind.STALE_POINTER)
    lineage.refresh_from_db()
    assert operation.status == OperationStatus.SUCCEEDED
    assert (lineage.total_versions, lineage.generation) == (0, 2)
    look()
    assert [f.kind for f in Finding.objects.open()] == [FindingKind.UNMANAGED]


def test_a_version_that_only_lost_its_owner_label_is_kept(cloud: LocalCloud) -> None:
    lineage = managed(cloud)
    name = ModelName.parse(lineage.vertex_model_resource_name)
    assert lineage.latest_run is not None
    vertex.update_model_labels(name.at("1"), {RUN: lineage.latest_run.uid.hex})
    look()
    finish(clear_stale_pointers(registered_model=lineage, actor=ANA, now=database_now()))
    lineage.refresh_from_db()
    assert lineage.total_versions == 1


def test_a_version_whose_labels_were_taken_away_is_kept(cloud: LocalCloud) -> None:
    lineage = managed(cloud)
    # As if Vertex AI's clock, which says when the model was created, were ahead of ours.
    registered = database_now() - timedelta(minutes=2)
    RegisteredModel.objects.update(latest_registered_at=registered)
    TrainingRun.objects.update(registered_at=registered)
    name = ModelName.parse(lineage.vertex_model_resource_name)
    vertex.update_model_labels(name.at("1"), {})
    look()
    opened = clear_stale_pointers(registered_model=lineage, actor=ANA, now=database_now())
    operation = finish(opened)
    lineage.refresh_from_db()
    assert operation.status == OperationStatus.SUCCEEDED
    assert lineage.total_versions == 1
    finding = Finding.objects.get()
    assert (finding.kind, finding.status) == (FindingKind.LABELS_CHANGED, FindingStatus.OPEN)


# ---- lost versions that are back -----------------------------------------------------------------


@pytest.mark.slow
def test_lost_versions_that_are_back_are_versions_again(cloud: LocalCloud) -> None:
    lineage = managed(cloud, versions=2)
    before = lineage.vertex_model_resource_name
    with transaction.atomic():
        lose_versions(lineage=lineage)
    look()
    repair(kind=FindingKind.VERSION_MISMATCH)
    lineage.refresh_from_db()
    assert (lineage.vertex_model_resource_name, lineage.total_versions) == (before, 2)
    assert [run.version for run in TrainingRun.objects.versions().order_by("version")] == [1, 2]
    look()
    assert [f.status for f in Finding.objects.all()] == [FindingStatus.REPAIRED]


def test_a_lost_version_is_not_restored_beside_a_new_model(cloud: LocalCloud) -> None:
    lineage = managed(cloud)
    with transaction.atomic():
        lose_versions(lineage=lineage)
    version_of(lineage)
    operation = restore_lost_versions(registered_model=lineage, actor=ANA, now=database_now())
    assert (finish(operation).status, operation.error_code) == ("failed", "other_parent")
    assert TrainingRun.objects.filter(registration=Registration.LOST).count() == 1


# ---- unmanaged models ----------------------------------------------------------------------------


def test_an_unmanaged_model_is_never_repaired_by_default(cloud: LocalCloud) -> None:
    cloud.models.seed("77", display_name="trd-test")
    look()
    with pytest.raises(NoRepair, match="has no safe repair"):
        repair(kind=FindingKind.UNMANAGED)
    assert Operation.objects.count() == 0


def test_a_person_may_delete_an_unmanaged_model(cloud: LocalCloud) -> None:
    cloud.storage.write("foreign-bucket", "model/saved_model.pb", b"theirs")
    uri = "gs://foreign-bucket/model"
    a_bucket()
    cloud.models.seed("77", display_name="trd-test", artifact_uri=uri)
    cloud.effects.reset()
    look()
    operation = delete_unmanaged_model(resource_name=NAME.format(77), actor=ANA, now=database_now())
    finish(operation)
    assert operation.status == OperationStatus.SUCCEEDED
    assert operation.data["versions"] == [{"version": "1", "artifact_uri": uri}]
    done = [call.method for call in cloud.effects.mutations()]
    assert done == ["storage.objects.insert", "ModelService.DeleteModel"]  # the marker first
    assert cloud.storage.read("foreign-bucket", "model/saved_model.pb") == b"theirs"
    assert Finding.objects.get().status == FindingStatus.REPAIRED
    assert kpis.four_counts().vertex == 0, "no sweep has looked since"


@pytest.mark.parametrize("code", ["UNAVAILABLE", "DEADLINE_EXCEEDED"])
def test_a_deletion_whose_answer_was_lost_is_looked_up(cloud: LocalCloud, code: str) -> None:
    a_bucket()
    cloud.models.seed("77", display_name="trd-test")
    cloud.faults.order("ModelService.DeleteModel", "lost", code=code)
    operation = delete_unmanaged_model(resource_name=NAME.format(77), actor=ANA, now=database_now())
    assert finish(operation).status == OperationStatus.SUCCEEDED
    assert cloud.effects.count("ModelService.DeleteModel") == 1


def test_a_model_that_is_gone_already_counts_as_deleted(cloud: LocalCloud) -> None:
    operation = delete_unmanaged_model(resource_name=NAME.format(77), actor=ANA, now=database_now())
    assert finish(operation).status == OperationStatus.SUCCEEDED
    assert cloud.effects.count("ModelService.DeleteModel") == 0


@pytest.mark.parametrize("owner", ["tests", "another"])
def test_a_model_with_an_owner_is_not_deleted(cloud: LocalCloud, owner: str) -> None:
    first = {"version": 1, "labels": {OWNER: owner}}
    cloud.models.seed("77", display_name="theirs", versions=[first, 2])
    operation = delete_unmanaged_model(resource_name=NAME.format(77), actor=ANA, now=database_now())
    assert (finish(operation).status, operation.error_code) == ("failed", "managed_model")
    assert cloud.effects.mutations() == []


def test_a_model_that_a_row_points_at_is_not_deleted(cloud: LocalCloud) -> None:
    lineage = managed(cloud)
    with pytest.raises(Managed, match="is a registered version"):
        delete_unmanaged_model(
            resource_name=lineage.vertex_model_resource_name.replace(
                "123456789012", "demo-project"
            ),
            actor=ANA,
            now=database_now(),
        )


@pytest.mark.slow
def test_an_adopted_model_is_registered_with_all_its_versions(cloud: LocalCloud) -> None:
    project = ProjectFactory.create()
    labels = {"team": "ranking"}
    cloud.models.seed("77", display_name="theirs", versions=[2, 5, 11], labels=labels)
    look()
    operation = adopt_model(
        resource_name=NAME.format(77),
        project=project,
        model_name="chern_rank",
        actor=ANA,
        now=database_now(),
    )
    finish(operation)
    assert operation.status == OperationStatus.SUCCEEDED
    lineage = RegisteredModel.objects.registered().get()
    assert (lineage.model_name, lineage.total_versions, lineage.next_version) == (
        "chern_rank",
        3,
        4,
    )
    runs = list(TrainingRun.objects.order_by("version"))
    assert [(run.version, run.vertex_model_version) for run in runs] == [
        (1, "2"),
        (2, "5"),
        (3, "11"),
    ]
    assert {run.status for run in runs} == {"completed"}
    assert [run.aliases for run in runs] == [[], [], ["default"]]
    pages = vertex.list_model_versions(ModelName.parse(NAME.format(77)))
    found = {v.version: v.labels for page in pages for v in page}
    assert {v: found[v][RUN] for v in found} == {
        run.vertex_model_version: run.uid.hex for run in runs
    }
    assert {(label["team"], label[OWNER]) for label in found.values()} == {("ranking", "tests")}
    look()
    assert Finding.objects.open().count() == 0
    lineage.refresh_from_db()
    assert lineage.registry_state == "verified"


def test_an_adoption_that_loses_an_answer_goes_on(cloud: LocalCloud) -> None:
    cloud.models.seed("77", display_name="theirs", versions=[1, 2])
    cloud.faults.order("ModelService.UpdateModel", "lost", nth=2)
    operation = adopt_model(
        resource_name=NAME.format(77),
        project=ProjectFactory.create(),
        model_name="mine",
        actor=ANA,
        now=database_now(),
    )
    assert finish(operation).status == OperationStatus.SUCCEEDED
    assert TrainingRun.objects.count() == 2


def test_what_cannot_be_adopted_is_refused(cloud: LocalCloud) -> None:
    project = ProjectFactory.create()
    taken = managed(cloud, project=project)
    cloud.models.seed("77", display_name="theirs", labels={OWNER: "another"})
    about = {"resource_name": NAME.format(77), "project": project, "actor": ANA}
    with pytest.raises(Invalid, match="cannot be a name here"):
        adopt_model(**about, model_name="<b>", now=database_now())
    with pytest.raises(Conflict, match="registered model"):
        adopt_model(**about, model_name=taken.model_name, now=database_now())
    operation = finish(adopt_model(**about, model_name="mine", now=database_now()))
    assert (operation.status, operation.error_code) == ("failed", "managed_model")
    assert RegisteredModel.objects.count() == 1


def test_a_model_is_adopted_or_deleted_but_not_both(cloud: LocalCloud) -> None:
    cloud.models.seed("77", display_name="theirs")
    adopt_model(
        resource_name=NAME.format(77),
        project=ProjectFactory.create(),
        model_name="mine",
        actor=ANA,
        now=database_now(),
    )
    with pytest.raises(Busy):
        delete_unmanaged_model(resource_name=NAME.format(77), actor=ANA, now=database_now())


def test_missing_artifacts_have_no_repair_without_a_person(cloud: LocalCloud) -> None:
    managed(cloud, artifacts=False)
    look()
    with pytest.raises(NoRepair):
        repair(kind=FindingKind.ARTIFACTS_MISSING)
    assert BUCKET in Finding.objects.get().evidence["artifacts"]


def test_a_finding_that_ended_cannot_be_repaired(cloud: LocalCloud) -> None:
    RegisteredModelFactory.create()
    look()
    finding = Finding.objects.get()
    finding.status = FindingStatus.GONE
    with pytest.raises(NoRepair, match="no longer seen"):
        repair_finding(finding=finding, actor=ANA, now=database_now())


# ---- findings that a person ignores ------------------------------------------------------------


def test_who_ignores_a_finding_and_why_is_in_the_history(cloud: LocalCloud) -> None:
    cloud.models.seed("77", display_name="trd-test")
    look()
    finding = Finding.objects.get()
    operation = ignore_finding(finding=finding, actor=ANA, reason=" theirs ", now=database_now())
    assert (operation.kind, operation.status, operation.reason) == (
        "ignore",
        OperationStatus.SUCCEEDED,
        "theirs",
    )
    assert (operation.actor_label, operation.subject_id) == ("ana", str(finding.pk))
    assert operation.steps[0]["title"].startswith("Unmanaged in Vertex AI: trd-test")
    assert (finding.status, finding.ignored_by, finding.ignored_reason) == (
        FindingStatus.IGNORED,
        "ana",
        "theirs",
    )
    look()
    finding.refresh_from_db()
    assert (finding.status, finding.consecutive_sightings) == (FindingStatus.IGNORED, 2)
    again = reopen_finding(finding=finding, actor=ANA, now=database_now())
    assert (again.kind, finding.status, finding.ignored_by) == ("unignore", "open", "")


def test_a_finding_is_not_ignored_without_a_reason_or_twice(cloud: LocalCloud) -> None:
    RegisteredModelFactory.create()
    look()
    finding = Finding.objects.get()
    with pytest.raises(Invalid, match="needs a reason"):
        ignore_finding(finding=finding, actor=ANA, reason="  ", now=database_now())
    with pytest.raises(Conflict, match="is open, not ignored"):
        reopen_finding(finding=finding, actor=ANA, now=database_now())
    ignore_finding(finding=finding, actor=ANA, reason="ours", now=database_now())
    with pytest.raises(Conflict, match="is ignored, not open"):
        ignore_finding(finding=finding, actor=ANA, reason="again", now=database_now())
    assert finding.ignored_reason == "ours"
    assert Operation.objects.count() == 1
