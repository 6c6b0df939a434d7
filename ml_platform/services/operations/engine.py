"""The engine: carries an operation through its steps, one remote effect between two commits."""

from __future__ import annotations

import random
import uuid
from collections.abc import Callable, Mapping, Sequence
from datetime import datetime, timedelta
from functools import partial
from typing import Any

from django.db.models import F

from ml_platform.cloud.transport.channels import guarded, request_reason
from ml_platform.errors import (
    PlatformError,
)
from ml_platform.guard import DATABASE_FAILURES
from ml_platform.models import Operation
from ml_platform.models.states import OperationStatus

from .database_failures import drop_connection, leave
from .retry_decision import PATIENCE, decide_retry
from .store import claim, due
from .work import Clock, Json, LeaseLost, Work
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
)

UNKNOWN_PAUSE = timedelta(minutes=5)
"""How long an operation is left alone that this release does not know how to carry on."""
_UNKNOWN = Step(
    name="unknown", title="Wait for a newer release that knows this step", run=lambda work: Next()
)


class DatabaseFailed(PlatformError):
    """The database has failed under a step for as long as an operation may take."""

    code = "database_failed"
    advice = "Have the database looked at, then retry the operation: it looks first what was done."


def written(entries: Sequence[Json], step: Step, now: datetime, **what: Any) -> list[Json]:
    """The history with this step's entry brought up to date; a step tried again stays one entry."""
    history = [dict(entry) for entry in entries]
    if not history or history[-1]["step"] != step.name or history[-1].get("status") == "done":
        history.append({"step": step.name, "title": step.title, "started_at": now.isoformat()})
    history[-1].update(what)
    if what.get("status") in ("done", "failed", "cancelled"):
        history[-1]["finished_at"] = now.isoformat()
    return history


def advance(
    *,
    operation_id: uuid.UUID,
    workflows: Mapping[str, Workflow],
    clock: Clock,
    steps: int | None = None,
) -> Operation | None:
    """Claim an operation and carry it as far as it goes now, or by `steps` steps.

    Returns it as it stands then, or None if it is not due, is worked on, its lineage is held, or
    the database failed meanwhile, which is as a death of this worker.
    An error that no category knows is recorded as the operation's failure and raised again.
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
            while steps is None or steps > 0:
                steps = None if steps is None else steps - 1
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

    A newer release may know them, so the operation is left unclaimed and looked at again later.
    After PATIENCE it is claimed all the same, and fails.
    """
    operation = due(now).filter(pk=operation_id).first()
    if operation is None:
        return True  # the claim finds that too
    workflow = _known(operation, workflows)
    if workflow is not None and workflow.knows(operation.step):
        return True
    history = written(operation.steps, _UNKNOWN, now, status="waiting", note=operation.step)
    if now - datetime.fromisoformat(history[-1]["started_at"]) > PATIENCE:
        return True
    due(now).filter(pk=operation_id, fence=operation.fence).update(
        steps=history, next_attempt_at=now + UNKNOWN_PAUSE
    )
    return False


def _take_step(work: Work, workflow: Workflow) -> bool:
    """Run the current step and commit what came of it; whether to go on at once."""
    step = workflow.step(work.operation.step)
    try:
        return _run_or_cancel(work, workflow, step)
    except PlatformError as error:
        return _after_error(work, workflow, step, error)
    except LeaseLost:
        raise
    except DATABASE_FAILURES as error:
        drop_connection()
        if not work.after_crash or _age(work) <= PATIENCE:
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


def _run_or_cancel(work: Work, workflow: Workflow, step: Step) -> bool:
    before = work.state
    try:
        if step.cancellable:
            _require_not_cancelled(work)
        return _after_outcome(work, workflow, step, step.run(work))
    except _CancelRequested:
        work.state = before  # what the step learnt goes with its outcome
        _end(work, step, OperationStatus.CANCELLED, change=lambda: workflow.on_cancel(work))
        return False


def _age(work: Work) -> timedelta:
    now = work.clock()
    return now - (work.operation.started_at or now)


class _CancelRequested(Exception):
    """Somebody asked for the end of an operation that is at a cancellable step."""


def _require_not_cancelled(work: Work) -> None:
    if Operation.objects.filter(pk=work.operation.pk, cancel_requested=True).exists():
        raise _CancelRequested


def _unless_cancelled(
    work: Work, step: Step, change: Callable[[], None] | None
) -> Callable[[], None] | None:
    """The change of a step that ends, which a cancellation meanwhile replaces.

    It is looked for in the transaction that ends the step: a request that was accepted while the
    step ran would be ignored otherwise.
    """
    if not step.cancellable:
        return change

    def changed() -> None:
        _require_not_cancelled(work)
        if change:
            change()

    return changed


def _require_patience(work: Work, step: Step, since: str, note: str) -> None:
    """Check that a step which polls may go on to.

    :raises WaitEnded: it has polled for its patience, or the operation for the longest there is.
    """
    waited = work.clock() - datetime.fromisoformat(since)
    if waited <= step.patience and _age(work) <= PATIENCE:
        return
    left = f" Left at Google: {work.remote_operation}." if work.remote_operation else ""
    raise WaitEnded(f"{step.title}: it has not ended after {waited}. {note}{left}")


def _after_outcome(work: Work, workflow: Workflow, step: Step, outcome: Outcome) -> bool:
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
    change = _unless_cancelled(work, step, outcome.change)
    if not following:
        _end(work, step, OperationStatus.SUCCEEDED, note=outcome.note, change=change)
        return False
    history = written(history, step, now, status="done", note=outcome.note)
    attempts = work.operation.attempts if workflow.is_probe(step) else 0
    work.commit(change, steps=history, step=following, attempts=attempts)
    return True


def _after_error(work: Work, workflow: Workflow, step: Step, error: PlatformError) -> bool:
    now = work.clock()
    operation = work.operation
    verdict = decide_retry(
        error=error,
        step=step,
        attempts=operation.attempts,
        age=_age(work),
        spread=random.random(),  # noqa: S311 - jitter, not a secret
    )
    if verdict.fail:
        _fail(work, workflow, step, error)
        return False
    work.commit(
        steps=written(operation.steps, step, now, status="waiting", note=str(error)),
        step=verdict.step,
        attempts=operation.attempts + 1,
        error=str(error),
        error_code=error.code,
        advice=error.advice,
        next_attempt_at=now + timedelta(seconds=verdict.pause),
        lease_until=None,
    )
    return False


def _fail(work: Work, workflow: Workflow, step: Step, error: PlatformError) -> None:
    """End it as failed. A defect in what a failure changes, or in what the step left to be kept, is
    raised, but keeps nothing running."""
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


_WORDS = {
    OperationStatus.SUCCEEDED: "done",
    OperationStatus.FAILED: "failed",
    OperationStatus.CANCELLED: "cancelled",
}


def _end(
    work: Work,
    step: Step,
    status: OperationStatus,
    *,
    note: str = "",
    change: Callable[[], None] | None = None,
    **fields: Any,
) -> None:
    now = work.clock()
    work.commit(
        change,
        steps=written(work.operation.steps, step, now, status=_WORDS[status], note=note),
        status=status,
        finished_at=now,
        lease_until=None,
        next_attempt_at=None,
        **{"error": "", "error_code": "", "advice": "", **fields},
    )
