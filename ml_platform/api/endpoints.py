"""/api/deployed-endpoints/: Cloud Run services that serve, or served, a version."""

from __future__ import annotations

from typing import Any

from django.http import HttpResponse
from ninja import Query, Router

from ml_platform.actions.action import perform
from ml_platform.actions.endpoints import DELETE, ENDPOINTS, REDEPLOY, ROLL_BACK, UNDEPLOY
from ml_platform.actions.inputs import DeleteEndpointIn, RedeployIn, UndeployIn
from ml_platform.api.http.lists import answer_list, matching
from ml_platform.api.schemas.base import reply
from ml_platform.api.schemas.endpoints import (
    EndpointOut,
    EndpointsOut,
    EndpointsQuery,
    endpoint_json,
)
from ml_platform.api.schemas.operations import OperationOut, accepted, operation_json
from ml_platform.errors import Invalid
from ml_platform.models.endpoints.serving_truth import with_serving_truth

router = Router(tags=["endpoints"])


@router.get("/", response=EndpointsOut, operation_id="list_endpoints")
def list_endpoints(request: Any, query: Query[EndpointsQuery]) -> HttpResponse:
    """Endpoints, the newest first."""
    rows = matching(
        with_serving_truth(request.auth.only(ENDPOINTS)),
        query,
        search="service_name__icontains",
        active="is_active",
        model="registered_model",
    )
    sorts = {"created": "created_at", "name": "service_name"}
    return answer_list(query, rows, sorts=sorts, row_json=endpoint_json)


@router.get("/{int:endpoint_id}/", response=EndpointOut, operation_id="get_endpoint")
def get_endpoint(request: Any, endpoint_id: int) -> HttpResponse:
    """One endpoint."""
    return reply(endpoint_json(request.auth.find(with_serving_truth(ENDPOINTS), endpoint_id)))


@router.post(
    "/{int:endpoint_id}/deploy/", response={202: OperationOut}, operation_id="redeploy_endpoint"
)
def deploy(request: Any, endpoint_id: int, body: RedeployIn) -> HttpResponse:
    """Deploy to the same service: a version, the one before (`rollback`), or the last `again`."""
    if body.rollback and body.config is not None:
        raise Invalid(
            "A rollback deploys the previous version with its configuration then.",
            code="rollback_with_choice",
            advice="Leave out config, or name the run instead of rollback.",
        )
    action = ROLL_BACK if body.rollback else REDEPLOY
    return accepted(perform(action, endpoint_id, body, request.auth))


@router.post(
    "/{int:endpoint_id}/undeploy/", response={202: OperationOut}, operation_id="undeploy_endpoint"
)
def undeploy(request: Any, endpoint_id: int, body: UndeployIn) -> HttpResponse:
    """Delete the Cloud Run service; the endpoint stays and can be deployed again."""
    return accepted(perform(UNDEPLOY, endpoint_id, body, request.auth))


@router.post(
    "/{int:endpoint_id}/delete/", response={200: OperationOut}, operation_id="delete_endpoint"
)
def delete(request: Any, endpoint_id: int, body: DeleteEndpointIn) -> HttpResponse:
    """Delete the record of an endpoint that is stopped; its history stays in the operations."""
    return reply(operation_json(perform(DELETE, endpoint_id, body, request.auth)))
