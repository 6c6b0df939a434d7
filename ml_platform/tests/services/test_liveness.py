"""Whether workers take the work that is due, as the rows of operations and tasks tell it."""

from __future__ import annotations

import uuid
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from django_tasks_db.models import DBTaskResult

from ml_platform.models import Event, Operation
from ml_platform.models.states import EventKind, OperationStatus
from ml_platform.services.operations.liveness import WAITS, read_liveness, why_waiting
from ml_platform.tests.factories import ProjectFactory

pytestmark = pytest.mark.django_db
NOW = datetime(2026, 2, 8, 12, tzinfo=UTC)
BACKEND = {"default": {"BACKEND": "shop.tasks.Backend"}}


def ago(minutes: float) -> datetime:
    return NOW - timedelta(minutes=minutes)


def operation(status: str = "running", **changes: Any) -> Operation:
    values = {
        "kind": "cleanup", "status": status, "step": "list", "actor_label": "ana",
        "origin": "page", "subject_name": "x", "created_at": ago(180), "started_at": ago(180),
    }  # fmt: skip
    return Operation.objects.create(**{**values, **changes})


def task(**changes: Any) -> DBTaskResult[Any, Any]:
    values = {
        "status": "SUCCESSFUL", "task_path": "shop.tasks.x", "backend_name": "default",
        "args_kwargs": {}, "run_after": ago(200), "exception_class_path": "", "traceback": "",
    }  # fmt: skip
    row: DBTaskResult[Any, Any] = DBTaskResult.objects.create(**{**values, **changes})
    return row


def waiting(*rows: Operation) -> dict[uuid.UUID, str]:
    return dict(why_waiting(rows, clock=lambda: NOW))


def test_what_is_not_due_waits_for_no_worker(django_assert_num_queries: Any):
    ended = operation("succeeded", finished_at=NOW)
    with django_assert_num_queries(0):
        assert waiting(ended) == {}
    rows = [
        ended,
        operation(lease_until=NOW + timedelta(seconds=30)),
        operation(next_attempt_at=NOW + timedelta(seconds=30)),
        operation("pending", lineage_key="1:held"),
    ]
    operation(lineage_key="1:held", lease_until=NOW + timedelta(seconds=30))
    assert waiting(*rows) == {}
    assert read_liveness(now=NOW).due_since is None


@pytest.mark.parametrize(
    "changes",
    [
        {"created_at": ago(12)},
        {"next_attempt_at": ago(12)},
        {"lease_until": ago(12)},
        {"status": "pending", "started_at": None, "created_at": ago(12)},
    ],
)
def test_no_worker_is_told_with_the_time_since_when_it_was_due(changes: dict[str, Any]):
    row = operation(**changes)
    found = read_liveness(now=NOW)
    assert (found.due, found.due_since) == (1, ago(12))
    said = "No worker has taken work for 12 min. Start `manage.py db_worker`."
    assert (found.stalled, found.behind, waiting(row)) == (said, "", {row.pk: said})


def test_an_operation_that_was_just_retried_is_not_called_old():
    row = operation("pending")
    Event.objects.create(kind=EventKind.OPERATION_RETRIED, operation=row, at=ago(1))
    assert read_liveness(now=NOW).due_since == ago(1)
    assert waiting(row) == {}
    assert read_liveness(now=NOW + timedelta(minutes=2)).stalled.startswith("No worker")


def test_a_worker_at_other_work_is_behind_not_missing(settings: Any):
    row = operation(next_attempt_at=ago(12))
    task(started_at=ago(40), finished_at=ago(30), queue_name="default")
    task(started_at=ago(1), queue_name="mails")
    assert read_liveness(now=NOW).taken_at == ago(30)
    assert "for 12 min" in read_liveness(now=NOW).stalled
    task(status="RUNNING", started_at=ago(5), queue_name="default")
    assert "for 5 min" in read_liveness(now=NOW).stalled
    task(started_at=ago(2), finished_at=ago(1), queue_name="default")
    found = read_liveness(now=NOW)
    assert (found.stalled, found.behind[:43]) == ("", "The oldest due operation has waited for 12 ")
    assert waiting(row) == {row.pk: WAITS}


def test_a_lease_that_is_held_shows_a_worker_whatever_the_backend(settings: Any):
    settings.TASKS = BACKEND
    operation(next_attempt_at=ago(12))
    assert read_liveness(now=NOW).stalled.endswith("Start a worker of shop.tasks.Backend.")
    held = operation(lease_until=NOW + timedelta(seconds=20))
    assert read_liveness(now=NOW).taken_at == NOW - timedelta(seconds=40)
    assert read_liveness(now=NOW).stalled == ""
    Operation.objects.filter(pk=held.pk).update(
        lease_until=None, fence=1, status=OperationStatus.SUCCEEDED, finished_at=ago(1)
    )
    assert read_liveness(now=NOW).taken_at == ago(1)


def test_a_clock_that_was_ahead_proves_no_worker():
    operation(lease_until=NOW + timedelta(days=2), project=ProjectFactory.create())
    assert read_liveness(now=NOW).due == 1
    operation(created_at=ago(5), next_attempt_at=NOW + timedelta(days=2))
    assert read_liveness(now=NOW).due == 2
