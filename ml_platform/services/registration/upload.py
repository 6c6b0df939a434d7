"""How a run's files become a version in Vertex AI: search, upload, wait, search for copies."""

from __future__ import annotations

from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from typing import ClassVar

from ml_platform.cloud import vertex
from ml_platform.cloud.names import ModelName, OperationName, label_filter, model_id
from ml_platform.cloud.types import RemoteModel
from ml_platform.conf import get_settings, require_settings
from ml_platform.errors import (
    CloudAbsent,
    CloudConflict,
    CloudExists,
    OutcomeUnknown,
    PlatformError,
)
from ml_platform.models import RegisteredModel, TrainingRun
from ml_platform.models.clock import past
from ml_platform.services.artifacts.manifest import digest_of
from ml_platform.services.operations.repeats import RepeatState, note_end, require_hope
from ml_platform.services.operations.subjects import run_of
from ml_platform.services.operations.work import Work
from ml_platform.services.operations.workflow import Continue, Next, Outcome, Poll
from ml_platform.services.ownership.labels import DIGEST, RUN, is_version_of, labels_for
from ml_platform.services.registry.lineages import lineage_of, lose_versions
from ml_platform.services.registry.verification import (
    may_still_appear,
    read_versions,
    require_listing,
    seconds_until_consistent,
)

from .foreign import own_versions, require_not_back, require_not_relabelled, require_ours

SECOND_LOOK_SECONDS = 30.0


@dataclass(frozen=True, slots=True, kw_only=True)
class RegistrationState(RepeatState):
    """What the steps of a registration hand on: the files, what was sent, what Vertex AI has.

    `aliases` is None for a version that was just uploaded, `taken` are the aliases of all versions
    that were found for the run, `surplus` are those versions except the one that was taken. `lost`
    are versions that were recorded as lost because their model is gone.
    """

    VERSION: ClassVar[int] = 2
    """A release before there were installations derives another `model_id` from the same name."""

    artifact_uri: str = ""
    absent_since: str = ""
    lost: tuple[str, ...] = ()
    parent: str = ""
    """The model that gets the version; empty when the upload creates `model_id`."""
    model_id: str = ""
    uploading_since: str = ""
    """When the last upload that may have happened was sent; empty if no upload was sent."""
    again: bool = False
    """An upload was sent before the last one, so there may be two versions."""
    pointer: str = ""
    uploaded_at: str = ""
    aliases: tuple[str, ...] | None = None
    taken: tuple[str, ...] = ()
    surplus: tuple[str, ...] = ()
    labelled_digest: str = ""
    """The digest in the label of a version that was found: of the files when it was uploaded."""


def probe(work: Work[RegistrationState]) -> Outcome:
    """Find the version that an earlier try may have made, else prepare the upload."""
    run = run_of(work.operation)
    lineage = lineage_of(run)
    parent, parent_exists = _parent(lineage, sent_to=work.state.model_id), True
    require_not_back(run, parent)
    try:
        versions = _versions_of(parent, run)
        if not versions:
            require_ours(parent, lineage)
            if work.state.uploading_since:
                require_not_relabelled(parent, run)
    except CloudAbsent as absent:
        if lineage.vertex_model_resource_name:
            return _second_look(work, lineage, absent)
        versions, parent_exists = [], False
    work.state = replace(work.state, absent_since="")
    if versions:
        return _adopt(work, versions)
    if pause := _upload_may_appear(work):
        return pause
    require_hope(work, tried=f"The upload of {run}", left=f"{parent} has no version of it.")
    work.state = replace(
        work.state,
        again=bool(work.state.uploading_since),
        aliases=None,
        parent=str(parent) if parent_exists else "",
        model_id=parent.model_id,
        uploading_since=work.clock().isoformat(),
    )
    return Next(note=f"{parent.model_id} has no version of this run yet.")


def _versions_of(parent: ModelName, run: TrainingRun) -> list[RemoteModel]:
    return read_versions(parent, filter=label_filter({RUN: run.uid.hex}))


def _adopt(work: Work[RegistrationState], found: list[RemoteModel]) -> Next:
    """Take the lowest version of this run; a finding reports the others as surplus."""
    versions = own_versions(found, run_of(work.operation))
    first, *others = versions
    work.state = replace(
        work.state,
        pointer=str(first.pointer),
        aliases=tuple(sorted(first.aliases)),
        taken=tuple(sorted({alias for version in versions for alias in version.aliases})),
        surplus=tuple(str(version.pointer) for version in others),
        labelled_digest=first.labels.get(DIGEST, ""),
    )
    return Next(to="record", note=f"Found {first.pointer.model_id}@{first.version}.")


def _second_look(
    work: Work[RegistrationState], lineage: RegisteredModel, absent: CloudAbsent
) -> Outcome:
    """Handle a missing model of our versions. A single NOT_FOUND may be wrong, so only a second
    one counts, and only if the listing of models works (law 3)."""
    now = work.clock()
    made_at = lineage.latest_registered_at
    if poll := may_still_appear(absent, made_at, now=now):
        return poll
    since = past(work.state.absent_since or now.isoformat(), now=now).isoformat()
    work.state = replace(work.state, absent_since=since)
    if now - datetime.fromisoformat(since) < timedelta(seconds=SECOND_LOOK_SECONDS):
        return Poll(seconds=SECOND_LOOK_SECONDS, note=str(absent))
    require_listing()

    def lose() -> None:
        lost = tuple(lose_versions(lineage=lineage, operation=work.operation))
        work.state = replace(work.state, absent_since="", lost=lost)

    return Continue(note=f"{absent} Its versions are recorded as lost.", change=lose)


