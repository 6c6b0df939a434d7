"""The filters of the list of registered models, for pages and API alike."""

from __future__ import annotations

from datetime import datetime

from django.db.models import Q

from ml_platform.models.endpoints.serving_status import ServingStatus, has_serving_status

from .registry_state import has_registry_answer


def model_filter(
    *,
    search: str = "",
    model_type: str | None = None,
    status: str | None = None,
    blessed: bool | None = None,
    registry_state: str | None = None,
    registry: str | None = None,
    unread: str = "",
    fresh_since: datetime | None = None,
) -> Q:
    """The condition on registered models; a filter that is empty does not apply.

    `registry_state` is the stored state; `registry` is the answer that follows from it; `unread` is
    why the newest sweep could not read Vertex AI, `fresh_since` before when an answer is too old.
    """
    lookups = {
        "model_name__contains": search.lower() or None,
        "model_type": model_type or None,
        "latest_run__is_blessed": blessed,
        "registry_state": registry_state,
    }
    condition = Q(**{name: value for name, value in lookups.items() if value is not None})
    if status == ServingStatus.IDLE:
        condition &= has_serving_status(status)
    elif status:
        condition &= Q(listed__serving=status)
    if registry:
        condition &= has_registry_answer(registry, unread, fresh_since)
    return condition
