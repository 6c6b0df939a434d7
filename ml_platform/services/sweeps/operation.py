"""Check now: a sweep as an operation, so that the history tells who asked and what came of it."""

from __future__ import annotations

from functools import partial

from ml_platform.conf import require_settings
from ml_platform.models import Operation, Sweep
from ml_platform.models.states import OperationKind
from ml_platform.services.operations import worker
from ml_platform.services.operations.engine import advance
from ml_platform.services.operations.log import NothingRead, Tell, keep, say
from ml_platform.services.operations.store import Actor, Busy, Subject, open_operation
from ml_platform.services.operations.work import Clock, Work
from ml_platform.services.operations.workflow import Next, Outcome, Step, Workflow

from .audit import AuditVerdict, compare_sweep
from .sweep import sweep

REGISTRY = "registry"
"""Subject type of an operation that sweeps."""
LOCK = "check:registry"
"""Lets one of them run at a time; no service can have that name."""
STEP = "sweep"
WORDS = {
    AuditVerdict.AGREE: "the planes agree.",
    AuditVerdict.DIFFER: "the planes differ.",
    AuditVerdict.UNKNOWN: "a plane could not be read.",
}


def check_registry(*, actor: Actor, clock: Clock, idempotency_key: str = "") -> Operation:
    """Have a worker read all planes; somebody who asks meanwhile is told who is at it.

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
    tell: Tell = lambda line: None,
) -> Operation:
    """The same, carried out by this process before it returns; errors as with `check_registry`."""
    operation = _open(actor, clock, idempotency_key)
    advance(operation_id=operation.pk, workflows={WORKFLOW.slug: workflow(tell=tell)}, clock=clock)
    operation.refresh_from_db()
    return operation


def sweep_of(operation: Operation) -> Sweep | None:
    """The sweep that the operation made, None when it made none yet."""
    return Sweep.objects.filter(pk=operation.data.get("sweep")).first()


def _open(actor: Actor, clock: Clock, idempotency_key: str) -> Operation:
    """The check; one whose worker died is gone on with by whoever asks next."""
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


def _sweep(work: Work, tell: Tell) -> Outcome:
    asked = work.operation
    actor = Actor(label=asked.actor_label, origin=asked.origin, user_id=asked.actor_id)
    done = sweep(actor=actor, clock=work.clock, heartbeat=work.renew_lease)
    work.data["sweep"] = done.pk
    unread = [plane["reason"] for plane in done.planes.values() if not plane["read"]]
    lines = [f"Unknown: {reason}" for reason in unread]
    keep(work.data, lines)
    say(tell, lines)
    if len(unread) == len(done.planes):
        raise NothingRead(f"No plane could be read. {unread[0]}")
    return Next(note=f"Sweep {done.pk}: {WORDS[compare_sweep(done)]}")


def workflow(*, tell: Tell = lambda line: None) -> Workflow:
    """One sweep; `tell` hears why a plane could not be read."""
    return Workflow(
        slug="check-registry",
        kind=OperationKind.SWEEP,
        title="Check {}",
        past="checked {}",
        steps=(Step(name=STEP, title="Read all planes", run=partial(_sweep, tell=tell)),),
    )


WORKFLOW = workflow()
