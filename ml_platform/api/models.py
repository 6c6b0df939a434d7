"""/api/models/: the registry, its versions, and their deploy and deletion."""

from __future__ import annotations

from typing import Any

from django.db.models import Count, Q, QuerySet
from django.http import HttpResponse
from ninja import Query, Router

from ml_platform.api.http.auth import Caller
from ml_platform.api.http.lists import answer_list, of_project, where_of
from ml_platform.api.http.pagination import pagination, take
from ml_platform.api.schemas.details import PlanOut
from ml_platform.api.schemas.inputs import AliasesIn, DeleteVersionsIn, DeployModelIn
from ml_platform.api.schemas.operation import OperationOut
from ml_platform.api.schemas.outputs import ModelDetail, ModelsOut, VersionsOut
from ml_platform.api.schemas.queries import Flag, ModelsQuery, VersionsQuery
from ml_platform.api.schemas.serialize import (
    accepted,
    endpoint_json,
    plan_json,
    reply,
    url_of,
    version_json,
)
from ml_platform.errors import NotFound
from ml_platform.kpis import plane_unread, registered_models
from ml_platform.models import DeployedEndpoint, RegisteredModel, TrainingRun
from ml_platform.models.clock import database_now
from ml_platform.services.access.rights import Right, has_right
from ml_platform.services.deletion.delete import delete_versions
from ml_platform.services.deletion.preview import DELETABLE, preview_deletion
from ml_platform.services.deployment.deploy import newest_version
from ml_platform.services.operations.retry_cancel import right_for
from ml_platform.services.registry.aliases import set_aliases

from .endpoints import ENDPOINTS
from .live_verification import verify_page
from .model_list import kpi_json, lines_json, rows_of, serving_of
from .runs import deploy_version

router = Router(tags=["models"])
SORTS = {
    "registered": "latest_registered_at",
    "name": "model_name",
    "versions": "total_versions",
}


def _asked(query: ModelsQuery) -> Q:
    """The condition that the query's filters make."""
    active = DeployedEndpoint.objects.filter(is_active=True)
    served = Q(pk__in=active.values("registered_model"))
    newest = Q(latest_run__in=active.filter(run__isnull=False).values("run"))
    status = {"deployed": newest, "outdated": served & ~newest, "idle": ~served}
    asked = Q() if query.project is None else Q(project=query.project)
    if query.search:
        asked &= Q(model_name__contains=query.search.lower())
    if query.type is not None:
        asked &= Q(model_type=query.type)
    if query.status is not None:
        asked &= status[query.status]
    if query.blessed is not None:
        asked &= Q(latest_run__is_blessed=query.blessed)
    if query.registry_state is not None:
        state = query.registry_state
        asked &= Q(registry_state="" if state == "unchecked" else state)
    return asked


@router.get("/", response=ModelsOut, operation_id="list_models")
def list_models(request: Any, query: Query[ModelsQuery]) -> HttpResponse:
    """Registered models with their newest version, who serves it, and what Vertex AI said."""
    caller: Caller = request.auth
    where = where_of(query)
    visible = caller.only(registered_models())
    asked = _asked(query)
    part = take(rows_of(visible.filter(asked)), where, SORTS)
    serving = serving_of(caller.only(DeployedEndpoint.objects.all()))
    total, chosen = _count(visible, asked)
    unread = plane_unread("vertex")
    available = not unread
    items = lines_json(part.rows, serving, url_of("models/"), unread)
    if query.verify == "live":
        available = verify_page(part.rows, items)
    return reply(
        {
            "items": items,
            "pagination": pagination(total=chosen, where=where, next_cursor=part.next_cursor),
            "kpi": kpi_json(serving, total),
            "registry_check_available": available,
        }
    )


def _count(visible: QuerySet[RegisteredModel], asked: Q) -> tuple[int, int]:
    """How many registered models the caller sees, and how many of them are asked for."""
    if not asked:
        total = visible.count()
        return total, total
    counted = visible.aggregate(total=Count("*"), chosen=Count("pk", filter=asked))
    return counted["total"], counted["chosen"]


