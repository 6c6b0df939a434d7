"""Operations."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from typing import Literal

from django.http import HttpResponse
from ninja import Field

from ml_platform.actions.inputs import Id, ProjectId
from ml_platform.models import Operation
from ml_platform.models.clock import database_now
from ml_platform.models.states import OperationKind, OperationStatus
from ml_platform.services.operations.liveness import why_waiting
from ml_platform.services.operations.workflow import slug_of

from .base import (
    EXAMPLES,
    PAGE_EXAMPLE,
    Json,
    Listing,
    Out,
    Person,
    example,
    list_of,
    reply,
    url_of,
    when,
)

OPERATION_EXAMPLE = {
    "id": "0b6f0d5e-5c1f-4a57-9a5e-6a1a1f6f7a01",
    "workflow": "deploy-version",
    "kind": "deploy",
    "status": "running",
    "project": 1,
    "subject": {"type": "trainingrun", "id": "41", "name": "chern_rank_v4 v3"},
    "model": 7,
    "actor": {"id": 1, "name": "ana"},
    "origin": "api",
    "reason": "",
    "step": "wait",
    "steps": [
        {
            "step": "verify_model",
            "title": "Ask Vertex AI for the model",
            "status": "done",
            "note": "It exists.",
            "started_at": "2026-02-08T12:15:00Z",
            "finished_at": "2026-02-08T12:15:01Z",
        }
    ],
    "overwrites": [],
    "remote_operation": "",
    "cancel_requested": False,
    "changed": [],
    "error": None,
    "waiting": "",
    "created_at": "2026-02-08T12:15:00Z",
    "started_at": "2026-02-08T12:15:00Z",
    "finished_at": None,
    "url": "/api/operations/0b6f0d5e-5c1f-4a57-9a5e-6a1a1f6f7a01/",
}


class OperationsQuery(Listing):
    """Operations."""

    sort: Literal["created", "-created"] = "-created"
    search: str = Field("", max_length=63, description="A part of its subject's name.")
    kind: OperationKind | None = None
    status: OperationStatus | None = None
    model: Id | None = Field(None, description="Only this registered model's.")


class StepOut(Out):
    """One step of an operation."""

    step: str
    title: str
    status: str
    note: str
    started_at: datetime | None
    finished_at: datetime | None


class SubjectOut(Out):
    """The subject of an operation; its row may be deleted."""

    type: str
    id: str
    name: str


class OperationError(Out):
    """How an operation failed, or what it waits for: it is tried again while it is running."""

    code: str
    detail: str
    advice: str


@example(OPERATION_EXAMPLE)
class OperationOut(Out):
    """A recorded, restartable change across planes."""

    id: str
    workflow: str
    kind: str
    status: Literal["pending", "running", "succeeded", "failed", "cancelled"]
    project: ProjectId | None
    subject: SubjectOut
    model: int | None
    actor: Person
    origin: str
    reason: str
    step: str
    steps: list[StepOut]
    overwrites: list[str] = Field(
        description="What others changed on the Cloud Run service, which a deploy overwrites: as "
        "the newest sweep saw it, and once the deploy has read the service, as it is there."
    )
    remote_operation: str
    cancel_requested: bool
    changed: list[str] = Field(
        description="What it changed although it failed, in sentences: a deploy that met a missing "
        "model clears the pointer to it."
    )
    error: OperationError | None
    waiting: str = Field(
        description="Why nobody works on it, although it is due: no worker takes work, or all are "
        "at other work. Empty if somebody does, if it waits for a time or a lock, or has ended."
    )
    created_at: datetime
    started_at: datetime | None
    finished_at: datetime | None
    url: str


@example(
    OPERATION_EXAMPLE
    | {
        "workflow": "clean-up-orphans",
        "kind": "cleanup",
        "lines": ["Deleted short-test (id 7, project 1, created 2026-01-29)."],
        "lines_left_out": 0,
    }
)
class OperationDetail(OperationOut):
    """An operation with the lines that its job wrote."""

    lines: list[str] = Field(description="The first hundred; the log has all.")
    lines_left_out: int


OperationsOut = list_of("OperationsOut", OperationOut, "A part of the list of operations.")
EXAMPLES["OperationsOut"] = {"items": [OPERATION_EXAMPLE], "pagination": PAGE_EXAMPLE}


def accepted(operation: Operation) -> HttpResponse:
    """An accepted request: the operation that does the work, and its address."""
    body = operation_json(operation)
    return reply(body, status=202, location=body["url"])


def operation_json(operation: Operation) -> Json:
    """An operation, without the state of its steps."""
    [said] = operations_json([operation])
    return said


def operations_json(operations: Sequence[Operation]) -> list[Json]:
    """The operations of a list."""
    waiting = why_waiting(operations, clock=database_now)
    return [_operation_json(one, waiting.get(one.pk, "")) for one in operations]


def _operation_json(operation: Operation, waiting: str) -> Json:
    url = url_of(f"operations/{operation.pk}/")
    error = {
        "code": operation.error_code,
        "detail": operation.error,
        "advice": operation.advice,
    }
    return {
        "id": str(operation.pk),
        "workflow": slug_of(operation),
        "kind": operation.kind,
        "status": operation.status,
        "project": operation.project_id,
        "subject": {
            "type": operation.subject_type,
            "id": operation.subject_id,
            "name": operation.subject_name,
        },
        "model": operation.lineage_id,
        "actor": {"id": operation.actor_id, "name": operation.actor_label},
        "origin": operation.origin,
        "reason": operation.reason,
        "step": operation.step,
        "steps": [_step_json(step) for step in operation.steps],
        "overwrites": operation.data.get("overwritten") or operation.data.get("announced", []),
        "remote_operation": operation.remote_operation,
        "cancel_requested": operation.cancel_requested,
        "changed": operation.data.get("changed", []),
        "error": error if operation.error else None,
        "waiting": waiting,
        "created_at": when(operation.created_at),
        "started_at": when(operation.started_at),
        "finished_at": when(operation.finished_at),
        "url": url,
    }


def operation_detail_json(operation: Operation) -> Json:
    """An operation with the lines of its job."""
    return operation_json(operation) | {
        "lines": operation.data.get("lines", []),
        "lines_left_out": operation.data.get("lines_left_out", 0),
    }


def _step_json(step: Json) -> Json:
    texts = {name: str(step.get(name) or "") for name in ("step", "title", "status", "note")}
    times = {name: step.get(name) for name in ("started_at", "finished_at")}
    return texts | {
        name: when(datetime.fromisoformat(time)) if time else None for name, time in times.items()
    }
