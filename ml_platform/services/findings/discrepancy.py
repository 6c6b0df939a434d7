"""Discrepancies between the planes, and those that concern one of our records alone.

All functions here are pure: their callers have read the tables and the planes. Vertex AI models are
compared in `compare_models`, Cloud Run services in `compare_services`.
"""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

from ml_platform.cloud.names import ModelName, same_resource
from ml_platform.errors import Invalid
from ml_platform.models import AwaitingRemoval, Manifest, RegisteredModel, TrainingRun
from ml_platform.models.registry.manifest import FilesState
from ml_platform.models.states import Registration
from ml_platform.services.artifacts.manifest import difference_text
from ml_platform.services.findings.kinds import FindingKind, Kind
from ml_platform.services.operations.subjects import version_name
from ml_platform.text import counted

DELETE_ORPHAN = "Delete the name; {schedules} and {runs} stay, detached from it."
DELETE_SURPLUS = (
    "Read all versions of this model, then delete exactly those with our labels whose run is "
    "deleted, or is another version that exists. Files are not deleted."
)
RESTORE_FILES = (
    "Bring back the recorded files where object versions or soft delete still have them, then "
    "compare all with the manifest. Otherwise roll back, train again, or delete the version: other "
    "bytes are another version."
)
DELETE_LEFT = (
    "End the hold or retention, or grant storage.objects.delete; then delete what is left, if "
    "nothing uses it. The daily cleanup tries it too."
)
COUNT_ANEW = (
    "The sweep that finds it counts anew. Run `manage.py check --database default`: it reports "
    "triggers that the database has lost."
)
NOT_OUR_FILES = (
    "No automatic repair: {why}. Put the recorded files back, roll back, train again, or delete "
    "the version: other bytes are another version."
)
RESTORES_TO = "restores_to"
"""The evidence of findings whose files a repair can write: the run's own folder."""
_WITH_OTHER_FILES = {
    FilesState.CHANGED: (FindingKind.ARTIFACTS_CHANGED, "has other files than its manifest"),
    FilesState.INCOMPLETE: (FindingKind.ARTIFACTS_INCOMPLETE, "lacks files of its manifest"),
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Discrepancy:
    """One disagreement. Its kind and `subject` identify it."""

    kind: Kind
    subject: str
    title: str
    repair: str
    evidence: Mapping[str, Any] = field(hash=False)
    project_id: Any = None
    lineage_id: int | None = None
    run_id: int | None = None
    changed_at: datetime | None = None
    """When what disagrees was made or changed, as Google tells it."""


def artifacts_of(run: TrainingRun) -> str:
    """The folder of a run's saved model, as the mirror of Cloud Storage writes it."""
    return f"{run.gcs_artifacts_path.rstrip('/')}/"


def orphan_subject(lineage_id: int) -> str:
    """Return the subject of the finding that a lineage is an orphan."""
    return f"registered model {lineage_id}"


def compare_orphan(orphan: RegisteredModel, *, runs: int, schedules: int) -> Discrepancy:
    """Describe an orphan. The queryset that found it has decided that it is one."""
    return Discrepancy(
        kind=FindingKind.ORPHAN,
        subject=orphan_subject(orphan.pk),
        title=f"{orphan.model_name} was never registered and nothing needs it",
        repair=DELETE_ORPHAN.format(
            schedules=counted(schedules, "ended schedule"), runs=counted(runs, "ended run")
        ),
        evidence={
            "model_name": orphan.model_name,
            "registered_model_id": orphan.pk,
            "created_at": orphan.created_at.isoformat(timespec="seconds"),
            "ended_runs": runs,
            "ended_schedules": schedules,
        },
        project_id=orphan.project_id,
        lineage_id=orphan.pk,
    )


def artifacts_subject(run_id: int) -> str:
    """Return the subject of findings about a run's files."""
    return f"run {run_id}"


def compare_artifacts(
    run: TrainingRun, manifest: Manifest | None, state: FilesState, difference: Mapping[str, Any]
) -> Discrepancy | None:
    """Describe how a complete listing of a version's files differs; None when it does not."""
    evidence = {
        "model_name": run.model_name,
        "run_id": run.pk,
        "artifacts": manifest.folder if manifest else artifacts_of(run),
    }
    if state == FilesState.MISSING:
        kind, what = FindingKind.ARTIFACTS_MISSING, "has no saved model in Cloud Storage"
        evidence["gcs_listing"] = "complete, without a saved model in this folder"
    elif manifest and state in _WITH_OTHER_FILES:
        kind, what = _WITH_OTHER_FILES[state]
        evidence |= {
            "files": difference_text(difference),
            "manifest_digest": manifest.digest,
            "manifest_taken": f"{manifest.get_origin_display()}, "
            f"{manifest.taken_at.isoformat(timespec='seconds')}",
        }
    else:
        return None
    repair = RESTORE_FILES
    if manifest is None:
        repair = NOT_OUR_FILES.format(why="no manifest of its files was recorded")
    elif not run.gcs_artifacts_path:
        repair = NOT_OUR_FILES.format(why="they are in a folder that is not the platform's")
    else:
        evidence[RESTORES_TO] = manifest.folder
    return Discrepancy(
        kind=kind,
        subject=artifacts_subject(run.pk),
        title=f"{version_name(run)} {what}",
        repair=repair,
        evidence=evidence,
        project_id=run.project_id,
        lineage_id=run.registered_model_id,
        run_id=run.pk,
    )


def compare_left(waiting: AwaitingRemoval) -> Discrepancy:
    """Describe the files of a deleted version that Cloud Storage refused to delete."""
    run = waiting.run
    return Discrepancy(
        kind=FindingKind.ARTIFACTS_LEFT,
        subject=artifacts_subject(run.pk),
        title=f"{version_name(run)} is deleted, but {counted(waiting.refused, 'file')} may not be",
        repair=DELETE_LEFT,
        evidence={
            "model_name": run.model_name,
            "run_id": run.pk,
            "artifacts": waiting.folder,
            "objects": waiting.refused,
            "refusal": waiting.reason,
        },
        project_id=run.project_id,
        lineage_id=run.registered_model_id,
        run_id=run.pk,
    )


def compare_counters(*, models: int, counts: int) -> list[Discrepancy]:
    """Describe counters that differ from a recount: how many rows of each of their tables."""
    if not models and not counts:
        return []
    return [
        Discrepancy(
            kind=FindingKind.COUNTER_WRONG,
            subject="counters",
            title="The counters of registered models differ from a recount",
            repair=COUNT_ANEW,
            evidence={"models": models, "counts": counts},
        )
    ]


def pointer_text(run: TrainingRun) -> str:
    """The name@version that a run points at; `@` when it points at nothing."""
    return f"{run.vertex_model_resource_name}@{run.vertex_model_version}"


def is_same(pointer: str, name: ModelName) -> bool:
    """Whether a pointer names that version; a text that is not a resource name does not."""
    with suppress(Invalid):
        return same_resource(pointer, name)
    return False


def _where(run: TrainingRun, there: ModelName) -> str:
    """`3 there`, or how its model differs: `3 of model mr-7-2`, `3 in us-central1`."""
    number = run.vertex_model_version
    try:
        name = ModelName.parse(run.vertex_model_resource_name)
    except Invalid:
        return f"{number} of {run.vertex_model_resource_name}"
    if same_resource(name, there.bare):
        return f"{number} there"
    of_model = "" if name.model_id == there.model_id else f" of model {name.model_id}"
    return f"{number}{of_model}" + (
        f" in {name.location}" if name.location != there.location else ""
    )


def may_be_ours(run: TrainingRun, pointer: ModelName) -> bool:
    """Whether one of our uploads may have made that version.

    We uploaded nothing of an adopted run, so a person made and labeled every version but its own.
    """
    own = (pointer_text(run), run.last_vertex_version)
    return "adopted_from" not in run.parameters or any(is_same(text, pointer) for text in own)


def compare_surplus(run: TrainingRun, *found: ModelName) -> Discrepancy:
    """Describe versions of one model that carry the label of a run that is none of them.

    The subject is the model, not a version: a listing shows the default version only, and the
    repair reads them all.
    """
    numbers = ", ".join(f"v{name.version}" for name in found)
    deleted = run.registration == Registration.DELETED
    which = "is deleted" if deleted else f"is version {_where(run, found[0])}"
    return Discrepancy(
        kind=FindingKind.SURPLUS_VERSION,
        subject=str(found[0].bare),
        title=f"{run.model_name}: Vertex AI has {numbers} of run {run.pk}, which {which}",
        repair=DELETE_SURPLUS,
        evidence={
            "model_name": run.model_name,
            "resource_name": str(found[0].bare),
            "surplus_versions": [name.version for name in found],
            "run_id": run.pk,
            "our_registration": run.registration,
            "our_pointer": "" if deleted else pointer_text(run),
        },
        project_id=run.project_id,
        lineage_id=run.registered_model_id,
        run_id=run.pk,
    )
