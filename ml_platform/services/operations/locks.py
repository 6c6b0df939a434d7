"""Which operations hold a lineage or a service now, so that no other one can change them."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from django.db.models import Q

from ml_platform.models import Operation, RegisteredModel
from ml_platform.models.states import OperationStatus

from .store import Busy, held_by, holders, lineage_key
from .subjects import lineage_lock


@dataclass(frozen=True, slots=True)
class Locks:
    """The locks that are taken, each with its holder."""

    holders: Mapping[str, Operation]

    def busy(self, name: str, lineage: RegisteredModel, service: str = "") -> Busy | None:
        """The refusal to change what another operation holds; `name` is what it calls that."""
        holder = self.holders.get(lineage_lock(lineage)) or self.holders.get(service)
        if holder is None:
            return None
        return Busy(f"{name} {held_by(holder, project_id=lineage.project_id)}", holder=holder)

    def require_free(self, name: str, lineage: RegisteredModel, service: str = "") -> None:
        """Refuse to change what another operation holds.

        :raises Busy: with the holder.
        """
        if busy := self.busy(name, lineage, service):
            raise busy


NO_LOCKS = Locks({})
"""For who holds the lineage and the service already, or checks them elsewhere."""


def read_locks(lineages: Iterable[RegisteredModel], services: Iterable[str] = ()) -> Locks:
    """The holders of all these; one statement."""
    keys = [lineage_lock(lineage) for lineage in lineages]
    return _locks(holders(lineages=keys, services=list(services)))


def read_project_locks(project_id: Any, services: Iterable[str]) -> Locks:
    """The holders of all lineages of a project, and of these services; one statement."""
    held = Q(lineage_key__startswith=lineage_key(project_id=project_id, model_name=""))
    held |= Q(service_key__in=list(services))
    return _locks(Operation.objects.filter(held, status=OperationStatus.RUNNING))


def _locks(found: Iterable[Operation]) -> Locks:
    return Locks(
        {
            key: operation
            for operation in found
            for key in (operation.lineage_key, operation.service_key)
            if key
        }
    )
