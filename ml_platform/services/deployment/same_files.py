"""Whether a version still has the files of its manifest, as Cloud Storage answers (law 12)."""

from __future__ import annotations

from datetime import datetime

from ml_platform.errors import CloudAbsent
from ml_platform.models import TrainingRun
from ml_platform.models.registry.manifest import ManifestOrigin
from ml_platform.services.artifacts.manifest import (
    Taken,
    difference_from_manifest,
    keep_manifest,
    manifest_for,
    take_manifest,
)

from .deployable import NotDeployable


def require_same_files(run: TrainingRun, taken: Taken) -> None:
    """Check that the files are those of the version's manifest, if it has one.

    :raises NotDeployable: they are not; the message names the first of them.
    """
    if why := difference_from_manifest(run, taken):
        raise NotDeployable(
            f"The files of {run.model_name} v{run.version} are not those of its manifest: {why}.",
            code="artifacts_changed",
            advice="Restore them in the bucket, or deploy another version.",
        )


def reread_files(run: TrainingRun, uri: str) -> None:
    """List the files again and check them.

    :raises NotDeployable: they are not those of the manifest, or the saved model is gone.
    :raises CloudUnavailable: they could not be listed.
    """
    try:
        taken = take_manifest(uri)
    except CloudAbsent as absent:
        raise NotDeployable(
            str(absent), code="artifacts_not_found", advice="Restore it in the bucket."
        ) from absent
    require_same_files(run, taken)


def replaced_while_starting(run: TrainingRun, uri: str) -> str:
    """How the files differ when the new revision is ready; '' if they do not.

    :raises CloudAbsent: the saved model is gone.
    :raises CloudUnavailable: they could not be listed.
    """
    return difference_from_manifest(run, take_manifest(uri))


def difference_now(run: TrainingRun, uri: str) -> str:
    """How the files differ from the manifest now, '' if they do not; any file may be the model.

    :raises CloudAbsent: there is no file.
    :raises CloudUnavailable: they could not be listed.
    """
    return difference_from_manifest(run, take_manifest(uri, needs=""))


def keep_first_manifest(run: TrainingRun, taken: Taken, now: datetime) -> None:
    """Take, in the caller's transaction, the manifest of a version that has none."""
    if manifest_for(run, taken) is None:
        keep_manifest(run, taken, ManifestOrigin.DEPLOY, now)
