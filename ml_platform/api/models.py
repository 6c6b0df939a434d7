"""/api/models/: the registry, its tags and versions, and their deploy and deletion."""

from __future__ import annotations

import json
from typing import Any

from django.http import HttpResponse
from ninja import Query, Router

from ml_platform.actions.action import perform
from ml_platform.actions.caller import Caller
from ml_platform.actions.endpoints import DEPLOY_MODEL, ENDPOINTS
from ml_platform.actions.inputs import AliasesIn, DeleteVersionsIn, DeployModelIn, TagsIn
from ml_platform.actions.models import (
    DELETE_VERSIONS,
    SET_ALIASES,
    SET_TAGS,
    doomed_runs,
    find_model,
    version_of,
)
from ml_platform.api.http.lists import answer_list, matching, pagination_json
from ml_platform.api.schemas.base import Flag, reply, reply_text, to_json, url_of
from ml_platform.api.schemas.deletion import PlanOut, plan_json
from ml_platform.api.schemas.endpoints import endpoint_json
from ml_platform.api.schemas.model_list import (
    VERIFIED_LIVE,
    Narrowed,
    items_of,
    projects_of,
    rows_of,
)
from ml_platform.api.schemas.models import (
    ModelDetail,
    ModelsOut,
    ModelsQuery,
    VersionsOut,
    VersionsQuery,
    deployed_json,
    version_json,
)
from ml_platform.api.schemas.operations import OperationOut, accepted, operation_json
from ml_platform.kpis import vertex_reading
from ml_platform.models import (
    ModelTag,
    RegisteredModel,
    TrainingRun,
    snapshot,
)
from ml_platform.models.endpoints.serving_truth import with_serving_truth
from ml_platform.services.access.rights import Right
from ml_platform.services.artifacts.manifest import files_checked_at
from ml_platform.services.deletion.preview import preview_deletion
from ml_platform.services.mirror.vertex_endpoints import deployments_at

from .live_verification import verify_page

router = Router(tags=["models"])


@router.get("/", response=ModelsOut, operation_id="list_models")
def list_models(request: Any, query: Query[ModelsQuery]) -> HttpResponse:
    """Registered models with their newest version, its endpoints, and Vertex AI's answer."""
    caller: Caller = request.auth
    caller.require(Right.VIEW)
    narrowed = Narrowed.by(query, caller.scope.limit)
    live = query.verify == "live"
    with snapshot():
        reading = vertex_reading()
        page = narrowed.page(query, reading.fresh_since, VERIFIED_LIVE if live else ())
        projects = projects_of(page.rows)
        counts, exact = narrowed.counts()
    items = items_of(page.rows, projects, url_of("models/"), reading)
    available = not reading.unread
    if live:
        told = [json.loads(item) for item in items]
        available = verify_page(page.rows, told, caller)
        items = [to_json(item) for item in told]
    rest = {
        "pagination": pagination_json(query, page, counts.pop("chosen"), exact=exact),
        "kpi": counts,
        "registry_check_available": available,
    }
    return reply_text(f'{{"items":[{",".join(items)}],{to_json(rest)[1:]}')


@router.get("/{int:model_id}/", response=ModelDetail, operation_id="get_model")
def get_model(request: Any, model_id: int) -> HttpResponse:
    """One lineage: its row of the list, its texts and all its endpoints."""
    caller: Caller = request.auth
    with snapshot():
        reading = vertex_reading()
        columns = ("description", "vertex_model_resource_name")
        rows = rows_of(RegisteredModel.objects.all(), reading.fresh_since, *columns)
        row = caller.find(rows, model_id)
        projects = projects_of([row])
        served = with_serving_truth(ENDPOINTS.filter(registered_model=model_id))
        endpoints = list(served.order_by("-created_at", "-pk"))
        deployed = deployments_at(row["vertex_model_resource_name"])
        tags = ModelTag.objects.filter(registered_model=model_id).order_by("key")
        body_tags = dict(tags.values_list("key", "value"))
    [item] = items_of([row], projects, url_of("models/"), reading)
    body = json.loads(item)
    body["description"], body["tags"] = row["description"], body_tags
    unread = bool(reading.endpoints_unread)
    body["vertex_endpoints"] = None if unread else [deployed_json(one) for one in deployed]
    body["endpoints"] = [endpoint_json(endpoint) for endpoint in endpoints]
    return reply(body)


@router.get("/{int:model_id}/versions/", response=VersionsOut, operation_id="list_versions")
def list_versions(request: Any, model_id: int, query: Query[VersionsQuery]) -> HttpResponse:
    """The versions of a model, the newest first."""
    model = find_model(request.auth, model_id)
    runs = TrainingRun.objects.filter(registered_model=model, version__isnull=False)
    runs = runs.select_related("manifest").defer("manifest__files")
    runs = runs.annotate(files_checked_at=files_checked_at())
    runs = runs if query.all else runs.versions()
    return answer_list(
        query,
        matching(runs, query),
        sorts={"version": "version"},
        row_json=version_json,
    )


@router.post("/{int:model_id}/deploy/", response={202: OperationOut}, operation_id="deploy_model")
def deploy_model(request: Any, model_id: int, body: DeployModelIn) -> HttpResponse:
    """Deploy a version, or the newest one; the worker checks Google before any change."""
    return accepted(perform(DEPLOY_MODEL, model_id, body, request.auth))


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
    """Delete versions, or all of them and the registration; `dry_run` answers 200 with the plan.

    Refused while an endpoint serves one of them, or an alias protects one. Other versions stay.
    """
    if dry_run:
        model = find_model(request.auth, model_id)
        plan = preview_deletion(lineage=model, runs=doomed_runs(model, body))
        return reply(plan_json(plan))
    return accepted(perform(DELETE_VERSIONS, model_id, body, request.auth))


@router.post("/{int:model_id}/tags/", response=OperationOut, operation_id="set_tags")
def change_tags(request: Any, model_id: int, body: TagsIn) -> HttpResponse:
    """Give a model tags, each in place of one with the same key, and remove others. A repeated
    request has no further effect."""
    return reply(operation_json(perform(SET_TAGS, model_id, body, request.auth)))


@router.post(
    "/{int:model_id}/versions/{int:version}/aliases/",
    response={202: OperationOut},
    operation_id="set_aliases",
)
def change_aliases(request: Any, model_id: int, version: int, body: AliasesIn) -> HttpResponse:
    """Add aliases to a version, each moved from the version that had it, and remove others.

    To move or remove a protected alias needs the right to administer.
    """
    run = version_of(find_model(request.auth, model_id), version)
    return accepted(perform(SET_ALIASES, run.pk, body, request.auth))
