"""/api/operations/: what was done and what is under way, by whom, step by step."""

from __future__ import annotations

from typing import Any
from uuid import UUID

from django.http import HttpResponse
from ninja import Query, Router

from ml_platform.api.http.auth import Caller
from ml_platform.api.http.lists import answer_list, of_project
from ml_platform.api.schemas.operation import OperationDetail, OperationOut, OperationsOut
from ml_platform.api.schemas.queries import OperationsQuery
from ml_platform.api.schemas.serialize import accepted, operation_detail_json, operation_json, reply
from ml_platform.models import Operation
from ml_platform.models.clock import database_now
from ml_platform.services.operations import worker
from ml_platform.services.operations.retry_cancel import request_cancel, retry_operation, right_for

router = Router(tags=["operations"])


@router.get("/", response=OperationsOut, operation_id="list_operations")
def list_operations(request: Any, query: Query[OperationsQuery]) -> HttpResponse:
    """Operations, the newest first."""
    rows = of_project(request.auth.only(Operation.objects.all()), query)
    if query.search:
        rows = rows.filter(subject_name__icontains=query.search)
    exact = {"kind": query.kind, "status": query.status, "lineage": query.model}
    rows = rows.filter(**{name: value for name, value in exact.items() if value is not None})
    sorts = {"created": "created_at"}
    return answer_list(query, rows, sorts=sorts, row_json=operation_json)


@router.get("/{uuid:operation_id}/", response=OperationDetail, operation_id="get_operation")
def get_operation(request: Any, operation_id: UUID) -> HttpResponse:
    """One operation: watch it here until its status is succeeded, failed or cancelled."""
    row = request.auth.get(Operation.objects.all(), operation_id, "operation")
    return reply(operation_detail_json(row))


@router.post(
    "/{uuid:operation_id}/retry/", response={202: OperationOut}, operation_id="retry_operation"
)
def retry(request: Any, operation_id: UUID) -> HttpResponse:
    """Let a failed operation go on at the step that failed."""
    operation, caller = _mine(request.auth, operation_id)
    operation = retry_operation(operation=operation, actor=caller.actor)
    worker.enqueue(operation)
    return accepted(operation)


@router.post(
    "/{uuid:operation_id}/cancel/", response={202: OperationOut}, operation_id="cancel_operation"
)
def cancel(request: Any, operation_id: UUID) -> HttpResponse:
    """Ask an operation to stop; a running one does at its next safe step, if it has one left."""
    operation, caller = _mine(request.auth, operation_id)
    operation = request_cancel(operation=operation, actor=caller.actor, now=database_now())
    worker.enqueue(operation)
    return accepted(operation)


def _mine(caller: Caller, operation_id: UUID) -> tuple[Operation, Caller]:
    operation = caller.get(Operation.objects.all(), operation_id, "operation")
    caller.require(right_for(operation))
    return operation, caller
