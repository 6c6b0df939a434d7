"""The task that advances due operations; the Operation row is authoritative."""

from __future__ import annotations

import uuid
from collections.abc import Collection
from datetime import datetime
from functools import partial
from typing import Any

from django.db import OperationalError

from ml_platform.compat import task
from ml_platform.guard import DATABASE_FAILURES
from ml_platform.models import Operation
from ml_platform.models.clock import database_now
from ml_platform.models.database import on_commit, write_connection
from ml_platform.models.states import OperationStatus

from . import workflow
from .engine import advance
from .store import due, due_operations
from .work import Clock, Work, leave


def enqueue(operation: Operation) -> None:
    """Enqueue the operation for a worker, once the transaction that opened it is committed."""
    on_commit(partial(_enqueue, operation.pk, operation.next_attempt_at))


def _enqueue(operation_id: uuid.UUID, run_after: datetime | None) -> None:
    call = advance_operation
    if run_after is not None:
        if not call.get_backend().supports_defer:
            return  # resume_operations finds due operations
        call = call.using(run_after=run_after)
    call.enqueue(str(operation_id))


@task()
def advance_operation(operation_id: str) -> None:
    """Run one operation until it waits or ends, then enqueue what follows."""
    run_until_idle(operation_id=uuid.UUID(operation_id), clock=database_now)


def run_until_idle(*, operation_id: uuid.UUID, clock: Clock) -> Operation | None:
    """Advance an operation; enqueue it again if it waits, its lineage's next if it ended."""
    operation = advance(operation_id=operation_id, workflows=workflow.workflows(), clock=clock)
    try:
        _enqueue_following(operation, clock)
    except DATABASE_FAILURES as error:
        leave(operation_id, error)
    return operation


def _enqueue_following(operation: Operation | None, clock: Clock) -> None:
    """Enqueue it again if it waits, else the oldest operation that each released lock lets run."""
    if operation is None:
        return
    if operation.status == OperationStatus.RUNNING:
        enqueue(operation)
        return
    for lock in ("lineage_key", "service_key"):
        if key := getattr(operation, lock):
            _enqueue_oldest(clock, **{lock: key})


def _enqueue_oldest(clock: Clock, **lock: str) -> None:
    waiting = due(clock()).filter(status=OperationStatus.PENDING, **lock)
    if following := waiting.order_by("created_at").first():
        enqueue(following)


def release_lineage(work: Work[Any]) -> None:
    """Give back the lock on the lineage before the operation ends, in the caller's transaction.

    The oldest operation that waits for it is enqueued.
    """
    if key := work.operation.lineage_key:
        Operation.objects.filter(pk=work.operation.pk).update(lineage_key="")
        _enqueue_oldest(work.clock, lineage_key=key)


def resume_operations(*, clock: Clock, limit: int = 1000) -> list[Operation]:
    """Run every due operation that no living worker holds; return those that advanced.

    An operation that waited for the lock of one that ended in this pass is run in it too.

    :raises ExceptionGroup: defects that some of them met, after all others were carried on.
    :raises OperationalError: the database is unavailable; the remaining operations stay due.
    """
    moved: list[Operation] = []
    defects: list[Exception] = []
    tried: set[uuid.UUID] = set()
    try:
        while batch := _untried(clock, limit, tried):
            for operation_id in batch:
                tried.add(operation_id)
                moved += _resume(operation_id, clock, defects)
    except DATABASE_FAILURES as away:
        if not defects:
            raise
        defects.append(away)
    if defects:
        raise ExceptionGroup("Operations met defects", defects)
    return moved


def _untried(clock: Clock, limit: int, tried: Collection[uuid.UUID]) -> list[uuid.UUID]:
    due_now = due_operations(now=clock(), limit=limit)
    return [pk for pk in due_now if pk not in tried][: limit - len(tried)]


def _resume(operation_id: uuid.UUID, clock: Clock, defects: list[Exception]) -> list[Operation]:
    """Run one; one defect must not stop the others, but without a database none can go on."""
    connection = write_connection()
    connection.ensure_connection()
    if connection.in_atomic_block and (connection.needs_rollback or not connection.is_usable()):
        raise OperationalError("the connection ended inside a transaction, so none can be opened")
    try:
        operation = run_until_idle(operation_id=operation_id, clock=clock)
    except DATABASE_FAILURES:
        raise
    except Exception as defect:  # noqa: BLE001 - it is raised after the others were carried on
        defects.append(defect)
        return []
    return [operation] if operation is not None else []
