"""The labels of our resources on Google Cloud. They identify a resource, because names can be used
again (law 7)."""

from __future__ import annotations

from collections.abc import Mapping
from uuid import UUID

from ml_platform.cloud.types import RemoteModel
from ml_platform.conf import get_settings
from ml_platform.models import DeployedEndpoint, TrainingRun
from ml_platform.services.installation.identity import Identity, identity

OWNER = "mlp_owner"
INSTALLATION = "mlp_installation"
LINEAGE = "mlp_lineage"
GENERATION = "mlp_generation"
RUN = "mlp_run"
ENDPOINT = "mlp_endpoint"
OPERATION = "mlp_operation"
DIGEST = "mlp_digest"


def owner() -> str:
    """The value of the owner label: the name of this installation."""
    return get_settings().INSTALLATION


def is_version_of(model: RemoteModel, run: TrainingRun) -> bool:
    """Whether a model in Vertex AI has our owner label and the label of this run."""
    return not wrong_label(model.labels, labels_for(run=run.uid))


def are_ours(labels: Mapping[str, str]) -> bool:
    """Whether a resource has the labels of this installation.

    Those of a release before there were uids have our name only: they are ours while the run or
    the endpoint that they name is in our tables.
    """
    us = identity()
    if labels.get(OWNER) != us.name:
        return False
    if INSTALLATION in labels:
        return labels[INSTALLATION] == us.uid
    return _is_in(TrainingRun, labels.get(RUN, "")) or _is_in(
        DeployedEndpoint, labels.get(ENDPOINT, "")
    )


def other_owner(labels: Mapping[str, str]) -> str:
    """The other installation that the labels name, '' for none."""
    name, uid = labels.get(OWNER, ""), labels.get(INSTALLATION, "")
    return " ".join(filter(None, (name, uid))) if identity().is_another(name, uid) else ""


def _is_in(table: type[TrainingRun] | type[DeployedEndpoint], uid: str) -> bool:
    return is_uid(uid) and table.objects.filter(uid=uid).exists()


def wrong_label(found: Mapping[str, str], expected: Mapping[str, str]) -> str:
    """The first label that is not as expected, with its value and the right one; '' for none.

    A missing uid of the installation is right: a release before there were uids wrote the labels,
    and the others name rows of ours.
    """
    for key, value in expected.items():
        if key == INSTALLATION and key not in found:
            continue
        if found.get(key) != value:
            actual = f"is {found[key]!r}" if key in found else "is missing"
            return f"the label {key} {actual}; expected is {value!r}"
    return ""


def labels_for(
    *,
    lineage: UUID | None = None,
    generation: int | None = None,
    run: UUID | None = None,
    endpoint: UUID | None = None,
    operation: UUID | None = None,
    digest: str = "",
    us: Identity | None = None,
) -> dict[str, str]:
    """The labels of a resource that belongs to the given rows; `digest` is of the manifest.

    `us` is who we are, for a caller that has read it.
    """
    ids = {LINEAGE: lineage, RUN: run, ENDPOINT: endpoint, OPERATION: operation}
    labels = {key: uid.hex for key, uid in ids.items() if uid is not None}
    if generation is not None:
        labels[GENERATION] = str(generation)
    if digest:
        labels[DIGEST] = digest
    us = us or identity()
    return {OWNER: us.name, INSTALLATION: us.uid, **labels}


def is_uid(text: str) -> bool:
    """Whether a label's value is a uid as we write them; others may write any value."""
    return len(text) == 32 and all(letter in "0123456789abcdef" for letter in text)
