"""Delete orphans: models that were never registered and that no active row needs.

A user may still need a model with a schedule that has not ended, or with a run that may still
finish, so such a model is not an orphan (law 9).
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta
from functools import partial
from typing import Any

from ml_platform.conf import get_settings
from ml_platform.errors import Conflict
from ml_platform.models import Operation, RegisteredModel
from ml_platform.models.database import atomic, on_commit
from ml_platform.models.states import EventKind, OperationKind, RetentionReason
from ml_platform.services.findings.discrepancy import orphan_subject
from ml_platform.services.findings.kinds import FindingKind
from ml_platform.services.findings.store import link_findings
from ml_platform.services.installation import marker
from ml_platform.services.operations import worker
from ml_platform.services.operations.engine import advance
from ml_platform.services.operations.log import LoggedState, WriteLine, logged, write_lines
from ml_platform.services.operations.state import State
from ml_platform.services.operations.store import Actor, Subject, open_operation
from ml_platform.services.operations.subjects import subject_of_lineage
from ml_platform.services.operations.work import Clock, Json, Work, record_change
from ml_platform.services.operations.workflow import Continue, Next, Outcome, Step, Workflow

from .orphan_batches import (
    Judged,
    candidates,
    compare_batch,
    delete_batch,
    detach,
    end_of_batch,
)

ORPHANS = "orphans"
"""Subject type of an operation that cleans up all orphans."""
STEP = "delete_orphan"


@dataclass(frozen=True, slots=True, kw_only=True)
class OrphanState(State):
    """What the deletion of one orphan hands on."""

    days: int = 0
    deleted: Mapping[str, Any] = field(default_factory=dict)
    """The values of the row, and which runs and schedules were detached from it."""


class NotAnOrphan(Conflict):
    """The model is needed, or too young."""

    code = "not_an_orphan"
    advice = (
        "It was not deleted: it has a live schedule, run, endpoint or operation, or is too new."
    )


def clean_up_orphan(
    *, registered_model: RegisteredModel, actor: Actor, now: datetime, days: int | None = None
) -> Operation:
    """Delete an orphan older than `days` (ORPHAN_DAYS); its ended runs and schedules are detached.

    The transaction that deletes it decides whether it is one.

    :raises Busy: another operation holds the name.
    """
    days = get_settings().ORPHAN_DAYS if days is None else days
    with atomic():
        operation, _ = open_operation(
            workflow=ORPHAN,
            # Without the lineage: this operation would keep it from being an orphan.
            subject=replace(subject_of_lineage(registered_model), lineage=None),
            actor=actor,
            now=now,
            state=OrphanState(days=days),
        )
        subject = orphan_subject(registered_model.pk)
        link_findings(operation=operation, kinds=[FindingKind.ORPHAN], subject=subject)
        worker.enqueue(operation)
    return operation


def _delete(work: Work[OrphanState]) -> Outcome:
    marker.require_not_stopped()
    change = partial(_delete_if_orphan, work)
    return Next(note=f"{work.operation.subject_name} is deleted.", change=change)


def _delete_if_orphan(work: Work[OrphanState]) -> None:
    """Lock the row, check again, detach rows of ended runs and schedules, then delete it.

    The lock keeps a concurrent transaction in PostgreSQL from letting a schedule refer to the row;
    SQLite has one writer. Foreign keys are PROTECT, so a row that is not detached here stays.

    :raises NotAnOrphan: it is needed by now, or was deleted.
    """
    operation = work.operation
    old = work.clock() - timedelta(days=work.state.days)
    row = RegisteredModel.objects.filter(pk=operation.subject_id)
    # A separate statement, because PostgreSQL cannot lock the optional side of a join.
    row.select_for_update().first()
    lineage = row.orphans(created_before=old).first()
    waiting = Operation.objects.live().filter(lineage_key=operation.lineage_key)
    if lineage is None or waiting.exclude(pk=operation.pk).exists():
        raise NotAnOrphan(f"{operation.subject_name} is not an orphan any more.")
    detached = detach(row, operation, work.clock()).get(lineage.pk, [])
    deleted = {
        "model_name": lineage.model_name,
        "uid": lineage.uid.hex,
        "created_at": lineage.created_at.isoformat(),
        "detached_schedules": [pk for word, pk in detached if word == "schedule"],
        "detached_runs": [pk for word, pk in detached if word == "run"],
    }
    record_change(EventKind.MODEL_DELETED, operation, **subject_of_lineage(lineage).columns)
    lineage.delete()
    work.state = replace(work.state, deleted=deleted)


# ---- all of them at once -------------------------------------------------------------------------


@dataclass(frozen=True, slots=True, kw_only=True)
class OrphansState(LoggedState):
    """What the steps of a cleanup of all orphans hand on."""

    days: int = 0
    created_before: str = ""
    found: int = 0
    """Models that were never registered and are old enough, needed or not, when it began."""
    after: int = 0
    """The id of the last model that was considered."""
    deleted: int = 0
    kept: Mapping[str, int] = field(default_factory=dict)
    """How many stayed, by what needs them (`RetentionReason`)."""


@dataclass(frozen=True, slots=True, kw_only=True)
class OrphanCleanup(OrphansState):
    """What a cleanup of all orphans did so far; without an operation: what one would do."""

    operation: Operation | None = None

    @property
    def heading(self) -> str:
        """What it found, for the job's report."""
        return f"Found {self.found} orphaned RegisteredModel(s) older than {self.days} days."

    @property
    def summary(self) -> str:
        """The result in a sentence, for the job's report."""
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
    write_line: WriteLine = lambda line: None,
    idempotency_key: str = "",
) -> OrphanCleanup:
    """Delete every orphan older than `days` (ORPHAN_DAYS), as one operation, batch by batch.

    It runs in this process, so that the caller can report what was done; if the process ends, a
    worker continues. The transaction that deletes a batch decides what is an orphan, so several
    cleanups may run at the same time. `write_line` receives a line for each model, after the
    commit. A dry run only reads.

    :raises KeyReused: the key was used for a different request.
    """
    days = get_settings().ORPHAN_DAYS if days is None else days
    now = clock()
    created_before = now - timedelta(days=days)
    found = candidates(created_before=created_before).count()
    state = OrphansState(days=days, found=found, created_before=created_before.isoformat())
    if dry_run:
        return _rehearse(state, write_line)
    operation, _ = open_operation(
        workflow=ALL_ORPHANS,
        subject=Subject(type=ORPHANS, id="", name=f"orphans older than {days} days"),
        actor=actor,
        now=now,
        state=state,
        idempotency_key=idempotency_key,
        request={"job": ORPHANS, "days": days},
    )
    workflow = replace(ALL_ORPHANS, steps=_steps(partial(_delete_next, write_line=write_line)))
    advance(operation_id=operation.pk, workflows={workflow.slug: workflow}, clock=clock)
    operation.refresh_from_db()
    return cleanup_of(operation)


