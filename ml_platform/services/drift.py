"""What counts as a disagreement between the planes: pure judgements over frozen values.

Nothing here reads a table or calls Google; whoever calls has read the planes completely.
"""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Any

from ml_platform.cloud.names import ModelName, same_resource
from ml_platform.errors import Invalid
from ml_platform.models import TrainingRun
from ml_platform.models.states import HOLDS_POINTER, FindingKind, Registration

from .english import counted

REBORN_MARGIN = timedelta(minutes=5)
"""By how much our clock and Google's may differ before a model counts as made after our version."""

CHECK_VERSIONS = (
    "Ask Vertex AI for each version by name and label; record as lost only those it says are gone. "
    "Nothing in Vertex AI is changed."
)
CLEAR_POINTERS = (
    "Ask Vertex AI for this very name; only if it answers NOT_FOUND, clear the pointers and keep "
    "what they said in the history."
)
PURGE_SURPLUS = (
    "Read all versions of this model, then delete exactly those that carry our labels although "
    "their run is deleted, or is another version that is there. Files are left alone."
)
RESTORE = "Check the version's label, then point at it again."
DELETE_ORPHAN = "Delete the name. Detached, there stay {schedules} and {runs}."
CHOOSE = "None by itself. Adopt it into a project, delete it, or leave it: a person decides."
NO_ARTIFACTS_REPAIR = (
    "None by itself. Restore the files (object versions, soft delete), or delete the version."
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Place:
    """Where we may look, and who we are there. `number` is '' while no answer has shown it."""

    project: str
    number: str
    location: str
    owner: str

    def holds(self, name: ModelName) -> bool:
        """Whether a listing of this place would show that model, were it there (law 3)."""
        if name.location != self.location:
            return False
        if name.project.isdigit():
            return not self.number or name.project == self.number
        return name.project == self.project


@dataclass(frozen=True, slots=True, kw_only=True)
class Seen:
    """A model as Vertex AI listed it, which is its default version."""

    name: ModelName
    display_name: str
    version: str
    owner: str
    run_uid: str
    artifact_uri: str
    created_at: datetime | None

    @property
    def bucket(self) -> str:
        """Bucket of its artifacts, '' when it has none in Cloud Storage."""
        return self.artifact_uri.removeprefix("gs://").partition("/")[0]


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


@dataclass(frozen=True, slots=True, kw_only=True)
class Lineage:
    """A registered lineage; `name` is the Vertex AI model it points at."""

    id: int
    project_id: Any
    model_name: str
    name: ModelName
    versions: int
    registered_at: datetime


@dataclass(frozen=True, slots=True, kw_only=True)
class Orphan:
    """A lineage that was never registered and that nothing alive needs."""

    id: int
    project_id: Any
    model_name: str
    created_at: datetime
    runs: int
    schedules: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Drift:
    """One disagreement; `subject` tells it from the others of its kind."""

    kind: FindingKind
    subject: str
    title: str
    repair: str
    evidence: Mapping[str, Any] = field(hash=False)
    project_id: Any = None
    lineage_id: int | None = None
    run_id: int | None = None


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
        former=run.former_vertex_version,
        pointer=f"{run.vertex_model_resource_name}@{run.vertex_model_version}",
        artifacts=f"{run.gcs_artifacts_path.rstrip('/')}/",
    )


def orphan_subject(lineage_id: int) -> str:
    """The subject of the finding that a lineage is an orphan."""
    return f"registered model {lineage_id}"


