"""Rows with their counterparts in the local cloud, as a platform in order has them."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from ml_platform.cloud import vertex
from ml_platform.cloud.names import ModelName
from ml_platform.models import RegisteredModel
from ml_platform.services.ownership.labels import labels_for
from ml_platform.tests.factories import RegisteredModelFactory, version_of

if TYPE_CHECKING:
    from ml_platform.localcloud import LocalCloud

BUCKET = "demo-artifacts"


def managed(
    cloud: LocalCloud, *, versions: int = 1, artifacts: bool = True, **fields: Any
) -> RegisteredModel:
    """A lineage whose versions are in our tables, in Vertex AI and in Cloud Storage."""
    lineage: RegisteredModel = RegisteredModelFactory.create(**fields)
    runs = [version_of(lineage) for _ in range(versions)]
    for run in runs:
        folder = run.gcs_artifacts_path.removeprefix(f"gs://{BUCKET}/")
        name = "pushed_model/1/saved_model.pb" if artifacts else "metrics.json"
        cloud.storage.write(BUCKET, f"{folder}{name}", b"content")
    cloud.models.seed(
        lineage.vertex_model_resource_name.rpartition("/")[2],
        display_name=lineage.model_name,
        versions=[
            {
                "version": run.version,
                "labels": labels_for(lineage=lineage.uid, run=run.uid),
                "artifact_uri": f"{run.gcs_artifacts_path}pushed_model/1",
            }
            for run in runs
        ],
    )
    return lineage


def replace_model(cloud: LocalCloud, lineage: RegisteredModel, *, run_uid: str) -> None:
    """Delete the lineage's model behind our back, and make another one under its id."""
    name = ModelName.parse(lineage.vertex_model_resource_name)
    vertex.delete_model(name)
    labels = {**labels_for(), "mlp_run": run_uid}
    cloud.models.seed(name.model_id, display_name="anew", labels=labels)
