"""The record of what ended at once: a change of one transaction, or a refused request."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from datetime import datetime
from typing import Any

from django.db import transaction

from ml_platform.errors import PlatformError
from ml_platform.models import Operation
from ml_platform.models.states import EventKind, OperationStatus
from ml_platform.services.events import outbox

from .store import Actor, Subject, columns_of
from .work import Json, event_of, record_change
from .workflow import Workflow


def record(
    *,
    workflow: Workflow,
    subject: Subject,
    actor: Actor,
    now: datetime,
    note: str,
    reason: str = "",
    event: EventKind = EventKind.OPERATION_SUCCEEDED,
    before: Json | None = None,
    after: Json | None = None,
) -> Operation:
    """Record a change that needed one transaction only as an operation and its one event."""
    done = {"step": "done", "title": note, "status": "done", "finished_at": now.isoformat()}
    return _record_ended(
        event,
        now,
        before=before,
        after=after,
        **columns_of(workflow, subject, actor),
        status=OperationStatus.SUCCEEDED,
        reason=reason,
        steps=[done],
    )


def record_refusal(
    *,
    workflow: Workflow,
    subject: Subject,
    actor: Actor,
    now: datetime,
    error: PlatformError,
    reason: str = "",
) -> Operation:
    """Record a refused request and its event: why it was asked, and why it was refused."""
    failure: Json = {"error_code": error.code, "error": str(error), "advice": error.advice}
    return _record_ended(
        EventKind.OPERATION_REFUSED,
        now,
        after=failure,
        **columns_of(workflow, subject, actor),
        status=OperationStatus.FAILED,
        reason=reason,
        **failure,
    )


def _record_ended(
    event: EventKind,
    now: datetime,
    *,
    before: Json | None = None,
    after: Json | None = None,
    **columns: Any,
) -> Operation:
    with transaction.atomic():
        operation = Operation.objects.create(
            **columns, created_at=now, started_at=now, finished_at=now
        )
        record_change(event, operation, before=before, after=after)
    return operation


def record_deletions(kind: EventKind, operation: Operation, subjects: Iterable[Subject]) -> None:
    """Record, in the transaction of their deletion, one event for each of these subjects."""
    outbox.record(event_of(kind, operation, **subject.columns) for subject in subjects)


@contextmanager
def refusals_recorded(
    *, workflow: Workflow, subject: Subject, actor: Actor, now: datetime, reason: str = ""
) -> Iterator[None]:
    """Record what is refused inside; the refused transaction itself is rolled back."""
    try:
        yield
    except PlatformError as error:
        record_refusal(
            workflow=workflow, subject=subject, actor=actor, now=now, error=error, reason=reason
        )
        raise
