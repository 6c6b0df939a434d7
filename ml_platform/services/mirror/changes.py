"""What we changed, or learnt to be gone, in the mirror, so that no count waits for a sweep."""

from __future__ import annotations

from datetime import datetime

from ml_platform.cloud.names import ModelName
from ml_platform.models import MirroredArtifacts, MirroredModel, Sweep, TrainingRun
from ml_platform.models.locking import delete_rows
from ml_platform.services.ownership.labels import labels_for, owner


def mirror_version(*, run: TrainingRun, pointer: ModelName, artifacts: str, now: datetime) -> None:
    """Note, in the caller's transaction, that Vertex AI has this version as its model's default.

    Before the first sweep there is no mirror.
    """
    if sweep := Sweep.objects.order_by("-pk").first():
        MirroredModel.objects.update_or_create(
            model_id=pointer.model_id,
            defaults={
                "resource_name": str(pointer.bare),
                "display_name": run.model_name,
                "version": pointer.version,
                "artifact_uri": artifacts,
                "labels": labels_for(run=run.uid),
                "owner": owner(),
                "theirs": False,
                "run_uid": run.uid.hex,
                "content": "",
                "seen_sweep": sweep,
                "seen_at": now,
            },
        )


def unmirror_model(*, name: ModelName) -> None:
    """Note, in the caller's transaction, that the whole model is gone."""
    MirroredModel.objects.filter(model_id=name.model_id).delete()


def unmirror_artifacts(*, prefix: str) -> None:
    """Note, in the caller's transaction, that nothing is left below that folder."""
    delete_rows(MirroredArtifacts.objects.filter(prefix=prefix))
