"""Run a sweep as an operation, so that the history shows who requested it and its outcome."""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import partial

from ml_platform.conf import require_settings
from ml_platform.models import Operation, Sweep
from ml_platform.models.states import OperationKind
from ml_platform.services.installation.marker import (
    InstallationUnconfirmed,
    MarkerUnknown,
    renew_marker,
)
from ml_platform.services.operations import worker
from ml_platform.services.operations.engine import advance
from ml_platform.services.operations.log import (
    LoggedState,
    NothingRead,
    WriteLine,
    logged,
    write_lines,
)
from ml_platform.services.operations.store import Actor, Busy, Subject, open_operation
from ml_platform.services.operations.work import Clock, Work
from ml_platform.services.operations.workflow import Next, Outcome, Step, Workflow
from ml_platform.services.ownership.uid_labels import relabel_versions

from .audit import AuditVerdict, compare_sweep
from .sweep import sweep

REGISTRY = "registry"
"""Subject type of an operation that sweeps."""
LOCK = "check:registry"
"""Lock key that allows one at a time; no service can have this name."""
STEP = "sweep"
WORDS = {
    AuditVerdict.AGREE: "the planes agree.",
    AuditVerdict.DIFFER: "the planes differ.",
    AuditVerdict.UNKNOWN: "a plane could not be read.",
}


@dataclass(frozen=True, slots=True, kw_only=True)
class SweepState(LoggedState):
    """What the operation of a sweep remembers."""

    sweep: int | None = None
    """The id of the sweep that it made."""


def check_registry(*, actor: Actor, clock: Clock, idempotency_key: str = "") -> Operation:
    """Have a worker run a sweep. While one runs, a second request is refused.

    :raises Misconfigured: PROJECT_ID, LOCATION or BUCKET is missing.
    :raises Busy: another check is running; the message names it.
    :raises KeyReused: the key was used for a different request.
    """
    operation = _open(actor, clock, idempotency_key)
    worker.enqueue(operation)
    return operation


def check_registry_here(
    *,
    actor: Actor,
    clock: Clock,
    idempotency_key: str = "",
    write_line: WriteLine = lambda line: None,
) -> Operation:
    """Run a sweep in this process before returning; raises the same errors as `check_registry`."""
    operation = _open(actor, clock, idempotency_key)
    advance(
        operation_id=operation.pk,
        workflows={WORKFLOW.slug: workflow(write_line=write_line)},
        clock=clock,
    )
    operation.refresh_from_db()
    return operation


def sweep_of(operation: Operation) -> Sweep | None:
    """Return the sweep that the operation created, None before it is created."""
    return Sweep.objects.filter(pk=operation.data.get("sweep")).first()


def _open(actor: Actor, clock: Clock, idempotency_key: str) -> Operation:
    """Open the operation, or return the running one when its worker has crashed."""
    require_settings()
    now = clock()
    try:
        operation, _ = open_operation(
            workflow=WORKFLOW,
            subject=Subject(type=REGISTRY, id="", name="the registry", service_key=LOCK),
            actor=actor,
            now=now,
            idempotency_key=idempotency_key,
            request={"job": REGISTRY},
        )
    except Busy as busy:
        if busy.holder and busy.holder.lease_until and busy.holder.lease_until < now:
            return busy.holder
        raise
    return operation


def _sweep(work: Work[SweepState], write_line: WriteLine) -> Outcome:
    request = work.operation
    actor = Actor(label=request.actor_label, origin=request.origin, user_id=request.actor_id)
    done = sweep(actor=actor, clock=work.clock, heartbeat=work.renew_lease)
    unread = [plane["reason"] for plane in done.planes.values() if not plane["read"]]
    lines = [f"Unknown: {reason}" for reason in (*unread, *_renew_marker(work))]
    work.state = logged(replace(work.state, sweep=done.pk), lines)
    write_lines(write_line, lines)
    if len(unread) == len(done.planes):
        raise NothingRead(f"No plane could be read. {unread[0]}")
    return Next(
        note=f"Sweep {done.pk}: {WORDS[compare_sweep(done)]}",
        change=partial(relabel_versions, actor=actor, clock=work.clock),
    )


def _renew_marker(work: Work[SweepState]) -> list[str]:
    """Replace the marker once a day. What hinders that stops deletions, but no reading."""
    try:
        renew_marker(clock=work.clock, heartbeat=work.renew_lease)
    except (InstallationUnconfirmed, MarkerUnknown) as error:
        return [str(error)]
    return []


def workflow(*, write_line: WriteLine = lambda line: None) -> Workflow:
    """Return the workflow of one sweep; `write_line` receives why a plane could not be read."""
    return Workflow(
        slug="check-registry",
        kind=OperationKind.SWEEP,
        title="Check {}",
        past="checked {}",
        state=SweepState,
        steps=(
            Step(name=STEP, title="Read all planes", run=partial(_sweep, write_line=write_line)),
        ),
    )


WORKFLOW = workflow()
