"""What repairs and adoptions looked at in Vertex AI changes before their effect."""

from __future__ import annotations

from collections.abc import Generator

from django.db import transaction

from ml_platform.cloud import storage, vertex
from ml_platform.cloud.names import ModelName
from ml_platform.models import Finding, Operation, RegisteredModel, TrainingRun
from ml_platform.models.registry.manifest import ManifestOrigin
from ml_platform.models.states import Registration
from ml_platform.services.artifacts.manifest import keep_manifest, take_manifest
from ml_platform.services.findings.kinds import FindingKind
from ml_platform.services.registration.adoption import adopt_model
from ml_platform.services.registry.lineages import clear_pointer, lose_versions
from ml_platform.services.repairs.duplicate_versions import purge_surplus
from ml_platform.services.repairs.files import restore_files
from ml_platform.services.repairs.labels import relabel_version
from ml_platform.services.repairs.pointers import clear_stale_pointers, restore_lost_versions
from ml_platform.services.repairs.reconciliation import repair_finding
from ml_platform.services.repairs.unmanaged_models import delete_unmanaged_model
from ml_platform.services.sweeps.sweep import sweep
from ml_platform.tests.factories import ProjectFactory, RegisteredModelFactory, version_of
from ml_platform.tests.services.test_surplus import forget, late
from ml_platform.tests.services.vertex_rows import managed, replace_model
from ml_platform.tests.services.world import (
    ANA,
    BUCKET,
    a_lineage,
    vertex_versions,
)

from .harness import World, before, ended

Played = Generator[Operation | None, None, None]
NAME = "projects/demo-project/locations/europe-central2/models/{}"
OTHERS = {"mlp_owner": "another", "mlp_run": "f" * 32}


def pointer(run: TrainingRun) -> ModelName:
    run.refresh_from_db()
    return ModelName.parse(run.vertex_model_resource_name).at(run.vertex_model_version)


def ids(w: World) -> list[str]:
    del w
    return sorted(model.name.model_id for page in vertex.list_models() for model in page)


# ---- models that nobody manages ----------------------------------------------------------------


def _unmanaged(w: World, versions: int = 1) -> str:
    return w.cloud.models.seed("77", display_name="theirs", versions=range(1, versions + 1))


def _claim(w: World, name: str) -> TrainingRun:
    del w
    run: TrainingRun = version_of(RegisteredModelFactory.create())
    TrainingRun.objects.filter(pk=run.pk).update(vertex_model_resource_name=name)
    return run


@before("check_unmanaged")
def a_model_that_was_claimed_after_the_click_is_not_deleted(w: World) -> Played:
    name = _unmanaged(w)
    operation = delete_unmanaged_model(resource_name=name, actor=ANA, now=w.clock())
    yield operation
    _claim(w, name)
    yield None
    ended(operation, "failed", "managed_model")
    assert ids(w) == ["77"]


@before("check_unmanaged")
def a_model_that_got_an_owner_after_the_click_is_not_deleted(w: World) -> Played:
    name = _unmanaged(w)
    operation = delete_unmanaged_model(resource_name=name, actor=ANA, now=w.clock())
    yield operation
    vertex.update_model_labels(ModelName.parse(name).at("1"), OTHERS)
    yield None
    ended(operation, "failed", "managed_model")
    assert ids(w) == ["77"]


@before("delete_model")
def a_model_that_somebody_deleted_after_the_click_is_done(w: World) -> Played:
    name = _unmanaged(w)
    operation = delete_unmanaged_model(resource_name=name, actor=ANA, now=w.clock())
    yield operation
    vertex.delete_model(ModelName.parse(name))
    yield None
    ended(operation, "succeeded")
    assert ids(w) == []


def _adoption(w: World, versions: int = 1) -> tuple[str, Operation]:
    name, project = _unmanaged(w, versions), ProjectFactory.create()
    return name, adopt_model(
        resource_name=name, project=project, model_name="mine", actor=ANA, now=w.clock()
    )


@before("record")
def a_model_that_was_claimed_meanwhile_is_not_adopted(w: World) -> Played:
    name, operation = _adoption(w)
    yield operation
    _claim(w, name)
    yield None
    ended(operation, "failed", "managed_model")
    assert not RegisteredModel.objects.filter(model_name="mine").exists()


@before("record")
def a_name_that_was_registered_meanwhile_is_not_adopted_under(w: World) -> Played:
    _, operation = _adoption(w)
    yield operation
    version_of(RegisteredModelFactory.create(project_id=operation.project_id, model_name="mine"))
    yield None
    ended(operation, "failed", "name_taken")
    assert RegisteredModel.objects.get().total_versions == 1


