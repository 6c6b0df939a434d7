"""Registration: from a run that succeeded to a version, exactly once whatever dies (laws 2, 7)."""

from __future__ import annotations

from datetime import datetime, timedelta
from functools import partial
from uuid import UUID

from django.db import transaction
from django.db.models import F

from ml_platform.cloud import storage, vertex
from ml_platform.cloud.names import (
    ModelName,
    ObjectPath,
    OperationName,
    label_filter,
    model_id,
)
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
from ml_platform.models import Operation, RegisteredModel, TrainingRun
from ml_platform.models.states import (
    SUCCEEDED_RUN_STATUSES,
    OperationKind,
    OperationStatus,
    Registration,
    RunStatus,
)

from . import worker
from .aliases import move_default
from .drift import judge_surplus, version_of
from .engine import Again, Done, Outcome, Recipe, Step, Wait
from .findings import note_finding
from .labels import OWNER, RUN, labels_for, owner
from .lineages import claim_lineage, lineage_uid, lose_versions
from .mirror import mirror_version
from .operations import Actor, Work, open_operation, retry_operation
from .subjects import subject_of_run
from .version_cache import sync_version_cache

MODEL_FILE = "saved_model.pb"
POLL_SECONDS = 5.0
SECOND_LOOK_SECONDS = 30.0
REGISTRABLE = (Registration.NONE, Registration.LOST)


class NotRegistrable(Conflict):
    """The run cannot become a version as it stands."""

    code = "not_registrable"


def register_run(
    *, run: TrainingRun, actor: Actor, now: datetime, force_reason: str = ""
) -> Operation:
    """Open the registration of a run, or return the one there is; asking twice is asking once.

    `force_reason` lets a person register a run that its evaluator did not bless; it is kept in
    the Operation.

    :raises NotRegistrable: it did not succeed, was not blessed, or its version was deleted.
    """
    require_registrable(run=run, force_reason=force_reason)
    with transaction.atomic():
        operation, new = open_operation(
            kind=OperationKind.REGISTER,
            subject=subject_of_run(run),
            actor=actor,
            now=now,
            step="find_artifacts",
            reason=force_reason,
            idempotency_key=f"register:{run.uid.hex}:{run.former_vertex_version}",
            request={"run": run.pk},
            queue=True,
        )
        if not new and operation.status == OperationStatus.FAILED:
            operation = retry_operation(operation=operation, actor=actor)
        worker.ring(operation)
    return operation


def require_registrable(*, run: TrainingRun, force_reason: str) -> None:
    """Check whether the run may become a version, or is one.

    :raises NotRegistrable: with what stands against it.
    """
    if run.registration not in (*REGISTRABLE, Registration.REGISTERED):
        raise NotRegistrable(
            f"The version of {run} was deleted.", advice="Train the model again to register it."
        )
    if run.status == RunStatus.NOT_BLESSED and not force_reason:
        raise NotRegistrable(
            f"{run} was not blessed by its evaluator.",
            code="not_blessed",
            advice="Look at its metrics; a person may register it with a reason.",
        )
    if run.status not in {*SUCCEEDED_RUN_STATUSES, RunStatus.NOT_BLESSED}:
        raise NotRegistrable(
            f"{run} is {run.get_status_display().lower()}.",
            advice="Only a run whose pipeline succeeded can be registered.",
        )


# ---- the steps ---------------------------------------------------------------------------------


def _find_artifacts(work: Work) -> Outcome:
    run = _run(work)
    if run.registration == Registration.REGISTERED:
        return Done(to="record", note=f"It is version {run.version} already.")
    require_registrable(run=run, force_reason=work.operation.reason)
    path = ObjectPath.parse(run.gcs_artifacts_path)
    pages = storage.list_objects(
        path.bucket, path.key, glob=f"{path.key}pushed_model/*/{MODEL_FILE}"
    )
    folders = [found.name.split("/")[-2] for page in pages for found in page]
    numbers = [int(folder) for folder in folders if folder.isdigit()]
    if not numbers:
        raise NotRegistrable(
            f"{run.gcs_artifacts_path} holds no pushed_model/<number>/{MODEL_FILE}.",
            code="artifacts_missing",
            advice="Look whether the pipeline pushed its model, then retry.",
        )
    work.data["artifact_uri"] = f"{run.gcs_artifacts_path}pushed_model/{max(numbers)}"
    return Done(note=f"{work.data['artifact_uri']}")


