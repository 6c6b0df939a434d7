"""What counts as a disagreement between our lineages and Vertex AI: pure judgements."""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

from ml_platform.cloud.names import ModelName, same_resource
from ml_platform.errors import Invalid
from ml_platform.models.states import HOLDS_POINTER, Registration
from ml_platform.services.findings.kinds import FindingKind

from .discrepancy import Discrepancy, Version

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
CHOOSE = "None by itself. Adopt it into a project, delete it, or leave it: a person decides."
CHOOSE_FOR_COPY = CHOOSE.replace("delete it", "delete it in Google's console")
_BY_OTHERS = "it has its labels, and an id that we never gave"


@dataclass(frozen=True, slots=True, kw_only=True)
class Location:
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
class ListedModel:
    """A model as Vertex AI listed it, which is its default version."""

    name: ModelName
    display_name: str
    version: str
    owner: str
    run_uid: str
    artifact_uri: str
    created_at: datetime | None

    @property
    def pointer(self) -> ModelName:
        """The name with its version."""
        return self.name.at(self.version)

    @property
    def bucket(self) -> str:
        """Bucket of its artifacts, '' when it has none in Cloud Storage."""
        return self.artifact_uri.removeprefix("gs://").partition("/")[0]


@dataclass(frozen=True, slots=True, kw_only=True)
class Lineage:
    """A registered lineage; `name` is the Vertex AI model it points at."""

    id: int
    project_id: Any
    model_name: str
    name: ModelName
    versions: int
    registered_at: datetime


def compare_lineage(
    lineage: Lineage, seen: ListedModel | None, labelled: Version | None, place: Location
) -> Discrepancy | None:
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
        "vertex_label_mlp_run": seen.run_uid if not _strange(lineage, labelled) else "",
    }
    ours = labelled is not None and labelled.lineage_id == lineage.id
    if labelled and ours and is_surplus(labelled, seen, place):
        return compare_surplus(labelled, seen.pointer)
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


def _is_pointed_at(lineage: Lineage, seen: ListedModel, labelled: Version | None) -> bool:
    return (
        labelled is not None
        and labelled.lineage_id == lineage.id
        and labelled.registration in HOLDS_POINTER
        and labelled.vertex_version == seen.version
    )


def _whose(lineage: Lineage, labelled: Version | None) -> str:
    if labelled is None:
        return "none of our runs"
    if _strange(lineage, labelled):
        return "labeled as a run of another project"
    if labelled.lineage_id != lineage.id:
        return f"labeled as a run of {labelled.model_name}"
    if labelled.registration not in HOLDS_POINTER:
        state = Registration(labelled.registration).label.lower()
        return f"our run {labelled.run_id}, whose version is {state}"
    return f"not the version {labelled.vertex_version} that run {labelled.run_id} has with us"


def _strange(lineage: Lineage, labelled: Version | None) -> bool:
    """Whether the label names another tenant's run, which the lineage's own may not read."""
    return labelled is not None and labelled.project_id != lineage.project_id


def _stale(lineage: Lineage, said: Mapping[str, Any], why: str = "") -> Discrepancy:
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
) -> Discrepancy:
    return Discrepancy(
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


def compare_unclaimed(
    seen: ListedModel,
    labelled: Version | None,
    place: Location,
    *,
    own: bool,
) -> Discrepancy:
    """Say what a model is that Vertex AI lists and none of our versions points at.

    `own` says whether it is, or was, the model of the lineage of the run that its label names. One
    that is not was made by somebody else, who alone knows what for.
    """
    if labelled and own and is_surplus(labelled, seen, place):
        return compare_surplus(labelled, seen.pointer)
    lost = labelled is not None and labelled.registration == Registration.LOST
    if labelled and lost and seen.owner == place.owner and _is_same(labelled.former, seen.pointer):
        return Discrepancy(
            kind=FindingKind.VERSION_MISMATCH,
            subject=str(seen.name),
            title=f"{labelled.model_name} v{labelled.number}, recorded as lost, is back"[:255],
            repair=RESTORE,
            evidence={
                "model_name": labelled.model_name,
                "resource_name": str(seen.pointer),
                "our_registration": labelled.registration,
                "vertex_label_mlp_run": seen.run_uid,
            },
            project_id=labelled.project_id,
            lineage_id=labelled.lineage_id,
            run_id=labelled.run_id,
        )
    ours = labelled is not None and seen.owner == place.owner
    copied = labelled if ours and not own else None
    what = f"a copy of {_called(copied)}: {_BY_OTHERS}" if copied else _without_row(seen, place)
    return Discrepancy(
        kind=FindingKind.UNMANAGED,
        subject=str(seen.name),
        title=f"{seen.display_name} is in Vertex AI {what}"[:255],
        repair=CHOOSE_FOR_COPY if seen.owner else CHOOSE,
        evidence={
            "display_name": seen.display_name,
            "resource_name": str(seen.name),
            "default_version": seen.version,
            "bucket": seen.bucket,
            "vertex_label_mlp_owner": seen.owner,
            **(_copied(copied, seen) if copied else {}),
        },
        project_id=labelled.project_id if labelled and ours else None,
    )


def _called(run: Version) -> str:
    return f"{run.model_name} v{run.number}" if run.number else f"run {run.run_id}"


def _copied(run: Version, seen: ListedModel) -> dict[str, Any]:
    """What a person needs to decide about a copy of a version."""
    made = seen.created_at
    return {
        "copy_of": _called(run),
        "vertex_label_mlp_run": seen.run_uid,
        "artifact_uri": seen.artifact_uri,
        "vertex_created_at": made.isoformat(timespec="seconds") if made else "",
    }


def _is_same(pointer: str, name: ModelName) -> bool:
    """Whether a pointer names what was seen; one that is no name at all names nothing."""
    with suppress(Invalid):
        return same_resource(pointer, name)
    return False


def _without_row(seen: ListedModel, place: Location) -> str:
    if not seen.owner:
        return "and no row of ours points at it"
    if seen.owner != place.owner:
        return f"and belongs to the installation {seen.owner}"
    return "with our label, but no row points at it"


def is_surplus(run: Version, seen: ListedModel, place: Location) -> bool:
    """Whether that version is a run's a second time, or a deleted run's again (R4, R7)."""
    if seen.owner != place.owner or seen.run_uid == "":
        return False
    if not may_be_ours(run, seen.pointer):
        return False
    if run.registration == Registration.DELETED:
        return True
    elsewhere = not _is_same(run.pointer, seen.pointer)
    return run.registration == Registration.REGISTERED and elsewhere


def may_be_ours(run: Version, pointer: ModelName) -> bool:
    """Whether an upload of ours may have made that version. Of an adopted one there was none, so
    that any but itself was made, and given its labels, by a person."""
    return not run.adopted or any(_is_same(text, pointer) for text in (run.pointer, run.former))


def compare_surplus(run: Version, *found: ModelName) -> Discrepancy:
    """Say that versions of one model carry the label of a run that is none of them.

    It is about the model, whose versions the repair reads: a listing shows the default one only.
    """
    numbers = ", ".join(f"v{name.version}" for name in found)
    deleted = run.registration == Registration.DELETED
    which = "is deleted" if deleted else f"is version {run.vertex_version} there"
    return Discrepancy(
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