@before("relabel")
def labels_that_somebody_set_since_the_look_stay_beside_ours_too(w: World) -> Played:
    lineage, (run,) = a_lineage(w.cloud, w.clock)
    vertex.update_model_labels(pointer(run), {})
    operation = relabel_version(run=run, registered_model=lineage, actor=ANA, now=w.clock())
    yield operation
    vertex.update_model_labels(pointer(run), {"team": "theirs"})
    yield None
    ended(operation, "succeeded")
    labels = vertex.get_model(pointer(run)).labels
    assert (labels["team"], labels["mlp_run"]) == ("theirs", run.uid.hex)


@before("relabel")
def a_version_that_another_owner_labels_meanwhile_is_not_relabeled(w: World) -> Played:
    lineage, (run,) = a_lineage(w.cloud, w.clock)
    vertex.update_model_labels(pointer(run), {})
    operation = relabel_version(run=run, registered_model=lineage, actor=ANA, now=w.clock())
    yield operation
    vertex.update_model_labels(pointer(run), OTHERS)
    yield None
    ended(operation, "failed", "not_ours")
    assert vertex.get_model(pointer(run)).labels == OTHERS


@before("restore")
def a_file_that_somebody_puts_there_meanwhile_is_not_overwritten_unread(w: World) -> Played:
    lineage, (run,) = a_lineage(w.cloud, w.clock)
    [name] = w.cloud.storage.names(BUCKET, run.gcs_artifacts_path.removeprefix(f"gs://{BUCKET}/"))
    taken = take_manifest(run.gcs_artifacts_path + "pushed_model/1")
    with transaction.atomic():
        keep_manifest(run, taken, ManifestOrigin.REGISTRATION, w.clock())
    w.cloud.storage.write(BUCKET, name, b"other")
    operation = restore_files(run=run, registered_model=lineage, actor=ANA, now=w.clock())
    yield operation
    seen = w.cloud.storage.write(BUCKET, name, b"third")
    yield None
    ended(operation, "succeeded")
    assert take_manifest(taken.folder).digest == taken.digest
    kept = storage.list_objects(BUCKET, name, soft_deleted=True)
    assert seen in {item.generation for page in kept for item in page}


@before("put_back")
def an_alias_that_was_moved_again_meanwhile_is_not_put_back(w: World) -> Played:
    lineage, runs = a_lineage(w.cloud, w.clock, versions=3)
    TrainingRun.objects.filter(pk=runs[0].pk).update(aliases=["blue"])
    vertex.merge_version_aliases(pointer(runs[1]), ["blue"])
    sweep(actor=ANA, clock=w.clock)
    finding = Finding.objects.get(kind=FindingKind.ALIAS_MOVED)
    operation = repair_finding(finding=finding, actor=ANA, now=w.clock(), repair="put_back")
    yield operation
    vertex.merge_version_aliases(pointer(runs[2]), ["blue"])
    yield None
    ended(operation, "failed", "alias_moved_again")
    assert set(vertex_versions(lineage)["3"]) == {"blue", "default"}


@before("label")
def labels_that_somebody_set_meanwhile_stay_beside_ours(w: World) -> Played:
    name, operation = _adoption(w)
    yield operation
    version = ModelName.parse(name).at("1")
    vertex.update_model_labels(version, {"team": "theirs"})
    yield None
    ended(operation, "succeeded")
    labels = vertex.get_model(version).labels
    assert (labels.get("team"), "mlp_run" in labels) == ("theirs", True)


@before("label")
def a_version_that_another_installation_claimed_meanwhile_keeps_its_label(w: World) -> Played:
    name, operation = _adoption(w)
    yield operation
    version = ModelName.parse(name).at("1")
    vertex.update_model_labels(version, OTHERS)
    yield None
    ended(operation, "failed", "managed_model")
    assert vertex.get_model(version).labels == OTHERS


# ---- pointers ----------------------------------------------------------------------------------


@before("lose")
def a_version_that_was_deleted_meanwhile_is_not_called_lost(w: World) -> Played:
    lineage = managed(w.cloud, versions=2)
    first = lineage.training_runs.get(version=1)
    vertex.delete_model_version(pointer(first))
    operation = clear_stale_pointers(registered_model=lineage, actor=ANA, now=w.clock())
    yield operation
    with transaction.atomic():
        clear_pointer(run=first, registration=Registration.DELETED)
    yield None
    ended(operation, "succeeded")
    states = lineage.training_runs.order_by("version").values_list("registration", flat=True)
    assert list(states) == ["deleted", "registered"]


