"""Retry an operation that failed; cancel one that has not ended."""

from __future__ import annotations

from datetime import datetime
from typing import Any

from ml_platform.errors import Conflict
from ml_platform.models import Operation
from ml_platform.models.database import atomic
from ml_platform.models.states import LIVE_OPERATION_STATUSES, EventKind, OperationStatus
from ml_platform.services.access.rights import Right

from .store import Actor
from .work import Work, record_change
from .workflow import title_of, workflow_of


def right_for(operation: Operation) -> Right:
    """The right needed to retry or cancel the operation, as its workflow defines it."""
    right = workflow_of(operation).right
    return right if isinstance(right, Right) else right(operation)


def require_retryable(operation: Operation) -> None:
    """Check that a retry of the operation can succeed.

    :raises Conflict: it did not fail, was refused before it started, or its subject has ended.
    """
    if operation.status != OperationStatus.FAILED:
        raise Conflict(
            f"This operation is {operation.get_status_display().lower()}, not failed.",
            code="not_failed",
            advice="Only a failed operation can be retried.",
        )
    if operation.was_refused:
        raise Conflict(
            f"{title_of(operation)} was refused before its first step, so it did not start.",
            code="was_refused",
            advice="Send a new request.",
        )
    workflow_of(operation).require_retryable(operation)


def retry_operation(*, operation: Operation, actor: Actor) -> Operation:
    """Continue a failed operation at the step that failed, as soon as its lineage is free.

    :raises Conflict: as `require_retryable` says.
    """
    require_retryable(operation)
    if not _revive(operation, actor, f"Retried by {actor.label}"):
        require_retryable(operation)  # another request has retried it
    return operation


def ask_again(*, operation: Operation, actor: Actor, reason: str = "") -> Operation:
    """Continue a failed operation for an actor who requests the same again.

    It continues at the step where it ended; the history records the new actor and reason.
    """
    _revive(
        operation,
        actor,
        f"Requested again by {actor.label}",
        note=reason,
        actor_id=actor.user_id,
        actor_label=actor.label,
        origin=actor.origin,
        reason=reason,
    )
    return operation


def _revive(
    operation: Operation, actor: Actor, title: str, *, note: str = "", **fields: Any
) -> bool:
    """Reset it to pending; False if another request already did."""
    entry = {"step": "retry", "title": title, "status": "done", "note": note}
    with atomic():
        moved = Operation.objects.filter(pk=operation.pk, status=operation.status).update(
            status=OperationStatus.PENDING,
            attempts=0,
            started_at=None,
            finished_at=None,
            cancel_requested=False,
            error="",
            error_code="",
            advice="",
            steps=[*operation.steps, entry],
            **fields,
        )
        if moved:
            record_change(EventKind.OPERATION_RETRIED, operation, **actor.columns)
    operation.refresh_from_db()
    return bool(moved)


def require_cancellable(operation: Operation) -> None:
    """Check that the operation can be cancelled.

    :raises Conflict: it has ended, or no step ahead can be cancelled.
    """
    if operation.status not in LIVE_OPERATION_STATUSES:
        raise Conflict(
            f"This operation has {operation.get_status_display().lower()} already.",
            code="operation_ended",
            advice="There is nothing to cancel.",
        )
    workflow = workflow_of(operation)
    waits = operation.status == OperationStatus.PENDING
    ahead = workflow.ahead(operation.step) if workflow.reads(operation) else ()
    # A waiting operation ends at once, so its current step must be cancellable.
    steps = [step for step in ahead if step.name == operation.step] if waits else ahead
    if not any(step.cancellable for step in steps):
        raise Conflict(
            f"{title_of(operation)} cannot be cancelled: our records and Google would not agree "
            "after it.",
            code="not_cancellable",
            advice="Wait for it to end, then undo its changes.",
        )


def request_cancel(*, operation: Operation, actor: Actor, now: datetime) -> Operation:
    """Cancel an operation: a waiting one ends at once, a running one at its next cancellable step.

    :raises Conflict: as `require_cancellable` says.
    """
    require_cancellable(operation)
    there = Operation.objects.filter(pk=operation.pk, status=OperationStatus.RUNNING)
    while not (
        _end_waiting(operation, actor, now)
        or there.filter(step=operation.step).update(cancel_requested=True)
    ):
        operation.refresh_from_db()  # a worker has changed it meanwhile
        require_cancellable(operation)
    operation.refresh_from_db()
    return operation


def _end_waiting(operation: Operation, actor: Actor, now: datetime) -> bool:
    """End it if it still waits at the step that was read, with its workflow's changes on cancel."""
    waiting = Operation.objects.filter(
        pk=operation.pk, status=OperationStatus.PENDING, step=operation.step
    )
    workflow = workflow_of(operation)
    work: Work[Any] = Work(operation, operation.fence, lambda: now, now)
    workflow.load_state(work)
    with atomic():
        ended = waiting.update(
            status=OperationStatus.CANCELLED,
            finished_at=now,
            next_attempt_at=None,
            error=f"Cancelled by {actor.label}.",
        )
        if ended:
            record_change(EventKind.OPERATION_CANCELLED, operation, **actor.columns)
            workflow.on_cancel(work)
    return bool(ended)
