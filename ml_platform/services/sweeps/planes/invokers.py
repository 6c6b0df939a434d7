"""Read who may call the services of which our configurations name invokers.

A listing of services does not show it, and GetIamPolicy is one call for each service.
"""

from __future__ import annotations

from collections.abc import Collection
from functools import partial

from ml_platform.cloud import cloud_run
from ml_platform.cloud.answers import Present, ask
from ml_platform.cloud.types import RemoteService
from ml_platform.models import DeployedEndpoint, MirroredService
from ml_platform.models.locking import update_rows
from ml_platform.services.operations.work import Json
from ml_platform.services.serving.config import ServingConfig
from ml_platform.services.serving.our_fields import Difference, lost_invokers

FAILURES = 3
"""After so many services of a page in a row that could not be read, the others are unknown."""


def keep_invokers_of(services: Collection[RemoteService]) -> None:
    """Write who may call these listed services; null where it is unknown."""
    names = [service.service_id for service in services]
    rows = DeployedEndpoint.objects.filter(is_active=True, service_name__in=names)
    failures = 0
    for name, config in rows.order_by("service_name").values_list("service_name", "config"):
        if not config.get("invokers"):
            continue
        held = None
        if failures < FAILURES:
            answer = ask(partial(cloud_run.get_invokers, name))
            held = list(answer.value) if isinstance(answer, Present) else None
            failures = failures + 1 if held is None else 0
        update_rows(MirroredService.objects.filter(service_name=name), invokers=held)


def compare_invokers(config: Json, seen: MirroredService) -> tuple[Difference, ...]:
    """What an endpoint's configuration names and its service does not let call it.

    :raises Invalid: the configuration is of another release.
    """
    if seen.invokers is None or not config.get("invokers"):
        return ()
    return tuple(lost_invokers(ServingConfig.from_dict(config), seen.invokers))


def is_unknown(config: Json, seen: MirroredService | None) -> bool:
    """Whether it was not read who may call a listed service, of which the configuration names
    some."""
    return bool(seen is not None and seen.invokers is None and config.get("invokers"))
