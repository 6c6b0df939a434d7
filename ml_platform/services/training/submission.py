"""Starts the pipeline job of a run, and cancels it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta
from functools import partial
from typing import Any

from ml_platform.cloud import pipelines, storage
from ml_platform.cloud.names import PipelineJobName
from ml_platform.cloud.types import RemotePipelineJob
from ml_platform.conf import require_settings
from ml_platform.errors import (
    CloudAbsent,
    CloudConflict,
    CloudExists,
    Conflict,
    Invalid,
    PlatformError,
)
from ml_platform.models import Operation, TrainingRun
from ml_platform.models.database import atomic
from ml_platform.models.registry.training_run import TrainingRunQuerySet
from ml_platform.models.states import EventKind, OperationKind, RunStatus
from ml_platform.services.access.rights import Right
from ml_platform.services.operations.state import State
from ml_platform.services.operations.store import Subject
from ml_platform.services.operations.subjects import run_of, subject_of_run
from ml_platform.services.operations.work import Json, Work, record_change
from ml_platform.services.operations.workflow import Next, Outcome, Poll, Step, Workflow
from ml_platform.services.ownership.labels import RUN, labels_for

from .templates import check_parameters, read_template, template_of

SUBMIT_STAGE = "submit"
WAIT_SECONDS = 2.0


@dataclass(frozen=True, slots=True, kw_only=True)
class SubmissionState(State):
    """What the steps of a submission hand on."""

    spec: Mapping[str, Any] = field(default_factory=dict)
    """The template that was checked; it is what is sent. Empty once the job exists."""
    job: str = ""


def subject_of(run: TrainingRun) -> Subject:
    """The subject of an operation on a run's pipeline; it does not lock the lineage."""
    return replace(subject_of_run(run), lineage_key="")


def job_name(run: TrainingRun) -> PipelineJobName:
    """The only name that a run's job can have, so that Vertex AI itself refuses a second job."""
    settings = require_settings()
    return PipelineJobName(settings.PROJECT_ID, settings.LOCATION, f"mlp-{run.uid.hex}")


def check_bucket() -> None:
    """Check that the bucket for artifacts exists.

    :raises Invalid: Cloud Storage answers that it does not.
    """
    bucket = require_settings().BUCKET
    try:
        storage.get_bucket(bucket)
    except CloudAbsent as error:
        raise Invalid(
            f"The bucket {bucket} does not exist.",
            code="bucket_missing",
            advice="Create it, or correct ML_PLATFORM's BUCKET.",
        ) from error


def _prepare(work: Work[SubmissionState]) -> Outcome:
    run = _require_submitting(work.operation)
    template = read_template(run.template_uri)
    check_parameters(template=template, given=run.parameters)
    check_bucket()
    work.state = replace(work.state, spec=template.document)
    note = run.template_uri
    if template.output_directory:
        note += f". It writes to the run's own folder, not to {template.output_directory}."
    return Next(to="create", note=note)


def _look_up(work: Work[SubmissionState]) -> Outcome:
    """Find the job that an earlier try may have created."""
    run = _require_submitting(work.operation)
    try:
        job = pipelines.get_pipeline_job(job_name(run))
    except CloudAbsent as absent:
        return Next(note=str(absent))
    return _found(work, run, job)


def _create(work: Work[SubmissionState]) -> Outcome:
    run = _require_submitting(work.operation)
    lineage = run.registered_model
    template = template_of(work.state.spec)
    try:
        job = pipelines.create_pipeline_job(
            job_id=job_name(run).job_id,
            display_name=run.model_name,
            spec=template.spec,
            parameters=template.values(run.parameters),
            typed=template.is_old,
            failure_policy=template.failure_policy,
            output_directory=run.gcs_artifacts_path.rstrip("/"),
            labels=labels_for(
                lineage=lineage.uid if lineage else None, run=run.uid, operation=work.operation.pk
            ),
        )
    except CloudExists as error:
        raise CloudConflict(str(error)) from error  # created by an earlier try: search for it
    return _found(work, run, job)


