"""Deployed, outdated or idle: which version of a model its active endpoints serve.

This is the only definition; counts, tables, filters, the API and the audit use it. The triggers of
`models.counting`, which keep it in `ListedModel.serving`, are generated from it.
"""

from __future__ import annotations

from collections.abc import Collection
from typing import Any

from django.db.models import (
    BooleanField,
    Case,
    CharField,
    Exists,
    ExpressionWrapper,
    OuterRef,
    Q,
    QuerySet,
    Value,
    When,
)

from ml_platform.models.registry.training_run import TrainingRun
from ml_platform.models.states import HOLDS_POINTER, ServingStatus

from .deployed_endpoint import DeployedEndpoint

__all__ = [
    "ServingStatus",
    "has_serving_status",
    "serving_status",
    "with_serves_newest",
    "with_serving_status",
]


def _serves_newest() -> Q:
    """The condition on an active endpoint: it serves a version, and none that is newer could be
    deployed. A newer version that is not blessed does not make it outdated."""
    newer = TrainingRun.objects.deployable().filter(
        registered_model=OuterRef("registered_model"), version__gt=OuterRef("run__version")
    )
    return Q(run__registration__in=HOLDS_POINTER) & ~Q(Exists(newer))


def with_serves_newest(endpoints: QuerySet[Any, Any]) -> QuerySet[Any, Any]:
    """Annotate active endpoints with `serves_newest`, for `serving_status`."""
    told = ExpressionWrapper(_serves_newest(), output_field=BooleanField())
    annotated: QuerySet[Any, Any] = endpoints.annotate(serves_newest=told)
    return annotated


def serving_status(serves_newest: Collection[bool]) -> ServingStatus:
    """The status of a model by its active endpoints: whether each serves the newest version."""
    if not serves_newest:
        return ServingStatus.IDLE
    return ServingStatus.DEPLOYED if any(serves_newest) else ServingStatus.OUTDATED


def has_serving_status(status: str) -> Q:
    """The same as a condition on registered models, for those that are few: each is looked up. Of
    many, filter by `listed__serving`."""
    active = DeployedEndpoint.objects.filter(is_active=True, registered_model=OuterRef("pk"))
    served = Q(Exists(active))
    newest = Q(Exists(active.filter(_serves_newest())))
    return {
        ServingStatus.DEPLOYED: newest,
        ServingStatus.OUTDATED: served & ~newest,
        ServingStatus.IDLE: ~served,
    }[ServingStatus(status)]


def with_serving_status(models: QuerySet[Any, Any]) -> QuerySet[Any, Any]:
    """Annotate models with `serving_status`."""
    cases = (When(has_serving_status(each), then=Value(each.value)) for each in ServingStatus)
    told: QuerySet[Any, Any] = models.annotate(
        serving_status=Case(*cases, output_field=CharField())
    )
    return told
