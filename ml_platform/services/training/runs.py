"""Training runs: create, submit, cancel, rerun, delete."""

from __future__ import annotations

import uuid
from collections.abc import Mapping
from datetime import datetime
from typing import Any

from django.core.exceptions import ValidationError
from django.db.models import Model, ProtectedError

from ml_platform.conf import require_settings
from ml_platform.errors import Conflict, Invalid
from ml_platform.models import Operation, TrainingRun, TrainingSchedule
from ml_platform.models.database import atomic
from ml_platform.models.registry.registered_model import validate_model_name
from ml_platform.models.states import (
    LIVE_RUN_STATUSES,
    TRAINING_RUN_STATUSES,
    EventKind,
    ModelType,
    OperationKind,
    OperationStatus,
    Registration,
    RunStatus,
)
from ml_platform.services.operations import worker
from ml_platform.services.operations.history import record
from ml_platform.services.operations.store import Actor, KeyReused, open_operation
from ml_platform.services.operations.workflow import Workflow, title_of

from .submission import CANCELLATION, SUBMISSION, check_bucket, subject_of
from .templates import check_parameters, check_values, read_template

_NAMESPACE = uuid.UUID("4b8b6f0e-0d7a-4f43-8a50-0f9f6f5c0c8e")
NOT_SUBMITTED = (RunStatus.PENDING, RunStatus.SCHEDULED)
ENDED_WITHOUT_SUCCESS = (OperationStatus.FAILED, OperationStatus.CANCELLED)


def create_run(
    *,
    project: Model,
    model_name: str,
    model_type: str,
    template_uri: str,
    parameters: Mapping[str, Any],
    actor: Actor,
    now: datetime,
    rerun_of: TrainingRun | None = None,
    idempotency_key: str = "",
) -> TrainingRun:
    """Check what a run needs, also in GCS, and create it. It has no lineage, because a run that
    may fail creates no registered model (law 2).

    :raises Invalid: the name, the template, the bucket or a parameter is wrong; nothing is stored.
    :raises KeyReused: the key created a different run.
    :raises CloudUnavailable: Cloud Storage gave no usable answer.
    """
    check_names(model_name=model_name, model_type=model_type)
    check_values(parameters)
    wanted: dict[str, Any] = {
        "model_name": model_name,
        "model_type": model_type,
        "template_uri": template_uri,
        "parameters": dict(parameters),
        "rerun_of_id": rerun_of.pk if rerun_of else None,
    }
    uid = keyed_uid("run", project.pk, idempotency_key) if idempotency_key else uuid.uuid4()
    if not TrainingRun.objects.filter(uid=uid).exists():
        check_recipe(template_uri=template_uri, parameters=parameters)
    run, new = add_run(uid=uid, project_id=project.pk, actor=actor, now=now, **wanted)
    if not new and any(getattr(run, name) != value for name, value in wanted.items()):
        raise KeyReused(f"The idempotency key {idempotency_key} made {run}, a different run.")
    return run


def check_names(*, model_name: str, model_type: str) -> None:
    """Check the name and the type of a model to be trained.

    :raises Invalid: one of them cannot be used.
    """
    try:
        validate_model_name(model_name)
    except ValidationError as error:
        raise Invalid(
            error.messages[0], code="bad_model_name", advice="Give it another name."
        ) from error
    if model_type not in ModelType.values:
        raise Invalid(
            f"{model_type!r:.80} is not a type of model.",
            code="bad_model_type",
            advice=f"Types: {', '.join(ModelType.values)}.",
        )


def check_recipe(*, template_uri: str, parameters: Mapping[str, Any]) -> None:
    """Check in GCS that a run with this template and these parameters can be submitted.

    :raises Invalid: it cannot.
    """
    check_parameters(template=read_template(template_uri), given=parameters)
    check_bucket()


