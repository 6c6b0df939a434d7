"""What counts as a disagreement between the planes: pure judgements over frozen values.

Nothing here reads a table or calls Google; whoever calls has read the planes completely. What is
about models in Vertex AI is in `vertex_drift`, about services on Cloud Run in `service_drift`.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

from ml_platform.models import TrainingRun
from ml_platform.models.states import FindingKind
from ml_platform.text import counted

DELETE_ORPHAN = "Delete the name. Detached, there stay {schedules} and {runs}."
NO_ARTIFACTS_REPAIR = (
    "None by itself. Restore the files (object versions, soft delete), or delete the version."
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Discrepancy:
    """One disagreement; `subject` tells it from the others of its kind."""

    kind: FindingKind
    subject: str
    title: str
    repair: str
    evidence: Mapping[str, Any] = field(hash=False)
    project_id: Any = None
    lineage_id: int | None = None
    run_id: int | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Version:
    """A run that is, or was, a version."""

    run_id: int
    lineage_id: int | None
    project_id: Any
    model_name: str
    number: int | None
    registration: str
    vertex_version: str
    former: str = ""
    artifacts: str = ""
    pointer: str = ""
    """name@version it points at."""
    adopted: bool = False
    """Whether a person made it in Vertex AI: nothing of it was uploaded by us."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Orphan:
    """A lineage that was never registered and that nothing alive needs."""

    id: int
    project_id: Any
    model_name: str
    created_at: datetime
    runs: int
    schedules: int


def version_of(run: TrainingRun) -> Version:
    """The run as a value."""
    return Version(
        run_id=run.pk,
        lineage_id=run.registered_model_id,
        project_id=run.project_id,
        model_name=run.model_name,
        number=run.version,
        registration=run.registration,
        vertex_version=run.vertex_model_version,
        former=run.last_vertex_version,
        pointer=f"{run.vertex_model_resource_name}@{run.vertex_model_version}",
        artifacts=f"{run.gcs_artifacts_path.rstrip('/')}/",
        adopted="adopted_from" in run.parameters,
    )


def orphan_subject(lineage_id: int) -> str:
    """The subject of the finding that a lineage is an orphan."""
    return f"registered model {lineage_id}"


def compare_orphan(orphan: Orphan) -> Discrepancy:
    """An orphan is one by the definition of the queryset that found it."""
    return Discrepancy(
        kind=FindingKind.ORPHAN,
        subject=orphan_subject(orphan.id),
        title=f"{orphan.model_name} was never registered and nothing needs it",
        repair=DELETE_ORPHAN.format(
            schedules=counted(orphan.schedules, "ended schedule"),
            runs=counted(orphan.runs, "ended run"),
        ),
        evidence={
            "model_name": orphan.model_name,
            "registered_model_id": orphan.id,
            "created_at": orphan.created_at.isoformat(timespec="seconds"),
            "ended_runs": orphan.runs,
            "ended_schedules": orphan.schedules,
        },
        project_id=orphan.project_id,
        lineage_id=orphan.id,
    )


def compare_artifacts(version: Version, *, there: bool) -> Discrepancy | None:
    """Compare a version with the complete listing of the bucket's run folders."""
    if there:
        return None
    return Discrepancy(
        kind=FindingKind.ARTIFACTS_MISSING,
        subject=f"run {version.run_id}",
        title=f"{version.model_name} v{version.number} has no saved model in Cloud Storage"[:255],
        repair=NO_ARTIFACTS_REPAIR,
        evidence={
            "model_name": version.model_name,
            "run_id": version.run_id,
            "artifacts": version.artifacts,
            "gcs_listing": "read completely, without a pushed model in this folder",
        },
        project_id=version.project_id,
        lineage_id=version.lineage_id,
        run_id=version.run_id,
    )