def _upload_may_appear(work: Work[RegistrationState]) -> Poll | None:
    if not work.state.uploading_since:
        return None
    since = past(work.state.uploading_since, now=work.clock())
    work.state = replace(work.state, uploading_since=since.isoformat())
    left = get_settings().UPLOAD_HORIZON - (work.clock() - since).total_seconds()
    note = "An upload without a known outcome may still appear."
    return Poll(seconds=min(left, 30.0), note=note) if left > 0 else None


def upload(work: Work[RegistrationState]) -> Outcome:
    """Send the upload. Its labels name this run, to find it if its answer is lost (law 7)."""
    run, state = run_of(work.operation), work.state
    lineage = lineage_of(run)
    try:
        started = vertex.upload_model(
            display_name=run.model_name,
            artifact_uri=state.artifact_uri,
            serving_image=get_settings().SERVING_IMAGE,
            labels=labels_for(
                lineage=lineage.uid,
                generation=lineage.generation,
                run=run.uid,
                operation=work.operation.pk,
                digest=digest_of(run),
            ),
            model_id="" if state.parent else state.model_id,
            parent_model=ModelName.parse(state.parent) if state.parent else None,
        )
        work.remote_operation = str(started.name)
        if started.error:
            note_end(work, started.error)
            raise started.error
    except OutcomeUnknown:
        raise
    except PlatformError as error:
        raise _not_uploaded(work, error) from error
    if isinstance(started.result, ModelName):
        return _uploaded(work, started.result, to="record")
    return Next(note=str(started.name))


def _uploaded(work: Work[RegistrationState], result: object, *, to: str = "") -> Next:
    uploaded_at = work.clock().isoformat()
    work.state = replace(work.state, pointer=str(result), uploaded_at=uploaded_at)
    return Next(to=to, note=str(result))


def _not_uploaded(work: Work[RegistrationState], error: PlatformError) -> PlatformError:
    """Record that nothing was created. If the parent appeared or vanished since, search again."""
    work.state = replace(work.state, uploading_since="")
    moved = isinstance(error, CloudExists) or error.code == "parent_not_found"
    return CloudConflict(str(error), advice=error.advice) if moved else error


def wait_for_upload(work: Work[RegistrationState]) -> Outcome:
    """Read the upload's operation; if it is gone or its outcome is unknown, search again."""
    try:
        state = vertex.get_operation(OperationName.parse(work.remote_operation))
    except CloudAbsent as forgotten:
        return Next(to="look_up", note=str(forgotten))
    if not state.done:
        return Poll(note="Vertex AI is still working on it.")
    note_end(work, state.error)
    if isinstance(state.error, OutcomeUnknown):
        return Next(to="look_up", note=str(state.error))
    if state.error:
        raise _not_uploaded(work, state.error)
    return _uploaded(work, state.result)


def look_for_copies(work: Work[RegistrationState], run: TrainingRun) -> Poll | None:
    """After a second upload: take the run's lowest version, once the listing shows ours.

    Do not wait for a version that was deleted since: use what the listing has. If it is empty,
    record the deleted version; a sweep finds that it is missing.
    """
    pointer = ModelName.parse(work.state.pointer)
    try:
        versions = _versions_of(pointer.bare, run)
    except CloudAbsent:
        versions = []
    shown = pointer in {version.pointer for version in versions}
    if not shown and (seconds := _may_yet_show(work, run, pointer)):
        return Poll(seconds=seconds, note=f"{pointer} is new: the listing may not show it yet.")
    if versions:
        _adopt(work, versions)
    return None


def _may_yet_show(work: Work[RegistrationState], run: TrainingRun, pointer: ModelName) -> float:
    """Seconds until the listing shows a version that was just made; 0 when it was deleted."""
    try:
        model = vertex.get_model(pointer)
    except CloudAbsent:
        made_at = datetime.fromisoformat(work.state.uploaded_at)
        return seconds_until_consistent(made_at, now=work.clock())
    return SECOND_LOOK_SECONDS if is_version_of(model, run) else 0.0


# ---- what they read ----------------------------------------------------------------------------


def _parent(lineage: RegisteredModel, *, sent_to: str) -> ModelName:
    """Where the lineage's model is, or where its first upload will put it.

    Before there is a lineage, an earlier try of this operation may have put it at `sent_to`.
    """
    if lineage.vertex_model_resource_name:
        return ModelName.parse(lineage.vertex_model_resource_name)
    settings = require_settings()
    own_id = model_id(lineage.uid, lineage.generation)
    if not lineage.pk and sent_to:
        own_id = sent_to
    return ModelName(settings.PROJECT_ID, settings.LOCATION, own_id)
