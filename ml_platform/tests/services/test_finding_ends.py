"""How findings begin and end: what a repair says, when an ignored one is open again, the times."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from django.db import transaction

from ml_platform import kpis
from ml_platform.kpis import Times
from ml_platform.models import Event, Finding, Operation, Sweep
from ml_platform.models.states import EventKind, FindingStatus, OperationKind
from ml_platform.pages.view_models.serialize import drift_figures, finding_row
from ml_platform.services.findings.decisions import ignore_finding
from ml_platform.services.findings.discrepancy import Discrepancy
from ml_platform.services.findings.endings import reopen_expired
from ml_platform.services.findings.kinds import KINDS, FindingKind
from ml_platform.services.findings.store import began, note_finding
from ml_platform.services.operations.work import Work
from ml_platform.services.operations.workflow import Next
from ml_platform.services.repairs.steps import CLOSE, RepairState
from ml_platform.tests.factories import ProjectFactory

from .world import ANA, Clock

NOW = datetime(2026, 2, 8, 12, tzinfo=UTC)
HOUR = timedelta(hours=1)


def a_finding(kind: str = "unmanaged", **changes: Any) -> Finding:
    values = {"subject": "s", "title": "It differs", "repair": "r", "first_seen_at": NOW}
    return Finding.objects.create(kind=kind, last_seen_at=NOW, **{**values, **changes})


# ---- what a repair says --------------------------------------------------------------------------


@pytest.mark.slow
@pytest.mark.django_db
@pytest.mark.any_database
def test_a_repair_says_that_a_finding_is_closed_exactly_when_it_is() -> None:
    for kind in KINDS:
        for status in (FindingStatus.REPAIRED, FindingStatus.GONE):
            operation = Operation.objects.create(
                kind=OperationKind.REPAIR, workflow="check-service", actor_label="ana"
            )
            row = a_finding(kind, subject=f"{kind} {status}", operation=operation)
            work: Work[RepairState] = Work(operation, 0, Clock(NOW), NOW)
            work.state = RepairState(ended_as=status)
            outcome = CLOSE.run(work)
            assert isinstance(outcome, Next)
            assert outcome.change
            with transaction.atomic():
                outcome.change()
            row.refresh_from_db()
            says = "repaired." in outcome.note or "closed." in outcome.note
            assert says is (row.status == status), (kind, status, outcome.note)
            assert ("Still open: It differs." in outcome.note) is (row.status == "open")
            # A finding that ended meanwhile is not claimed.
            assert CLOSE.run(work).note == ("" if says else outcome.note)


# ---- ignored for a while -------------------------------------------------------------------------


@pytest.mark.django_db
@pytest.mark.any_database
def test_an_ignored_finding_is_open_again_after_its_days_and_says_who_ignored_it(
    settings: Any,
) -> None:
    settings.ML_PLATFORM = {**settings.ML_PLATFORM, "IGNORED_FINDING_DAYS": 10}
    sweep = Sweep.objects.create(actor_label="the audit")
    rows = [a_finding(subject=str(n), project=ProjectFactory.create()) for n in range(3)]
    ignore_finding(finding=rows[0], actor=ANA, reason="Known.", now=NOW)
    ignore_finding(finding=rows[1], actor=ANA, reason="Known.", now=NOW + timedelta(days=5))
    ignore_finding(finding=rows[2], actor=ANA, reason="Old.", now=NOW)
    Finding.objects.filter(pk=rows[2].pk).update(ignored_at=None)  # as the release before does
    assert reopen_expired(sweep=sweep, now=NOW + timedelta(days=9)) == 0
    assert reopen_expired(sweep=sweep, now=NOW + timedelta(days=10)) == 1
    first = Finding.objects.get(pk=rows[0].pk)
    assert (first.status, first.ignored_by) == ("open", "ana")
    shown = finding_row(first, NOW + timedelta(days=10))
    assert shown["ignored_word"] == "Was ignored"
    assert shown["ignored"] == "by ana until 18 February 2026: Known."
    event = Event.objects.get(kind=EventKind.FINDING_REOPENED)
    assert (event.actor_label, event.origin) == ("the audit", "sweep")
    assert event.after["ignored_by"] == "ana"
    assert event.after["ignored_until"] == "2026-02-18T12:00:00+00:00"
    assert reopen_expired(sweep=sweep, now=NOW + timedelta(days=19)) == 2


# ---- how long it took ----------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("told", "right_at", "expected"),
    [
        (None, None, (None, False)),
        (None, NOW - HOUR, (NOW - HOUR, False)),
        (NOW - HOUR / 2, NOW - HOUR, (NOW - HOUR / 2, True)),
        (NOW - HOUR * 2, NOW - HOUR, (NOW - HOUR, False)),  # it was right since
        (NOW + HOUR, NOW - HOUR, (NOW - HOUR, False)),  # of a clock that is ahead
        (NOW - HOUR, None, (NOW - HOUR, True)),
    ],
)
def test_it_began_when_google_tells_or_not_before_the_sweep_that_saw_it_right(
    told: Any, right_at: Any, expected: Any
) -> None:
    assert began(told=told, right_at=right_at, seen_at=NOW) == expected


def test_percentiles_are_those_of_the_durations_themselves() -> None:
    assert Times.over([]) == Times(p50=None, p95=None, known=0)
    hundred = Times.over(timedelta(seconds=n) for n in range(100, 0, -1))
    assert (hundred.p50, hundred.p95, hundred.known) == (50.0, 95.0, 100)
    three = Times.over([HOUR * 3, HOUR, HOUR * 2])
    assert (three.p50, three.p95) == (7200.0, 10800.0)


@pytest.mark.django_db
def test_the_times_of_thirty_days_are_of_known_findings_and_say_what_is_unknown() -> None:
    nothing = kpis.drift_times(now=NOW)
    assert (nothing.detect.p50, nothing.repair.p95) == (None, None)
    assert {figure.value for figure in drift_figures(nothing)} == {"unknown"}
    project = ProjectFactory.create()
    a_finding(subject="told", began_at=NOW - HOUR, began_told=True, project=project)
    a_finding(subject="bound", began_at=NOW - HOUR * 3)
    a_finding(subject="unknown")
    old = NOW - timedelta(days=31)
    a_finding(subject="old", began_at=old - HOUR * 9, first_seen_at=old, status="repaired",
              ended_at=NOW)  # fmt: skip
    a_finding(subject="gone", first_seen_at=old, status="gone", ended_at=NOW)
    found = kpis.drift_times(now=NOW)
    assert found.detect == Times(p50=3600.0, p95=10800.0, known=2, unknown=1, at_most=1)
    assert found.repair == Times(p50=31 * 86400.0, p95=31 * 86400.0, known=1)
    assert kpis.drift_times(now=NOW, projects=[project.pk]).detect.known == 1
    assert [figure.value for figure in drift_figures(found)][:2] == ["1 h 00 min", "3 h 00 min"]


@pytest.mark.django_db
def test_a_finding_of_an_operation_began_after_the_last_sweep_that_read_its_plane() -> None:
    read, unread = ({"vertex": {"read": read}} for read in (True, False))
    for hours, planes in ((3, read), (2, unread)):
        Sweep.objects.create(
            status="partial", actor_label="a", planes=planes, started_at=NOW - HOUR * hours
        )
    found = Discrepancy(
        kind=FindingKind.UNMANAGED, subject="x", title="t", repair="r", evidence={}, project_id=None
    )
    with transaction.atomic():
        note_finding(discrepancy=found, now=NOW)
    row = Finding.objects.get()
    assert (row.began_at, row.began_told) == (NOW - HOUR * 3, False)
