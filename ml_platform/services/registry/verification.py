"""Does what our rows point at exist? Answered by Google itself: present, absent or unknown."""

from __future__ import annotations

from datetime import datetime, timedelta

from ml_platform.cloud import storage, vertex
from ml_platform.cloud.answers import Absent, Answer, Present, Unknown, ask
from ml_platform.cloud.names import ModelName, ObjectPath
from ml_platform.cloud.types import RemoteModel
from ml_platform.errors import CloudAbsent, Conflict
from ml_platform.models import TrainingRun
from ml_platform.models.states import Registration

from .artifacts import MODEL_FILE, newest_folder, run_prefix
from .labels import RUN, labels_for, wrong_label

EVENTUAL_CONSISTENCY_WINDOW = timedelta(seconds=120)
"""How long a read may not yet show what was made; NOT_FOUND of something younger proves nothing."""


def require_listing() -> None:
    """Check that Vertex AI lists the models of the configured location.

    Only beside a listing that works does NOT_FOUND prove that a model is gone: in a place that
    cannot be read, every name may seem to be missing (law 3).

    :raises PlatformError: the listing failed.
    """
    next(iter(vertex.list_models(page_size=1)), None)


class ForeignVersion(Conflict):
    """A version is there whose labels do not say that it is ours: it is not gone (law 3)."""

    code = "foreign_version"
    advice = (
        "Nothing was changed. Put the label back in Vertex AI; or, if another model has taken the "
        "place of ours, repair the stale pointer first."
    )


def require_own_version(model: RemoteModel, run: TrainingRun) -> None:
    """Refuse a version that is there and does not carry our labels of this run.

    :raises ForeignVersion: with the label, what it holds and what it should.
    """
    if wrong := wrong_label(model.labels, labels_for(run=run.uid)):
        raise ForeignVersion(
            f"{model.pointer} is there, but its label does not name run {run.pk}: {wrong}."
        )


def is_another(model: RemoteModel, run: TrainingRun) -> bool:
    """Whether another model has the place of a lost version: it has neither the run's label nor
    its files. Of a version that is not lost nothing but NOT_FOUND says that it is gone."""
    if run.registration != Registration.LOST or model.labels.get(RUN) == run.uid.hex:
        return False
    own = (run.gcs_artifacts_path, run_prefix(run=run), run.parameters.get("adopted_from"))
    return not any(model.artifact_uri.startswith(str(uri)) for uri in own if uri)


def verify_model_in_vertex_ai(*, run: TrainingRun) -> Answer[RemoteModel]:
    """Ask for exactly the version the run points at; without our labels it is unknown whose it is.

    :raises Invalid: the run points at nothing.
    """
    try:
        return ask(lambda: find_version(run=run))
    except ForeignVersion as error:
        return Unknown(str(error), error.code)


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

    :raises CloudAbsent: there is none.
    :raises ForeignVersion: it does not carry our labels of this run.
    :raises Invalid: the run points at nothing.
    """
    name = ModelName.parse(run.vertex_model_resource_name).at(run.vertex_model_version)
    model = vertex.get_model(name)
    require_own_version(model, run)
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
