"""What people do to models and versions in the Vertex AI Model Registry."""

from __future__ import annotations

from typing import Any

from ml_platform.cloud.transport import channels

from .scene import Row, Scene, Undo, pointer, rpc


def copy(scene: Scene) -> Undo:
    _, [run] = scene.model()
    copied = rpc(
        "ModelService",
        "copy_model",
        parent=channels.location_path(),
        source_model=pointer(run),
        model_id=scene.name("copy"),
    )
    return lambda: rpc("ModelService", "delete_model", name=copied.model)


def delete(scene: Scene) -> Undo:
    lineage, _ = scene.model(versions=2)
    rpc("ModelService", "delete_model", name=lineage.vertex_model_resource_name)
    return None


def delete_old_version(scene: Scene) -> Undo:
    _, runs = scene.model(versions=2)
    rpc("ModelService", "delete_model_version", name=pointer(runs[0]))
    return None


def export(scene: Scene) -> Undo:
    lineage, _ = scene.model()
    scene.cloud.storage.write("exports", "first", b"there")
    rpc(
        "ModelService",
        "export_model",
        name=lineage.vertex_model_resource_name,
        output_config={
            "export_format_id": "custom-trained",
            "artifact_destination": {"output_uri_prefix": "gs://exports/models"},
        },
    )
    return None


def import_evaluation(scene: Scene) -> Undo:
    _, [run] = scene.model()
    evaluation = {"display_name": "by hand"}
    rpc(
        "ModelService",
        "import_model_evaluation",
        parent=run.vertex_model_resource_name,
        model_evaluation=evaluation,
    )
    return None


def move_alias(scene: Scene) -> Undo:
    _, runs = scene.model(versions=2)
    aliases = ["champion"]
    rpc("ModelService", "merge_version_aliases", name=pointer(runs[0]), version_aliases=aliases)
    return lambda: rpc(
        "ModelService",
        "merge_version_aliases",
        name=pointer(runs[0]),
        version_aliases=["-champion"],
    )


def remove_labels(scene: Scene) -> Undo:
    _, [run] = scene.model()
    _update(pointer(run), labels={"team": "search"})
    return None


def describe(scene: Scene) -> Undo:
    lineage, _ = scene.model()
    _update(lineage.vertex_model_resource_name, description="Mine", display_name="Another name")
    return None


def _update(name: str, **fields: Any) -> None:
    mask = {"paths": list(fields)}
    rpc("ModelService", "update_model", model={"name": name, **fields}, update_mask=mask)


def upload(scene: Scene) -> Undo:
    made = upload_by_hand(scene, model_id=scene.name("theirs"))
    return lambda: rpc("ModelService", "delete_model", name=made.model)


def upload_into_ours(scene: Scene) -> Undo:
    name = another_version(scene)
    return lambda: rpc("ModelService", "delete_model_version", name=name)


def another_version(scene: Scene) -> str:
    """A version that a person adds to a model of ours; it is not its default one."""
    lineage, _ = scene.model()
    made = upload_by_hand(scene, parent_model=lineage.vertex_model_resource_name)
    return f"{made.model}@{made.model_version_id}"


def upload_by_hand(scene: Scene, **where: str) -> Any:
    scene.cloud.storage.write("theirs", "model/saved_model.pb", b"model")
    model = {
        "display_name": "by hand",
        "artifact_uri": "gs://theirs/model",
        "container_spec": {"image_uri": "theirs"},
    }
    return rpc(
        "ModelService", "upload_model", parent=channels.location_path(), model=model, **where
    )


ROWS = (
    Row(method="ModelService.CopyModel", act=copy, finds=("unmanaged",)),
    Row(method="ModelService.DeleteModel", act=delete, finds=("stale_pointer",)),
    Row(
        method="ModelService.DeleteModelVersion",
        act=delete_old_version,
        finds=("version_missing",),
    ),
    Row(
        method="ModelService.ExportModel",
        act=export,
        why="A copy of the files in a bucket of the person's choice; the version stays.",
    ),
    Row(
        method="ModelService.ImportModelEvaluation",
        act=import_evaluation,
        why="An evaluation stands beside the version; the platform neither reads nor shows any.",
    ),
    Row(
        method="ModelService.MergeVersionAliases",
        act=move_alias,
        finds=("alias_moved",),
    ),
    Row(method="ModelService.UpdateModel", act=remove_labels, finds=("labels_changed",)),
    Row(
        method="ModelService.UpdateModel",
        act=describe,
        why="A description and a display name identify nothing, and they are people's to write.",
    ),
    Row(method="ModelService.UploadModel", act=upload, finds=("unmanaged",)),
    Row(
        method="ModelService.UploadModel",
        act=upload_into_ours,
        finds=("more_versions",),
    ),
)
