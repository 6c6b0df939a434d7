"""The task that advances due operations; the Operation row is authoritative."""

from __future__ import annotations

import uuid
from datetime import datetime
from functools import partial

from django.db import connection, transaction
from django_tasks import task

from ml_platform.guard import DATABASE_FAILURES
from ml_platform.models import Operation
from ml_platform.models.clock import database_now
from ml_platform.models.states import OperationStatus

from . import workflow
from .engine import advance
from .store import due_operations
from .work import Clock, leave


def enqueue(operation: Operation) -> None:
    """Enqueue the operation for a worker, once the transaction that opened it is committed."""
    transaction.on_commit(partial(_enqueue, operation.pk, operation.next_attempt_at))


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
        _enqueue_following(operation)
    except DATABASE_FAILURES as error:
        leave(operation_id, error)
    return operation


def _enqueue_following(operation: Operation | None) -> None:
    """Enqueue it again if it waits, else the oldest waiter for each lock it released."""
    if operation is None:
        return
    if operation.status == OperationStatus.RUNNING:
        enqueue(operation)
        return
    locks = {"lineage_key": operation.lineage_key, "service_key": operation.service_key}
    waiting = Operation.objects.filter(status=OperationStatus.PENDING).order_by("created_at")
    for lock, key in locks.items():
        if key and (following := waiting.filter(**{lock: key}).first()):
            enqueue(following)


def resume_operations(*, clock: Clock, limit: int = 1000) -> list[Operation]:
    """Run every due operation that no living worker holds; return those that advanced.

    :raises ExceptionGroup: defects that some of them met, after all others were carried on.
    :raises OperationalError: the database is unavailable; the remaining operations stay due.
    """
    moved: list[Operation] = []
    defects: list[Exception] = []
    for operation_id in due_operations(now=clock(), limit=limit):
        try:
            connection.ensure_connection()
            operation = run_until_idle(operation_id=operation_id, clock=clock)
        except DATABASE_FAILURES as away:
            if not defects:
                raise
            defects.append(away)
            break
        except Exception as defect:  # noqa: BLE001 - one defect must not stop the others
            defects.append(defect)
            continue
        moved += [operation] if operation is not None else []
    if defects:
        raise ExceptionGroup("Operations met defects", defects)
    return moved
