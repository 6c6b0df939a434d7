"""The version cache of a lineage, always recounted from its runs, never adjusted."""

from __future__ import annotations

from typing import Any

from ml_platform.models import RegisteredModel
from ml_platform.models.states import RegistryState


def sync_version_cache(*, registered_model: RegisteredModel) -> None:
    """Recount the lineage, in the caller's transaction; without a version it is unregistered.

    What sweeps said of a model that ended says nothing of one that is made later under its name.
    """
    versions = registered_model.training_runs.versions()
    latest = versions.order_by("-version").first()
    unsaid: dict[str, Any] = {
        "registry_state": RegistryState.UNCHECKED,
        "registry_checked_at": None,
    }
    RegisteredModel.objects.filter(pk=registered_model.pk).update(
        total_versions=versions.count(),
        latest_run=latest,
        latest_registered_at=latest.registered_at if latest else None,
        vertex_model_resource_name=latest.vertex_model_resource_name if latest else "",
        **({} if latest else unsaid),
    )
    registered_model.refresh_from_db()
