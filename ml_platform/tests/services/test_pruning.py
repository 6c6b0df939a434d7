"""Pruning: old history goes, evidence and what is still needed stays."""

from __future__ import annotations

from datetime import timedelta
from io import StringIO
from typing import Any

import pytest
from django.core.management import CommandError, call_command
from django_tasks_db.models import DBTaskResult

from ml_platform.models import Event, IdempotentResponse, MirroredModel, Operation, Sweep
from ml_platform.models.clock import database_now
from ml_platform.models.states import EventKind, FindingStatus, OperationKind, OperationStatus
from ml_platform.services.cleanup.history import prune_history
from ml_platform.services.operations.worker import advance_operation
from ml_platform.tests.factories import FindingFactory, UserFactory

pytestmark = [pytest.mark.django_db, pytest.mark.any_database]


def an_operation(days: int, kind: OperationKind = OperationKind.SWEEP, **columns: Any) -> Operation:
    then = database_now() - timedelta(days=days)
    given = {"status": OperationStatus.SUCCEEDED, "finished_at": then, **columns}
    return Operation.objects.create(
        kind=kind, workflow=str(kind), created_at=then, actor_label="ana", origin="page", **given
    )


def a_sweep(days: int, **planes: bool) -> Sweep:
    then = database_now() - timedelta(days=days)
    return Sweep.objects.create(
        status="complete",
        actor_label="ana",
        started_at=then,
        finished_at=then,
        lease_until=then,
        planes={name: {"read": read, "reason": ""} for name, read in planes.items()},
    )


def names(*rows: Any) -> set[Any]:
    return {row.pk for row in rows}


def pks(table: Any) -> set[Any]:
    return set(table.objects.values_list("pk", flat=True))


def test_old_rows_go_and_what_is_needed_stays() -> None:
    an_operation(401), an_operation(401, status=OperationStatus.FAILED)
    kept = [
        an_operation(399),
        an_operation(401, status=OperationStatus.RUNNING, finished_at=None),
        an_operation(401, kind=OperationKind.REPAIR, service_key="a-service"),
        *(
            an_operation(401, kind=kind)
            for kind in (
                OperationKind.SUBMIT,
                OperationKind.REGISTER,
                OperationKind.DEPLOY,
                OperationKind.SCHEDULE,
                OperationKind.APPROVE,
            )
        ),
    ]
    now = database_now()
    old = now - timedelta(days=401)
    Event.objects.create(kind=EventKind.DEPLOYED, at=old)
    unsent = Event.objects.create(kind=EventKind.DEPLOYED, at=old, sent=False)
    new = Event.objects.create(kind=EventKind.DEPLOYED, at=now)
    _, standing = (
        FindingFactory(status=status, last_seen_at=old)
        for status in (FindingStatus.GONE, FindingStatus.OPEN)
    )
    IdempotentResponse.objects.create(user=UserFactory(), key="a", created_at=old)
    assert prune_history(now=now) == {
        "events": 1,
        "findings": 1,
        "operations": 2,
        "sweeps": 0,
        "answers": 1,
    }
    assert pks(Operation) == names(*kept)
    assert pks(Event) == names(unsent, new)
    assert pks(type(standing)) == names(standing)
    assert not pks(IdempotentResponse)


def test_sweeps_that_pages_still_show_stay() -> None:
    a_sweep(95, vertex=False)
    read, shown = a_sweep(94, vertex=True), a_sweep(93, vertex=False)
    MirroredModel.objects.create(model_id="1", seen_sweep=shown, seen_at=shown.started_at)
    a_sweep(92, vertex=False)
    newest = a_sweep(91, vertex=False)
    assert prune_history(now=database_now(), dry_run=True)["sweeps"] == 2
    assert Sweep.objects.count() == 5
    assert prune_history(now=database_now())["sweeps"] == 2
    assert pks(Sweep) == names(read, shown, newest)


def test_the_command_prunes_and_refuses_too_short_a_history() -> None:
    an_operation(150)
    advance_operation.enqueue("6ba7b810-9dad-11d1-80b4-00c04fd430c8")
    old = database_now() - timedelta(days=150)
    DBTaskResult.objects.update(status="SUCCESSFUL", finished_at=old)
    said = StringIO()
    call_command("prune_history", days=120, stdout=said)
    assert "1 operations" in said.getvalue()
    assert "were deleted." in said.getvalue()
    assert not DBTaskResult.objects.exists()
    with pytest.raises(CommandError, match=r"too short\. Charts and numbers show the last 90 days"):
        call_command("prune_history", days=99)
