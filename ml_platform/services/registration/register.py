"""Registration: a run that succeeded becomes a version, exactly once even if workers crash."""

from __future__ import annotations

from dataclasses import replace
from datetime import datetime
from functools import partial

from django.db.models import F

from ml_platform.cloud.names import ModelName
from ml_platform.errors import CloudAbsent, Conflict, PlatformError
from ml_platform.models import Operation, RegisteredModel, TrainingRun
from ml_platform.models.database import atomic
from ml_platform.models.registry.manifest import ManifestOrigin
from ml_platform.models.states import (
    SUCCEEDED_RUN_STATUSES,
    Approval,
    EventKind,
    OperationKind,
    OperationStatus,
    Registration,
    RunStatus,
)
from ml_platform.services.access.rights import Right
from ml_platform.services.artifacts.manifest import (
    Taken,
    difference_from_manifest,
    keep_manifest,
    take_manifest,
    trust_label,
)
from ml_platform.services.findings.comparisons.labels import note_foreign
from ml_platform.services.findings.discrepancy import compare_surplus
from ml_platform.services.findings.endings import end_serving
from ml_platform.services.findings.store import note_finding
from ml_platform.services.mirror.changes import mirror_version
from ml_platform.services.operations import worker
from ml_platform.services.operations.history import refusals_recorded
from ml_platform.services.operations.retry_cancel import ask_again
from ml_platform.services.operations.store import Actor, open_operation
from ml_platform.services.operations.subjects import (
    run_of,
    subject_of_run,
    subject_of_version,
    version_name,
)
from ml_platform.services.operations.work import Work, record_change
from ml_platform.services.operations.workflow import Next, Outcome, Step, Workflow
from ml_platform.services.registry.aliases import move_default, note_aliases
from ml_platform.services.registry.lineages import (
    claim_lineage,
    record_version,
    sync_version_cache,
    take_own_uid,
)
from ml_platform.services.registry.verification import find_artifacts
from ml_platform.text import counted

from .approval import approval_facts, write_approval
from .upload import RegistrationState, look_for_copies, probe, upload, wait_for_upload

REGISTRABLE = (Registration.NONE, Registration.LOST)


class NotRegistrable(Conflict):
    """The run cannot become a version in its current state."""

    code = "not_registrable"
    advice = "Open the run to see why, or train the model again."


def register_run(
    *, run: TrainingRun, actor: Actor, now: datetime, force_reason: str = ""
) -> Operation:
    """Open the registration of a run; a second request returns the same operation.

    With `force_reason` a person can register a run that its evaluator did not bless: this approves
    the version for that reason. A failed registration starts again. A refusal is recorded.

    :raises NotRegistrable: the run did not succeed, was not blessed, or its version was deleted.
    """
    reason = force_reason.strip() if run.status == RunStatus.NOT_BLESSED else ""
    subject = subject_of_run(run)
    kept = refusals_recorded(
        workflow=WORKFLOW, subject=subject, actor=actor, now=now, reason=force_reason
    )
    with kept, atomic():
        require_registrable(run=run, force_reason=reason)
        operation, new = open_operation(
            workflow=WORKFLOW,
            subject=subject,
            actor=actor,
            now=now,
            reason=reason,
            idempotency_key=_key(run),
            request={"run": run.pk},
            queue=True,
        )
        if not new and operation.status == OperationStatus.FAILED:
            operation = ask_again(operation=operation, actor=actor, reason=reason)
        worker.enqueue(operation)
    return operation


def _key(run: TrainingRun) -> str:
    """The key of a run's only registration; a version that was lost gets another key."""
    return f"register:{run.uid.hex}:{run.last_vertex_version}"


def is_registering(run: TrainingRun) -> bool:
    """Whether the run has a registration, which a second request would return."""
    return Operation.objects.filter(idempotency_key=_key(run)).exists()


