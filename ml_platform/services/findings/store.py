"""The findings' rows: seen again, seen first, no longer seen, repaired. None is ever deleted."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Sequence
from datetime import datetime
from functools import partial
from typing import Any

from django.db import transaction
from django.db.models import F, Q, QuerySet

from ml_platform.errors import Conflict, Invalid
from ml_platform.models import Event, Finding, Operation, RegisteredModel, Sweep
from ml_platform.models.locking import PART, lock_rows, update_rows
from ml_platform.models.states import (
    STANDING_FINDING_STATUSES,
    EventKind,
    FindingKind,
    FindingStatus,
    OperationKind,
)
from ml_platform.services.events import outbox
from ml_platform.services.operations.store import Actor, Subject, record
from ml_platform.services.operations.subjects import lineage_lock

from .discrepancy import Discrepancy
from .exclusions import LeftOut
from .row_by_row import write_each

ENDED_AS = {
    FindingStatus.REPAIRED: "The finding is repaired.",
    FindingStatus.GONE: "There was nothing to repair any more; the finding is closed.",
}
"""What a repair says of its finding at its end."""


def standing() -> QuerySet[Finding]:
    """Findings that were not repaired and are still seen, the ignored ones included."""
    return Finding.objects.filter(status__in=STANDING_FINDING_STATUSES)


def keep_findings(*, drifts: Sequence[Discrepancy], sweep: Sweep, now: datetime) -> list[LeftOut]:
    """Write down what a sweep found; returns what could not be written.

    Sweeps that ran side by side are one look: absence must be seen twice, one after the other.
    """
    # In two transactions: one that waits for the insertion of another sweep holds no finding.
    lost = write_each(drifts, partial(_see_again, sweep=sweep, now=now))
    lost += write_each(sorted(drifts, key=_key), partial(_see_first, sweep=sweep, now=now))
    hold_findings(subjects=[drift.subject for drift, _ in lost], sweep=sweep)
    return [LeftOut(drift.title, why, drift.project_id) for drift, why in lost]


def looks_at(drifts: Sequence[Discrepancy]) -> dict[str, int]:
    """For each subject how many sweeps in a row saw it."""
    return {finding.subject: finding.consecutive_sightings for finding in _of(drifts)}


def _see_again(drifts: Sequence[Discrepancy], *, sweep: Sweep, now: datetime) -> None:
    lock_rows(_of(drifts))
    known = {_key(finding): finding for finding in _of(drifts)}
    changed = [
        finding
        for drift in drifts
        if (finding := known.get(_key(drift))) and _update(finding, drift)
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


def _see_first(drifts: Sequence[Discrepancy], *, sweep: Sweep, now: datetime) -> None:
    known = {_key(finding) for finding in _of(drifts)}
    new = [_new(drift, sweep, now) for drift in drifts if _key(drift) not in known]
    Finding.objects.bulk_create(new, ignore_conflicts=True)
    # Read again: a sweep beside this one may have inserted some of them first.
    mine = _of(drifts).filter(first_sweep=sweep) if new else Finding.objects.none()
    opened = [finding for finding in mine if _key(finding) not in known]
    _record(EventKind.FINDING_OPENED, opened, after=FindingStatus.OPEN, by=_sweep_columns(sweep))


def _key(about: Discrepancy | Finding) -> tuple[str, str]:
    """What there is once among those that stand."""
    return (about.kind, about.subject)


def _before(sweep: Sweep) -> Q:
    return Q(last_sweep__lt=sweep.pk) | Q(last_sweep__isnull=True)


def _of(drifts: Sequence[Discrepancy]) -> QuerySet[Finding]:
    return standing().filter(
        kind__in={drift.kind for drift in drifts}, subject__in=[d.subject for d in drifts]
    )


def _columns(drift: Discrepancy) -> dict[str, Any]:
    return {
        "title": drift.title,
        "evidence": dict(drift.evidence),
        "repair": drift.repair,
        "project_id": drift.project_id,
        "registered_model_id": drift.lineage_id,
        "run_id": drift.run_id,
    }


def _update(finding: Finding, drift: Discrepancy) -> bool:
    """Bring a finding's words up to date; whether any changed."""
    wanted = _columns(drift)
    differs = any(getattr(finding, name) != value for name, value in wanted.items())
    for name, value in wanted.items():
        setattr(finding, name, value)
    return differs


def _new(drift: Discrepancy, sweep: Sweep | None, now: datetime) -> Finding:
    return Finding(
        kind=drift.kind,
        subject=drift.subject,
        **_columns(drift),
        first_sweep=sweep,
        last_sweep=sweep,
        first_seen_at=now,
        last_seen_at=now,
    )


def note_finding(*, drift: Discrepancy, now: datetime, operation: Operation | None = None) -> None:
    """Record, in the caller's transaction, what an operation found rather than a sweep."""
    known = _of([drift]).first()
    if known is None:
        Finding.objects.bulk_create([_new(drift, None, now)], ignore_conflicts=True)
        opened = _of([drift]).filter(first_sweep=None, first_seen_at=now)
        by = _operation_columns(operation)
        _record(EventKind.FINDING_OPENED, opened, after=FindingStatus.OPEN, by=by)
    elif _update(known, drift):
        known.save()