def keyed_uid(kind: str, *parts: object) -> uuid.UUID:
    """The uid that the same request always gets; the database refuses a second row with it."""
    return uuid.uuid5(_NAMESPACE, ":".join([kind, *map(str, parts)]))


def add_run(
    *,
    uid: uuid.UUID,
    project_id: Any,
    actor: Actor,
    now: datetime,
    schedule: TrainingSchedule | None = None,
    scheduled_for: datetime | None = None,
    **fields: Any,
) -> tuple[TrainingRun, bool]:
    """Create a run, unless there is one of that uid; returns it, and whether it is new.

    Only a run of a schedule has a lineage, which is the schedule's: a manual run that may fail
    creates no registered model (law 2).

    :raises IntegrityError: another run has its schedule and scheduled time.
    """
    settings = require_settings()
    return TrainingRun.objects.get_or_create(
        uid=uid,
        defaults={
            "project_id": project_id,
            "schedule": schedule,
            "scheduled_for": scheduled_for,
            "registered_model": schedule.registered_model if schedule else None,
            "status": RunStatus.SCHEDULED if scheduled_for else RunStatus.PENDING,
            "gcs_artifacts_path": f"gs://{settings.BUCKET}/{settings.ARTIFACTS_PREFIX}/{uid.hex}/",
            "created_by_id": actor.user_id,
            "created_at": now,
            **fields,
        },
    )


def submission_key(uid: uuid.UUID) -> str:
    """The idempotency key of the one submission that a run of that uid can have."""
    return f"submit:{uid.hex}"


def was_deleted(uid: uuid.UUID) -> bool:
    """Whether a run of that uid was submitted and its record was deleted since."""
    submitted = Operation.objects.filter(idempotency_key=submission_key(uid)).exists()
    return submitted and not TrainingRun.objects.filter(uid=uid).exists()


def submit_run(*, run: TrainingRun, actor: Actor, now: datetime) -> Operation:
    """Open the submission of a run; a second request returns the same operation.

    :raises Conflict: the run was cancelled, or ended before its submission succeeded.
    """
    with atomic():
        operation, new = open_operation(
            workflow=SUBMISSION,
            subject=subject_of(run),
            actor=actor,
            now=now,
            idempotency_key=submission_key(run.uid),
            request={"run": run.pk},
        )
        this = TrainingRun.objects.filter(pk=run.pk)
        ended = operation.status in ENDED_WITHOUT_SUCCESS
        if ended or (new and not this.move(to=RunStatus.SUBMITTING)):
            raise _wrong_status(this.get(), "be submitted", "Rerun it to train again.")
        worker.enqueue(operation)
    return operation


def cancel_run(*, run: TrainingRun, actor: Actor, now: datetime) -> Operation:
    """Cancel a run: at once if it was not submitted, else by cancelling its pipeline.

    A pipeline may still succeed or fail before Vertex AI cancels it; the run then shows that.

    :raises Conflict: the run has ended.
    """
    with atomic():
        waiting = TrainingRun.objects.filter(pk=run.pk, status__in=NOT_SUBMITTED)
        if waiting.move(to=RunStatus.CANCELLED, finished_at=now):
            note = "Cancelled before it was submitted."
            return record(
                workflow=CANCELLATION,
                subject=subject_of(run),
                actor=actor,
                now=now,
                note=note,
                event=EventKind.RUN_ENDED,
                before={"status": run.status},
                after={"status": RunStatus.CANCELLED},
            )
    require_stoppable(TrainingRun.objects.get(pk=run.pk))
    live = Operation.objects.live()
    with atomic():
        # A submission that can no longer be cancelled ends first; then its job is cancelled.
        live.filter(idempotency_key=submission_key(run.uid)).update(cancel_requested=True)
        requested = live.filter(workflow=CANCELLATION.slug, subject_id=str(run.pk))
        if operation := requested.first():
            return operation
        operation, _ = open_operation(
            workflow=CANCELLATION, subject=subject_of(run), actor=actor, now=now
        )
        worker.enqueue(operation)
    return operation


