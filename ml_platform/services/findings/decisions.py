"""Ignore or reopen a finding, or confirm an alarm: only a user decides this, never a sweep."""

from __future__ import annotations

from datetime import datetime, timedelta

from ml_platform.conf import get_settings
from ml_platform.errors import Conflict, Invalid
from ml_platform.models import Finding, Operation, RegisteredModel
from ml_platform.models.database import atomic
from ml_platform.models.locking import lock_rows
from ml_platform.models.states import EventKind, FindingStatus, OperationKind
from ml_platform.services.operations.history import record
from ml_platform.services.operations.store import Actor, Subject
from ml_platform.services.operations.subjects import lineage_lock
from ml_platform.services.operations.workflow import Workflow

from .kinds import facts_of


def require_status(finding: Finding, wanted: FindingStatus) -> None:
    """Check that a finding is open, so that it can be ignored, or ignored, to be counted again.

    :raises Conflict: it has another status.
    """
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


CONFIRMING = Workflow(
    slug="confirm-plane",
    kind=OperationKind.REPAIR,
    title="Confirm that {}",
    past="confirmed that {}",
)
_EVENTS = {
    FindingStatus.IGNORED: EventKind.FINDING_IGNORED,
    FindingStatus.OPEN: EventKind.FINDING_REOPENED,
    FindingStatus.REPAIRED: EventKind.FINDING_REPAIRED,
}


def require_alarm(finding: Finding) -> None:
    """Check that a finding is an open alarm about a whole plane.

    :raises Conflict: it is something else, or is not open.
    """
    require_status(finding, FindingStatus.OPEN)
    if not facts_of(finding).is_alarm:
        raise Conflict(
            f"{finding.title}: only an alarm about a whole plane is confirmed.",
            code="no_alarm",
            advice=finding.repair,
        )


def confirm_plane(*, finding: Finding, actor: Actor, now: datetime) -> Operation:
    """Say that a plane really lacks what the alarm counts: the next sweep believes that, and no
    more than that.

    :raises Conflict: the alarm is not open any more.
    """
    return _decide(
        finding=finding,
        moves=(FindingStatus.OPEN, FindingStatus.REPAIRED),
        workflow=CONFIRMING,
        actor=actor,
        reason="",
        now=now,
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


def ignored_for() -> timedelta:
    """For how long a finding stays ignored."""
    return timedelta(days=get_settings().IGNORED_FINDING_DAYS)


def ignored_until(finding: Finding) -> datetime | None:
    """When a finding that was ignored is open again, or was opened again."""
    return finding.ignored_at + ignored_for() if finding.ignored_at else None


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
    with atomic():
        # Lock the lineage first, like the cleanup that may delete it, to prevent a deadlock.
        lock_rows(RegisteredModel.objects.filter(pk__in=[finding.registered_model_id]))
        moved = Finding.objects.filter(pk=finding.pk, status=before).update(
            status=after,
            ignored_at=now if ignored else None,
            ignored_by=actor.label if ignored else "",
            ignored_reason=reason if ignored else "",
            ended_at=now if after == FindingStatus.REPAIRED else None,
        )
        finding.refresh_from_db()
        if not moved:
            require_status(finding, before)
        return record(
            workflow=workflow,
            subject=_subject(finding),
            actor=actor,
            now=now,
            note=f"{facts_of(finding).label}: {finding.title}",
            reason=reason,
            event=_EVENTS[after],
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
