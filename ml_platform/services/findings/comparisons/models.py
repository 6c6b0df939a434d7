"""Compare registered models with what Vertex AI lists: pure functions."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, replace
from datetime import datetime
from typing import Any

from ml_platform.cloud.names import ModelName
from ml_platform.models import RegisteredModel, TrainingRun
from ml_platform.models.states import HOLDS_POINTER, Registration
from ml_platform.services.findings.discrepancy import (
    Discrepancy,
    compare_surplus,
    is_same,
    may_be_ours,
    pointer_text,
)
from ml_platform.services.findings.kinds import FindingKind, Kind
from ml_platform.services.operations.subjects import version_name
from ml_platform.services.ownership.identification import REBORN_MARGIN

from .labels import compare_labels

CHECK_VERSIONS = (
    "Ask Vertex AI for each version by name and label, and record as lost only those that it "
    "reports as gone. Nothing in Vertex AI is changed."
)
CLEAR_POINTERS = (
    "Ask Vertex AI for this exact name. Only if it answers NOT_FOUND, clear the pointers; the "
    "history keeps them."
)
RESTORE = "Check the version's label, then point at it again."
NO_REPAIR = (
    "No automatic repair: our records are not wrong. Correct the labels of that version in Vertex "
    "AI, delete it there, or move the alias default to one of our versions."
)
CHOOSE = "No automatic repair: adopt it into a project, delete it, or leave it."
CHOOSE_FOR_COPY = CHOOSE.replace("delete it", "delete it in the Google Cloud console")


_RUN_FOLDER = re.compile(r"/([0-9a-f]{32})/pushed_model/")


@dataclass(frozen=True, slots=True, kw_only=True)
class Location:
    """The configured project and location, and our name in the owner label.

    `number` is the number of the project, '' while no listing has shown it.
    """

    project: str
    number: str
    location: str
    owner: str

    def owns(self, seen: ListedModel) -> bool:
        """Whether the labels of a listed model are of this installation."""
        return seen.owner == self.owner and not seen.theirs

    def holds(self, name: ModelName) -> bool:
        """Whether a listing of this location would show that model if it existed.

        Only then does a listing without it say anything (law 3).
        """
        if name.location != self.location:
            return False
        if name.project.isdigit():
            return not self.number or name.project == self.number
        return name.project == self.project


@dataclass(frozen=True, slots=True, kw_only=True)
class ListedModel:
    """A model as Vertex AI listed it, with its default version; or another of its versions."""

    name: ModelName
    display_name: str
    version: str
    owner: str
    theirs: bool = False
    """Whether the labels name another installation."""
    run_uid: str
    artifact_uri: str
    created_at: datetime | None
    updated_at: datetime | None = None
    aliases: tuple[str, ...] = ()
    """Of a version whose model's versions were read one by one."""

    @property
    def files_uid(self) -> str:
        """The uid of the run in whose folder its files are, '' for none."""
        found = _RUN_FOLDER.search(self.artifact_uri)
        return found[1] if found else ""

    @property
    def pointer(self) -> ModelName:
        """The resource name with the version."""
        return self.name.at(self.version)

    @property
    def bucket(self) -> str:
        """The bucket of its artifacts, '' when it has none in Cloud Storage."""
        return self.artifact_uri.removeprefix("gs://").partition("/")[0]


def registered_since(lineage: RegisteredModel) -> datetime:
    """When its newest version was registered."""
    return lineage.latest_registered_at or lineage.created_at