@router.get("/{int:model_id}/", response=ModelDetail, operation_id="get_model")
def get_model(request: Any, model_id: int) -> HttpResponse:
    """One lineage: what the list says of it, its words and all its endpoints."""
    caller: Caller = request.auth
    row = caller.get(rows_of(RegisteredModel.objects.all()), model_id, "model")
    endpoints = list(ENDPOINTS.filter(registered_model=model_id).order_by("-created_at", "-pk"))
    serving = serving_of(DeployedEndpoint.objects.filter(registered_model=model_id))
    [body] = lines_json([row], serving, url_of("models/"), plane_unread("vertex"))
    body["description"] = row["description"]
    body["endpoints"] = [endpoint_json(endpoint) for endpoint in endpoints]
    return reply(body)


@router.get("/{int:model_id}/versions/", response=VersionsOut, operation_id="list_versions")
def list_versions(request: Any, model_id: int, query: Query[VersionsQuery]) -> HttpResponse:
    """The versions of a model, the newest first."""
    model = request.auth.get(RegisteredModel.objects.all(), model_id, "model")
    runs = TrainingRun.objects.filter(registered_model=model, version__isnull=False)
    runs = runs if query.all else runs.versions()
    return answer_list(
        query,
        of_project(runs, query),
        sorts={"version": "version"},
        row_json=version_json,
    )


@router.post("/{int:model_id}/deploy/", response={202: OperationOut}, operation_id="deploy_model")
def deploy_model(request: Any, model_id: int, body: DeployModelIn) -> HttpResponse:
    """Deploy a version, or the newest one; Google is asked before anything."""
    caller: Caller = request.auth
    model = caller.get(RegisteredModel.objects.all(), model_id, "model", Right.DEPLOY)
    if body.version != "newest":
        return deploy_version(caller, _version(model, body.version), body)
    run = newest_version(
        registered_model=model, actor=caller.actor, now=database_now(), reason=body.reason
    )
    return deploy_version(caller, run, body)


@router.post(
    "/{int:model_id}/delete/",
    response={200: PlanOut, 202: OperationOut},
    operation_id="delete_model",
)
def delete_model(
    request: Any,
    model_id: int,
    body: DeleteVersionsIn,
    dry_run: Flag = False,  # noqa: FBT002 - a query parameter, named in the address
) -> HttpResponse:
    """Delete versions, or all of them and so the registration; `dry_run` answers 200 with the plan.

    Refused while an endpoint serves one of them, or an alias protects one. Siblings stay whole.
    """
    caller: Caller = request.auth
    right = Right.VIEW if dry_run else Right.DELETE
    model = caller.get(RegisteredModel.objects.all(), model_id, "model", right)
    runs = _doomed(model, body)
    if dry_run:
        return reply(plan_json(preview_deletion(lineage=model, runs=runs)))
    operation = delete_versions(
        lineage=model,
        runs=runs,
        actor=caller.actor,
        now=database_now(),
        reason=body.reason,
        idempotency_key=caller.key,
    )
    return accepted(operation)


@router.post(
    "/{int:model_id}/versions/{int:version}/aliases/",
    response={202: OperationOut},
    operation_id="set_aliases",
)
def change_aliases(request: Any, model_id: int, version: int, body: AliasesIn) -> HttpResponse:
    """Give aliases to a version, each taken from the version that had it, and take others away.

    To move or remove a protected alias needs the right to administer.
    """
    caller: Caller = request.auth
    model = caller.get(RegisteredModel.objects.all(), model_id, "model", Right.DEPLOY)
    operation = set_aliases(
        run=_version(model, version),
        add=body.add,
        remove=body.remove,
        actor=caller.actor,
        now=database_now(),
        administers=has_right(caller.user, Right.ADMINISTER),
        idempotency_key=caller.key,
    )
    caller.require(right_for(operation))
    return accepted(operation)


def _version(model: RegisteredModel, number: int) -> TrainingRun:
    run = TrainingRun.objects.filter(registered_model=model, version=number).first()
    if run is None:
        raise NotFound(f"{model} has no version {number}.", advice="Look at its versions.")
    return run


def _doomed(model: RegisteredModel, body: DeleteVersionsIn) -> list[TrainingRun]:
    if body.versions != "all":
        return [_version(model, number) for number in sorted(set(body.versions))]
    deletable = TrainingRun.objects.filter(registered_model=model, registration__in=DELETABLE)
    return list(deletable.order_by("version"))
