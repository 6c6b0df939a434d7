"""Does what our rows point at exist? Answered by Google itself: present, absent or unknown."""

from __future__ import annotations

from datetime import datetime, timedelta

from ml_platform.cloud import storage, vertex
from ml_platform.cloud.answers import Absent, Answer, Present, Unknown, ask
from ml_platform.cloud.names import ModelName, ObjectPath
from ml_platform.cloud.types import RemoteModel
from ml_platform.errors import CloudAbsent
from ml_platform.models import TrainingRun

from .artifacts import MODEL_FILE, newest_folder, run_prefix
from .labels import RUN

EVENTUAL_CONSISTENCY_WINDOW = timedelta(seconds=120)
"""How long a read may not yet show what was made; NOT_FOUND of something younger proves nothing."""


def verify_model_in_vertex_ai(*, run: TrainingRun) -> Answer[RemoteModel]:
    """Ask for exactly the version the run points at; another run's model there is not it (law 7).

    :raises Invalid: the run points at nothing.
    """
    return ask(lambda: find_version(run=run))


def verify_gcs_artifacts_exist(*, run: TrainingRun, artifact_uri: str = "") -> Answer[str]:
    """Ask with one listing for the run's model, at `artifact_uri` or the newest it pushed.

    Present carries the folder's URI.
    """
    return ask(lambda: find_artifacts(run=run, artifact_uri=artifact_uri))


def batch_verify_models_in_vertex_ai() -> Present[dict[str, RemoteModel]] | Unknown:
    """List all models of the location by id, each as its default version: one call a page."""
    listed = ask(
        lambda: {model.name.model_id: model for page in vertex.list_models() for model in page}
    )
    if isinstance(listed, Absent):
        return Unknown(listed.reason, CloudAbsent.code)
    return listed


def find_version(*, run: TrainingRun) -> RemoteModel:
    """Return the version that the run points at.

    :raises CloudAbsent: there is none, or another run's model has taken its place.
    :raises Invalid: the run points at nothing.
    """
    name = ModelName.parse(run.vertex_model_resource_name).at(run.vertex_model_version)
    model = vertex.get_model(name)
    if model.labels.get(RUN) != run.uid.hex:
        raise CloudAbsent(
            f"{name} is there, but its label does not name run {run.pk}: it is another one."
        )
    return model


def find_artifacts(*, run: TrainingRun, artifact_uri: str = "") -> str:
    """Return the URI of the folder that holds the run's model.

    :raises CloudAbsent: Cloud Storage listed the place well, and the model is not there.
    """
    if artifact_uri:
        return _require_model_at(artifact_uri)
    own = run.gcs_artifacts_path
    folder = ObjectPath.parse(own).folder if own else run_prefix(run=run)
    glob = f"{folder.key}pushed_model/*/{MODEL_FILE}"
    pages = storage.list_objects(folder.bucket, folder.key, glob=glob)
    newest = newest_folder(item.name.split("/")[-2] for page in pages for item in page)
    if newest is None:
        raise CloudAbsent(f"Cloud Storage has no {folder}pushed_model/<number>/{MODEL_FILE}.")
    return f"{folder}pushed_model/{newest}"


def _require_model_at(artifact_uri: str) -> str:
    folder = ObjectPath.parse(artifact_uri).folder
    key = f"{folder.key}{MODEL_FILE}"
    pages = storage.list_objects(folder.bucket, key, page_size=1)
    if not any(item.name == key for page in pages for item in page):
        raise CloudAbsent(f"Cloud Storage has no gs://{folder.bucket}/{key}.")
    return artifact_uri


def seconds_until_consistent(made_at: datetime | None, *, now: datetime) -> float:
    """Seconds until NOT_FOUND proves something about what we made then, 0 when it does."""
    if made_at is None:
        return 0.0
    return max(0.0, (made_at + EVENTUAL_CONSISTENCY_WINDOW - now).total_seconds())


def read_versions(name: ModelName) -> list[RemoteModel]:
    """All versions of a model, oldest first.

    :raises CloudAbsent: there is no such model.
    """
    found = [version for page in vertex.list_model_versions(name) for version in page]
    return sorted(found, key=lambda version: int(version.version))


# ---- the steps ---------------------------------------------------------------------------------
