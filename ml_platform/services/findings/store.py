"""Store findings: seen first, seen again, no longer seen, repaired. None is ever deleted."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from datetime import datetime
from functools import partial
from typing import Any

from django.db import transaction
from django.db.models import F, Q, QuerySet

from ml_platform.errors import Conflict, Invalid
from ml_platform.models import Finding, Operation, RegisteredModel, Sweep
from ml_platform.models.locking import lock_rows, update_rows
from ml_platform.models.states import STANDING_FINDING_STATUSES, FindingStatus, OperationKind
from ml_platform.services.findings.kinds import FindingKind, facts_of
from ml_platform.services.operations.store import Actor, Subject, record
from ml_platform.services.operations.subjects import lineage_lock
from ml_platform.services.operations.workflow import Workflow

from .discrepancy import Discrepancy
from .exclusions import LeftOut, Reading
from .row_by_row import write_each

ENDED_AS = {
    FindingStatus.REPAIRED: "The finding is repaired.",
    FindingStatus.GONE: "There was nothing left to repair. The finding is closed.",
}
"""The note of the last step of a repair."""


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
    again.filter(_before(sweep), last_seen_at__lte=sweep.started_at).update(
        consecutive_sightings=F("consecutive_sightings") + 1
    )
    again.filter(_before(sweep)).update(last_sweep=sweep)
    again.update(last_seen_at=now)


def _see_first(found: Sequence[Discrepancy], *, sweep: Sweep, now: datetime) -> None:
    known = {_key(finding) for finding in _of(found)}
    new = [_new(discrepancy, sweep, now) for discrepancy in found if _key(discrepancy) not in known]
    Finding.objects.bulk_create(new, ignore_conflicts=True)


def _key(about: Discrepancy | Finding) -> tuple[str, str]:
    """Return what is unique among standing findings."""
    return (about.kind, about.subject)


def _before(sweep: Sweep) -> Q:
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


def _new(discrepancy: Discrepancy, sweep: Sweep | None, now: datetime) -> Finding:
    return Finding(
        kind=discrepancy.kind,
        subject=discrepancy.subject,
        **_columns(discrepancy),
        first_sweep=sweep,
        last_sweep=sweep,
        first_seen_at=now,
        last_seen_at=now,
    )


def note_finding(*, discrepancy: Discrepancy, now: datetime) -> None:
    """Write, in the caller's transaction, a finding that was not made by a sweep."""
    known = _of([discrepancy]).first()
    if known is None:
        Finding.objects.bulk_create([_new(discrepancy, None, now)], ignore_conflicts=True)
    elif _update(known, discrepancy):
        known.save()


def hold_findings(*, subjects: Collection[str], sweep: Sweep) -> None:
    """Keep the findings on these subjects unchanged: this sweep could not compare them."""

    def mark_seen(subjects: Sequence[str]) -> None:
        held = standing().filter(subject__in=subjects)
        update_rows(held.filter(_before(sweep)), last_sweep=sweep)

    write_each(list(subjects), mark_seen)


def close_unseen(*, kinds: Collection[FindingKind], sweep: Sweep, now: datetime) -> int:
    """Close the findings of these kinds that this sweep, which compared all rows, did not see."""
    unseen = standing().filter(kind__in=kinds, last_seen_at__lte=sweep.started_at)
    return update_rows(unseen.filter(_before(sweep)), status=FindingStatus.GONE, ended_at=now)


def end_surplus(*, subject: str, lineage_id: int | None, now: datetime) -> None:
    """Close the lineage's findings of surplus versions in a model that is not its own."""
    found = standing().filter(
        kind=FindingKind.SURPLUS_VERSION, subject=subject, registered_model=lineage_id
    )
    update_rows(found, status=FindingStatus.GONE, ended_at=now)


def link_findings(
    *,
    operation: Operation,
    kinds: Collection[FindingKind],
    subject: str = "",
    lineage: RegisteredModel | None = None,
) -> None:
    """Link an operation to the findings that it repairs, by their subject or their lineage."""
    found = standing().filter(kind__in=kinds)
    found = found.filter(registered_model=lineage) if lineage else found.filter(subject=subject)
    update_rows(found, operation=operation)