def compare_lineage(
    lineage: RegisteredModel,
    seen: ListedModel | None,
    labelled: TrainingRun | None,
    place: Location,
    *,
    pointed: TrainingRun | None = None,
) -> Discrepancy | None:
    """Compare a lineage with what Vertex AI lists under its name; None when they agree.

    `labelled` is the run that the label of the listed version names, if we have it, and `pointed`
    is the one that we recorded as this version, if their labels disagree. The name alone
    proves nothing: another person may have created another model under the same id (law 7).
    """
    if seen is None:
        return _stale(lineage, {"vertex_listing": "complete, without this model"})
    if agrees(lineage, seen, labelled, place):
        return None
    said = {
        "vertex_default_version": seen.version,
        "vertex_label_mlp_owner": seen.owner,
        "vertex_label_mlp_run": seen.run_uid if not _is_foreign(lineage, labelled) else "",
    }
    ours = labelled if labelled and labelled.registered_model_id == lineage.pk else None
    if ours and is_surplus(ours, seen, place):
        return replace(compare_surplus(ours, seen.pointer), changed_at=seen.updated_at)
    created = seen.created_at
    if not ours and created is not None and created > registered_since(lineage) + REBORN_MARGIN:
        said["vertex_created_at"] = created.isoformat(timespec="seconds")
        why = "another model has that id in Vertex AI, created after ours"
        return _stale(lineage, said, why, changed_at=created)
    if pointed and labelled in (None, pointed):
        return compare_labels(
            pointed,
            labelled_owner=seen.owner,
            theirs=(seen.owner or "another installation") if seen.theirs else "",
            labelled_run=seen.run_uid,
            made_at=seen.created_at,
            artifact_uri=seen.artifact_uri,
            changed_at=seen.updated_at,
        )
    about, repair = _repair_of(seen, ours, pointed)
    return _discrepancy(
        FindingKind.VERSION_MISMATCH,
        lineage,
        f"{lineage.model_name}: the default version in Vertex AI is {_whose(lineage, labelled)}",
        repair,
        said,
        run_id=about.pk if about else None,
        changed_at=seen.updated_at,
    )


def _repair_of(
    seen: ListedModel, ours: TrainingRun | None, pointed: TrainingRun | None
) -> tuple[TrainingRun | None, str]:
    """Return the version that a repair would change, None if it would change nothing, and what it
    does: restore a lost version that is this one, or lose one that was replaced by this one."""
    if ours and ours.registration == Registration.LOST:
        back = is_same(ours.last_vertex_version, seen.pointer)
        return (ours, RESTORE) if back else (None, NO_REPAIR)
    since = pointed.registered_at if pointed else None
    if since and seen.created_at and seen.created_at > since + REBORN_MARGIN:
        return pointed, CHECK_VERSIONS
    return None, NO_REPAIR


def agrees(
    lineage: RegisteredModel, seen: ListedModel, labelled: TrainingRun | None, place: Location
) -> bool:
    """Whether the labels of the listed version name the run that we recorded as that version."""
    return (
        place.owns(seen)
        and labelled is not None
        and labelled.registered_model_id == lineage.pk
        and labelled.registration in HOLDS_POINTER
        and labelled.vertex_model_version == seen.version
    )


def _whose(lineage: RegisteredModel, labelled: TrainingRun | None) -> str:
    if labelled is None:
        return "none of our runs"
    if _is_foreign(lineage, labelled):
        return "labeled as a run of another project"
    if labelled.registered_model_id != lineage.pk:
        return f"labeled as a run of {labelled.model_name}"
    if labelled.registration not in HOLDS_POINTER:
        state = Registration(labelled.registration).label.lower()
        return f"our run {labelled.pk}, whose version is {state}"
    return f"not version {labelled.vertex_model_version}, which we recorded for run {labelled.pk}"


def _is_foreign(lineage: RegisteredModel, labelled: TrainingRun | None) -> bool:
    """Whether the label names a run of another project, which this project may not read."""
    return labelled is not None and labelled.project_id != lineage.project_id


def _stale(
    lineage: RegisteredModel,
    said: Mapping[str, Any],
    why: str = "",
    *,
    changed_at: datetime | None = None,
) -> Discrepancy:
    model_id = ModelName.parse(lineage.vertex_model_resource_name).model_id
    return _discrepancy(
        FindingKind.STALE_POINTER,
        lineage,
        f"{lineage.model_name} points at {model_id}: {why or 'Vertex AI does not list it'}",
        CHECK_VERSIONS if why else CLEAR_POINTERS,
        said,
        changed_at=changed_at,
    )