def require_unregistered(run: TrainingRun, *, force_reason: str) -> None:
    """Check that the run may become a version, and is not one.

    :raises NotRegistrable: it may not become a version; the message gives the reason.
    """
    if run.registration == Registration.REGISTERED:
        raise NotRegistrable(f"{run} is already a version.", advice="Open the version instead.")
    require_registrable(run=run, force_reason=force_reason)


def require_registrable(*, run: TrainingRun, force_reason: str) -> None:
    """Check that the run may become a version, or is one.

    :raises NotRegistrable: it may not become a version; the message gives the reason.
    """
    if run.registration not in (*REGISTRABLE, Registration.REGISTERED):
        raise NotRegistrable(
            f"The version of {run} was deleted.", advice="Train the model again to register it."
        )
    if run.status == RunStatus.NOT_BLESSED and not force_reason:
        raise NotRegistrable(
            f"{run} was not blessed by its evaluator.",
            code="not_blessed",
            advice="Check its metrics; a person may register it with a reason.",
        )
    if run.status not in {*SUCCEEDED_RUN_STATUSES, RunStatus.NOT_BLESSED}:
        raise NotRegistrable(
            f"{run} is {run.get_status_display().lower()}.",
            advice="Only a run whose pipeline succeeded can be registered.",
        )
    if not run.gcs_artifacts_path and {"imported", "adopted_from"} & run.parameters.keys():
        raise NotRegistrable(
            f"The files of {run} are in no folder of ours: it was trained elsewhere.",
            code="artifacts_missing",
            advice="Train the model again.",
        )
    # A cleanup clears the path first and deletes the files after it.
    if not run.gcs_artifacts_path:
        raise NotRegistrable(
            f"The artifacts of {run} were deleted by a cleanup.",
            code="artifacts_missing",
            advice="Train the model again.",
        )


# ---- the steps ---------------------------------------------------------------------------------


def _find_artifacts(work: Work[RegistrationState]) -> Outcome:
    run = run_of(work.operation)
    if run.registration == Registration.REGISTERED:
        return Next(to="record", note=f"It is version {run.version} already.")
    require_registrable(run=run, force_reason=work.operation.reason)
    try:
        uri = find_artifacts(run=run)
        taken = take_manifest(uri)
    except CloudAbsent as absent:
        raise NotRegistrable(
            str(absent),
            code="artifacts_missing",
            advice="Check whether the pipeline pushed its model, then retry.",
        ) from absent
    _require_same_version(run, taken)
    work.state = replace(work.state, artifact_uri=uri)
    return Next(
        note=f"{counted(taken.count, 'file')} at {uri}",
        change=partial(_found_artifacts, run, taken, work.clock()),
    )


def _found_artifacts(run: TrainingRun, taken: Taken, now: datetime) -> None:
    take_own_uid(run=run)
    keep_manifest(run, taken, ManifestOrigin.REGISTRATION, now)


def _require_same_version(run: TrainingRun, taken: Taken) -> None:
    """Check that a version that was lost comes back with its own files (law 12).

    :raises NotRegistrable: they differ from its manifest.
    """
    why = difference_from_manifest(run, taken) if run.version else ""
    if why:
        raise NotRegistrable(
            f"The files of {run.model_name} v{run.version} are not those of its manifest: {why}.",
            code="artifacts_changed",
            advice="Restore them in the bucket, or train the model again.",
        )


def _record(work: Work[RegistrationState]) -> Outcome:
    run = run_of(work.operation)
    if run.registration == Registration.REGISTERED:
        return Next(note=f"It is v{run.version} already.")
    if work.state.again and (pause := look_for_copies(work, run)):
        return pause
    pointer = ModelName.parse(work.state.pointer)
    _require_unrecorded(run, pointer)
    return Next(
        note=f"It is {pointer.model_id}@{pointer.version} in Vertex AI.",
        change=partial(_register, work, pointer),
    )