def _found(work: Work[SubmissionState], run: TrainingRun, job: RemotePipelineJob) -> Next:
    if job.labels.get(RUN) != run.uid.hex:
        raise Conflict(
            f"{job.name} exists and is not the job of {run}.",
            code="foreign_job",
            advice="Train the model again; the new run gets another name.",
        )
    work.state = replace(work.state, job=str(job.name), spec={})
    return Next(to="record", note=job.job_id)


def _record(work: Work[SubmissionState]) -> Outcome:
    return Next(change=partial(_mark_running, work))


def _mark_running(work: Work[SubmissionState]) -> None:
    _runs(work).move(
        to=RunStatus.RUNNING, pipeline_job_name=work.state.job, submitted_at=work.clock()
    )


def _cancel(work: Work[Any]) -> Outcome:
    """Cancel the job. It may still succeed; the poll reads its end from Vertex AI."""
    run = run_of(work.operation)
    if run.status == RunStatus.SUBMITTING:
        return Poll(seconds=WAIT_SECONDS, note="It is being submitted.")
    if run.status != RunStatus.RUNNING:
        return Next(note=f"It is {run.get_status_display().lower()} already.")
    try:
        pipelines.cancel_pipeline_job(PipelineJobName.parse(run.pipeline_job_name))
    except (CloudAbsent, CloudConflict) as error:
        return Next(note=str(error))
    return Next(note="Vertex AI ends the pipeline.")


def end_run(
    run_id: int,
    *,
    source: RunStatus,
    to: RunStatus,
    now: datetime,
    operation: Operation | None = None,
    columns: Json | None = None,
    **changes: Any,
) -> bool:
    """End the run and record the event, if its status is still `source`; returns whether it was.

    If no operation ends the run, `columns` has the subject and the actor of the event.
    """
    with atomic():
        run = TrainingRun.objects.filter(pk=run_id, status=source)
        moved = run.move(to=to, finished_at=now, **changes)
        if moved:
            record_change(
                EventKind.RUN_ENDED,
                operation,
                **columns or {},
                before={"status": source},
                after={"status": to, "error": str(changes.get("error") or "")},
            )
    return bool(moved)


def _fail_run(work: Work[Any], error: PlatformError) -> None:
    _end_submission(work, RunStatus.FAILED, error=f"{error} {error.advice}".strip())


def _end_submission(work: Work[Any], status: RunStatus, **changes: Any) -> None:
    end_run(
        int(work.operation.subject_id),
        source=RunStatus.SUBMITTING,
        to=status,
        now=work.clock(),
        operation=work.operation,
        stage=SUBMIT_STAGE,
        **changes,
    )


def _require_submitting(operation: Operation) -> TrainingRun:
    run = run_of(operation)
    if run.status != RunStatus.SUBMITTING:
        raise Conflict(
            f"{run} is {run.get_status_display().lower()}.",
            code="run_ended",
            advice="A run is submitted once. Rerun it to try again.",
        )
    return run


def _runs(work: Work[Any]) -> TrainingRunQuerySet:
    return TrainingRun.objects.filter(pk=work.operation.subject_id)


SUBMISSION = Workflow(
    slug="submit-run",
    kind=OperationKind.SUBMIT,
    title="Submit {}",
    past="submitted {}",
    state=SubmissionState,
    right=Right.TRAIN,
    steps=(
        Step(name="prepare", title="Read the template", run=_prepare, cancellable=True),
        Step(
            name="look_up",
            title="Search Vertex AI for the run's pipeline",
            run=_look_up,
            optional=True,
        ),
        Step(name="create", title="Start the pipeline", run=_create, probe="look_up"),
        Step(name="record", title="Record the start", run=_record),
    ),
    on_failure=_fail_run,
    on_cancel=partial(_end_submission, status=RunStatus.CANCELLED),
    require_retryable=_require_submitting,
)

CANCELLATION = Workflow(
    slug="cancel-run",
    kind=OperationKind.CANCEL,
    title="Cancel {}",
    past="cancelled {}",
    right=Right.TRAIN,
    steps=(
        Step(
            name="cancel",
            title="Cancel the pipeline",
            run=_cancel,
            probe="cancel",
            patience=timedelta(hours=24),  # its submission may take as long
        ),
    ),
)
