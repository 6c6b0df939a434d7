"""What a registration finds in Vertex AI without our labels: it is there, so no second version of
the run is made, and a model of others gets none (laws 3 and 7)."""

from __future__ import annotations

from collections.abc import Sequence

from ml_platform.cloud import vertex
from ml_platform.cloud.names import ModelName, same_resource
from ml_platform.cloud.transport.channels import FOREIGN_NAME
from ml_platform.cloud.types import RemoteModel
from ml_platform.errors import CloudAbsent, CloudRejected, Conflict
from ml_platform.models import RegisteredModel, TrainingRun
from ml_platform.models.states import Registration
from ml_platform.services.ownership.identification import holds_files_of
from ml_platform.services.ownership.labels import (
    RUN,
    are_ours,
    is_version_of,
    labels_for,
    wrong_label,
)
from ml_platform.services.registry.verification import (
    ForeignVersion,
    is_another,
    read_versions,
    require_own_version,
)


def require_ours(parent: ModelName, lineage: RegisteredModel) -> None:
    """Check that the model that would get the version is the lineage's: by the owner label of its
    default version, or by the labels of another version that we recorded.

    :raises ForeignVersion: its default version is ours by our rows, but not by its labels.
    :raises Conflict: it is not ours.
    :raises CloudAbsent: it does not exist.
    """
    model = vertex.get_model(parent)
    if are_ours(model.labels):
        return
    wrong = wrong_label(model.labels, labels_for()) or f"the label {RUN} names no run of ours"
    recorded = TrainingRun.objects.versions().filter(vertex_model_resource_name=str(parent))
    runs = {run.vertex_model_version: run for run in recorded.filter(registered_model=lineage.pk)}
    versions = read_versions(parent) if runs else []
    if any(v.version in runs and is_version_of(v, runs[v.version]) for v in versions):
        return
    if default := runs.get(model.version):
        require_own_version(model, default)
    raise Conflict(
        f"{model.pointer} exists and does not belong to this installation: {wrong}.",
        code="foreign_model",
        advice="If it is ours, put the label back in Vertex AI. Otherwise adopt or delete it.",
    )


def require_not_back(run: TrainingRun, parent: ModelName) -> None:
    """Check that the version of a lost run is not in Vertex AI again; in `parent` it will be found.

    :raises ForeignVersion: it is, without our labels.
    :raises Conflict: it is, in another model.
    """
    if run.registration != Registration.LOST or not run.last_vertex_version:
        return
    try:
        model = vertex.get_model(ModelName.parse(run.last_vertex_version))
    except CloudAbsent:
        return
    except CloudRejected as error:
        if error.code == FOREIGN_NAME:  # of another project or location than is configured now
            return
        raise
    if is_another(model, run):
        return
    _require_labels(model, run)
    if same_resource(model.name, parent):
        return
    raise Conflict(
        f"{model.pointer} of {run} is in Vertex AI again.",
        code="version_is_back",
        advice="Check the registry, and repair the finding that it is back.",
    )


def require_not_relabelled(parent: ModelName, run: TrainingRun) -> None:
    """Check, after an upload that may have happened, that no version has the run's files under
    other labels.

    :raises ForeignVersion: one has.
    """
    for version in read_versions(parent):
        if holds_files_of(run, version.artifact_uri):
            _require_labels(version, run)


def own_versions(found: Sequence[RemoteModel], run: TrainingRun) -> list[RemoteModel]:
    """Those of the versions with the run's label that have our other labels too.

    :raises ForeignVersion: none has.
    """
    ours = [version for version in found if is_version_of(version, run)]
    if not ours:
        _require_labels(found[0], run)
    return ours


def _require_labels(model: RemoteModel, run: TrainingRun) -> None:
    """The same check as of a recorded version, which has a finding; this one has none."""
    try:
        require_own_version(model, run)
    except ForeignVersion as error:
        labels = ", ".join(f"{key}={value}" for key, value in labels_for(run=run.uid).items())
        raise ForeignVersion(
            str(error),
            advice=f"If it is the version of this run, set its labels in Vertex AI to {labels}, "
            "then retry. Otherwise delete it there.",
        ) from error
