"""End findings that are no longer seen or were repaired, and reopen those ignored for long."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from datetime import datetime
from typing import Any

from django.db.models import QuerySet

from ml_platform.models import Finding, Operation, RegisteredModel, Sweep
from ml_platform.models.database import atomic
from ml_platform.models.locking import PART, lock_rows, update_rows
from ml_platform.models.states import EventKind, FindingStatus

from .decisions import ignored_for
from .events import record_events
from .kinds import KINDS, FindingKind, Kind
from .store import findings_of, seen_before, standing


def close_unseen(*, kinds: Collection[Kind], sweep: Sweep, now: datetime) -> int:
    """Close the findings of these kinds that this sweep, which compared all rows, did not see."""
    unseen = standing().filter(kind__in=kinds, last_seen_at__lte=sweep.started_at)
    return _end(unseen.filter(seen_before(sweep)), FindingStatus.GONE, now, by=sweep)


def reopen_expired(*, sweep: Sweep, now: datetime) -> int:
    """Open the findings again that were ignored IGNORED_FINDING_DAYS ago; returns how many.

    Who ignored one, and why, stays in its row until somebody decides again.
    """
    ignored = Finding.objects.filter(status=FindingStatus.IGNORED)
    # The release before does not write the time: it counts from the next sweep on.
    update_rows(ignored.filter(ignored_at=None), ignored_at=now)
    with atomic():
        locked = lock_rows(ignored.filter(ignored_at__lte=now - ignored_for()))
        for start in range(0, len(locked), PART):
            rows = Finding.objects.filter(pk__in=locked[start : start + PART])
            record_events(EventKind.FINDING_REOPENED, rows, after=FindingStatus.OPEN, by=sweep)
            rows.update(status=FindingStatus.OPEN)
    return len(locked)


def end_surplus(*, subject: str, lineage_id: int | None, sweep: Sweep, now: datetime) -> None:
    """Close the lineage's findings of surplus versions in a model that is not its own."""
    found = standing().filter(
        kind=FindingKind.SURPLUS_VERSION, subject=subject, registered_model=lineage_id
    )
    _end(found, FindingStatus.GONE, now, by=sweep)


def end_surplus_of(models: Mapping[int, str], *, sweep: Sweep, now: datetime) -> None:
    """Close the findings of surplus versions in these models, by lineage the id of its model: all
    their versions were read, and none is surplus. One that was made since the sweep began stays."""
    found = standing().filter(
        kind=FindingKind.SURPLUS_VERSION,
        registered_model__in=models,
        last_seen_at__lte=sweep.started_at,
    )
    about = found.values_list("pk", "registered_model", "subject")
    over = [pk for pk, lineage, name in about if name.rpartition("/")[2] == models[lineage or 0]]
    if over:
        _end(standing().filter(pk__in=over), FindingStatus.GONE, now, by=sweep)


def end_orphans(
    *, lineages: QuerySet[RegisteredModel], operation: Operation, now: datetime
) -> None:
    """End the findings that these lineages are orphans: the caller's transaction deletes them."""
    found = standing().filter(kind=FindingKind.ORPHAN, registered_model__in=lineages)
    _end(found, FindingStatus.REPAIRED, now, by=operation, operation=operation)


def end_counters(*, sweep: Sweep, now: datetime) -> None:
    """End the finding that counters are wrong: the caller's transaction has counted anew."""
    _end(standing().filter(kind=FindingKind.COUNTER_WRONG), FindingStatus.REPAIRED, now, by=sweep)


def end_left(*, run_id: int, operation: Operation, now: datetime) -> None:
    """End the finding that files of a deleted version are left: none is any more."""
    found = standing().filter(kind=FindingKind.ARTIFACTS_LEFT, run=run_id)
    _end(found, FindingStatus.REPAIRED, now, by=operation, operation=operation)


def end_serving(*, run_id: int, operation: Operation, now: datetime) -> None:
    """End the findings that something serves this run, which is a version now."""
    found = standing().filter(kind=FindingKind.SERVING_UNVERIFIED, run=run_id)
    _end(found, FindingStatus.REPAIRED, now, by=operation, operation=operation)


def end_changed(*, subject: str, operation: Operation, now: datetime) -> None:
    """End the finding that others changed a service: a deploy has written our fields again."""
    found = standing().filter(kind=FindingKind.SERVICE_CHANGED, subject=subject)
    _end(found, FindingStatus.REPAIRED, now, by=operation, operation=operation)


def end_pointer(
    *, lineage_id: int | None, subject: str, operation: Operation, now: datetime
) -> None:
    """End the finding that a lineage points at nothing, if no version of it does any more."""
    found = standing().filter(
        kind=FindingKind.STALE_POINTER,
        subject=subject,
        registered_model=lineage_id,
        registered_model__total_versions=0,
    )
    _end(found, FindingStatus.REPAIRED, now, by=operation, operation=operation)


def end_findings(
    *,
    operation: Operation,
    status: FindingStatus,
    now: datetime,
    kinds: Collection[Kind] = KINDS,
) -> None:
    """Close the findings that are linked to an operation."""
    _end(findings_of(operation).filter(kind__in=kinds), status, now, by=operation)


_ENDS = {
    FindingStatus.REPAIRED: EventKind.FINDING_REPAIRED,
    FindingStatus.GONE: EventKind.FINDING_CLOSED,
}


def _end(
    found: QuerySet[Finding],
    status: FindingStatus,
    now: datetime,
    *,
    by: Sweep | Operation,
    **fields: Any,
) -> int:
    """End the findings and record it, in one transaction; returns how many there were."""
    with atomic():
        locked = lock_rows(found)
        for start in range(0, len(locked), PART):
            rows = Finding.objects.filter(pk__in=locked[start : start + PART])
            record_events(_ENDS[status], rows, after=status, by=by)
            rows.update(status=status, ended_at=now, **fields)
    return len(locked)
