"""/api/deployed-endpoints/: Cloud Run services that serve, or served, a version."""

from __future__ import annotations

from typing import Any

from django.http import HttpResponse
from ninja import Query, Router

from ml_platform.actions.caller import Caller
from ml_platform.actions.inputs import DeleteEndpointIn, RedeployIn, UndeployIn
from ml_platform.api.http.lists import answer_list, matching
from ml_platform.api.schemas.operation import OperationOut
from ml_platform.api.schemas.outputs import EndpointOut, EndpointsOut
from ml_platform.api.schemas.queries import EndpointsQuery
from ml_platform.api.schemas.serialize import accepted, endpoint_json, operation_json, reply
from ml_platform.errors import Invalid
from ml_platform.models import DeployedEndpoint, TrainingRun
from ml_platform.models.clock import database_now
from ml_platform.services.access.rights import Right
from ml_platform.services.deployment.deploy import redeploy_endpoint, rollback_endpoint
from ml_platform.services.deployment.undeploy import delete_endpoint, undeploy_endpoint

from .runs import serving_config

router = Router(tags=["endpoints"])
ENDPOINTS = DeployedEndpoint.objects.select_related(
    "project", "registered_model", "run", "intended_run", "previous_run"
)


@router.get("/", response=EndpointsOut, operation_id="list_endpoints")
def list_endpoints(request: Any, query: Query[EndpointsQuery]) -> HttpResponse:
    """Endpoints, the newest first."""
    rows = matching(
        request.auth.only(ENDPOINTS),
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
    return reply(endpoint_json(request.auth.find(ENDPOINTS, endpoint_id)))


@router.post(
    "/{int:endpoint_id}/deploy/", response={202: OperationOut}, operation_id="redeploy_endpoint"
)
def deploy(request: Any, endpoint_id: int, body: RedeployIn) -> HttpResponse:
    """Deploy to the same service: a version, the one before (`rollback`), or the last `again`."""
    caller: Caller = request.auth
    endpoint = caller.find(ENDPOINTS, endpoint_id)
    caller.require(Right.DEPLOY)
    common: dict[str, Any] = {
        "endpoint": endpoint,
        "actor": caller.actor,
        "now": database_now(),
        "reason": body.reason,
        "idempotency_key": caller.key,
    }
    if body.rollback:
        if body.config is not None:
            raise Invalid(
                "A rollback takes the version before, as it was.",
                code="rollback_with_choice",
                advice="Leave out config, or name the run instead of rollback.",
            )
        return accepted(rollback_endpoint(**common))
    run = None
    if body.run is not None:
        run = caller.find(TrainingRun.objects.all(), body.run)
    config = serving_config(body.config, endpoint)
    return accepted(redeploy_endpoint(run=run, config=config, **common))


@router.post(
    "/{int:endpoint_id}/undeploy/", response={202: OperationOut}, operation_id="undeploy_endpoint"
)
def undeploy(request: Any, endpoint_id: int, body: UndeployIn) -> HttpResponse:
    """Delete the Cloud Run service; the endpoint stays and can be deployed again."""
    caller: Caller = request.auth
    endpoint = caller.find(ENDPOINTS, endpoint_id)
    caller.require(Right.DEPLOY)
    operation = undeploy_endpoint(
        endpoint=endpoint,
        actor=caller.actor,
        now=database_now(),
        reason=body.reason,
        idempotency_key=caller.key,
    )
    return accepted(operation)


@router.post(
    "/{int:endpoint_id}/delete/", response={200: OperationOut}, operation_id="delete_endpoint"
)
def delete(request: Any, endpoint_id: int, body: DeleteEndpointIn) -> HttpResponse:
    """Delete the record of an endpoint that is stopped; its history stays in the operations."""
    caller: Caller = request.auth
    endpoint = caller.find(ENDPOINTS, endpoint_id)
    caller.require(Right.DELETE)
    operation = delete_endpoint(
        endpoint=endpoint, actor=caller.actor, now=database_now(), reason=body.reason
    )
    return reply(operation_json(operation))
