"""Operations: retry one that failed, cancel one that has not ended."""

from __future__ import annotations

from typing import Any

from ml_platform.errors import Conflict
from ml_platform.models import Operation
from ml_platform.models.states import OperationKind
from ml_platform.services.operations import worker
from ml_platform.services.operations.retry_cancel import (
    request_cancel,
    require_cancellable,
    require_retryable,
    retry_operation,
    right_for,
)

from .action import Action
from .caller import Caller

BEGINNINGS = (OperationKind.SUBMIT, OperationKind.DEPLOY, OperationKind.REDEPLOY)
"""What a retry would begin; the retry of anything else ends what was begun."""


def find_operation(caller: Caller, key: object) -> Operation:
    """The operation of that key."""
    return caller.find(Operation.objects.select_related("project", "lineage"), key)


def _retry(operation: Operation, _: None, caller: Caller) -> Operation:
    again = retry_operation(operation=operation, actor=caller.actor)
    worker.enqueue(again)
    return again


def _require_cancellable(operation: Operation) -> None:
    require_cancellable(operation)
    if operation.cancel_requested:
        raise Conflict(
            "A cancellation was requested already.",
            code="cancel_requested",
            advice="It ends at its next cancellable step.",
        )


def _cancel(operation: Operation, _: None, caller: Caller) -> Operation:
    asked = request_cancel(operation=operation, actor=caller.actor, now=caller.now())
    worker.enqueue(asked)
    return asked


RETRY: Action[Operation, Operation] = Action(
    name="retry-operation",
    right=right_for,
    find=find_operation,
    begins=lambda operation: operation.kind in BEGINNINGS,
    require=require_retryable,
    run=_retry,
)
CANCEL: Action[Operation, Operation] = Action(
    name="cancel-operation",
    right=right_for,
    find=find_operation,
    require=_require_cancellable,
    run=_cancel,
)
ACTIONS: tuple[Action[Any, Any], ...] = (RETRY, CANCEL)