def cleanup_of(operation: Operation) -> OrphanCleanup:
    """Return how far an operation that cleans up all orphans is."""
    return replace(OrphanCleanup.load(operation.data), operation=operation)


def _rehearse(state: OrphansState, write_line: WriteLine) -> OrphanCleanup:
    while batch := _next_batch(state):
        judged = compare_batch(**batch)
        state = _after(state, judged, batch["last"])
        write_lines(write_line, judged.lines)
    return OrphanCleanup.load(state.dump())


def _next_batch(state: OrphansState) -> Json | None:
    """Return the bounds of the next batch, None if no batch is left.

    No model becomes one that was never registered, so when as many were considered as were found,
    none is left.
    """
    if state.deleted + sum(state.kept.values()) >= state.found:
        return None
    created_before = datetime.fromisoformat(state.created_before)
    last = end_of_batch(created_before=created_before, after=state.after)
    if last is None:
        return None
    return {"created_before": created_before, "after": state.after, "last": last}


def _after(state: OrphansState, judged: Judged, last: int) -> OrphansState:
    kept = Counter(state.kept) + Counter(judged.kept)
    return replace(state, after=last, deleted=state.deleted + judged.deleted, kept=kept)


def _delete_next(work: Work[OrphansState], write_line: WriteLine) -> Outcome:
    marker.require_not_stopped()
    batch = _next_batch(work.state)
    if batch is None:
        return Next(note=cleanup_of(work.operation).summary)
    return Continue(
        note=f"{work.state.deleted} of {work.state.found} deleted.",
        change=partial(_delete_batch, work, batch, write_line),
    )


def _delete_batch(work: Work[OrphansState], batch: Json, write_line: WriteLine) -> None:
    judged = delete_batch(**batch, operation=work.operation, now=work.clock())
    lines = list(judged.lines)
    work.state = logged(_after(work.state, judged, batch["last"]), lines)
    on_commit(partial(write_lines, write_line, lines))


def _steps(run: Callable[[Work[Any]], Outcome]) -> tuple[Step, ...]:
    return (Step(name=STEP, title="Check again and delete", run=run, cancellable=True),)


ORPHAN = Workflow(
    slug="delete-orphan",
    kind=OperationKind.CLEANUP,
    title="Delete the orphan {}",
    past="deleted the orphan {}",
    state=OrphanState,
    steps=_steps(_delete),
)
ALL_ORPHANS = Workflow(
    slug="clean-up-orphans",
    kind=OperationKind.CLEANUP,
    title="Clean up {}",
    past="cleaned up {}",
    state=OrphansState,
    steps=_steps(partial(_delete_next, write_line=lambda line: None)),
)
