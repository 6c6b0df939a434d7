"""/api/operations/: finished and running changes, with their actors and steps."""

from __future__ import annotations

from typing import Any
from uuid import UUID

from django.http import HttpResponse
from ninja import Query, Router

from ml_platform.actions.action import perform
from ml_platform.actions.operations import CANCEL, RETRY, find_operation
from ml_platform.api.http.lists import matching, page_of, pagination_json
from ml_platform.api.schemas.base import reply
from ml_platform.api.schemas.operations import (
    OperationDetail,
    OperationOut,
    OperationsOut,
    OperationsQuery,
    accepted,
    operation_detail_json,
    operations_json,
)
from ml_platform.models import Operation, snapshot

router = Router(tags=["operations"])


@router.get("/", response=OperationsOut, operation_id="list_operations")
def list_operations(request: Any, query: Query[OperationsQuery]) -> HttpResponse:
    """Operations, the newest first."""
    rows = matching(
        request.auth.only(Operation.objects.all()),
        query,
        search="subject_name__icontains",
        kind="kind",
        status="status",
        model="lineage",
    )
    with snapshot():
        page = page_of(rows, query, {"created": "created_at"})
        items = operations_json(page.rows)
        total = rows.order_by().count()
    return reply({"items": items, "pagination": pagination_json(query, page, total)})


@router.get("/{uuid:operation_id}/", response=OperationDetail, operation_id="get_operation")
def get_operation(request: Any, operation_id: UUID) -> HttpResponse:
    """One operation: watch it here until its status is succeeded, failed or cancelled."""
    return reply(operation_detail_json(find_operation(request.auth, operation_id)))


@router.post(
    "/{uuid:operation_id}/retry/", response={202: OperationOut}, operation_id="retry_operation"
)
def retry(request: Any, operation_id: UUID) -> HttpResponse:
    """Continue a failed operation at the step that failed."""
    return accepted(perform(RETRY, operation_id, None, request.auth))


@router.post(
    "/{uuid:operation_id}/cancel/", response={202: OperationOut}, operation_id="cancel_operation"
)
def cancel(request: Any, operation_id: UUID) -> HttpResponse:
    """Cancel an operation; a running one ends at its next cancellable step, if it has one."""
    return accepted(perform(CANCEL, operation_id, None, request.auth))
