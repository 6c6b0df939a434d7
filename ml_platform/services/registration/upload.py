"""How a run's files become a version in Vertex AI: look, upload, wait, look for a second copy."""

from __future__ import annotations

from dataclasses import replace
from datetime import datetime, timedelta
from uuid import UUID

from ml_platform.cloud import vertex
from ml_platform.cloud.names import ModelName, OperationName, label_filter, model_id
from ml_platform.cloud.types import RemoteModel
from ml_platform.conf import get_settings, require_settings
from ml_platform.errors import (
    CloudAbsent,
    CloudConflict,
    CloudExists,
    Conflict,
    OutcomeUnknown,
    PlatformError,
)
from ml_platform.models import RegisteredModel, TrainingRun
from ml_platform.services.operations.subjects import run_of
from ml_platform.services.operations.work import Work
from ml_platform.services.operations.workflow import Continue, Next, Outcome, Poll
from ml_platform.services.registry.labels import OWNER, RUN, is_version_of, labels_for, owner
from ml_platform.services.registry.lineages import lineage_uid, lose_versions
from ml_platform.services.registry.verification import require_listing, seconds_until_consistent

from .registration_state import RegistrationState

SECOND_LOOK_SECONDS = 30.0


def probe(work: Work[RegistrationState]) -> Outcome:
    """Find the version that an earlier try may have made, else prepare the upload."""
    run = run_of(work.operation)
    lineage = _lineage(run)
    parent = _parent(run, lineage)
    try:
        versions = _versions_of(parent, run)
        if not versions:
            _require_ours(vertex.get_model(parent))
    except CloudAbsent as absent:
        if lineage and lineage.vertex_model_resource_name:
            return _second_look(work, lineage, absent)
        versions, parent_exists = [], False
    else:
        parent_exists = True
    work.state = replace(work.state, absent_since="")
    if versions:
        return _adopt(work, versions)
    if pause := _upload_may_appear(work):
        return pause
    work.state = replace(
        work.state,
        again=bool(work.state.uploading_since),
        aliases=None,
        parent=str(parent) if parent_exists else "",
        model_id=parent.model_id,
        uploading_since=work.clock().isoformat(),
    )
    return Next(note=f"Nothing of this run at {parent.model_id} yet.")


def _versions_of(parent: ModelName, run: TrainingRun) -> list[RemoteModel]:
    labels = label_filter({RUN: run.uid.hex})
    found = [v for page in vertex.list_model_versions(parent, filter=labels) for v in page]
    return sorted(found, key=lambda version: int(version.version))


def _adopt(work: Work[RegistrationState], versions: list[RemoteModel]) -> Next:
    """Take the lowest version of this run; what is above it is surplus, which a finding says."""
    work.state = replace(
        work.state,
        pointer=str(versions[0].pointer),
        aliases=tuple(sorted(versions[0].aliases)),
        taken=tuple(sorted({alias for version in versions for alias in version.aliases})),
        surplus=tuple(str(version.pointer) for version in versions[1:]),
    )
    return Next(to="record", note=f"Found {versions[0].pointer.model_id}@{versions[0].version}.")


def _require_ours(model: RemoteModel) -> None:
    if model.labels.get(OWNER) != owner():
        raise Conflict(
            f"{model.name} exists and is not ours.",
            code="foreign_model",
            advice="Adopt or delete that model first.",
        )


def _second_look(
    work: Work[RegistrationState], lineage: RegisteredModel, absent: CloudAbsent
) -> Outcome:
    """The parent of our versions is gone: believe it only later, beside a listing that works."""
    now = work.clock()
    since = work.state.absent_since or now.isoformat()
    work.state = replace(work.state, absent_since=since)
    if now - datetime.fromisoformat(since) < timedelta(seconds=SECOND_LOOK_SECONDS):
        return Poll(seconds=SECOND_LOOK_SECONDS, note=str(absent))
    require_listing()

    def lose() -> None:
        lost = tuple(lose_versions(lineage=lineage, operation=work.operation))
        work.state = replace(work.state, absent_since="", lost=lost)

    return Continue(note=f"{absent} Its versions are recorded as lost.", change=lose)


