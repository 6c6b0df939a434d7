"""/api/models/: the registry, its tags and versions, and their deploy and deletion."""

from __future__ import annotations

from typing import Any

from django.db.models import Count, Q, QuerySet
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
from ml_platform.api.http.lists import answer_list, matching, page_of, pagination_json, place_of
from ml_platform.api.schemas.base import Flag, reply, url_of
from ml_platform.api.schemas.deletion import PlanOut, plan_json
from ml_platform.api.schemas.endpoints import endpoint_json
from ml_platform.api.schemas.model_list import Row, kpi_json, lines_json, rows_of, serving_of
from ml_platform.api.schemas.models import (
    METRIC,
    SORTS,
    ModelDetail,
    ModelsOut,
    ModelsQuery,
    VersionsOut,
    VersionsQuery,
    deployed_json,
    version_json,
)
from ml_platform.api.schemas.operations import OperationOut, accepted, operation_json
from ml_platform.kpis import registered_models, vertex_reading
from ml_platform.models import (
    DeployedEndpoint,
    ModelTag,
    RegisteredModel,
    TrainingRun,
    snapshot,
)
from ml_platform.models.endpoints.serving_truth import with_serving_truth
from ml_platform.pagination import Page
from ml_platform.services.artifacts.manifest import files_checked_at
from ml_platform.services.deletion.preview import preview_deletion
from ml_platform.services.mirror.vertex_endpoints import deployments_at
from ml_platform.services.registry.model_list import model_filter, read_by_metric
from ml_platform.services.registry.search import count_found

from .live_verification import verify_page

router = Router(tags=["models"])


@router.get("/", response=ModelsOut, operation_id="list_models")
def list_models(request: Any, query: Query[ModelsQuery]) -> HttpResponse:
    """Registered models with their newest version, its endpoints, and Vertex AI's answer."""
    caller: Caller = request.auth
    visible = caller.only(registered_models())
    asked = model_filter(
        search=query.search,
        model_type=query.type,
        status=query.status,
        blessed=query.blessed,
        registry_state=query.registry_state,
        tags=query.tag,
    )
    if query.project is not None:
        asked &= Q(project=query.project)
    with snapshot():
        page = _page(visible.filter(asked), query)
        serving = serving_of(caller.only(DeployedEndpoint.objects.all()))
        total, chosen, exact = _count(visible, asked, searched=bool(query.search))
        reading = vertex_reading()
    items = lines_json(page.rows, serving, url_of("models/"), reading)
    live = query.verify == "live"
    available = verify_page(page.rows, items, caller) if live else not reading.unread
    return reply(
        {
            "items": items,
            "pagination": pagination_json(query, page, chosen, exact=exact),
            "kpi": kpi_json(serving, total),
            "registry_check_available": available,
        }
    )


def _page(models: QuerySet[RegisteredModel], query: ModelsQuery) -> Page[Row]:
    """The rows of the page, in the order of a column or of a metric."""
    name = query.sort.removeprefix("-")
    if not name.startswith(METRIC):
        return page_of(rows_of(models), query, SORTS)
    page = read_by_metric(
        models, name.removeprefix(METRIC), descending=query.sort != name, **place_of(query)
    )
    rows = {row["pk"]: row for row in rows_of(RegisteredModel.objects.filter(pk__in=page.rows))}
    return Page([rows[pk] for pk in page.rows], previous=page.previous, next=page.next)


def _count(
    visible: QuerySet[RegisteredModel], asked: Q, *, searched: bool
) -> tuple[int, int, bool]:
    """How many registered models the caller sees, how many of them match, and whether that is
    exact: only a search may tell a lower bound (law 1)."""
    if not asked:
        total = visible.count()
        return total, total, True
    if searched:
        return visible.count(), *count_found(visible.filter(asked))
    counted = visible.aggregate(total=Count("*"), chosen=Count("pk", filter=asked))
    return counted["total"], counted["chosen"], True


@router.get("/{int:model_id}/", response=ModelDetail, operation_id="get_model")
def get_model(request: Any, model_id: int) -> HttpResponse:
    """One lineage: its row of the list, its texts and all its endpoints."""
    caller: Caller = request.auth
    with snapshot():
        row = caller.find(rows_of(RegisteredModel.objects.all()), model_id)
        rows = with_serving_truth(ENDPOINTS.filter(registered_model=model_id))
        endpoints = list(rows.order_by("-created_at", "-pk"))
        serving = serving_of(DeployedEndpoint.objects.filter(registered_model=model_id))
        reading = vertex_reading()
        deployed = deployments_at(row["vertex_model_resource_name"])
        tags = ModelTag.objects.filter(registered_model=model_id).order_by("key")
        body_tags = dict(tags.values_list("key", "value"))
    [body] = lines_json([row], serving, url_of("models/"), reading)
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
