"""Remove the files of deleted versions in the background, and what an earlier try had to leave."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace
from datetime import datetime
from typing import Any

from ml_platform.models import Finding, Operation, RegisteredModel, TrainingRun
from ml_platform.models.database import atomic
from ml_platform.models.locking import lock_rows
from ml_platform.models.states import OperationKind, OperationStatus
from ml_platform.services.findings.kinds import FindingKind
from ml_platform.services.findings.store import link_findings
from ml_platform.services.operations import worker
from ml_platform.services.operations.store import Actor, Subject, open_operation
from ml_platform.services.operations.subjects import subject_of_lineage, version_name
from ml_platform.services.operations.work import Clock, Work
from ml_platform.services.operations.workflow import Workflow

from .steps import RemovalState, steps
from .waiting import free_folders

LOCK = "files of deleted versions"
"""The lock of all removals in the background: one at a time keeps to the share of the quota."""


def remove_waiting(*, actor: Actor, clock: Clock) -> Operation | None:
    """Remove all folders that await it, as far as it goes now; None if none does, or it runs.

    What was used or refused is tried again. The daily job calls it; the operation continues by
    itself.
    """
    running = Operation.objects.live().filter(workflow=WORKFLOW.slug)
    if running.exists() or not free_folders().exists():
        return None
    operation = request_removal(actor=actor, now=clock())
    if operation is not None:
        worker.run_until_idle(operation_id=operation.pk, clock=clock)
        operation.refresh_from_db()
    return operation


def left_of(operation: Operation) -> tuple[str, ...]:
    """What a removal had to leave, and why."""
    return RemovalState.load(operation.data).left


def request_removal(*, actor: Actor, now: datetime) -> Operation | None:
    """Open the removal of all folders that await it; None if one waits to begin, which takes them.

    The caller's transaction has written its marks before.
    """
    with atomic():
        waiting = Operation.objects.filter(
            workflow=WORKFLOW.slug, status=OperationStatus.PENDING, subject_type="artifacts"
        )
        # The lock delays its claim, so it chooses its folders after this transaction.
        if lock_rows(waiting):
            return None
        operation, _ = open_operation(
            workflow=WORKFLOW,
            subject=Subject(type="artifacts", id="", name=LOCK, lineage_key=LOCK),
            actor=actor,
            now=now,
            queue=True,
        )
        worker.enqueue(operation)
    return operation


def hand_over(work: Work[Any]) -> None:
    """Leave a deletion's folders to the background, in the transaction of a step."""
    asked = work.operation
    actor = Actor(label=asked.actor_label, origin=asked.origin, user_id=asked.actor_id)
    request_removal(actor=actor, now=work.clock())


def remove_left(
    *, finding: Finding, registered_model: RegisteredModel, actor: Actor, now: datetime
) -> Operation:
    """Delete what an earlier try had to leave, if still nobody uses it."""
    run = TrainingRun.objects.get(pk=finding.run_id or 0)
    subject = subject_of_lineage(registered_model, name=f"files left of {version_name(run)}")
    with atomic():
        operation, _ = open_operation(
            workflow=WORKFLOW,
            subject=replace(subject, lineage_key=LOCK),
            actor=actor,
            now=now,
            state=RemovalState(only=(run.pk,)),
            queue=True,
        )
        link_findings(
            operation=operation, kinds=[FindingKind.ARTIFACTS_LEFT], subject=finding.subject
        )
        worker.enqueue(operation)
    return operation


def _choose(work: Work[RemovalState]) -> Iterable[int]:
    rows = free_folders()
    if only := work.state.only:
        rows = rows.filter(run__in=only)
    return rows.order_by("pk").values_list("pk", flat=True)


WORKFLOW = Workflow(
    slug="remove-files",
    kind=OperationKind.CLEANUP,
    title="Delete {}",
    past="deleted {}",
    state=RemovalState,
    steps=steps(choose=_choose),
)
