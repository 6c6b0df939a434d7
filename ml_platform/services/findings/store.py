"""Store findings: seen first, seen again, no longer seen, repaired. None is ever deleted."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping, Sequence
from datetime import datetime, timedelta
from functools import partial
from typing import Any

from django.db.models import CharField, F, JSONField, Q, QuerySet, Value
from django.db.models.functions import Cast, JSONObject

from ml_platform.conf import get_settings
from ml_platform.models import Finding, Operation, RegisteredModel, Sweep
from ml_platform.models.database import atomic
from ml_platform.models.locking import PART, lock_rows, update_rows
from ml_platform.models.states import STANDING_FINDING_STATUSES, EventKind, FindingStatus
from ml_platform.services.events import outbox
from ml_platform.services.findings.kinds import KINDS, FindingKind, Kind
from ml_platform.services.operations.work import event_of

from .discrepancy import Discrepancy
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
    again.filter(_before(sweep), last_seen_at__lte=sweep.started_at).update(
        consecutive_sightings=F("consecutive_sightings") + 1
    )
    again.filter(_before(sweep)).update(last_sweep=sweep)
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
    outbox.record_selected(EventKind.FINDING_OPENED, opened, _opened_columns(sweep))


def _opened_columns(sweep: Sweep) -> dict[str, Any]:
    return {
        "project_id": F("project_id"),
        "subject_type": Value("finding"),
        "subject_id": Cast("pk", CharField()),
        "subject_name": F("title"),
        "lineage_id": F("registered_model_id"),
        "actor_label": Value(sweep.actor_label),
        "origin": Value("sweep"),
        "before": Cast(Value("{}"), JSONField()),
        "after": JSONObject(status=Value(FindingStatus.OPEN.value), kind=F("kind")),
    }


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
        _record(EventKind.FINDING_OPENED, opened, after=FindingStatus.OPEN, by=operation)
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
        update_rows(held.filter(_before(sweep)), last_sweep=sweep)

    write_each(list(subjects), mark_seen)


def close_unseen(*, kinds: Collection[Kind], sweep: Sweep, now: datetime) -> int:
    """Close the findings of these kinds that this sweep, which compared all rows, did not see."""
    unseen = standing().filter(kind__in=kinds, last_seen_at__lte=sweep.started_at)
    return _end(unseen.filter(_before(sweep)), FindingStatus.GONE, now, by=sweep)


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
            _record(EventKind.FINDING_REOPENED, rows, after=FindingStatus.OPEN, by=sweep)
            rows.update(status=FindingStatus.OPEN)
    return len(locked)


def ignored_for() -> timedelta:
    """For how long a finding stays ignored."""
    return timedelta(days=get_settings().IGNORED_FINDING_DAYS)


def ignored_until(finding: Finding) -> datetime | None:
    """When a finding that was ignored is open again, or was opened again."""
    return finding.ignored_at + ignored_for() if finding.ignored_at else None


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


def end_findings(
    *,
    operation: Operation,
    status: FindingStatus,
    now: datetime,
    kinds: Collection[Kind] = KINDS,
) -> None:
    """Close the findings that are linked to an operation."""
    _end(findings_of(operation).filter(kind__in=kinds), status, now, by=operation)


def findings_of(operation: Operation) -> QuerySet[Finding]:
    """The standing findings that are linked to an operation."""
    return standing().filter(operation=operation)


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
            _record(_ENDS[status], rows, after=status, by=by)
            rows.update(status=status, ended_at=now, **fields)
    return len(locked)


def _record(
    kind: EventKind,
    findings: Iterable[Finding],
    *,
    after: FindingStatus,
    by: Sweep | Operation | None,
) -> None:
    """Record one event for each finding, in the caller's transaction, before its row changes."""
    operation = by if isinstance(by, Operation) else None
    actor = {"actor_label": by.actor_label, "origin": "sweep"} if isinstance(by, Sweep) else {}
    opened = kind == EventKind.FINDING_OPENED
    expired = kind == EventKind.FINDING_REOPENED
    outbox.record(
        event_of(
            kind,
            operation,
            before={} if opened else {"status": finding.status},
            after={"status": after, "kind": finding.kind} | (_expiry(finding) if expired else {}),
            project_id=finding.project_id,
            subject_type="finding",
            subject_id=str(finding.pk),
            subject_name=finding.title,
            lineage_id=finding.registered_model_id,
            **actor,
        )
        for finding in findings
    )


def _expiry(finding: Finding) -> dict[str, str]:
    until = ignored_until(finding)
    return {
        "ignored_by": finding.ignored_by,
        "ignored_until": until.isoformat(timespec="seconds") if until else "",
    }
