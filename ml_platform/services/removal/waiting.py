"""The folders that await their removal: mark them, say why one stays, end one that is empty."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from datetime import datetime

from django.db.models import QuerySet

from ml_platform.models import AwaitingRemoval, Operation, TrainingRun
from ml_platform.models.locking import lock_rows
from ml_platform.models.states import LIVE_OPERATION_STATUSES
from ml_platform.services.findings.discrepancy import compare_left
from ml_platform.services.findings.endings import end_left
from ml_platform.services.findings.store import note_finding


def add_folders(*, folders: Mapping[int, str], operation: Operation, now: datetime) -> None:
    """Mark folders, by their runs' ids, in the transaction that ends a deletion in Vertex AI.

    The operation deletes them itself as long as it runs.
    """
    known = AwaitingRemoval.objects.filter(run__in=folders)
    lock_rows(known)
    known.update(operation=operation)
    AwaitingRemoval.objects.bulk_create(
        [
            AwaitingRemoval(run_id=run, folder=folder, operation=operation, marked_at=now)
            for run, folder in sorted(folders.items())
        ],
        ignore_conflicts=True,
    )


def free_folders() -> QuerySet[AwaitingRemoval]:
    """The folders that no running deletion deletes itself."""
    return AwaitingRemoval.objects.exclude(operation__status__in=LIVE_OPERATION_STATUSES)


def note_looked(*, rows: Collection[int], used: Mapping[str, str], began: datetime) -> None:
    """Record, in the caller's transaction, that a complete reading judged these folders."""
    locked = AwaitingRemoval.objects.filter(pk__in=rows)
    lock_rows(locked)
    locked.update(looked_at=began)
    for row, reason in used.items():
        AwaitingRemoval.objects.filter(pk=row).update(reason=reason)


def keep(*, row: int, reason: str, refused: int, operation: Operation, now: datetime) -> None:
    """Record, in the caller's transaction, why the files are still there.

    If Cloud Storage has `refused` to delete some, there is a finding.
    """
    AwaitingRemoval.objects.filter(pk=row).update(reason=reason, refused=refused)
    waiting = AwaitingRemoval.objects.filter(pk=row).select_related("run").first()
    if waiting and refused:
        note_finding(discrepancy=compare_left(waiting), now=now, operation=operation)


def end(*, row: int, run: TrainingRun, operation: Operation, now: datetime) -> None:
    """Record, in the caller's transaction, that no file is left."""
    AwaitingRemoval.objects.filter(pk=row).delete()
    end_left(run_id=run.pk, operation=operation, now=now)
