"""Repairs of findings: open the repair of a finding, and close the finding at its end."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable
from datetime import datetime, timedelta

from ml_platform.errors import Conflict, Invalid
from ml_platform.models import DeployedEndpoint, Finding, Operation, RegisteredModel
from ml_platform.models.states import LIVE_OPERATION_STATUSES, FindingStatus, Registration
from ml_platform.services.cleanup.orphans import clean_up_orphan
from ml_platform.services.findings.kinds import KINDS, Repair, facts_of
from ml_platform.services.mirror.brake import PlaneShrunk, unbelieved_planes, why_shrunk
from ml_platform.services.operations import worker
from ml_platform.services.operations.store import Actor
from ml_platform.services.operations.work import Clock

from .changed_services import put_back_service, take_over_service
from .duplicate_versions import purge_surplus
from .files import restore_files
from .labels import relabel_version
from .pointers import clear_stale_pointers, restore_lost_versions
from .service_labels import relabel_service
from .services import look_at_service

PATIENCE = 120.0
PAUSE = 0.2


class NoRepair(Conflict):
    """The finding is closed, or its repair needs a decision by a person."""

    code = "no_safe_repair"
    advice = "Reload the finding to see its possible repairs."


class RepairNotNamed(Invalid):
    """The kind has several repairs, and none of them was named."""

    code = "repair_not_named"


def is_safe(finding: Finding) -> bool:
    """Whether it has a repair that needs no decision by a person.

    Without the registered model that it changes, it has none, nor where a protected alias moved.
    """
    repair = facts_of(finding).repair
    chosen = finding.evidence.get("protected") is True
    return repair is not None and repair.is_possible(finding) and not chosen


def repairs_of(finding: Finding) -> tuple[Repair, ...]:
    """Return the repairs that are possible for this finding, the safe one first; none for one that
    ended, or whose kind this release does not know."""
    if finding.status != FindingStatus.OPEN or finding.kind not in KINDS:
        return ()
    return tuple(repair for repair in facts_of(finding).repairs if repair.is_possible(finding))


def require_repairable(finding: Finding, unbelieved: str = "") -> tuple[Repair, ...]:
    """Check that a finding has a repair; returns those that are possible.

    :raises NoRepair: it is not open, it has no repair, or its plane is `unbelieved`.
    """
    _require_open(finding)
    possible = repairs_of(finding)
    if not possible:
        raise NoRepair(f"{finding.title}: this finding has no safe repair.", advice=finding.repair)
    if unbelieved:
        raise NoRepair(unbelieved, code=PlaneShrunk.code, advice=PlaneShrunk.advice)
    return possible


def find_repair(finding: Finding, name: str, unbelieved: str = "") -> Repair:
    """Return the repair of that name; '' is the only one of its kind.

    :raises NoRepair: the finding is not open, its plane is `unbelieved`, or that repair is not
        possible for it.
    :raises RepairNotNamed: its kind has several, and none of them was named.
    """
    possible = require_repairable(finding, unbelieved)
    known = facts_of(finding).repairs
    if not name and len(known) > 1:
        choices = ", ".join(f"{repair.slug} ({repair.button})" for repair in possible)
        raise RepairNotNamed(
            f"{finding.title}: this finding has several repairs.",
            advice=f"Name one in `repair`: {choices}.",
        )
    asked = next((repair for repair in known if name in ("", repair.slug)), None)
    if asked is None or asked not in possible:
        why = asked.why_not(finding) if asked else ""
        raise NoRepair(
            f"{finding.title}: the repair {name!r} is not possible. {why}".strip(),
            advice=f"Possible: {', '.join(repair.slug for repair in possible)}.",
        )
    return asked


def why_planes_unbelieved(findings: Iterable[Finding]) -> list[str]:
    """Why the plane of each finding is not believed now, so that no repair begins; '' if it is."""
    shrunk = unbelieved_planes()
    planes = (facts_of(finding).plane for finding in findings)
    return [why_shrunk(plane) if plane in shrunk else "" for plane in planes]


def require_choice(finding: Finding) -> None:
    """Check that a finding is a model that no record points at, to be adopted or deleted.

    :raises NoRepair: it is not open, or it is something else.
    """
    _require_open(finding)
    if not facts_of(finding).needs_choice:
        raise NoRepair(
            f"{finding.title}: only an unmanaged model can be adopted or deleted.",
            advice=finding.repair,
        )


def _require_open(finding: Finding) -> None:
    if finding.status != FindingStatus.OPEN:
        raise NoRepair(f"This finding is {finding.get_status_display().lower()}.")


def repair_finding(*, finding: Finding, actor: Actor, now: datetime, repair: str = "") -> Operation:
    """Open the repair of that name; without a name, the only one that its kind has.

    :raises NoRepair: it is not open, or has no such repair.
    :raises RepairNotNamed: its kind has several repairs.
    :raises Busy: another operation holds the lineage.
    """
    [unbelieved] = why_planes_unbelieved([finding])
    found = find_repair(finding, repair, unbelieved)
    open_it: Callable[..., Operation] = found.load()
    lineage = finding.registered_model
    return open_it(finding=finding, registered_model=lineage, actor=actor, now=now)


# ---- the repairs of the kinds ------------------------------------------------------------------


def repair_orphan(
    *, finding: Finding, registered_model: RegisteredModel, actor: Actor, now: datetime
) -> Operation:
    """Delete the name if it is still an orphan."""
    return clean_up_orphan(registered_model=registered_model, actor=actor, now=now)


def repair_pointers(
    *, finding: Finding, registered_model: RegisteredModel, actor: Actor, now: datetime
) -> Operation:
    """Restore a lost version that is back; otherwise clear pointers to versions that are gone."""
    lost = finding.run is not None and finding.run.registration == Registration.LOST
    open_repair = restore_lost_versions if lost else clear_stale_pointers
    return open_repair(registered_model=registered_model, actor=actor, now=now)


def repair_surplus(
    *, finding: Finding, registered_model: RegisteredModel, actor: Actor, now: datetime
) -> Operation:
    """Delete the surplus versions of the model that the finding is about."""
    return purge_surplus(
        registered_model=registered_model, resource_name=finding.subject, actor=actor, now=now
    )


def repair_labels(
    *, finding: Finding, registered_model: RegisteredModel, actor: Actor, now: datetime
) -> Operation:
    """Write our labels on the version, if it is the one that we registered."""
    if finding.run is None:
        raise NoRepair("The run of this version was deleted.", advice="Check the registry again.")
    return relabel_version(run=finding.run, registered_model=registered_model, actor=actor, now=now)


def repair_files(
    *, finding: Finding, registered_model: RegisteredModel, actor: Actor, now: datetime
) -> Operation:
    """Bring back the recorded files of the version, where Cloud Storage still has them."""
    if finding.run is None:
        raise NoRepair("The run of this version was deleted.", advice="Check the registry again.")
    return restore_files(run=finding.run, registered_model=registered_model, actor=actor, now=now)


def repair_service_labels(
    *, finding: Finding, registered_model: RegisteredModel, actor: Actor, now: datetime
) -> Operation:
    """Write our labels on the service, if it serves what we deployed."""
    return relabel_service(endpoint=_endpoint_of(finding), actor=actor, now=now)


def repair_endpoint(
    *, finding: Finding, registered_model: RegisteredModel, actor: Actor, now: datetime
) -> Operation:
    """Record what Cloud Run serves for the endpoint."""
    return look_at_service(endpoint=_endpoint_of(finding), actor=actor, now=now)


def repair_change(
    *, finding: Finding, registered_model: RegisteredModel, actor: Actor, now: datetime
) -> Operation:
    """Record what others changed on the service as ours."""
    return take_over_service(endpoint=_endpoint_of(finding), actor=actor, now=now)


def put_ours_back(
    *, finding: Finding, registered_model: RegisteredModel, actor: Actor, now: datetime
) -> Operation:
    """Deploy the endpoint's version again with its configuration."""
    return put_back_service(endpoint=_endpoint_of(finding), actor=actor, now=now)


def _endpoint_of(finding: Finding) -> DeployedEndpoint:
    name = finding.evidence["service_name"]
    endpoint = DeployedEndpoint.objects.filter(service_name=name).first()
    if endpoint is None:
        raise NoRepair(f"The endpoint {name} was deleted.", advice="Check the registry again.")
    return endpoint


def finish_operation(
    *,
    operation: Operation,
    clock: Clock,
    patience: float = PATIENCE,
    pause: Callable[[float], None] = time.sleep,
) -> Operation:
    """Run an operation to its end in this process, beside any worker.

    After `patience` seconds it returns, and the operation is left to the workers.
    """
    until = clock() + timedelta(seconds=patience)
    while True:
        worker.run_until_idle(operation_id=operation.pk, clock=clock)
        operation.refresh_from_db()
        if operation.status not in LIVE_OPERATION_STATUSES or clock() >= until:
            return operation
        pause(PAUSE)
