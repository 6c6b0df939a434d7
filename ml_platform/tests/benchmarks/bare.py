"""What our pages are held against: a plain Django view, one statement, as many bytes."""

from __future__ import annotations

from django.http import HttpRequest, JsonResponse

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


def models_page(request: HttpRequest) -> JsonResponse:
    """A hundred models from one statement, found by the primary key."""
    rows = RegisteredModel.objects.filter(pk__gt=request.GET.get("after", 0)).order_by("pk")
    return JsonResponse({"items": list(rows.values(*COLUMNS)[:100])})
