"""Read orphans in batches by key, and decide and delete a whole batch in one transaction.

A model that an active row needs is not an orphan at any age, because a user may need it (law 9).
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from django.db.models import CharField, F, Max, Model, QuerySet, Value
from django.db.models.functions import Cast

from ml_platform.errors import DEFECT, Conflict
from ml_platform.models import Finding, Operation, RegisteredModel, TrainingRun, TrainingSchedule
from ml_platform.models.database import write_alias
from ml_platform.models.locking import lock_rows, update_rows
from ml_platform.models.registry.registered_model import RegisteredModelQuerySet
from ml_platform.models.states import RetentionReason
from ml_platform.services.findings.endings import end_orphans
from ml_platform.services.operations.history import record_deletions
from ml_platform.services.operations.store import lineage_key

BATCH = 10_000
"""Rows in one transaction: about a second of work, and a limit of the memory it needs."""

# Foreign keys to a model whose rows stay when it is deleted. All others prevent the deletion
# (PROTECT, and the constraints of the database).
_POINTERS: Mapping[str, tuple[type[Model], str]] = {
    "run": (TrainingRun, "registered_model"),
    "schedule": (TrainingSchedule, "registered_model"),
    "operation": (Operation, "lineage"),
    "finding": (Finding, "registered_model"),
}
_TOLD = ("run", "schedule")
Row = tuple[int, str, int, str]
# The time as text, because a line shows only the day: a million datetimes would be slow.
_COLUMNS = ("pk", "model_name", "project_id", Cast("created_at", CharField()))


@dataclass(frozen=True, slots=True, kw_only=True)
class Judged:
    """The result for a batch: how many were deleted, why others stayed, and a line for each."""

    deleted: int
    kept: Mapping[str, int]
    lines: Iterator[str]


def candidates(*, created_before: datetime) -> RegisteredModelQuerySet:
    """Return models that were never registered and are older than that, needed or not."""
    return RegisteredModel.objects.never_registered().filter(created_at__lt=created_before)


def end_of_batch(*, created_before: datetime, after: int) -> int | None:
    """Return the last id of the batch after that id, None if no batch is left."""
    rows = candidates(created_before=created_before).filter(pk__gt=after).order_by("pk")
    last: int | None = rows[:BATCH].aggregate(last=Max("pk"))["last"]
    return last


def compare_batch(*, created_before: datetime, after: int, last: int) -> Judged:
    """Return what would be deleted and kept now; changes nothing."""
    rows = candidates(created_before=created_before).filter(pk__gt=after, pk__lte=last)
    batch = list(rows.order_by("pk").values_list(*_COLUMNS))
    return _judged(batch, _needs(rows, batch), {}, deleted="Would delete")


def delete_batch(
    *, created_before: datetime, after: int, last: int, operation: Operation, now: datetime
) -> Judged:
    """Decide what of the batch is an orphan and delete it, in the caller's transaction.

    The lock keeps other transactions on PostgreSQL from referring to a row between the check and
    its deletion, and makes another cleanup wait until the row is deleted; SQLite has one writer.
    """
    rows = candidates(created_before=created_before).filter(pk__gt=after, pk__lte=last)
    batch = list(rows.order_by("pk").select_for_update().values_list(*_COLUMNS))
    # In a statement after the lock: only a new one sees what was committed before it.
    needs = _needs(rows, batch)
    orphans = rows.exclude(pk__in=needs) if needs else rows
    detached = detach(orphans, operation, now)
    record_deletions(operation, orphans)
    # Without Django's collector, which would read every row again. What refers to these rows is
    # detached above; a foreign key that is not makes the whole batch fail.
    gone = orphans._raw_delete(using=write_alias())  # noqa: SLF001
    if gone != len(batch) - len(needs):
        raise Conflict(
            f"{gone} rows were deleted, but {len(batch) - len(needs)} were expected.", advice=DEFECT
        )
    return _judged(batch, needs, detached, deleted="Deleted")


def _needs(rows: RegisteredModelQuerySet, batch: Sequence[Row]) -> dict[int, str]:
    """Return why each of these rows that is needed is needed, by id."""
    needs = rows.needs()
    # An operation may hold the name before it has the row.
    live = Operation.objects.live().exclude(lineage_key="").values_list("lineage_key", flat=True)
    held = set(live)
    for pk, name, project_id, _ in batch if held else ():
        if lineage_key(project_id=project_id, model_name=name) in held:
            needs.setdefault(pk, RetentionReason.OPERATION)
    return needs


def detach(
    orphans: RegisteredModelQuerySet, operation: Operation, now: datetime
) -> dict[int, list[tuple[str, int]]]:
    """Detach what refers to them and stays; returns which runs and schedules those were.

    Mostly nothing does, so one statement asks all tables. The caller has locked the orphans, so
    nothing can refer to them after that.
    """
    pointers = list(_pointers(orphans))
    words = {word for word, _, _ in pointers}
    reasons: dict[int, list[tuple[str, int]]] = {}
    for word, pk, lineage in pointers:
        if word in _TOLD:
            reasons.setdefault(lineage, []).append((word, pk))
    if "finding" in words:
        lock_rows(_referring("finding", orphans))
        end_orphans(lineages=orphans, operation=operation, now=now)
    for word, (_, field) in _POINTERS.items():
        if word in words:
            update_rows(_referring(word, orphans), **{field: None})
    return reasons


def _referring(word: str, orphans: RegisteredModelQuerySet) -> QuerySet[Any]:
    table, field = _POINTERS[word]
    return table._default_manager.filter(**{f"{field}__in": orphans})  # noqa: SLF001 - Django's documented name


def _pointers(orphans: RegisteredModelQuerySet) -> QuerySet[Any, tuple[str, int, int]]:
    """The word, the key if it is told, and the lineage of each row that refers to one of them."""
    first, *others = (
        _referring(word, orphans)
        .order_by()
        .values_list(Value(word), F("pk") if word in _TOLD else Value(0), F(field))
        for word, (_, field) in _POINTERS.items()
    )
    return first.union(*others, all=True)


def _judged(
    batch: Sequence[Row],
    needs: Mapping[int, str],
    detached: Mapping[int, Sequence[tuple[str, int]]],
    *,
    deleted: str,
) -> Judged:
    def lines() -> Iterator[str]:
        for pk, name, project_id, created_at in batch:
            row = f"{name} (id {pk}, project {project_id}, created {created_at[:10]})"
            if pk in needs:
                yield f"Kept {row}: {RetentionReason(needs[pk]).label} needs it."
            elif pk in detached:
                names = ", ".join(f"{word} {key}" for word, key in detached[pk])
                yield f"{deleted} {row}; detached {names}."
            else:
                yield f"{deleted} {row}."

    return Judged(
        deleted=len(batch) - len(needs), kept=Counter(map(str, needs.values())), lines=lines()
    )
