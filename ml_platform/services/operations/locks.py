"""The operations that lock a lineage or a service, so that no other one can change them."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from django.db.models import Q, QuerySet

from ml_platform.models import Operation, RegisteredModel
from ml_platform.models.prepared import Prepared
from ml_platform.models.states import OperationStatus

from .store import Busy, held_by, holders, lineage_key
from .subjects import lineage_lock


@dataclass(frozen=True, slots=True)
class Locks:
    """The locks that are held, each with its holder."""

    holders: Mapping[str, Operation]

    def busy(self, name: str, lineage: RegisteredModel, service: str = "") -> Busy | None:
        """The error for a change of what another operation locks; the message calls it `name`."""
        holder = self.holders.get(lineage_lock(lineage)) or self.holders.get(service)
        if holder is None:
            return None
        return Busy(f"{name} {held_by(holder, project_id=lineage.project_id)}", holder=holder)

    def require_free(self, name: str, lineage: RegisteredModel, service: str = "") -> None:
        """Check that no other operation holds the lineage or the service.

        :raises Busy: with the holder.
        """
        if busy := self.busy(name, lineage, service):
            raise busy


NO_LOCKS = Locks({})
"""Locks for a caller that holds them already, or checks them elsewhere."""


def read_locks(lineages: Iterable[RegisteredModel], services: Iterable[str] = ()) -> Locks:
    """The holders of all these locks, read in one statement."""
    keys = [lineage_lock(lineage) for lineage in lineages]
    return _locks(holders(lineages=keys, services=list(services)))


def read_project_locks(project_id: Any, services: Iterable[str]) -> Locks:
    """The holders of a project's lineages and of these services, read in one statement."""
    lineages = lineage_key(project_id=project_id, model_name="")
    return _locks(_project_holders(lineages=lineages, services=list(services)))


@Prepared
def _project_holders(*, lineages: Any, services: Any) -> QuerySet[Operation]:
    held = Q(lineage_key__startswith=lineages) | Q(service_key__in=services)
    return Operation.objects.filter(held, status=OperationStatus.RUNNING)


def _locks(found: Iterable[Operation]) -> Locks:
    return Locks(
        {
            key: operation
            for operation in found
            for key in (operation.lineage_key, operation.service_key)
            if key
        }
    )
