"""Compare our versions with the mirror of Cloud Storage, a chunk of rows at a time."""

from __future__ import annotations

from ml_platform.conf import require_settings
from ml_platform.models import MirroredArtifacts, TrainingRun
from ml_platform.services.findings import discrepancy
from ml_platform.services.findings.discrepancy import artifacts_of, artifacts_subject
from ml_platform.services.findings.exclusions import UNSTORED, WORKED_ON, LeftOut, Reading
from ml_platform.services.findings.store import write_findings
from ml_platform.services.operations.store import lineage_key

from .models import VERSION_COLUMNS


def compare_artifacts(reading: Reading) -> list[LeftOut]:
    """Find versions without a saved model; returns what was left out.

    Only folders below the listed root are compared: adopted models have theirs elsewhere.
    """
    settings = require_settings()
    root = f"gs://{settings.BUCKET}/{settings.ARTIFACTS_PREFIX}/"
    versions = TrainingRun.objects.versions().filter(
        gcs_artifacts_path__startswith=root, registered_at__lte=reading.sweep.started_at
    )
    held: list[LeftOut] = []
    for chunk in reading.chunks(versions.only(*VERSION_COLUMNS)):
        mirrored = MirroredArtifacts.objects.filter(prefix__in=[artifacts_of(run) for run in chunk])
        there = set(mirrored.values_list("prefix", flat=True))
        touched = reading.touched().lineages
        found, left_out = [], []
        for run in chunk:
            key = lineage_key(project_id=run.project_id, model_name=run.model_name)
            folder = artifacts_of(run)
            unstored = folder in reading.unstored["gcs"]
            if why := UNSTORED if unstored else WORKED_ON if key in touched else "":
                said = LeftOut(f"{run.model_name} v{run.version}", why, run.project_id)
                left_out.append((artifacts_subject(run.pk), said))
            elif missing := discrepancy.compare_artifacts(run, there=folder in there):
                found.append(missing)
        held += write_findings(reading=reading, found=found, left_out=left_out)
    return held
