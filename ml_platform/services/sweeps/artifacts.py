"""Compare our versions with the mirror of Cloud Storage, a chunk of rows at a time."""

from __future__ import annotations

from collections.abc import Iterator

from ml_platform.conf import require_settings
from ml_platform.models import MirroredArtifacts, TrainingRun
from ml_platform.services.findings import discrepancy
from ml_platform.services.findings.discrepancy import artifacts_of, artifacts_subject
from ml_platform.services.findings.exclusions import UNSTORED, WORKED_ON, Reading
from ml_platform.services.operations.store import lineage_key

from .models import VERSION_COLUMNS, Compared


def compare_artifacts(reading: Reading) -> Iterator[Compared]:
    """Find versions without a saved model; yields each chunk.

    Only folders below the listed root are compared: adopted models have theirs elsewhere.
    """
    settings = require_settings()
    root = f"gs://{settings.BUCKET}/{settings.ARTIFACTS_PREFIX}/"
    versions = TrainingRun.objects.versions().filter(
        gcs_artifacts_path__startswith=root, registered_at__lte=reading.sweep.started_at
    )
    for chunk in reading.chunks(versions.only(*VERSION_COLUMNS)):
        mirrored = MirroredArtifacts.objects.filter(prefix__in=[artifacts_of(run) for run in chunk])
        there = set(mirrored.values_list("prefix", flat=True))
        touched = reading.touched().lineages
        result = Compared([], [])
        for run in chunk:
            key = lineage_key(project_id=run.project_id, model_name=run.model_name)
            folder = artifacts_of(run)
            unstored = folder in reading.unstored["gcs"]
            if why := UNSTORED if unstored else WORKED_ON if key in touched else "":
                what = f"{run.model_name} v{run.version}"
                result.leave_out(artifacts_subject(run.pk), what, why, run.project_id)
            elif missing := discrepancy.compare_artifacts(run, there=folder in there):
                result.found.append(missing)
        yield result
