"""Who holds a lineage or a service now: what is held can be changed by nobody else meanwhile."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from ml_platform.models import RegisteredModel
from ml_platform.services.operations.store import held_by, holders
from ml_platform.services.operations.subjects import lineage_lock


@dataclass(frozen=True, slots=True)
class Held:
    """The locks that are taken, each with its holder in words."""

    locks: Mapping[str, str]

    def of(self, lineage: RegisteredModel, service: str = "") -> str:
        """Why neither the lineage nor the service can be changed now, '' when they can."""
        return self.locks.get(lineage_lock(lineage)) or self.locks.get(service, "")


def who_holds(
    project_id: Any, lineages: Iterable[RegisteredModel], services: Iterable[str] = ()
) -> Held:
    """The holders of all these, which are one project's; one statement."""
    keys = [lineage_lock(lineage) for lineage in lineages]
    locks: dict[str, str] = {}
    for operation in holders(lineages=keys, services=list(services)):
        told = f"It {held_by(operation, project_id=project_id)}"
        locks |= {key: told for key in (operation.lineage_key, operation.service_key) if key}
    return Held(locks)
