"""Run the steps of an operation, with at most one remote effect between two commits."""

from __future__ import annotations

import random
import uuid
from collections.abc import Callable, Mapping
from datetime import datetime, timedelta
from functools import partial
from itertools import count
from typing import Any

from django.db.models import F

from ml_platform.cloud.transport.channels import guarded, request_reason
from ml_platform.errors import (
    CloudConflict,
    CloudDenied,
    CloudThrottled,
    CloudUnavailable,
    PlatformError,
)
from ml_platform.guard import DATABASE_FAILURES
from ml_platform.models import Operation
from ml_platform.models.states import OperationStatus

from .store import FURTHEST, at_hand, claim, due_one
from .work import Clock, DatabaseFailed, Json, LeaseLost, Work, drop_connection, leave
from .workflow import (
    Continue,
    Next,
    Outcome,
    Poll,
    Step,
    WaitEnded,
    Workflow,
    slug_of,
    unknown_workflow,
    written,
)

FIRST_PAUSE = 2.0
LONGEST_PAUSE = 300.0
PATIENCE = timedelta(hours=24)
"""How long Google may give no usable answer before the operation fails."""
TRIES: Mapping[type[PlatformError], int] = {CloudDenied: 5, CloudConflict: 5}
"""How often a step meets these errors before it fails; other temporary errors until PATIENCE."""
UNKNOWN_PAUSE = timedelta(minutes=5)
"""How long an operation that this release cannot run is left for another worker."""
_UNKNOWN = Step(
    name="unknown", title="Wait for a newer release that knows this step", run=lambda work: Next()
)


def retry_pause(
    *, error: PlatformError, attempts: int, age: timedelta, spread: float
) -> float | None:
    """Seconds until a step is tried again after this error; None when the operation fails.

    `attempts` counts this step's tries before; `spread` is in [0, 1).
    """
    pause: float = min(LONGEST_PAUSE, FIRST_PAUSE * 2**attempts) * (0.5 + spread / 2)
    if isinstance(error, CloudThrottled):
        pause = max(pause, min(error.retry_after, FURTHEST.total_seconds()))
    tries = next((n for category, n in TRIES.items() if isinstance(error, category)), None)
    temporary = tries is not None or isinstance(error, CloudUnavailable)
    if not temporary or age > PATIENCE or (tries is not None and attempts >= tries):
        return None
    return pause


def advance(
    *,
    operation_id: uuid.UUID,
    workflows: Mapping[str, Workflow],
    clock: Clock,
    steps: int | None = None,
) -> Operation | None:
    """Claim an operation and run it until it waits or ends, or for `steps` steps.

    Returns the operation as stored then. Returns None if it is not due, another worker has it,
    its lineage is locked, or the database failed, which counts as the death of this worker.
    An error without a category is recorded as the operation's failure and raised again.
    """
    try:
        return _advance(operation_id, workflows, clock, steps)
    except DATABASE_FAILURES as error:
        leave(operation_id, error)
        return None


def _advance(
    operation_id: uuid.UUID, workflows: Mapping[str, Workflow], clock: Clock, steps: int | None
) -> Operation | None:
    if not _is_known(operation_id, workflows, clock()):
        return None
    work = claim(operation_id=operation_id, clock=clock)
    if work is None:
        return None
    workflow = _known(work.operation, workflows) or unknown_workflow(slug_of(work.operation))
    workflow.load_state(work)
    if work.after_crash:
        interrupted = workflow.step(work.operation.step)
        work.operation.step = interrupted.probe or interrupted.name
    try:
        with request_reason(f"operation {operation_id}"), guarded(work.require_lease):
            for _ in count() if steps is None else range(steps):
                if not _take_step(work, workflow):
                    return work.operation
        work.commit(lease_until=None)
    except LeaseLost:
        return None
    return work.operation


def _known(operation: Operation, workflows: Mapping[str, Workflow]) -> Workflow | None:
    workflow = workflows.get(slug_of(operation))
    return workflow if workflow is not None and workflow.reads(operation) else None


def _is_known(operation_id: uuid.UUID, workflows: Mapping[str, Workflow], now: datetime) -> bool:
    """Whether this release knows the operation's workflow and step, and can read its state.

    A newer release may know them, so the operation is left unclaimed and checked again later.
    After PATIENCE it is claimed anyway, and fails.
    """
    operation = due_one(operation_id=operation_id, now=now)
    if operation is None:
        return True  # the claim finds that too
    workflow = _known(operation, workflows)
    if workflow is not None and workflow.knows(operation.step):
        return True
    history = written(operation.steps, _UNKNOWN, now, status="waiting", note=operation.step)
    if now - datetime.fromisoformat(history[-1]["started_at"]) > PATIENCE:
        return True
    at_hand(now).filter(pk=operation_id, fence=operation.fence).update(
        steps=history, next_attempt_at=now + UNKNOWN_PAUSE
    )
    return False


