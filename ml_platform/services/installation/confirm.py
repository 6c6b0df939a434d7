"""A person confirms that this database owns what it has recorded at Google."""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import partial

from ml_platform.models import Installation, Operation
from ml_platform.models.states import OperationKind
from ml_platform.services.operations import worker
from ml_platform.services.operations.state import State
from ml_platform.services.operations.store import Actor, Subject, open_operation
from ml_platform.services.operations.work import Clock, Work
from ml_platform.services.operations.workflow import Next, Outcome, Step, Workflow

from .identity import current
from .marker import place, read_marker, write_marker

INSTALLATION = "installation"
"""Subject type of the operation."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ConfirmState(State):
    """What the steps hand on, for the history."""

    found: str = ""


def confirm_installation(*, actor: Actor, clock: Clock, idempotency_key: str = "") -> Operation:
    """Replace whatever marker there is by ours, so that deletions go on.

    Another database that wrote it is stopped in turn, when it next reads the marker.

    :raises Misconfigured: the settings name no bucket.
    :raises Busy: it is being confirmed.
    """
    place()
    row = current()
    operation, _ = open_operation(
        workflow=WORKFLOW,
        subject=Subject(
            type=INSTALLATION,
            id=row.uid.hex,
            name="this installation",
            service_key=INSTALLATION,
        ),
        actor=actor,
        now=clock(),
        idempotency_key=idempotency_key,
        request={"confirm": INSTALLATION},
    )
    worker.enqueue(operation)
    return operation


def _look(work: Work[ConfirmState]) -> Outcome:
    found = str(read_marker())
    work.state = replace(work.state, found=found)
    return Next(note=f"{place()} holds {found}.")


def _take(work: Work[ConfirmState]) -> Outcome:
    write_marker(read_marker(), clock=work.clock)
    return Next(
        note=f"{place()} is the marker of installation {current().uid.hex} now.",
        change=partial(_confirmed, work),
    )


def _confirmed(work: Work[ConfirmState]) -> None:
    Installation.objects.filter(pk=1).update(
        stopped_at=None,
        stopped_reason="",
        confirmed_at=work.clock(),
        confirmed_by=work.operation.actor_label,
    )


WORKFLOW = Workflow(
    slug="confirm-installation",
    kind=OperationKind.REPAIR,
    title="Confirm {}",
    past="confirmed {}",
    state=ConfirmState,
    steps=(
        Step(name="read_marker", title="Read the marker", run=_look, cancellable=True),
        Step(name="take_marker", title="Replace it by ours", run=_take, probe="read_marker"),
    ),
)