def _require_unrecorded(run: TrainingRun, pointer: ModelName) -> None:
    """Check that no other run has this version: its label was lost for a while, and it was adopted.

    :raises NotRegistrable: one has.
    """
    same = {
        "vertex_model_resource_name": str(pointer.bare),
        "vertex_model_version": pointer.version,
    }
    if other := TrainingRun.objects.filter(**same).exclude(pk=run.pk).first():
        raise NotRegistrable(
            f"{pointer} is recorded as {version_name(other)} already.",
            code="recorded_already",
            advice="It was adopted while its label was missing. Use that version.",
        )


def _register(work: Work[RegistrationState], pointer: ModelName) -> None:
    """Create the version in one transaction, and with the first version its lineage."""
    run = run_of(work.operation)
    lineage = claim_lineage(
        project_id=run.project_id, model_name=run.model_name, model_type=run.model_type
    )
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
        raise NotRegistrable(f"The version of {run} was deleted in the meantime.")
    before, run = run.registration, run_of(work.operation)
    record_version(
        EventKind.MODEL_REGISTERED,
        run=run,
        before=before,
        vertex_version=str(pointer),
        operation=work.operation,
    )
    if reason := work.operation.reason:  # it was forced
        earlier, by = approval_facts(run), work.operation.actor_label
        write_approval(run, Approval.APPROVED, by=by, reason=reason, now=work.clock())
        record_change(
            EventKind.VERSION_APPROVED,
            work.operation,
            **subject_of_version(run).columns,
            before=earlier,
            after=approval_facts(run),
        )
    trust_label(run, work.state.labelled_digest)
    _note_aliases(work, run)
    sync_version_cache(registered_model=lineage)
    Operation.objects.filter(pk=work.operation.pk).update(lineage=lineage)
    mirror_version(run=run, pointer=pointer, artifacts=work.state.artifact_uri, now=work.clock())
    end_serving(run_id=run.pk, operation=work.operation, now=work.clock())
    if surplus := [ModelName.parse(name) for name in work.state.surplus]:
        run.refresh_from_db()
        note_finding(
            discrepancy=compare_surplus(run, *surplus),
            now=work.clock(),
            operation=work.operation,
        )


def _note_aliases(work: Work[RegistrationState], run: TrainingRun) -> None:
    """An upload gets the default alias; a version found later has those that the listing shows."""
    if work.state.aliases is None:
        move_default(run_id=run.pk)
    else:
        run.refresh_from_db()
        note_aliases(run=run, aliases=work.state.aliases, taken=work.state.taken)


def _begin_again(work: Work[RegistrationState], error: PlatformError) -> None:
    """A retry begins at the artifacts, because everything may have changed."""
    work.retry_at = "find_artifacts"
    note_foreign(work, error)


def _give_key_back(work: Work[RegistrationState]) -> None:
    """A cancelled operation stays cancelled; the next request opens another one."""
    Operation.objects.filter(pk=work.operation.pk).update(idempotency_key=None)


def _require_retryable(operation: Operation) -> None:
    require_registrable(run=run_of(operation), force_reason=operation.reason)


def _right(operation: Operation) -> Right:
    """A registration with a reason overrides the pipeline's evaluator."""
    return Right.ADMINISTER if operation.reason else Right.TRAIN


WORKFLOW = Workflow(
    slug="register-run",
    kind=OperationKind.REGISTER,
    title="Register {}",
    past="registered {}",
    state=RegistrationState,
    right=_right,
    steps=(
        Step(
            name="find_artifacts",
            title="Find the pushed model in GCS",
            run=_find_artifacts,
            cancellable=True,
        ),
        Step(name="look_up", title="Search Vertex AI for this run", run=probe),
        Step(name="upload", title="Upload to Vertex AI", run=upload, probe="look_up"),
        Step(name="wait", title="Wait for Vertex AI", run=wait_for_upload, probe="look_up"),
        Step(name="record", title="Record the version", run=_record),
    ),
    on_failure=_begin_again,
    on_cancel=_give_key_back,
    require_retryable=_require_retryable,
)
