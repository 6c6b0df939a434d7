"""The labels by which we know our own things on Google Cloud (law 7)."""

from __future__ import annotations

from uuid import UUID

from ml_platform.cloud.types import RemoteModel
from ml_platform.conf import get_settings
from ml_platform.models import TrainingRun

OWNER = "mlp_owner"
LINEAGE = "mlp_lineage"
GENERATION = "mlp_generation"
RUN = "mlp_run"
ENDPOINT = "mlp_endpoint"
OPERATION = "mlp_operation"


def owner() -> str:
    """This installation, as a label's value."""
    return get_settings().INSTALLATION


def is_version_of(model: RemoteModel, run: TrainingRun) -> bool:
    """Whether a model of Vertex AI carries our owner label and the label of this run."""
    return model.labels.get(OWNER) == owner() and model.labels.get(RUN) == run.uid.hex


def labels_for(
    *,
    lineage: UUID | None = None,
    generation: int | None = None,
    run: UUID | None = None,
    endpoint: UUID | None = None,
    operation: UUID | None = None,
) -> dict[str, str]:
    """The labels of a thing that belongs to the given rows."""
    ids = {LINEAGE: lineage, RUN: run, ENDPOINT: endpoint, OPERATION: operation}
    labels = {key: uid.hex for key, uid in ids.items() if uid is not None}
    if generation is not None:
        labels[GENERATION] = str(generation)
    return {OWNER: owner(), **labels}
