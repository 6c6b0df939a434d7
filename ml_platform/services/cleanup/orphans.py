"""Orphans: names that were never registered and that nothing alive needs are deleted (law 9)."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from functools import partial

from django.db import transaction

from ml_platform.conf import get_settings
from ml_platform.errors import Conflict
from ml_platform.models import Operation, RegisteredModel
from ml_platform.models.states import EventKind, OperationKind, RetentionReason
from ml_platform.services.findings.discrepancy import orphan_subject
from ml_platform.services.findings.kinds import FindingKind
from ml_platform.services.findings.store import link_findings
from ml_platform.services.operations import worker
from ml_platform.services.operations.engine import advance
from ml_platform.services.operations.log import Tell, keep, say
from ml_platform.services.operations.store import Actor, Subject, open_operation
from ml_platform.services.operations.subjects import subject_of_lineage
from ml_platform.services.operations.work import Clock, Json, Work, record_change
from ml_platform.services.operations.workflow import Continue, Next, Outcome, Step, Workflow

from .orphan_batches import candidates, compare_batch, delete_batch, detach, end_of_batch

ORPHANS = "orphans"
"""Subject type of an operation that cleans up all orphans."""
STEP = "delete_orphan"


class NotAnOrphan(Conflict):
    """Somebody needs the name after all."""

    code = "not_an_orphan"
    advice = "Nothing was deleted. It has a live schedule, run, endpoint or operation, or is young."


def clean_up_orphan(
    *, registered_model: RegisteredModel, actor: Actor, now: datetime, days: int | None = None
) -> Operation:
    """Delete an orphan that is older than `days` (ORPHAN_DAYS); what ended with it stays, detached.

    Whether it is one is decided in the transaction that deletes it.

    :raises Busy: another operation holds the name.
    """
    days = get_settings().ORPHAN_DAYS if days is None else days
    with transaction.atomic():
        operation, _ = open_operation(
            workflow=ORPHAN,
            # Without the lineage itself: this very operation would keep it from being an orphan.
            subject=replace(subject_of_lineage(registered_model), lineage=None),
            actor=actor,
            now=now,
            data={"days": days},
        )
        subject = orphan_subject(registered_model.pk)
        link_findings(operation=operation, kinds=[FindingKind.ORPHAN], subject=subject)
        worker.enqueue(operation)
    return operation


def _delete(work: Work) -> Outcome:
    def change() -> None:
        work.data["deleted"] = _delete_if_orphan(work)
        Operation.objects.filter(pk=work.operation.pk).update(data=work.data)

    return Next(note=f"{work.operation.subject_name} is deleted.", change=change)


def _delete_if_orphan(work: Work) -> Json:
    """Lock the row, look again, detach what ended, delete; returns what was detached.

    The lock keeps PostgreSQL from letting a schedule refer to the row meanwhile; SQLite has one
    writer. Foreign keys are PROTECT, so nothing that is not named here can be lost.

    :raises NotAnOrphan: by now, or already.
    """
    operation = work.operation
    old = work.clock() - timedelta(days=work.data["days"])
    row = RegisteredModel.objects.filter(pk=operation.subject_id)
    # Locked apart from the look: a join's other side may not be locked on PostgreSQL.
    row.select_for_update().first()
    lineage = row.orphans(created_before=old).first()
    waiting = Operation.objects.live().filter(lineage_key=operation.lineage_key)
    if lineage is None or waiting.exclude(pk=operation.pk).exists():
        raise NotAnOrphan(f"{operation.subject_name} is no orphan any more.")
    detached = detach(row, operation, work.clock()).get(lineage.pk, [])
    said = {
        "model_name": lineage.model_name,
        "uid": lineage.uid.hex,
        "created_at": lineage.created_at.isoformat(),
        "detached_schedules": [pk for word, pk in detached if word == "schedule"],
        "detached_runs": [pk for word, pk in detached if word == "run"],
    }
    record_change(EventKind.MODEL_DELETED, operation, **subject_of_lineage(lineage).columns)
    lineage.delete()
    return said


# ---- all of them at once -------------------------------------------------------------------------


@dataclass(frozen=True, slots=True, kw_only=True)
class OrphanCleanup:
    """What a cleanup of all orphans did so far; without an operation: what one would do."""

    days: int
    found: int
    """Never registered and old enough, needed or not, when it began."""
    deleted: int
    kept: Mapping[str, int]
    """How many stayed, by what needs them (`Need`)."""
    operation: Operation | None

    @property
    def heading(self) -> str:
        """What it found, in the words of the job's report."""
        return f"Found {self.found} orphaned RegisteredModel(s) older than {self.days} days."

    @property
    def summary(self) -> str:
        """What became of them, in the words of the job's report."""
        deleted = "Would delete" if self.operation is None else "Deleted"
        others = [
            f"{self.kept[need]} that {need.label} needs"
            for need in RetentionReason
            if need != RetentionReason.RUN and self.kept.get(need)
        ]
        return (
            f"{deleted} {self.deleted} orphaned RegisteredModel(s), "
            f"skipped {self.kept.get(RetentionReason.RUN, 0)} with active training runs"
            + "".join(f", kept {other}" for other in others)
        )


