"""Whether a version without our labels is nevertheless the one that we registered (law 3).

Labels can be replaced by anyone, and `Model.update(labels=...)` replaces those of the default
version. What stays is when Vertex AI created the version, and where its files are.
"""

from __future__ import annotations

from datetime import datetime, timedelta

from ml_platform.models import TrainingRun
from ml_platform.services.artifacts.folders import run_prefix

REBORN_MARGIN = timedelta(minutes=5)
"""A model counts as created after our version only beyond this difference of the clocks."""


def reason_not_ours(
    run: TrainingRun, *, theirs: str, made_at: datetime | None, artifact_uri: str
) -> str:
    """Why the version at the run's pointer may be another one than we registered; '' if it is ours.

    `theirs` names the installation whose labels it has. Its manifest is compared too before it gets
    our labels, which reads Cloud Storage.
    """
    if theirs:
        return f"it has the labels of {theirs}"
    if made_at is None or run.registered_at is None:
        return "it is unknown when it was created"
    if made_at > run.registered_at + REBORN_MARGIN:
        return f"it was created at {made_at:%Y-%m-%d %H:%M} UTC, after ours was registered"
    if not holds_files_of(run, artifact_uri):
        return f"its files are at {artifact_uri or 'no address'}, not in the run's own folder"
    return ""


def holds_files_of(run: TrainingRun, artifact_uri: str) -> bool:
    """Whether the address is inside the run's own folder, or is that of an adopted version."""
    own = (run.gcs_artifacts_path, run_prefix(run=run), run.parameters.get("adopted_from"))
    inside = f"{artifact_uri.rstrip('/')}/"
    return any(inside.startswith(f"{str(uri).rstrip('/')}/") for uri in own if uri)