def judge_orphan(orphan: Orphan) -> Drift:
    """An orphan is one by the definition of the queryset that found it."""
    return Drift(
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


def judge_lineage(
    lineage: Lineage, seen: Seen | None, labelled: Version | None, place: Place
) -> Drift | None:
    """Compare a lineage with what Vertex AI lists under its name, None when they agree.

    `labelled` is the run that the label of the seen version names, if we have it. A pointer is
    name@version and the label: the same id may have been born again (law 7).
    """
    if seen is None:
        return _stale(lineage, {"vertex_listing": "read completely, without this model"})
    if _is_pointed_at(lineage, seen, labelled) and seen.owner == place.owner:
        return None
    said = {
        "vertex_default_version": seen.version,
        "vertex_label_mlp_owner": seen.owner,
        "vertex_label_mlp_run": seen.run_uid,
    }
    ours = labelled is not None and labelled.lineage_id == lineage.id
    if labelled and ours and is_surplus(labelled, seen, place):
        return judge_surplus(labelled, seen.name.at(seen.version))
    born = seen.created_at
    if not ours and born is not None and born > lineage.registered_at + REBORN_MARGIN:
        said["vertex_created_at"] = born.isoformat(timespec="seconds")
        return _stale(lineage, said, "another model, made after ours, has that id in Vertex AI")
    return _drift(
        FindingKind.VERSION_MISMATCH,
        lineage,
        f"{lineage.model_name}: the default version in Vertex AI is {_whose(lineage, labelled)}",
        CHECK_VERSIONS,
        said,
        run_id=labelled.run_id if ours and labelled else None,
    )


def is_surplus(run: Version, seen: Seen, place: Place) -> bool:
    """Whether that version is a run's a second time, or a deleted run's again (R4, R7)."""
    if seen.owner != place.owner or seen.run_uid == "":
        return False
    if run.registration == Registration.DELETED:
        return True
    elsewhere = not _is_same(run.pointer, seen)
    return run.registration == Registration.REGISTERED and elsewhere


def judge_surplus(run: Version, *found: ModelName) -> Drift:
    """Say that versions of one model carry the label of a run that is none of them.

    It is about the model, whose versions the repair reads: a listing shows the default one only.
    """
    numbers = ", ".join(f"v{name.version}" for name in found)
    deleted = run.registration == Registration.DELETED
    which = "is deleted" if deleted else f"is version {run.vertex_version} there"
    return Drift(
        kind=FindingKind.SURPLUS_VERSION,
        subject=str(found[0].bare),
        title=f"{run.model_name}: Vertex AI holds {numbers} of run {run.run_id}, which {which}"[
            :255
        ],
        repair=PURGE_SURPLUS,
        evidence={
            "model_name": run.model_name,
            "resource_name": str(found[0].bare),
            "surplus_versions": [name.version for name in found],
            "run_id": run.run_id,
            "our_registration": run.registration,
            "our_pointer": "" if deleted else run.pointer,
        },
        project_id=run.project_id,
        lineage_id=run.lineage_id,
        run_id=run.run_id,
    )


def _is_pointed_at(lineage: Lineage, seen: Seen, labelled: Version | None) -> bool:
    return (
        labelled is not None
        and labelled.lineage_id == lineage.id
        and labelled.registration in HOLDS_POINTER
        and labelled.vertex_version == seen.version
    )


def _whose(lineage: Lineage, labelled: Version | None) -> str:
    if labelled is None:
        return "none of our runs"
    if labelled.lineage_id != lineage.id:
        return f"labeled as a run of {labelled.model_name}"
    if labelled.registration not in HOLDS_POINTER:
        state = Registration(labelled.registration).label.lower()
        return f"our run {labelled.run_id}, whose version is {state}"
    return f"not the version {labelled.vertex_version} that run {labelled.run_id} has with us"


def _stale(lineage: Lineage, said: Mapping[str, Any], why: str = "") -> Drift:
    return _drift(
        FindingKind.STALE_POINTER,
        lineage,
        f"{lineage.model_name} points at {lineage.name.model_id}: "
        + (why or "Vertex AI does not list it"),
        CLEAR_POINTERS if not why else CHECK_VERSIONS,
        said,
    )


def _drift(
    kind: FindingKind,
    lineage: Lineage,
    title: str,
    repair: str,
    said: Mapping[str, Any],
    *,
    run_id: int | None = None,
) -> Drift:
    return Drift(
        kind=kind,
        subject=str(lineage.name),
        title=title[:255],
        repair=repair,
        evidence={
            "model_name": lineage.model_name,
            "resource_name": str(lineage.name),
            "our_versions": lineage.versions,
            **said,
        },
        project_id=lineage.project_id,
        lineage_id=lineage.id,
        run_id=run_id,
    )


def judge_unclaimed(seen: Seen, labelled: Version | None, place: Place) -> Drift:
    """Say what a model is that Vertex AI lists and none of our versions points at."""
    if labelled and is_surplus(labelled, seen, place):
        return judge_surplus(labelled, seen.name.at(seen.version))
    lost = labelled is not None and labelled.registration == Registration.LOST
    if labelled and lost and seen.owner == place.owner and _is_former(labelled, seen):
        return Drift(
            kind=FindingKind.VERSION_MISMATCH,
            subject=str(seen.name),
            title=f"{labelled.model_name} v{labelled.number}, recorded as lost, is back"[:255],
            repair=RESTORE,
            evidence={
                "model_name": labelled.model_name,
                "resource_name": str(seen.name.at(seen.version)),
                "our_registration": labelled.registration,
                "vertex_label_mlp_run": seen.run_uid,
            },
            project_id=labelled.project_id,
            lineage_id=labelled.lineage_id,
            run_id=labelled.run_id,
        )
    return Drift(
        kind=FindingKind.UNMANAGED,
        subject=str(seen.name),
        title=f"{seen.display_name} is in Vertex AI {_without_row(seen, place)}"[:255],
        repair=CHOOSE,
        evidence={
            "display_name": seen.display_name,
            "resource_name": str(seen.name),
            "default_version": seen.version,
            "bucket": seen.bucket,
            "vertex_label_mlp_owner": seen.owner,
        },
        project_id=labelled.project_id if labelled and seen.owner == place.owner else None,
    )


def _is_former(run: Version, seen: Seen) -> bool:
    return _is_same(run.former, seen)


def _is_same(pointer: str, seen: Seen) -> bool:
    """Whether a pointer names what was seen; one that is no name at all names nothing."""
    with suppress(Invalid):
        return same_resource(pointer, seen.name.at(seen.version))
    return False


def _without_row(seen: Seen, place: Place) -> str:
    if not seen.owner:
        return "and no row of ours points at it"
    if seen.owner != place.owner:
        return f"and belongs to the installation {seen.owner}"
    return "with our label, but no row points at it"


def judge_artifacts(version: Version, *, there: bool) -> Drift | None:
    """Compare a version with the complete listing of the bucket's run folders."""
    if there:
        return None
    return Drift(
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