def _look_up(work: Work) -> Outcome:
    """Find the version that an earlier try may have made, else prepare the upload."""
    run = _run(work)
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
    work.data.pop("absent_since", None)
    if versions:
        return _adopt(work, versions)
    if pause := _upload_may_appear(work):
        return pause
    work.data["again"] = "uploading_since" in work.data
    work.data["parent"] = str(parent) if parent_exists else ""
    work.data["model_id"] = parent.model_id
    work.data["uploading_since"] = work.clock().isoformat()
    return Done(note=f"Nothing of this run at {parent.model_id} yet.")


def _versions_of(parent: ModelName, run: TrainingRun) -> list[RemoteModel]:
    labels = label_filter({RUN: run.uid.hex})
    found = [v for page in vertex.list_model_versions(parent, filter=labels) for v in page]
    return sorted(found, key=lambda version: int(version.version))


def _adopt(work: Work, versions: list[RemoteModel]) -> Done:
    """Take the lowest version of this run; what is above it is surplus, which a finding says."""
    work.data["pointer"] = str(versions[0].pointer)
    work.data["surplus"] = [str(version.pointer) for version in versions[1:]]
    return Done(to="record", note=f"Found {versions[0].pointer.model_id}@{versions[0].version}.")


def _require_ours(model: RemoteModel) -> None:
    if model.labels.get(OWNER) != owner():
        raise NotRegistrable(
            f"{model.name} exists and is not ours.",
            code="foreign_model",
            advice="Adopt or delete that model first.",
        )


def _second_look(work: Work, lineage: RegisteredModel, absent: CloudAbsent) -> Outcome:
    """The parent of our versions is gone: believe it only later, beside a listing that works."""
    now = work.clock()
    since = work.data.setdefault("absent_since", now.isoformat())
    if now - datetime.fromisoformat(since) < timedelta(seconds=SECOND_LOOK_SECONDS):
        return Wait(seconds=SECOND_LOOK_SECONDS, note=str(absent))
    next(iter(vertex.list_models(page_size=1)), None)
    work.data.pop("absent_since")

    def lose() -> None:
        work.data["lost"] = lose_versions(lineage=lineage)

    return Again(note=f"{absent} Its versions are recorded as lost.", change=lose)


def _upload_may_appear(work: Work) -> Wait | None:
    since = work.data.get("uploading_since")
    if since is None:
        return None
    horizon = timedelta(seconds=get_settings().UPLOAD_HORIZON)
    left = (datetime.fromisoformat(since) + horizon - work.clock()).total_seconds()
    if left <= 0:
        return None
    return Wait(seconds=min(left, 30.0), note="An upload whose answer was lost may still appear.")


def _upload(work: Work) -> Outcome:
    run = _run(work)
    lineage = _lineage(run)
    parent = work.data["parent"]
    try:
        started = vertex.upload_model(
            display_name=run.model_name,
            artifact_uri=work.data["artifact_uri"],
            serving_image=get_settings().SERVING_IMAGE,
            labels=labels_for(
                lineage=_uid(run, lineage),
                generation=lineage.generation if lineage else 1,
                run=run.uid,
                operation=work.operation.pk,
            ),
            model_id="" if parent else work.data["model_id"],
            parent_model=ModelName.parse(parent) if parent else None,
        )
        if started.error:
            raise started.error
    except OutcomeUnknown:
        raise
    except PlatformError as error:
        raise _not_uploaded(work, error) from error
    work.data["upload"] = str(started.name)
    if isinstance(started.result, ModelName):
        work.data["pointer"] = str(started.result)
        return Done(to="record", note=str(started.result))
    return Done(note=str(started.name))