def _lost(w: World) -> tuple[RegisteredModel, TrainingRun, Operation]:
    """A version that is lost by our rows, and back in Vertex AI."""
    lineage = managed(w.cloud)
    run = lineage.training_runs.get()
    with transaction.atomic():
        lose_versions(lineage=lineage)
    lineage.refresh_from_db()
    return lineage, run, restore_lost_versions(registered_model=lineage, actor=ANA, now=w.clock())


@before("find_lost")
def the_old_name_with_another_runs_label_is_not_restored_onto(w: World) -> Played:
    lineage, run, operation = _lost(w)
    yield operation
    name = ModelName.parse(TrainingRun.objects.get(pk=run.pk).last_vertex_version)
    vertex.update_model_labels(name, {**vertex.get_model(name).labels, "mlp_run": "f" * 32})
    yield None
    ended(operation, "succeeded")
    run.refresh_from_db()
    lineage.refresh_from_db()
    assert (run.registration, lineage.total_versions) == ("lost", 0)


@before("find_lost")
def the_old_name_of_another_installation_is_not_restored_onto(w: World) -> Played:
    _, run, operation = _lost(w)
    yield operation
    name = ModelName.parse(TrainingRun.objects.get(pk=run.pk).last_vertex_version)
    vertex.update_model_labels(name, {**vertex.get_model(name).labels, "mlp_owner": "another"})
    yield None
    ended(operation, "succeeded")
    run.refresh_from_db()
    assert run.registration == "lost"


@before("restore")
def a_lineage_that_got_a_model_of_its_own_meanwhile_keeps_that(w: World) -> Played:
    lineage, run, operation = _lost(w)
    yield operation
    own = version_of(RegisteredModel.objects.get(pk=lineage.pk), vertex_id="anew")
    yield None
    ended(operation, "failed", "other_parent")
    run.refresh_from_db()
    lineage.refresh_from_db()
    assert (run.registration, lineage.latest_run) == ("lost", own)


@before("restore")
def a_version_that_was_deleted_for_good_meanwhile_is_not_restored(w: World) -> Played:
    lineage, run, operation = _lost(w)
    yield operation
    TrainingRun.objects.filter(pk=run.pk).update(registration=Registration.DELETED)
    yield None
    ended(operation, "succeeded")
    lineage.refresh_from_db()
    assert lineage.total_versions == 0


# ---- surplus -----------------------------------------------------------------------------------


def _surplus(w: World) -> tuple[RegisteredModel, Operation]:
    lineage = managed(w.cloud, versions=2)
    late(w.cloud, lineage, lineage.training_runs.get(version=1))
    name = lineage.vertex_model_resource_name
    return lineage, purge_surplus(
        registered_model=lineage, resource_name=name, actor=ANA, now=w.clock()
    )


@before("list_versions")
def a_copy_that_got_another_label_meanwhile_is_not_purged(w: World) -> Played:
    lineage, operation = _surplus(w)
    yield operation
    name = ModelName.parse(lineage.vertex_model_resource_name).at("3")
    vertex.update_model_labels(name, OTHERS)
    yield None
    ended(operation, "succeeded")
    assert sorted(vertex_versions(lineage)) == ["1", "2", "3"]


@before("give_default")
def a_default_that_somebody_moved_meanwhile_does_not_stop_a_purge(w: World) -> Played:
    lineage, operation = _surplus(w)
    yield operation
    vertex.merge_version_aliases(pointer(lineage.training_runs.get(version=1)), ["default"])
    yield None
    ended(operation, "succeeded")
    held = vertex_versions(lineage)
    said = {str(run.version): tuple(run.aliases) for run in lineage.training_runs.versions()}
    assert held == said
    assert sorted(held) == ["1", "2"]


@before("purge")
def a_copy_that_somebody_deleted_meanwhile_is_done(w: World) -> Played:
    lineage, operation = _surplus(w)
    yield operation
    vertex.delete_model_version(ModelName.parse(lineage.vertex_model_resource_name).at("3"))
    yield None
    ended(operation, "succeeded")
    assert sorted(vertex_versions(lineage)) == ["1", "2"]


@before("list_versions")
def a_model_that_was_replaced_meanwhile_is_not_purged(w: World) -> Played:
    lineage, operation = _surplus(w)
    forget(lineage, lineage.training_runs.get(version=1))
    yield operation
    replace_model(w.cloud, lineage, run_uid="f" * 32)
    yield None
    operation.refresh_from_db()
    assert len(ids(w)) == 1
