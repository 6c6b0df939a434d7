"""What registrations, aliases and deletions looked at in Vertex AI changes before their effect."""

from __future__ import annotations

from collections.abc import Generator

from ml_platform.cloud import cloud_run, vertex
from ml_platform.cloud.names import ModelName, model_id
from ml_platform.cloud.types import ServiceSpec
from ml_platform.models import AwaitingRemoval, Operation, RegisteredModel, TrainingRun
from ml_platform.models.states import Registration
from ml_platform.services.deletion.delete import delete_versions
from ml_platform.services.registration.register import register_run
from ml_platform.services.registry.aliases import set_aliases
from ml_platform.services.registry.lineages import lineage_uid
from ml_platform.tests.factories import DeployedEndpointFactory
from ml_platform.tests.services.world import (
    ANA,
    BUCKET,
    a_lineage,
    a_run,
    artifacts,
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


# ---- registration ------------------------------------------------------------------------------


@before("upload")
def a_foreign_model_that_took_our_id_gets_no_version(w: World) -> Played:
    run = a_run(w.cloud)
    operation = register_run(run=run, actor=ANA, now=w.clock())
    yield operation
    uid = lineage_uid(project_id=run.project_id, model_name=run.model_name)
    w.cloud.models.seed(model_id(uid, 1), display_name="theirs", labels=OTHERS)
    yield None
    ended(operation, "failed", "foreign_model")
    run.refresh_from_db()
    assert (run.registration, RegisteredModel.objects.registered().count()) == ("", 0)


@before("record")
def a_run_whose_version_was_deleted_meanwhile_is_not_registered(w: World) -> Played:
    run = a_run(w.cloud)
    operation = register_run(run=run, actor=ANA, now=w.clock())
    yield operation
    TrainingRun.objects.filter(pk=run.pk).update(registration=Registration.DELETED)
    yield None
    ended(operation, "failed", "not_registrable")
    assert not RegisteredModel.objects.registered().exists()


@before("record")
def a_run_that_was_deleted_meanwhile_makes_no_lineage(w: World) -> Played:
    run = a_run(w.cloud)
    operation = register_run(run=run, actor=ANA, now=w.clock())
    yield operation
    run.delete()
    yield None
    ended(operation, "failed", "run_deleted")
    assert not RegisteredModel.objects.exists()


# ---- aliases -----------------------------------------------------------------------------------


@before("merge")
def aliases_are_not_moved_on_a_version_with_another_runs_label(w: World) -> Played:
    lineage, (run,) = a_lineage(w.cloud, w.clock)
    operation = set_aliases(run=run, add=["best"], actor=ANA, now=w.clock())
    yield operation
    labels = vertex.get_model(pointer(run)).labels
    vertex.update_model_labels(pointer(run), {**labels, "mlp_run": "f" * 32})
    yield None
    ended(operation, "failed", "foreign_version")
    assert "best" not in vertex_versions(lineage)["1"]


@before("merge")
def aliases_are_not_given_to_a_version_that_was_deleted_meanwhile(w: World) -> Played:
    lineage, (run,) = a_lineage(w.cloud, w.clock)
    operation = set_aliases(run=run, add=["best"], actor=ANA, now=w.clock())
    yield operation
    TrainingRun.objects.filter(pk=run.pk).update(registration=Registration.DELETING)
    yield None
    operation.refresh_from_db()
    assert operation.status == "failed"
    assert "best" not in vertex_versions(lineage)["1"]


@before("merge")
def a_protected_alias_that_another_version_got_meanwhile_is_not_taken_from_it(w: World) -> Played:
    lineage, (first, second) = a_lineage(w.cloud, w.clock, versions=2)
    operation = set_aliases(run=second, add=["champion"], actor=ANA, now=w.clock())
    yield operation
    vertex.merge_version_aliases(pointer(first), ["champion"])
    yield None
    operation.refresh_from_db()
    assert operation.status == "failed"
    assert "champion" in vertex_versions(lineage)["1"]


# ---- deletion ----------------------------------------------------------------------------------


def _deletion(w: World, versions: int) -> tuple[RegisteredModel, list[TrainingRun], Operation]:
    lineage, runs = a_lineage(w.cloud, w.clock, versions=versions)
    w.clock.forward(600)
    doomed = runs[-1:]
    return lineage, runs, delete_versions(lineage=lineage, runs=doomed, actor=ANA, now=w.clock())


@before("check")
def a_version_that_an_endpoint_serves_by_now_is_not_deleted(w: World) -> Played:
    lineage, runs, operation = _deletion(w, 2)
    yield operation
    DeployedEndpointFactory.create(registered_model=lineage, run=runs[1], serving=True)
    yield None
    ended(operation, "failed", "model_deployed")
    assert sorted(vertex_versions(lineage)) == ["1", "2"]


@before("check")
def a_version_that_an_endpoint_is_about_to_serve_by_now_is_not_deleted(w: World) -> Played:
    lineage, runs, operation = _deletion(w, 2)
    yield operation
    DeployedEndpointFactory.create(
        registered_model=lineage, run=runs[0], intended_run=runs[1], state="deploying"
    )
    yield None
    ended(operation, "failed", "model_deployed")
    assert sorted(vertex_versions(lineage)) == ["1", "2"]


@before("check")
def a_version_that_only_cloud_run_serves_by_now_is_not_deleted(w: World) -> Played:
    lineage, runs, operation = _deletion(w, 2)
    yield operation
    labels = {"mlp_owner": "tests", "mlp_run": runs[1].uid.hex}
    cloud_run.create_service("by-hand", ServiceSpec(image="i", labels=labels))
    yield None
    ended(operation, "failed", "model_deployed")
    assert sorted(vertex_versions(lineage)) == ["1", "2"]


@before("look")
def a_version_that_got_another_label_after_the_check_is_not_deleted(w: World) -> Played:
    lineage, runs, operation = _deletion(w, 2)
    yield operation
    vertex.update_model_labels(pointer(runs[1]), OTHERS)
    yield None
    ended(operation, "failed", "foreign_version")
    runs[1].refresh_from_db()
    assert (sorted(vertex_versions(lineage)), runs[1].registration) == (["1", "2"], "registered")


@before("look")
def a_version_that_was_made_champion_after_the_check_is_not_deleted(w: World) -> Played:
    lineage, runs, operation = _deletion(w, 2)
    yield operation
    vertex.merge_version_aliases(pointer(runs[1]), ["champion"])
    yield None
    ended(operation, "failed", "protected_alias")
    assert sorted(vertex_versions(lineage)) == ["1", "2"]


@before("move_default")
def a_default_that_somebody_moved_meanwhile_is_written_down(w: World) -> Played:
    lineage, runs, operation = _deletion(w, 3)
    yield operation
    vertex.merge_version_aliases(pointer(runs[0]), ["default"])
    yield None
    ended(operation, "succeeded")
    seen = {number: "default" in aliases for number, aliases in vertex_versions(lineage).items()}
    said = {str(r.version): "default" in r.aliases for r in lineage.training_runs.versions()}
    assert sum(seen.values()) == 1
    assert seen == said


@before("delete")
def a_version_that_somebody_deleted_meanwhile_is_done(w: World) -> Played:
    lineage, runs, operation = _deletion(w, 2)
    yield operation
    vertex.delete_model_version(pointer(runs[1]))
    yield None
    ended(operation, "succeeded")
    assert (list(vertex_versions(lineage)), artifacts(w.cloud, runs[1])) == (["1"], [])
    assert artifacts(w.cloud, runs[0])


@before("look")
def files_that_somebody_began_to_use_after_the_check_are_kept(w: World) -> Played:
    _, runs, operation = _deletion(w, 2)
    yield operation
    w.cloud.models.seed(
        "theirs", display_name="t", artifact_uri=f"{runs[1].gcs_artifacts_path}pushed_model/1"
    )
    yield None
    ended(operation, "succeeded")
    assert artifacts(w.cloud, runs[1])


@before("read_users")
def files_of_which_a_service_was_told_since_the_models_were_listed_are_kept(w: World) -> Played:
    _, runs, operation = _deletion(w, 2)
    yield operation
    env = {"MODEL": runs[1].gcs_artifacts_path}
    cloud_run.create_service("theirs", ServiceSpec(image="image", labels={}, env=env))
    yield None
    ended(operation, "succeeded")
    assert artifacts(w.cloud, runs[1])
    assert AwaitingRemoval.objects.get().reason == "used by service theirs on Cloud Run"


@before("artifacts")
def files_written_since_the_look_go_with_their_folder_and_no_other(w: World) -> Played:
    _, runs, operation = _deletion(w, 2)
    yield operation
    own = runs[1].gcs_artifacts_path.removeprefix(f"gs://{BUCKET}/")
    w.cloud.storage.write(BUCKET, f"{own}late", b"x")
    w.cloud.storage.write(BUCKET, f"{own.rstrip('/')}0/other", b"x")
    yield None
    ended(operation, "succeeded")
    assert (artifacts(w.cloud, runs[1]), bool(artifacts(w.cloud, runs[0]))) == ([], True)
    assert w.cloud.storage.names(BUCKET, f"{own.rstrip('/')}0/")