def _discrepancy(
    kind: Kind,
    lineage: RegisteredModel,
    title: str,
    repair: str,
    said: Mapping[str, Any],
    *,
    run_id: int | None = None,
    changed_at: datetime | None = None,
) -> Discrepancy:
    return Discrepancy(
        kind=kind,
        subject=lineage.vertex_model_resource_name,
        title=title,
        repair=repair,
        evidence={
            "model_name": lineage.model_name,
            "resource_name": lineage.vertex_model_resource_name,
            "our_versions": lineage.total_versions,
            **said,
        },
        project_id=lineage.project_id,
        lineage_id=lineage.pk,
        run_id=run_id,
        changed_at=changed_at,
    )


def compare_unclaimed(
    seen: ListedModel,
    labelled: TrainingRun | None,
    place: Location,
    *,
    own: bool,
    current: str = "",
) -> Discrepancy:
    """Classify a listed model that none of our versions points at.

    `own` says whether it is, or was, the model of the lineage whose run its label names, and
    `current` which model that lineage points at now: its lost versions are restored only there. A
    model that is not its own was made outside the platform, so only a person knows what it is for.
    """
    if labelled and own and is_surplus(labelled, seen, place):
        return replace(compare_surplus(labelled, seen.pointer), changed_at=seen.updated_at)
    ours = labelled if labelled and place.owns(seen) else None
    lost = ours is not None and ours.registration == Registration.LOST
    back = ours if ours and lost and is_same(ours.last_vertex_version, seen.pointer) else None
    replaced = bool(current) and not is_same(current, seen.name)
    if back and not replaced:
        return _is_back(back, seen)
    copied = ours if not own else None
    return Discrepancy(
        kind=FindingKind.UNMANAGED,
        subject=str(seen.name),
        title=f"{seen.display_name} is in Vertex AI {_why_unmanaged(seen, copied, back)}",
        repair=CHOOSE_FOR_COPY if seen.owner else CHOOSE,
        evidence={
            "display_name": seen.display_name,
            "resource_name": str(seen.name),
            "default_version": seen.version,
            "bucket": seen.bucket,
            "vertex_label_mlp_owner": seen.owner,
            **(_copied(copied, seen) if copied else {}),
            **({"was": version_name(back), "our_pointer": current} if back else {}),
        },
        project_id=ours.project_id if ours else None,
        changed_at=seen.created_at,
    )


def _is_back(lost: TrainingRun, seen: ListedModel) -> Discrepancy:
    return Discrepancy(
        kind=FindingKind.VERSION_MISMATCH,
        subject=str(seen.name),
        title=f"{version_name(lost)}, recorded as lost, is back",
        repair=RESTORE,
        evidence={
            "model_name": lost.model_name,
            "resource_name": str(seen.pointer),
            "our_registration": lost.registration,
            "vertex_label_mlp_run": seen.run_uid,
        },
        project_id=lost.project_id,
        lineage_id=lost.registered_model_id,
        run_id=lost.pk,
        changed_at=seen.updated_at,
    )


def _why_unmanaged(seen: ListedModel, copied: TrainingRun | None, back: TrainingRun | None) -> str:
    if back:
        return f"again: {version_name(back)} was lost, and {back.model_name} is another model now"
    if copied:
        return (
            f"as a copy of {version_name(copied)}: it has its labels, but an id that we never gave"
        )
    if not seen.owner:
        return "and no record points at it"
    return "with our label, but no record points at it"


def _copied(run: TrainingRun, seen: ListedModel) -> dict[str, Any]:
    """Return what a person needs to decide about a copy of a version."""
    created = seen.created_at
    return {
        "copy_of": version_name(run),
        "vertex_label_mlp_run": seen.run_uid,
        "artifact_uri": seen.artifact_uri,
        "vertex_created_at": created.isoformat(timespec="seconds") if created else "",
    }


def is_surplus(run: TrainingRun, seen: ListedModel, place: Location) -> bool:
    """Whether that version is a second one of the run, or one of a run whose version is deleted.

    A run is one version at most, and a deleted version stays deleted (law 7).
    """
    if not place.owns(seen) or seen.run_uid == "":
        return False
    if not may_be_ours(run, seen.pointer):
        return False
    if run.registration == Registration.DELETED:
        return True
    elsewhere = not is_same(pointer_text(run), seen.pointer)
    return run.registration == Registration.REGISTERED and elsewhere
