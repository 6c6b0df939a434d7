"""Store findings that were seen, first or again. None is ever deleted."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from datetime import datetime
from functools import partial
from typing import Any

from django.db.models import F, Q, QuerySet

from ml_platform.models import Finding, Operation, RegisteredModel, Sweep
from ml_platform.models.locking import lock_rows, update_rows
from ml_platform.models.states import STANDING_FINDING_STATUSES, EventKind, FindingStatus
from ml_platform.services.findings.kinds import KINDS, Kind

from .discrepancy import Discrepancy
from .events import record_events, record_opened
from .exclusions import LeftOut, Reading
from .row_by_row import write_each


def standing() -> QuerySet[Finding]:
    """Return the findings that are still seen and not repaired, including the ignored ones."""
    return Finding.objects.filter(status__in=STANDING_FINDING_STATUSES)


def keep_findings(*, found: Sequence[Discrepancy], sweep: Sweep, now: datetime) -> list[LeftOut]:
    """Write the findings of a sweep; returns what could not be written.

    Sweeps that ran at the same time count as one sighting: absence is believed only when two
    sweeps saw it one after the other (law 3).
    """
    # In two transactions, so that waiting for another sweep's insert holds no lock on a finding.
    lost = write_each(found, partial(_see_again, sweep=sweep, now=now))
    lost += write_each(sorted(found, key=_key), partial(_see_first, sweep=sweep, now=now))
    hold_findings(subjects=[discrepancy.subject for discrepancy, _ in lost], sweep=sweep)
    return [LeftOut(discrepancy.title, why, discrepancy.project_id) for discrepancy, why in lost]


def write_findings(
    *,
    reading: Reading,
    found: Sequence[Discrepancy],
    left_out: Sequence[tuple[str, LeftOut]],
) -> list[LeftOut]:
    """Write what a comparison found in a chunk of rows; returns what was not compared or written.

    `left_out` has the subject of each row that could not be compared: its findings stay unchanged.
    """
    lost = keep_findings(found=found, sweep=reading.sweep, now=reading.now)
    hold_findings(subjects=[subject for subject, _ in left_out], sweep=reading.sweep)
    return [*lost, *(said for _, said in left_out)]


def looks_at(found: Sequence[Discrepancy]) -> dict[str, int]:
    """Return how many sweeps in a row saw each subject."""
    return {finding.subject: finding.consecutive_sightings for finding in _of(found)}


def _see_again(found: Sequence[Discrepancy], *, sweep: Sweep, now: datetime) -> None:
    lock_rows(_of(found))
    known = {_key(finding): finding for finding in _of(found)}
    changed = [
        finding
        for discrepancy in found
        if (finding := known.get(_key(discrepancy))) and _update(finding, discrepancy)
    ]
    Finding.objects.bulk_update(
        changed, ["title", "evidence", "repair", "project", "registered_model", "run"]
    )
    again = Finding.objects.filter(pk__in=[finding.pk for finding in known.values()])
    again.filter(seen_before(sweep), last_seen_at__lte=sweep.started_at).update(
        consecutive_sightings=F("consecutive_sightings") + 1
    )
    again.filter(seen_before(sweep)).update(last_sweep=sweep)
    again.update(last_seen_at=now)


def _see_first(found: Sequence[Discrepancy], *, sweep: Sweep, now: datetime) -> None:
    there = list(_of(found).only("pk", "kind", "subject"))
    known = {_key(finding) for finding in there}
    new = [discrepancy for discrepancy in found if _key(discrepancy) not in known]
    if not new:
        return
    planes = {one.kind.facts.plane for one in new}
    right_at = {plane: _last_right(plane, before=sweep) for plane in planes}
    rows = [_new(one, sweep, now, right_at=right_at[one.kind.facts.plane]) for one in new]
    Finding.objects.bulk_create(rows, ignore_conflicts=True)
    # From the rows, because a sweep beside this one may have inserted some of them first; in one
    # statement, because the events of a whole chunk would double the memory of a sweep.
    opened = _of(new).filter(first_sweep=sweep).exclude(pk__in=[row.pk for row in there])
    record_opened(opened, sweep=sweep)


def _key(about: Discrepancy | Finding) -> tuple[str, str]:
    """Return what is unique among standing findings."""
    return (about.kind, about.subject)


def seen_before(sweep: Sweep) -> Q:
    """Those that neither this sweep nor a later one saw or held."""
    return Q(last_sweep__lt=sweep.pk) | Q(last_sweep__isnull=True)


def _of(found: Sequence[Discrepancy]) -> QuerySet[Finding]:
    return standing().filter(
        kind__in={discrepancy.kind for discrepancy in found},
        subject__in=[d.subject for d in found],
    )


def _columns(discrepancy: Discrepancy) -> dict[str, Any]:
    return {
        "title": discrepancy.title[:255],
        "evidence": dict(discrepancy.evidence),
        "repair": discrepancy.repair,
        "project_id": discrepancy.project_id,
        "registered_model_id": discrepancy.lineage_id,
        "run_id": discrepancy.run_id,
    }


def _update(finding: Finding, discrepancy: Discrepancy) -> bool:
    """Update a finding's fields; returns whether any changed."""
    wanted = _columns(discrepancy)
    differs = any(getattr(finding, name) != value for name, value in wanted.items())
    for name, value in wanted.items():
        setattr(finding, name, value)
    return differs