def _not_uploaded(work: Work, error: PlatformError) -> PlatformError:
    """Note that nothing was made; a parent that came or went meanwhile is looked at again."""
    work.data.pop("uploading_since", None)
    moved = isinstance(error, CloudExists) or error.code == "parent_not_found"
    return CloudConflict(str(error), advice=error.advice) if moved else error


def _wait_for_upload(work: Work) -> Outcome:
    try:
        state = vertex.get_operation(OperationName.parse(work.data["upload"]))
    except CloudAbsent as forgotten:
        return Done(to="look_up", note=str(forgotten))
    if not state.done:
        return Wait(seconds=POLL_SECONDS, note="Vertex AI is still at it.")
    if isinstance(state.error, OutcomeUnknown):
        return Done(to="look_up", note=str(state.error))
    if state.error:
        raise _not_uploaded(work, state.error)
    work.data["pointer"] = str(state.result)
    return Done(note=str(state.result))


def _record(work: Work) -> Outcome:
    run = _run(work)
    if run.registration == Registration.REGISTERED:
        return Done(note=f"Version {run.version}.")
    if work.data.pop("again", False):
        _adopt(work, _versions_of(ModelName.parse(work.data["pointer"]).bare, run))
    pointer = ModelName.parse(work.data["pointer"])
    return Done(
        note=f"Version in Vertex AI: {pointer.version}.", change=partial(_register, work, pointer)
    )


def _register(work: Work, pointer: ModelName) -> None:
    """The one transaction in which a version, and with the first one its lineage, comes to be."""
    run = _run(work)
    lineage = claim_lineage(
        project_id=run.project_id, model_name=run.model_name, model_type=run.model_type
    )
    lineage = RegisteredModel.objects.select_for_update().get(pk=lineage.pk)
    number = run.version or lineage.next_version
    if not run.version:
        RegisteredModel.objects.filter(pk=lineage.pk).update(next_version=F("next_version") + 1)
    became = TrainingRun.objects.filter(pk=run.pk, registration__in=REGISTRABLE).update(
        registration=Registration.REGISTERED,
        registered_model=lineage,
        version=number,
        vertex_model_resource_name=str(pointer.bare),
        vertex_model_name=run.model_name,
        vertex_model_version=pointer.version,
        registered_at=work.clock(),
    )
    if not became:
        raise NotRegistrable(f"The version of {run} was deleted meanwhile.")
    move_default(lineage=lineage, run_id=run.pk)
    sync_version_cache(registered_model=lineage)
    Operation.objects.filter(pk=work.operation.pk).update(lineage=lineage)
    artifacts = work.data.get("artifact_uri", "")
    mirror_version(run=run, pointer=pointer, artifacts=artifacts, now=work.clock())
    if surplus := [ModelName.parse(name) for name in work.data.get("surplus", ())]:
        run.refresh_from_db()
        note_finding(drift=judge_surplus(version_of(run), *surplus), now=work.clock())


def _begin_again(work: Work, error: PlatformError) -> None:
    """A retry starts from the artifacts, for all may have changed."""
    del error
    Operation.objects.filter(pk=work.operation.pk).update(step="find_artifacts")


# ---- what they read ----------------------------------------------------------------------------


def _run(work: Work) -> TrainingRun:
    return TrainingRun.objects.get(pk=work.operation.subject_id)


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


RECIPE = Recipe(
    steps=(
        Step(
            name="find_artifacts",
            title="Find the pushed model in GCS",
            run=_find_artifacts,
            cancellable=True,
        ),
        Step(name="look_up", title="Look for this run in Vertex AI", run=_look_up),
        Step(name="upload", title="Upload to Vertex AI", run=_upload, look_up="look_up"),
        Step(name="wait", title="Wait for Vertex AI", run=_wait_for_upload, look_up="look_up"),
        Step(name="record", title="Record the version", run=_record),
    ),
    on_failure=_begin_again,
)
