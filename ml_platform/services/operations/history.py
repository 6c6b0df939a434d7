"""Record changes of a single transaction and refused requests, which end at once."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from datetime import datetime
from typing import Any

from django.db.models import CharField, F, JSONField, QuerySet, UUIDField, Value
from django.db.models.functions import Cast

from ml_platform.errors import PlatformError
from ml_platform.models import Operation, RegisteredModel
from ml_platform.models.database import atomic
from ml_platform.models.states import EventKind, OperationStatus
from ml_platform.services.events import outbox

from .store import Actor, Subject, columns_of
from .work import Json, record_change
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
    """Record a change of a single transaction as an ended operation with one event."""
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
    """Record a refused request and its event, with the request's reason and the refusal's."""
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
    with atomic():
        operation = Operation.objects.create(
            **columns, created_at=now, started_at=now, finished_at=now
        )
        record_change(event, operation, before=before, after=after)
    return operation


def record_deletions(operation: Operation, rows: QuerySet[RegisteredModel]) -> None:
    """Record one event for each of these lineages, before they are deleted in this transaction."""
    nothing = Cast(Value("{}"), JSONField())
    columns: Json = {
        "project_id": F("project_id"),
        "subject_type": Value("registeredmodel"),
        "subject_id": Cast("pk", CharField()),
        "subject_name": F("model_name"),
        "operation_id": Value(operation.pk, output_field=UUIDField()),
        "actor_label": Value(operation.actor_label),
        "origin": Value(operation.origin),
        "before": nothing,
        "after": nothing,
    }
    if operation.actor_id is not None:
        columns["actor_id"] = Value(operation.actor_id)
    outbox.record_selected(EventKind.MODEL_DELETED, rows, columns)


@contextmanager
def refusals_recorded(
    *, workflow: Workflow, subject: Subject, actor: Actor, now: datetime, reason: str = ""
) -> Iterator[None]:
    """Record a refusal raised inside; the transaction of the refused request is rolled back."""
    try:
        yield
    except PlatformError as error:
        record_refusal(
            workflow=workflow, subject=subject, actor=actor, now=now, error=error, reason=reason
        )
        raise
