"""Repairs of findings: which one a finding has, and how each ends."""

from __future__ import annotations

import time
from collections.abc import Callable
from datetime import datetime, timedelta

from ml_platform.errors import Conflict
from ml_platform.models import DeployedEndpoint, Finding, Operation
from ml_platform.models.states import (
    LIVE_OPERATION_STATUSES,
    FindingKind,
    FindingStatus,
    Registration,
)
from ml_platform.services.cleanup.orphans import clean_up_orphan
from ml_platform.services.operations import worker
from ml_platform.services.operations.store import Actor
from ml_platform.services.operations.work import Clock

from .duplicate_versions import purge_surplus
from .pointers import clear_stale_pointers, restore_lost_versions
from .services import delete_leftover, look_at_service

SAFE = (
    FindingKind.ORPHAN,
    FindingKind.STALE_POINTER,
    FindingKind.VERSION_MISMATCH,
    FindingKind.SURPLUS_VERSION,
    FindingKind.LEFTOVER_SERVICE,
    FindingKind.SERVICE_MISSING,
    FindingKind.SERVICE_MISMATCH,
)
"""Kinds with a repair that needs no choice of a person, for most findings; `is_safe` says it."""
PATIENCE = 120.0
PAUSE = 0.2


class NoRepair(Conflict):
    """The finding has ended, or what to do about it is a person's choice."""

    code = "no_safe_repair"
    advice = "Look at the finding again: it says what may be done."


def is_safe(finding: Finding) -> bool:
    """Whether it has a repair that needs no choice of a person.

    Without a row of ours there is nothing that may be changed; of a service that serves something
    else, the run is the version that it may be recorded to serve.
    """
    if finding.kind not in SAFE or finding.registered_model_id is None:
        return False
    return finding.kind != FindingKind.SERVICE_MISMATCH or finding.run_id is not None


def repair_finding(*, finding: Finding, actor: Actor, now: datetime) -> Operation:
    """Open the safe repair of a finding.

    :raises NoRepair: it is not open, or there is no repair without a choice.
    :raises Busy: another operation holds the lineage.
    """
    if finding.status != FindingStatus.OPEN:
        raise NoRepair(f"This finding is {finding.get_status_display().lower()}.")
    lineage = finding.registered_model
    if lineage is None or not is_safe(finding):
        raise NoRepair(f"{finding.title}: no repair is safe by itself.", advice=finding.repair)
    if finding.kind == FindingKind.ORPHAN:
        return clean_up_orphan(registered_model=lineage, actor=actor, now=now)
    if finding.kind == FindingKind.SURPLUS_VERSION:
        return purge_surplus(
            registered_model=lineage, resource_name=finding.subject, actor=actor, now=now
        )
    if finding.kind == FindingKind.LEFTOVER_SERVICE:
        return delete_leftover(finding=finding, registered_model=lineage, actor=actor, now=now)
    if finding.kind in (FindingKind.SERVICE_MISSING, FindingKind.SERVICE_MISMATCH):
        return look_at_service(endpoint=_endpoint_of(finding), actor=actor, now=now)
    lost = finding.run is not None and finding.run.registration == Registration.LOST
    if lost and finding.kind == FindingKind.VERSION_MISMATCH:
        return restore_lost_versions(registered_model=lineage, actor=actor, now=now)
    return clear_stale_pointers(registered_model=lineage, actor=actor, now=now)


def _endpoint_of(finding: Finding) -> DeployedEndpoint:
    name = finding.evidence["service_name"]
    endpoint = DeployedEndpoint.objects.filter(service_name=name).first()
    if endpoint is None:
        raise NoRepair(f"The endpoint {name} was deleted.", advice="Sweep again.")
    return endpoint


def finish_operation(
    *,
    operation: Operation,
    clock: Clock,
    patience: float = PATIENCE,
    pause: Callable[[float], None] = time.sleep,
) -> Operation:
    """Carry an operation to its end in this process, beside any worker; gives up after `patience`
    seconds, when it is left to the workers."""
    until = clock() + timedelta(seconds=patience)
    while True:
        worker.run_until_idle(operation_id=operation.pk, clock=clock)
        operation.refresh_from_db()
        if operation.status not in LIVE_OPERATION_STATUSES or clock() >= until:
            return operation
        pause(PAUSE)