def hold_findings(*, subjects: Collection[str], sweep: Sweep) -> None:
    """Leave the findings on these subjects as they are: this sweep could not judge them."""

    def renew_lease(subjects: Sequence[str]) -> None:
        held = standing().filter(subject__in=subjects)
        update_rows(held.filter(_before(sweep)), last_sweep=sweep)

    write_each(list(subjects), renew_lease)


def close_unseen(*, kinds: Collection[FindingKind], sweep: Sweep, now: datetime) -> int:
    """End the findings of these kinds that this sweep, which judged them all, did not see."""
    unseen = standing().filter(kind__in=kinds, last_seen_at__lte=sweep.started_at)
    return _end(unseen.filter(_before(sweep)), FindingStatus.GONE, now, by=_sweep_columns(sweep))


def end_surplus(*, subject: str, lineage_id: int | None, sweep: Sweep, now: datetime) -> None:
    """End what was taken for surplus of a lineage in a model that is not the lineage's own."""
    found = standing().filter(
        kind=FindingKind.SURPLUS_VERSION, subject=subject, registered_model=lineage_id
    )
    _end(found, FindingStatus.GONE, now, by=_sweep_columns(sweep))


def end_orphans(
    *, lineages: QuerySet[RegisteredModel], operation: Operation, now: datetime
) -> None:
    """End the findings that these lineages are orphans: the caller's transaction deletes them."""
    found = standing().filter(kind=FindingKind.ORPHAN, registered_model__in=lineages)
    by = _operation_columns(operation)
    _end(found, FindingStatus.REPAIRED, now, by=by, operation=operation)


def link_findings(
    *,
    operation: Operation,
    kinds: Collection[FindingKind],
    subject: str = "",
    lineage: RegisteredModel | None = None,
) -> None:
    """Say on the findings, by their subject or by the lineage, which operation works on them."""
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
    """End the findings that an operation worked on."""
    worked_on = standing().filter(operation=operation, kind__in=kinds)
    _end(worked_on, status, now, by=_operation_columns(operation))


_ENDS = {
    FindingStatus.REPAIRED: EventKind.FINDING_REPAIRED,
    FindingStatus.GONE: EventKind.FINDING_CLOSED,
}


def _end(
    found: QuerySet[Finding],
    status: FindingStatus,
    now: datetime,
    *,
    by: dict[str, Any],
    **fields: Any,
) -> int:
    """End the findings and record it, in one transaction; returns how many there were."""
    with transaction.atomic():
        locked = lock_rows(found)
        for start in range(0, len(locked), PART):
            rows = Finding.objects.filter(pk__in=locked[start : start + PART])
            _record(_ENDS[status], rows, after=status, by=by)
            rows.update(status=status, ended_at=now, **fields)
    return len(locked)


def _record(
    kind: EventKind, findings: Iterable[Finding], *, after: FindingStatus, by: dict[str, Any]
) -> None:
    """Record one event for each finding, in the caller's transaction, before its row changes."""
    opened = kind == EventKind.FINDING_OPENED
    outbox.record(
        Event(
            kind=kind,
            project_id=finding.project_id,
            subject_type="finding",
            subject_id=str(finding.pk),
            subject_name=finding.title,
            lineage_id=finding.registered_model_id,
            before={} if opened else {"status": finding.status},
            after={"status": after, "kind": finding.kind},
            **by,
        )
        for finding in findings
    )


def _sweep_columns(sweep: Sweep) -> dict[str, Any]:
    return {"actor_label": sweep.actor_label, "origin": "sweep"}


def _operation_columns(operation: Operation | None) -> dict[str, Any]:
    if operation is None:
        return {}
    columns = ("actor_id", "actor_label", "origin")
    return {"operation": operation, **{name: getattr(operation, name) for name in columns}}


def ignore_finding(*, finding: Finding, actor: Actor, reason: str, now: datetime) -> Operation:
    """Leave an open finding out of the counts, saying who chose to and why; sweeps keep it so.

    :raises Invalid: no reason was given.
    :raises Conflict: it is not open any more.
    """
    return _decide(
        finding=finding,
        moves=(FindingStatus.OPEN, FindingStatus.IGNORED),
        kind=OperationKind.IGNORE,
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
        kind=OperationKind.UNIGNORE,
        actor=actor,
        reason=reason,
        now=now,
    )


def _decide(
    *,
    finding: Finding,
    moves: tuple[FindingStatus, FindingStatus],
    kind: OperationKind,
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
            advice="Say why as `reason`.",
        )
    with transaction.atomic():
        # What its record refers to is locked first: a cleanup that deletes it comes from there.
        lock_rows(RegisteredModel.objects.filter(pk__in=[finding.registered_model_id]))
        moved = Finding.objects.filter(pk=finding.pk, status=before).update(
            status=after,
            ignored_by=actor.label[:150] if ignored else "",
            ignored_reason=reason if ignored else "",
        )
        finding.refresh_from_db()
        if not moved:
            state = finding.get_status_display().lower()
            raise Conflict(
                f"This finding is {state}, not {before.label.lower()}.",
                code=f"finding_not_{before.value}",
                advice="Somebody was faster; look at it again.",
            )
        return record(
            kind=kind,
            subject=_subject(finding),
            actor=actor,
            now=now,
            note=f"{finding.get_kind_display()}: {finding.title}",
            reason=reason,
            event=EventKind.FINDING_IGNORED if ignored else EventKind.FINDING_REOPENED,
            before={"status": before},
            after={"status": after, "kind": finding.kind},
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