def _last_right(plane: str, *, before: Sweep | None = None) -> datetime | None:
    """When the last finished sweep began that read the plane, and so did not see the finding."""
    earlier = Sweep.objects.finished()
    if before is not None:
        earlier = earlier.filter(pk__lt=before.pk)
    if plane:
        earlier = earlier.filter(**{f"planes__{plane}__read": True})
    return earlier.values_list("started_at", flat=True).first()


def began(
    *, told: datetime | None, right_at: datetime | None, seen_at: datetime
) -> tuple[datetime | None, bool]:
    """Return when a disagreement began, and whether Google tells it.

    What Google tells is the time of another change if it is before a sweep that saw no
    disagreement. Otherwise it did not begin before that sweep; None if there was none.
    """
    if told is not None and told <= seen_at and (right_at is None or told >= right_at):
        return told, True
    return right_at, False


def _new(
    discrepancy: Discrepancy, sweep: Sweep | None, now: datetime, *, right_at: datetime | None
) -> Finding:
    began_at, told = began(told=discrepancy.changed_at, right_at=right_at, seen_at=now)
    return Finding(
        kind=discrepancy.kind,
        subject=discrepancy.subject,
        **_columns(discrepancy),
        began_at=began_at,
        began_told=told,
        first_sweep=sweep,
        last_sweep=sweep,
        first_seen_at=now,
        last_seen_at=now,
    )


def note_finding(
    *, discrepancy: Discrepancy, now: datetime, operation: Operation | None = None
) -> None:
    """Write, in the caller's transaction, a finding that an operation made, not a sweep."""
    known = _of([discrepancy]).first()
    if known is None:
        right_at = _last_right(discrepancy.kind.facts.plane)
        new = _new(discrepancy, None, now, right_at=right_at)
        Finding.objects.bulk_create([new], ignore_conflicts=True)
        opened = _of([discrepancy]).filter(first_sweep=None, first_seen_at=now)
        record_events(EventKind.FINDING_OPENED, opened, after=FindingStatus.OPEN, by=operation)
    elif _update(known, discrepancy):
        known.save()


def hold_findings(
    *,
    subjects: Collection[str],
    sweep: Sweep,
    kinds: Collection[Kind] = KINDS,
) -> None:
    """Keep the findings on these subjects unchanged: this sweep could not compare them."""

    def mark_seen(subjects: Sequence[str]) -> None:
        held = standing().filter(subject__in=subjects, kind__in=kinds)
        update_rows(held.filter(seen_before(sweep)), last_sweep=sweep)

    write_each(list(subjects), mark_seen)


def link_findings(
    *,
    operation: Operation,
    kinds: Collection[Kind],
    subject: str = "",
    lineage: RegisteredModel | None = None,
) -> None:
    """Link an operation to the findings that it repairs, by their subject or their lineage."""
    found = standing().filter(kind__in=kinds)
    found = found.filter(registered_model=lineage) if lineage else found.filter(subject=subject)
    update_rows(found, operation=operation)


def findings_of(operation: Operation) -> QuerySet[Finding]:
    """The standing findings that are linked to an operation."""
    return standing().filter(operation=operation)
