"""Deployed, outdated or idle: which version of a model its active endpoints serve."""

from __future__ import annotations

from collections.abc import Collection

from django.db.models import Q, TextChoices

from .deployed_endpoint import DeployedEndpoint


class ServingStatus(TextChoices):
    """An active endpoint serves the newest version, only older ones are served, or none is."""

    DEPLOYED = "deployed", "Deployed"
    OUTDATED = "outdated", "Outdated"
    IDLE = "idle", "Idle"


def serving_status(newest: int | None, served: Collection[int | None]) -> ServingStatus:
    """The status of a model; `served` has the run of each of its active endpoints."""
    if not served:
        return ServingStatus.IDLE
    return ServingStatus.DEPLOYED if newest in served else ServingStatus.OUTDATED


def has_serving_status(status: str) -> Q:
    """The same as a condition on registered models."""
    active = DeployedEndpoint.objects.filter(is_active=True)
    served = Q(pk__in=active.values("registered_model"))
    newest = Q(latest_run__in=active.filter(run__isnull=False).values("run"))
    return {
        ServingStatus.DEPLOYED: newest,
        ServingStatus.OUTDATED: served & ~newest,
        ServingStatus.IDLE: ~served,
    }[ServingStatus(status)]
