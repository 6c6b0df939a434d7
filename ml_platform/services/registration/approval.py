"""Approval: a person with the right lets a version be deployed, or no more, and says why."""

from __future__ import annotations

from datetime import datetime

from ml_platform.errors import Conflict, Invalid
from ml_platform.models import Event, Operation, RegisteredModel, TrainingRun
from ml_platform.models.database import atomic
from ml_platform.models.locking import lock_rows
from ml_platform.models.states import Approval, EventKind, OperationKind, Registration
from ml_platform.services.operations.history import record
from ml_platform.services.operations.store import Actor
from ml_platform.services.operations.subjects import subject_of_version, version_name
from ml_platform.services.operations.work import Json, kept
from ml_platform.services.operations.workflow import Workflow

APPROVING = Workflow(
    slug="approve-version",
    kind=OperationKind.APPROVE,
    title="Approve {}",
    past="approved {}",
)
WITHDRAWING = Workflow(
    slug="withdraw-approval",
    kind=OperationKind.WITHDRAW,
    title="Withdraw the approval of {}",
    past="withdrew the approval of {}",
)
EVENTS = {
    Approval.APPROVED: EventKind.VERSION_APPROVED,
    Approval.WITHDRAWN: EventKind.APPROVAL_WITHDRAWN,
}


def require_approvable(run: TrainingRun) -> None:
    """Check that a person can approve the run: it is a version.

    :raises Conflict: it is none.
    """
    if run.registration != Registration.REGISTERED:
        raise Conflict(
            f"{run} is not a version.",
            code="not_registered",
            advice="Register it first; a run that was not blessed with a reason.",
        )


def require_withdrawable(run: TrainingRun) -> None:
    """Check that there is something to withdraw, or that it was withdrawn already.

    :raises Conflict: the run is no version, or neither its evaluator nor a person passed it.
    """
    require_approvable(run)
    if not run.is_accepted and run.approval != Approval.WITHDRAWN:
        raise Conflict(
            f"{version_name(run)} is not approved.",
            code="not_approved",
            advice="There is nothing to withdraw; it cannot be deployed.",
        )


def approve_version(*, run: TrainingRun, actor: Actor, reason: str, now: datetime) -> Operation:
    """Let a version be deployed, whatever its evaluator said. Repeated, it changes nothing.

    :raises Invalid: no reason was given.
    :raises Conflict: the run is no version.
    """
    return _decide(run, Approval.APPROVED, APPROVING, actor=actor, reason=reason, now=now)


def withdraw_approval(*, run: TrainingRun, actor: Actor, reason: str, now: datetime) -> Operation:
    """Forbid further deploys of a version, also of a blessed one. Repeated, it changes nothing.

    What serves goes on: only an undeploy stops it.

    :raises Invalid: no reason was given.
    :raises Conflict: the run is no version, or there is nothing to withdraw.
    """
    return _decide(run, Approval.WITHDRAWN, WITHDRAWING, actor=actor, reason=reason, now=now)


def _decide(
    run: TrainingRun,
    approval: Approval,
    workflow: Workflow,
    *,
    actor: Actor,
    reason: str,
    now: datetime,
) -> Operation:
    reason = reason.strip()
    if not reason:
        raise Invalid(
            f"{workflow.title.format(version_name(run))}: it needs a reason.",
            code="reason_missing",
            advice="Give a reason in `reason`.",
        )
    with atomic():
        lock_rows(RegisteredModel.objects.filter(pk__in=[run.registered_model_id]))
        run = TrainingRun.objects.select_related("registered_model").get(pk=run.pk)
        require = require_approvable if approval == Approval.APPROVED else require_withdrawable
        require(run)
        if run.approval == approval and (earlier := _earlier(run, EVENTS[approval])):
            return earlier
        before = approval_facts(run)
        write_approval(run, approval, by=actor.label, reason=reason, now=now)
        return record(
            workflow=workflow,
            subject=subject_of_version(run),
            actor=actor,
            now=now,
            note=reason,
            reason=reason,
            event=EVENTS[approval],
            before=before,
            after=approval_facts(run),
        )


def _earlier(run: TrainingRun, kind: EventKind) -> Operation | None:
    """The operation that decided the same before: an approval may be that of a registration."""
    told = Event.objects.filter(subject_type="trainingrun", subject_id=str(run.pk), kind=kind)
    event = told.select_related("operation").order_by("-seq").first()
    return event.operation if event else None


def write_approval(
    run: TrainingRun, approval: Approval, *, by: str, reason: str, now: datetime
) -> None:
    """Store who decided what about a version, and why, in the caller's transaction."""
    run.approval, run.approval_by = approval, kept(by)
    run.approval_reason, run.approval_at = kept(reason), now
    run.save(update_fields=["approval", "approval_by", "approval_reason", "approval_at"])


def approval_facts(run: TrainingRun) -> Json:
    """The fields of a run's approval, as its events name them."""
    return {"approval": run.approval, "by": run.approval_by, "reason": run.approval_reason}