def _upload_may_appear(work: Work[RegistrationState]) -> Poll | None:
    since = work.state.uploading_since
    if not since:
        return None
    horizon = timedelta(seconds=get_settings().UPLOAD_HORIZON)
    left = (datetime.fromisoformat(since) + horizon - work.clock()).total_seconds()
    if left <= 0:
        return None
    return Poll(seconds=min(left, 30.0), note="An upload whose answer was lost may still appear.")


def upload(work: Work[RegistrationState]) -> Outcome:
    run = run_of(work.operation)
    lineage = _lineage(run)
    parent = work.state.parent
    try:
        started = vertex.upload_model(
            display_name=run.model_name,
            artifact_uri=work.state.artifact_uri,
            serving_image=get_settings().SERVING_IMAGE,
            labels=labels_for(
                lineage=_uid(run, lineage),
                generation=lineage.generation if lineage else 1,
                run=run.uid,
                operation=work.operation.pk,
            ),
            model_id="" if parent else work.state.model_id,
            parent_model=ModelName.parse(parent) if parent else None,
        )
        work.remote_operation = str(started.name)
        if started.error:
            raise started.error
    except OutcomeUnknown:
        raise
    except PlatformError as error:
        raise _not_uploaded(work, error) from error
    if isinstance(started.result, ModelName):
        return _uploaded(work, started.result, to="record")
    return Next(note=str(started.name))


def _uploaded(work: Work[RegistrationState], result: object, *, to: str = "") -> Next:
    work.state = replace(work.state, pointer=str(result), uploaded_at=work.clock().isoformat())
    return Next(to=to, note=str(result))


def _not_uploaded(work: Work[RegistrationState], error: PlatformError) -> PlatformError:
    """Note that nothing was made; a parent that came or went meanwhile is looked at again."""
    work.state = replace(work.state, uploading_since="")
    moved = isinstance(error, CloudExists) or error.code == "parent_not_found"
    return CloudConflict(str(error), advice=error.advice) if moved else error


def wait_for_upload(work: Work[RegistrationState]) -> Outcome:
    try:
        state = vertex.get_operation(OperationName.parse(work.remote_operation))
    except CloudAbsent as forgotten:
        return Next(to="look_up", note=str(forgotten))
    if not state.done:
        return Poll(note="Vertex AI is still working on it.")
    if isinstance(state.error, OutcomeUnknown):
        return Next(to="look_up", note=str(state.error))
    if state.error:
        raise _not_uploaded(work, state.error)
    return _uploaded(work, state.result)


def look_for_copies(work: Work[RegistrationState], run: TrainingRun) -> Poll | None:
    """After a second upload: take the lowest version, once the listing shows our own at least.

    A version that was deleted since it was made is not waited for: what the listing has is taken,
    else the version all the same, whose loss a sweep finds.
    """
    pointer = ModelName.parse(work.state.pointer)
    try:
        versions = _versions_of(pointer.bare, run)
    except CloudAbsent:
        versions = []
    shown = pointer in {version.pointer for version in versions}
    if not shown and (seconds := _may_yet_show(work, run, pointer)):
        return Poll(seconds=seconds, note=f"{pointer} is so new that it may yet show.")
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


def _lineage(run: TrainingRun) -> RegisteredModel | None:
    return RegisteredModel.objects.filter(
        project_id=run.project_id, model_name=run.model_name
    ).first()


def _uid(run: TrainingRun, lineage: RegisteredModel | None) -> UUID:
    if lineage:
        return lineage.uid
    return lineage_uid(project_id=run.project_id, model_name=run.model_name)


def _parent(run: TrainingRun, lineage: RegisteredModel | None) -> ModelName:
    """Where the lineage's model is, or where its first upload will put it."""
    if lineage and lineage.vertex_model_resource_name:
        return ModelName.parse(lineage.vertex_model_resource_name)
    settings = require_settings()
    generation = lineage.generation if lineage else 1
    return ModelName(
        settings.PROJECT_ID, settings.LOCATION, model_id(_uid(run, lineage), generation)
    )