def clean_up_orphans(
    *,
    days: int | None = None,
    actor: Actor,
    clock: Clock,
    dry_run: bool = False,
    tell: Tell = lambda line: None,
    idempotency_key: str = "",
) -> OrphanCleanup:
    """Delete every orphan older than `days` (ORPHAN_DAYS), as one operation, batch by batch.

    It is carried to its end here, so that the caller can answer what was done; if this process
    dies, a worker goes on. Each batch is judged in the transaction that deletes it, so any number
    of these may run side by side. `tell` hears a line for each that was deleted or kept, once that
    is committed. A dry run only reads.

    :raises KeyReused: the key was used for a different request.
    """
    days = get_settings().ORPHAN_DAYS if days is None else days
    now = clock()
    created_before = now - timedelta(days=days)
    found = candidates(created_before=created_before).count()
    if dry_run:
        return _rehearse(days, found, created_before, tell)
    operation, _ = open_operation(
        workflow=ALL_ORPHANS,
        subject=Subject(type=ORPHANS, id="", name=f"orphans older than {days} days"),
        actor=actor,
        now=now,
        data={"days": days, "found": found, "created_before": created_before.isoformat()},
        idempotency_key=idempotency_key,
        request={"job": ORPHANS, "days": days},
    )
    workflow = replace(ALL_ORPHANS, steps=_steps(partial(_delete_next, tell=tell)))
    advance(operation_id=operation.pk, workflows={workflow.slug: workflow}, clock=clock)
    operation.refresh_from_db()
    return cleanup_of(operation)


def cleanup_of(operation: Operation) -> OrphanCleanup:
    """How far an operation that cleans up all orphans is."""
    data = operation.data
    return OrphanCleanup(
        days=data["days"],
        found=data["found"],
        deleted=data.get("deleted", 0),
        kept=data.get("kept", {}),
        operation=operation,
    )


def _rehearse(days: int, found: int, created_before: datetime, tell: Tell) -> OrphanCleanup:
    deleted, kept, after = 0, Counter[str](), 0
    while last := end_of_batch(created_before=created_before, after=after):
        judged = compare_batch(created_before=created_before, after=after, last=last)
        after = last
        deleted += judged.deleted
        kept.update(judged.kept)
        say(tell, judged.lines)
    return OrphanCleanup(days=days, found=found, deleted=deleted, kept=kept, operation=None)


def _delete_next(work: Work, tell: Tell) -> Outcome:
    created_before = datetime.fromisoformat(work.data["created_before"])
    last = end_of_batch(created_before=created_before, after=work.data.get("after", 0))
    if last is None:
        return Next(note=cleanup_of(work.operation).summary)
    return Continue(
        note=f"{work.data.get('deleted', 0)} of {work.data['found']} deleted.",
        change=partial(_delete_batch, work, created_before, last, tell),
    )


def _delete_batch(work: Work, created_before: datetime, last: int, tell: Tell) -> None:
    judged = delete_batch(
        created_before=created_before,
        after=work.data.get("after", 0),
        last=last,
        operation=work.operation,
        now=work.clock(),
    )
    kept = Counter[str](work.data.get("kept", {}))
    kept.update(judged.kept)
    deleted = work.data.get("deleted", 0) + judged.deleted
    data = {**work.data, "after": last, "deleted": deleted, "kept": kept}
    lines = list(judged.lines)
    keep(data, lines)
    Operation.objects.filter(pk=work.operation.pk).update(data=data)
    transaction.on_commit(partial(work.data.update, data))
    transaction.on_commit(partial(say, tell, lines))


def _steps(run: Callable[[Work], Outcome]) -> tuple[Step, ...]:
    return (Step(name=STEP, title="Look again and delete", run=run, cancellable=True),)


ORPHAN = Workflow(
    slug="delete-orphan",
    kind=OperationKind.CLEANUP,
    title="Delete the orphan {}",
    past="deleted the orphan {}",
    steps=_steps(_delete),
)
ALL_ORPHANS = Workflow(
    slug="clean-up-orphans",
    kind=OperationKind.CLEANUP,
    title="Clean up {}",
    past="cleaned up {}",
    steps=_steps(partial(_delete_next, tell=lambda line: None)),
)
