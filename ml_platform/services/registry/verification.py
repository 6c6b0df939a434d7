"""Whether what our rows point at exists, as Google answers: present, absent or unknown."""

from __future__ import annotations

from datetime import datetime, timedelta
from itertools import chain

from ml_platform.cloud import storage, vertex
from ml_platform.cloud.answers import Absent, Answer, Present, Unknown, ask
from ml_platform.cloud.names import ModelName, ObjectPath
from ml_platform.cloud.types import RemoteModel
from ml_platform.errors import CloudAbsent, Conflict
from ml_platform.models import TrainingRun
from ml_platform.models.states import Registration
from ml_platform.services.artifacts.folders import MODEL_FILE, newest_folder, run_prefix
from ml_platform.services.installation.identity import Identity
from ml_platform.services.mirror.brake import require_believed
from ml_platform.services.operations.workflow import Poll
from ml_platform.services.ownership.identification import holds_files_of
from ml_platform.services.ownership.labels import RUN, labels_for, wrong_label

EVENTUAL_CONSISTENCY_WINDOW = timedelta(seconds=120)
"""How long a read may miss a new resource. NOT_FOUND of a younger one is inconclusive."""


def require_listing() -> None:
    """Check that Vertex AI lists the models of the configured location.

    NOT_FOUND proves that a model is gone only if the listing works: in a location that cannot be
    read, every name may seem to be missing (law 3).

    :raises PlaneShrunk: it suddenly lacks much of what it had.
    :raises PlatformError: the listing failed.
    """
    require_believed("vertex")
    next(iter(vertex.list_models(page_size=1)), None)


class ForeignVersion(Conflict):
    """The version exists without our labels. Its name is taken, so it is not absent (law 3)."""

    code = "foreign_version"
    advice = (
        "Nothing was changed. If the version is ours, relabel it: repair the finding about its "
        "labels. If another model has its name now, repair the stale pointer."
    )
    seen: tuple[tuple[TrainingRun, RemoteModel], ...] = ()
    """Each run with the version that Vertex AI has in its place."""

    @classmethod
    def of(cls, *errors: ForeignVersion) -> ForeignVersion:
        """One error for several versions."""
        error = cls(" ".join(map(str, errors)))
        error.seen = tuple(chain.from_iterable(each.seen for each in errors))
        return error


def require_own_version(
    model: RemoteModel, run: TrainingRun, *, us: Identity | None = None
) -> None:
    """Check that a version in Vertex AI has our labels of this run.

    :raises ForeignVersion: it does not; the message has the label's value and the expected one.
    """
    if wrong := wrong_label(model.labels, labels_for(run=run.uid, us=us)):
        error = ForeignVersion(
            f"{model.pointer} is there, but its label does not name run {run.pk}: {wrong}."
        )
        error.seen = ((run, model),)
        raise error


def is_another(model: RemoteModel, run: TrainingRun) -> bool:
    """Whether another model has the name of a lost version: it has neither the run's label nor its
    files. A version that is not lost is gone only after NOT_FOUND."""
    if run.registration != Registration.LOST or model.labels.get(RUN) == run.uid.hex:
        return False
    return not holds_files_of(run, model.artifact_uri)


def verify_model_in_vertex_ai(
    *, run: TrainingRun, us: Identity | None = None
) -> Answer[RemoteModel]:
    """Read exactly the version that the run points at; without our labels the answer is unknown.

    With `us`, who we are, it uses no database.

    :raises Invalid: the run has no pointer.
    """
    try:
        return ask(lambda: find_version(run=run, us=us))
    except ForeignVersion as error:
        return Unknown(str(error), error.code)


def verify_gcs_artifacts_exist(*, run: TrainingRun, artifact_uri: str = "") -> Answer[str]:
    """Search with one listing for the run's model: at `artifact_uri`, or the newest it pushed.

    Present has the folder's URI.
    """
    return ask(lambda: find_artifacts(run=run, artifact_uri=artifact_uri))


def batch_verify_models_in_vertex_ai() -> Present[dict[str, RemoteModel]] | Unknown:
    """List all models of the location by id, each as its default version: one call a page."""
    models = ask(lambda: list(chain.from_iterable(vertex.list_models())))
    if isinstance(models, Present):
        return Present({model.name.model_id: model for model in models.value})
    return Unknown(models.reason, CloudAbsent.code if isinstance(models, Absent) else models.code)


def find_version(*, run: TrainingRun, us: Identity | None = None) -> RemoteModel:
    """Return the version that the run points at.

    :raises CloudAbsent: the version does not exist.
    :raises ForeignVersion: it does not have our labels of this run.
    :raises Invalid: the run has no pointer.
    """
    name = ModelName.parse(run.vertex_model_resource_name).at(run.vertex_model_version)
    model = vertex.get_model(name)
    require_own_version(model, run, us=us)
    return model


def find_artifacts(*, run: TrainingRun, artifact_uri: str = "") -> str:
    """Return the URI of the folder that holds the run's model.

    :raises CloudAbsent: Cloud Storage could list the folder, and the model is not in it.
    """
    if artifact_uri:
        _require_model_at(artifact_uri)
        return artifact_uri
    own = run.gcs_artifacts_path
    folder = ObjectPath.parse(own).folder if own else run_prefix(run=run)
    glob = f"{folder.key}pushed_model/*/{MODEL_FILE}"
    pages = storage.list_objects(folder.bucket, folder.key, glob=glob)
    newest = newest_folder(item.name.split("/")[-2] for page in pages for item in page)
    if newest is None:
        raise CloudAbsent(f"Cloud Storage has no {folder}pushed_model/<number>/{MODEL_FILE}.")
    return f"{folder}pushed_model/{newest}"


def _require_model_at(artifact_uri: str) -> None:
    folder = ObjectPath.parse(artifact_uri).folder
    key = f"{folder.key}{MODEL_FILE}"
    pages = storage.list_objects(folder.bucket, key, page_size=1)
    if not any(item.name == key for page in pages for item in page):
        raise CloudAbsent(f"Cloud Storage has no gs://{folder.bucket}/{key}.")


def seconds_until_consistent(made_at: datetime | None, *, now: datetime) -> float:
    """Seconds until NOT_FOUND is conclusive for a resource created at that time; 0 if it is now.

    A time further ahead than the window is of a clock that was ahead. It tells no age, and nothing
    may stay young until then.
    """
    if made_at is None or made_at > now + EVENTUAL_CONSISTENCY_WINDOW:
        return 0.0
    return max(0.0, (made_at + EVENTUAL_CONSISTENCY_WINDOW - now).total_seconds())


def may_still_appear(absent: object, made_at: datetime | None, *, now: datetime) -> Poll | None:
    """Return the poll for what Google calls absent and a read may miss, because our rows say that
    it is so new; None once its absence is conclusive."""
    if seconds := seconds_until_consistent(made_at, now=now):
        return Poll(seconds=seconds, note=f"{absent} It is so new that it may still appear.")
    return None


def read_versions(name: ModelName, *, filter: str = "") -> list[RemoteModel]:
    """Versions of a model, oldest first.

    :raises CloudAbsent: the model does not exist.
    """
    pages = vertex.list_model_versions(name, filter=filter)
    return sorted(chain.from_iterable(pages), key=lambda version: int(version.version))


# ---- the steps ---------------------------------------------------------------------------------
