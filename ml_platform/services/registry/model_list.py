"""How the list of registered models is narrowed, for every door that shows it."""

from __future__ import annotations

from django.db.models import Q

from ml_platform.models.serving_status import has_serving_status

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
) -> Q:
    """The condition on registered models that these filters make; an empty one narrows nothing.

    `registry_state` is the state that is stored; `registry` is the answer that it gives as long
    as the newest sweep read Vertex AI; `unread` is why that sweep did not.
    """
    condition = Q()
    if search:
        condition &= Q(model_name__contains=search.lower())
    if model_type:
        condition &= Q(model_type=model_type)
    if status:
        condition &= has_serving_status(status)
    if blessed is not None:
        condition &= Q(latest_run__is_blessed=blessed)
    if registry_state:
        condition &= Q(registry_state="" if registry_state == "unchecked" else registry_state)
    if registry:
        condition &= has_registry_answer(registry, unread)
    return condition
