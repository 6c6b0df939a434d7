"""What our pages are held against: plain Django views in the same host."""

from __future__ import annotations

from collections.abc import Callable
from functools import cache
from typing import Any, TypeAlias

from django.db import connection
from django.http import HttpRequest, HttpResponse, JsonResponse
from django.test import Client

from ml_platform.models import RegisteredModel

# What an item of /api/models/ says, and as much more as our nested names and addresses take.
COLUMNS = (
    "id", "model_name", "model_type", "project_id", "project__name", "total_versions",
    "latest_run_id", "latest_run__version", "latest_run__registration", "latest_run__is_blessed",
    "latest_run__metrics", "latest_run__aliases", "latest_run__vertex_model_resource_name",
    "latest_run__vertex_model_version", "latest_run__last_vertex_version",
    "latest_run__gcs_artifacts_path", "latest_run__registered_at", "latest_run__created_at",
    "vertex_model_resource_name", "registry_state", "registry_checked_at", "created_at",
)  # fmt: skip
Statement: TypeAlias = tuple[str, Any]


def models_page(request: HttpRequest) -> JsonResponse:
    """A hundred models from one statement, found by the primary key."""
    rows = RegisteredModel.objects.filter(pk__gt=request.GET.get("after", 0)).order_by("pk")
    return JsonResponse({"items": list(rows.values(*COLUMNS)[:100])})


def same_statements(request: HttpRequest) -> HttpResponse:
    """The statements with which our list answers this query, the token's and the total's too, and
    the same bytes: what is left of our list without our code."""
    statements, body = _recorded(request.META["QUERY_STRING"], request.headers["Authorization"])
    with connection.cursor() as cursor:
        for sql, values in statements:
            cursor.execute(sql, values)
            cursor.fetchall()
    return HttpResponse(body, content_type="application/json")


def static_answer(request: HttpRequest) -> HttpResponse:
    """The same bytes without a statement."""
    _, body = _recorded(request.META["QUERY_STRING"], request.headers["Authorization"])
    return HttpResponse(body, content_type="application/json")


@cache
def _recorded(query: str, authorization: str) -> tuple[list[Statement], bytes]:
    """What our list reads for a query, and its answer.

    :raises RuntimeError: it did not answer, or no statement was seen.
    """
    statements: list[Statement] = []

    def record(execute: Callable[..., Any], sql: str, values: Any, *rest: Any) -> Any:
        if sql.lstrip("( ").upper().startswith(("SELECT", "WITH")):
            statements.append((sql, values))
        return execute(sql, values, *rest)

    client = Client(headers={"Authorization": authorization})
    client.get(f"/api/models/?{query}")  # what only a first request reads is not recorded
    with connection.execute_wrapper(record):
        answer = client.get(f"/api/models/?{query}")
    if answer.status_code != 200 or not statements:
        raise RuntimeError(f"{query}: {answer.status_code}, {len(statements)} statements")
    return statements, answer.content