def end_findings(
    *,
    operation: Operation,
    status: FindingStatus,
    now: datetime,
    kinds: Collection[FindingKind] = tuple(FindingKind),
) -> None:
    """Close the findings that are linked to an operation."""
    worked_on = standing().filter(operation=operation, kind__in=kinds)
    update_rows(worked_on, status=status, ended_at=now)


def require_open(finding: Finding) -> None:
    """Check that a finding counts, so that it can be ignored.

    :raises Conflict: it is ignored, or has ended.
    """
    _require_status(finding, FindingStatus.OPEN)


def require_ignored(finding: Finding) -> None:
    """Check that a finding is ignored, so that it can be counted again.

    :raises Conflict: it counts, or has ended.
    """
    _require_status(finding, FindingStatus.IGNORED)


def _require_status(finding: Finding, wanted: FindingStatus) -> None:
    if finding.status != wanted:
        state = finding.get_status_display().lower()
        raise Conflict(
            f"This finding is {state}, not {wanted.label.lower()}.",
            code=f"finding_not_{wanted.value}",
            advice="Its status has changed. Reload it.",
        )


IGNORING = Workflow(
    slug="ignore-finding",
    kind=OperationKind.IGNORE,
    title="Ignore the finding {}",
    past="ignored the finding {}",
)
REOPENING = Workflow(
    slug="reopen-finding",
    kind=OperationKind.UNIGNORE,
    title="Reopen the finding {}",
    past="reopened the finding {}",
)


def ignore_finding(*, finding: Finding, actor: Actor, reason: str, now: datetime) -> Operation:
    """Leave an open finding out of the counts, for a reason; sweeps keep it ignored.

    :raises Invalid: no reason was given.
    :raises Conflict: it is not open any more.
    """
    return _decide(
        finding=finding,
        moves=(FindingStatus.OPEN, FindingStatus.IGNORED),
        workflow=IGNORING,
        actor=actor,
        reason=reason,
        now=now,
    )


def reopen_finding(*, finding: Finding, actor: Actor, now: datetime, reason: str = "") -> Operation:
    """Count an ignored finding again.

    :raises Conflict: it is not ignored.
    """
    return _decide(
        finding=finding,
        moves=(FindingStatus.IGNORED, FindingStatus.OPEN),
        workflow=REOPENING,
        actor=actor,
        reason=reason,
        now=now,
    )


def _decide(
    *,
    finding: Finding,
    moves: tuple[FindingStatus, FindingStatus],
    workflow: Workflow,
    actor: Actor,
    reason: str,
    now: datetime,
) -> Operation:
    before, after = moves
    reason = reason.strip()
    ignored = after == FindingStatus.IGNORED
    if ignored and not reason:
        raise Invalid(
            "Ignoring a finding needs a reason.",
            code="reason_missing",
            advice="Give a reason in `reason`.",
        )
    with transaction.atomic():
        # Lock the lineage first, as the cleanup that may delete it does: no deadlock.
        lock_rows(RegisteredModel.objects.filter(pk__in=[finding.registered_model_id]))
        moved = Finding.objects.filter(pk=finding.pk, status=before).update(
            status=after,
            ignored_by=actor.label[:150] if ignored else "",
            ignored_reason=reason if ignored else "",
        )
        finding.refresh_from_db()
        if not moved:
            _require_status(finding, before)
        return record(
            workflow=workflow,
            subject=_subject(finding),
            actor=actor,
            now=now,
            note=f"{facts_of(finding).label}: {finding.title}",
            reason=reason,
        )


def _subject(finding: Finding) -> Subject:
    lineage = finding.registered_model
    return Subject(
        type="finding",
        id=str(finding.pk),
        name=finding.title,
        project_id=finding.project_id,
        lineage=lineage,
        lineage_key=lineage_lock(lineage) if lineage else "",
    )