def rerun(
    *, run: TrainingRun, actor: Actor, now: datetime, idempotency_key: str = ""
) -> TrainingRun:
    """Create a manual run like this one, even if this one was scheduled.

    :raises Invalid: something has become wrong since, for example the template.
    """
    return create_run(
        project=run.project,
        model_name=run.model_name,
        model_type=run.model_type,
        template_uri=run.template_uri,
        parameters=run.parameters,
        actor=actor,
        now=now,
        rerun_of=run,
        idempotency_key=idempotency_key,
    )


DELETION = Workflow(
    slug="delete-run",
    kind=OperationKind.CLEANUP,
    title="Delete {}",
    past="deleted {}",
)


def delete_run(*, run: TrainingRun, actor: Actor, now: datetime) -> Operation:
    """Delete the record of a run that ended and never became a version; its files stay.

    :raises Conflict: it may still finish, is or was a version, or other records refer to it.
    """
    with atomic():
        locked = TrainingRun.objects.select_for_update().get(pk=run.pk)
        require_deletable(locked)
        _require_unused(locked)
        try:
            locked.delete()
        except ProtectedError as error:
            raise Conflict(
                f"{run} is referred to by {len(error.protected_objects)} other records.",
                code="run_in_use",
                advice="A run that was rerun or deployed is kept.",
            ) from error
        return record(
            workflow=DELETION,
            subject=subject_of(run),
            actor=actor,
            now=now,
            note=f"The record was deleted; files stay at {run.gcs_artifacts_path}",
            event=EventKind.RUN_DELETED,
        )


def require_submittable(run: TrainingRun) -> None:
    """Check that a run waits for its submission.

    :raises Conflict: it was submitted, cancelled or has ended.
    """
    if run.status not in NOT_SUBMITTED:
        raise _wrong_status(run, "be submitted", "Rerun it to train again.")


def is_submitted(run: TrainingRun) -> bool:
    """Whether the run has a submission, which a second request would return."""
    known = Operation.objects.filter(idempotency_key=submission_key(run.uid))
    return known.exclude(status__in=ENDED_WITHOUT_SUCCESS).exists()


def require_stoppable(run: TrainingRun) -> None:
    """Check that the pipeline of a run has not ended.

    :raises Conflict: it has.
    """
    if run.status not in TRAINING_RUN_STATUSES:
        raise _wrong_status(run, "be cancelled", "It has no pipeline to cancel.")


def require_repeatable(run: TrainingRun) -> None:
    """Check that a run can be repeated: an adopted version has no pipeline here.

    :raises Conflict: its template is not known.
    """
    if not run.template_uri:
        raise Conflict(
            f"The pipeline template of {run} is unknown.",
            code="no_template",
            advice="Create a run with a template instead.",
        )


def require_deletable(run: TrainingRun) -> None:
    """Check that the record of a run can be deleted.

    :raises Conflict: it is or was a version, or may still finish.
    """
    if run.registration != Registration.NONE:
        raise Conflict(
            f"{run} is or was a version.",
            code="run_is_version",
            advice="Delete the version; its run stays in the history.",
        )
    if run.status in LIVE_RUN_STATUSES:
        raise _wrong_status(run, "be deleted", "Cancel it, or wait for its end.")


def _require_unused(run: TrainingRun) -> None:
    busy = Operation.objects.live().filter(subject_type="trainingrun", subject_id=str(run.pk))
    if operation := busy.first():
        raise Conflict(
            f"{run} is to be changed by {title_of(operation)}.",
            code="busy",
            advice="Wait for it to end, then try again.",
        )


def _wrong_status(run: TrainingRun, verb: str, advice: str) -> Conflict:
    return Conflict(
        f"{run} is {run.get_status_display().lower()} and cannot {verb}.",
        code="wrong_run_status",
        advice=advice,
    )