def _take_step(work: Work[Any], workflow: Workflow) -> bool:
    """Run the current step and commit its outcome; return whether to continue at once."""
    step = workflow.step(work.operation.step)
    try:
        return _run(work, workflow, step)
    except PlatformError as error:
        return _after_error(work, workflow, step, error)
    except LeaseLost:
        raise
    except DATABASE_FAILURES as error:
        drop_connection()
        if not work.after_crash or work.age() <= PATIENCE:
            raise
        _fail(work, workflow, step, DatabaseFailed(f"The database fails: {error}"))
        return False
    except Exception as error:
        unforeseen = PlatformError(
            f"{type(error).__name__}: {error}",
            code="internal_error",
            advice="This is a defect of the platform. Report it, then retry the operation.",
        )
        _fail(work, workflow, step, unforeseen)
        raise


def _run(work: Work[Any], workflow: Workflow, step: Step) -> bool:
    before = work.state
    try:
        _require_not_cancelled(work, step)
        return _after_outcome(work, workflow, step, step.run(work))
    except _CancelRequested:
        work.state = before  # the step's state is stored with its outcome
        _end(work, step, OperationStatus.CANCELLED, change=lambda: workflow.on_cancel(work))
        return False


class _CancelRequested(Exception):
    """Whether a cancellation was accepted and the operation may end at this step."""


def _require_not_cancelled(work: Work[Any], step: Step) -> None:
    asked = Operation.objects.filter(pk=work.operation.pk, cancel_requested=True)
    if step.cancellable and asked.exists():
        raise _CancelRequested


def _change(work: Work[Any], step: Step, change: Callable[[], None] | None) -> None:
    """The change of a step that ends, or of a cancellation that was accepted while it ran."""
    _require_not_cancelled(work, step)
    if change:
        change()


def _require_patience(work: Work[Any], step: Step, since: str, note: str) -> None:
    """Check that a step that polls may continue to do so.

    :raises WaitEnded: the step has reached its patience, or the operation its time limit.
    """
    waited = work.clock() - datetime.fromisoformat(since)
    if waited <= step.patience and work.age() <= PATIENCE:
        return
    left = f" Left at Google: {work.remote_operation}." if work.remote_operation else ""
    raise WaitEnded(f"{step.title}: it has not ended after {waited}. {note}{left}")


def _after_outcome(work: Work[Any], workflow: Workflow, step: Step, outcome: Outcome) -> bool:
    now = work.clock()
    history = work.operation.steps
    if isinstance(outcome, Poll):
        history = written(history, step, now, status="waiting", note=outcome.note)
        _require_patience(work, step, history[-1]["started_at"], outcome.note)
        work.commit(
            steps=history,
            next_attempt_at=now + timedelta(seconds=outcome.seconds),
            lease_until=None,
        )
        return False
    if isinstance(outcome, Continue):
        work.commit(
            outcome.change,
            steps=written(history, step, now, status="running", note=outcome.note),
            attempts=0,
        )
        return True
    following = outcome.to or workflow.after(step)
    change = partial(_change, work, step, outcome.change)
    if not following:
        _end(work, step, OperationStatus.SUCCEEDED, note=outcome.note, change=change)
        return False
    history = written(history, step, now, status="done", note=outcome.note)
    attempts = work.operation.attempts if workflow.is_probe(step) else 0
    work.commit(change, steps=history, step=following, attempts=attempts)
    return True


def _after_error(work: Work[Any], workflow: Workflow, step: Step, error: PlatformError) -> bool:
    now = work.clock()
    pause = retry_pause(
        error=error,
        attempts=work.operation.attempts,
        age=work.age(),
        spread=random.random(),  # noqa: S311 - jitter, not a secret
    )
    if pause is None:
        _fail(work, workflow, step, error)
        return False
    work.commit(
        steps=written(work.operation.steps, step, now, status="waiting", note=str(error)),
        step=step.probe or step.name,
        attempts=work.operation.attempts + 1,
        error=str(error),
        error_code=error.code,
        advice=error.advice,
        next_attempt_at=now + timedelta(seconds=pause),
        lease_until=None,
    )
    return False


def _fail(work: Work[Any], workflow: Workflow, step: Step, error: PlatformError) -> None:
    """End it as failed. When the failure's changes or the step's state cannot be stored, the
    operation ends without it and the defect is raised."""
    said: Json = {
        "note": str(error),
        "error": str(error),
        "error_code": error.code,
        "advice": error.advice,
    }
    failed = partial(_end, work, step, OperationStatus.FAILED, **said)
    try:
        failed(change=lambda: workflow.on_failure(work, error))
    except (LeaseLost, *DATABASE_FAILURES):
        raise
    except Exception:
        failed(data=F("data"), remote_operation=F("remote_operation"))  # as last committed
        raise


def _end(
    work: Work[Any],
    step: Step,
    status: OperationStatus,
    *,
    note: str = "",
    change: Callable[[], None] | None = None,
    **fields: Any,
) -> None:
    now = work.clock()
    done = "done" if status == OperationStatus.SUCCEEDED else status.value
    work.commit(
        change,
        steps=written(work.operation.steps, step, now, status=done, note=note),
        status=status,
        finished_at=now,
        lease_until=None,
        next_attempt_at=None,
        **{"error": "", "error_code": "", "advice": "", **fields},
    )
