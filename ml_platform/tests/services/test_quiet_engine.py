"""What waits for a held model is left alone: no claim fails on a constraint, and no pass is lost.

Before, a soak left 1,700 "duplicate key" errors in PostgreSQL's log in seven minutes.
"""

from __future__ import annotations

import uuid
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from datetime import datetime, timedelta
from threading import Barrier
from typing import Any

import pytest
from django.core.management import CommandError, call_command
from django.db import IntegrityError, connection, transaction

from ml_platform.models import Operation
from ml_platform.models.clock import database_now
from ml_platform.models.states import OperationKind, OperationStatus
from ml_platform.services.operations import worker
from ml_platform.services.operations import workflow as workflow_module
from ml_platform.services.operations.engine import PATIENCE, advance
from ml_platform.services.operations.store import Busy, Subject, claim, due, open_operation
from ml_platform.services.operations.work import Work
from ml_platform.services.operations.workflow import Next, Outcome, Poll, Step, Workflow
from ml_platform.tests.connections import end_connection

from .world import ANA, Clock

pytestmark = pytest.mark.django_db(transaction=True)
LOCKS = ["lineage_key", "service_key"]


def flow(run: Callable[[Work[Any]], Outcome]) -> Workflow:
    return Workflow(
        slug="test", kind=OperationKind.DEPLOY, title="Test {}", past="tested {}",
        steps=(Step(name="work", title="Work", run=run),),
    )  # fmt: skip


def opened(now: datetime, *, queue: bool = True, **locks: Any) -> Operation:
    operation, _ = open_operation(
        workflow=flow(lambda work: Next()),
        subject=Subject(type="x", id="1", name="x", **locks),
        actor=ANA,
        now=now,
        queue=queue,
    )
    return operation


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture(autouse=True)
def programs(monkeypatch: pytest.MonkeyPatch) -> list[Outcome | BaseException]:
    """What the steps answer, in their order; `Next` when nothing is left."""
    answers: list[Outcome | BaseException] = []

    def run(work: Work[Any]) -> Outcome:
        answer = answers.pop(0) if answers else Next()
        if isinstance(answer, BaseException):
            raise answer
        return answer

    monkeypatch.setattr(workflow_module, "workflows", lambda: {"test": flow(run)})
    return answers


@contextmanager
def statements() -> Iterator[list[tuple[str, bool]]]:
    """This connection's statements, each with whether a constraint refused it."""
    seen: list[tuple[str, bool]] = []

    def watch(execute: Callable[..., Any], sql: str, *given: Any) -> Any:
        try:
            answer = execute(sql, *given)
        except IntegrityError:
            seen.append((sql, True))
            raise
        seen.append((sql, False))
        return answer

    with connection.execute_wrapper(watch):
        yield seen


@pytest.mark.slow
@pytest.mark.parametrize("lock", LOCKS)
def test_a_pass_does_not_touch_what_waits_for_a_held_lock(
    clock: Clock, programs: list[Outcome | BaseException], lock: str
) -> None:
    locks: dict[str, Any] = {lock: "held"}
    holder = opened(clock(), queue=False, **locks)
    clock.forward(1)
    waiting = [opened(clock() + timedelta(seconds=n), **locks) for n in range(30)]
    opened(clock())  # without a lock
    programs[:] = [Poll(seconds=299)]
    moved = worker.resume_operations(clock=clock)
    assert [one.status for one in moved] == ["running", "succeeded"]
    for _ in range(4):
        clock.forward(60)
        with statements() as seen:
            assert worker.resume_operations(clock=clock) == []
        assert [refused for _, refused in seen] == [False]  # the search, and nothing else
    clock.forward(60)
    moved = worker.resume_operations(clock=clock)
    assert [one.pk for one in moved] == [holder.pk, *(one.pk for one in waiting)]
    assert {one.status for one in moved} == {OperationStatus.SUCCEEDED}


def test_the_end_of_a_holder_wakes_the_oldest_that_can_run(
    clock: Clock, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The oldest needs the service too, which another one holds."""
    holder = opened(clock(), queue=False, lineage_key="held")
    opened(clock(), queue=False, service_key="other")
    opened(clock(), lineage_key="held", service_key="other")
    clock.forward(1)
    free = opened(clock(), lineage_key="held")
    woken: list[Operation] = []
    monkeypatch.setattr(worker, "enqueue", woken.append)
    worker.run_until_idle(operation_id=holder.pk, clock=clock)
    assert woken == [free]


@pytest.mark.parametrize("lock", LOCKS)
def test_a_request_for_what_is_held_is_refused_without_an_error_of_the_database(
    clock: Clock, lock: str
) -> None:
    locks: dict[str, Any] = {lock: "held"}
    opened(clock(), queue=False, **locks)
    with statements() as seen:
        with pytest.raises(Busy):
            opened(clock(), queue=False, **locks)
        opened(clock(), **locks)
    assert [words for words, refused in seen if refused] == []


def test_a_request_that_is_repeated_finds_its_operation_without_an_error_of_the_database(
    clock: Clock,
) -> None:
    def ask() -> tuple[Operation, bool]:
        return open_operation(
            workflow=flow(lambda work: Next()),
            subject=Subject(type="x", id="1", name="x"),
            actor=ANA,
            now=clock(),
            idempotency_key="once",
        )

    with statements() as seen:
        first, again = ask(), ask()
    assert (first[1], again) == (True, (first[0], False))
    assert [words for words, refused in seen if refused] == []


@pytest.mark.slow
@pytest.mark.parametrize("lock", LOCKS)
def test_claims_at_once_do_not_meet_the_constraint(lock: str) -> None:
    """Real threads: one of them gets the lock, and no statement of the others is refused."""
    for turn in range(8):
        locks: dict[str, Any] = {lock: f"held-{turn}"}
        waiting = [opened(database_now(), **locks) for _ in range(4)]
        together = Barrier(len(waiting), timeout=60)  # one that cannot connect is told

        def take(operation: Operation) -> tuple[int, int]:
            try:
                database_now()
                with statements() as seen:
                    together.wait()  # noqa: B023 - the threads end within the turn
                    got = claim(operation_id=operation.pk, clock=database_now)
                return int(got is not None), sum(refused for _, refused in seen)
            finally:
                connection.close()

        with ThreadPoolExecutor(len(waiting)) as pool:
            got = list(pool.map(take, waiting))
        assert [sum(column) for column in zip(*got, strict=True)] == [1, 0]


def test_what_is_due_is_found_by_indexes() -> None:
    first = opened(database_now(), lineage_key="held", service_key="held")
    values = {f.attname: getattr(first, f.attname) for f in Operation._meta.concrete_fields}
    Operation.objects.bulk_create(
        Operation(**values | {"id": uuid.uuid4(), "lineage_key": key, "service_key": key})
        for key in map(str, range(500))
    )
    with connection.cursor() as cursor:
        cursor.execute("ANALYZE ml_platform_operation")  # the planner knows how many rows there are
        plan = due(database_now()).explain()
    for name in ("mlp_operation_one_per_lineage", "mlp_operation_one_per_service"):
        assert name in plan or connection.vendor == "sqlite", plan
    assert "SCAN U0" not in plan, plan


# ---- a connection that has ended -----------------------------------------------------------------


@pytest.mark.slow
def test_a_transaction_that_lost_its_connection_ends_the_pass_with_one_sentence(
    clock: Clock, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """A host may call the pass inside a transaction, in which no other connection can be opened."""
    tried: list[Any] = []

    def dies(work: Work[Any]) -> Outcome:
        tried.append(work.operation.pk)
        try:
            end_connection()
            database_now()
        finally:
            connection.set_rollback(
                True
            )  # as after a savepoint that the connection did not survive
        return Next()

    with monkeypatch.context() as dying:
        dying.setattr(workflow_module, "workflows", lambda: {"test": flow(dies)})
        operations = [opened(database_now(), lineage_key=str(n)) for n in range(61)]
        with (
            pytest.raises(CommandError, match="The database failed: the connection ended") as told,
            transaction.atomic(),
        ):
            call_command("resume_operations")
    connection.close()
    assert (len(tried), told.value.returncode) == (1, 1)
    warnings = [r for r in caplog.records if r.name == "ml_platform.operations"]
    assert [(r.levelname, r.exc_info) for r in warnings] == [("WARNING", None)]
    clock.now = database_now()
    assert len(worker.resume_operations(clock=clock)) == len(operations)


# ---- a clock that was ahead ----------------------------------------------------------------------


@pytest.mark.parametrize("column", ["lease_until", "next_attempt_at"])
def test_a_time_that_a_clock_ahead_wrote_holds_nothing_back(clock: Clock, column: str) -> None:
    operation = opened(clock())
    for ahead, due_now in ((timedelta(minutes=59), False), (timedelta(days=400), True)):
        Operation.objects.filter(pk=operation.pk).update(**{column: clock() + ahead})
        assert due(clock()).exists() is due_now
    assert [one.status for one in worker.resume_operations(clock=clock)] == ["succeeded"]


@pytest.mark.slow
def test_what_a_clock_ahead_began_runs_out_of_patience_like_any_other(
    clock: Clock, programs: list[Outcome | BaseException]
) -> None:
    operation = opened(clock())
    ahead = clock() + timedelta(days=400)
    entry = {"step": "work", "title": "Work", "started_at": ahead.isoformat(), "status": "waiting"}
    Operation.objects.filter(pk=operation.pk).update(
        started_at=ahead, created_at=ahead, steps=[entry]
    )
    programs[:] = [Poll(seconds=1200)] * 300
    until = clock() + PATIENCE
    while worker.resume_operations(clock=clock)[0].status == OperationStatus.RUNNING:
        assert clock() <= until + timedelta(minutes=20)
        clock.forward(1200)
    operation.refresh_from_db()
    assert (operation.status, operation.error_code) == ("failed", "wait_ended")


def test_nothing_is_advanced_while_its_lock_is_held(clock: Clock) -> None:
    """By a task that names it, too."""
    opened(clock(), queue=False, lineage_key="held")
    waits = opened(clock(), lineage_key="held")
    with statements() as seen:
        assert advance(operation_id=waits.pk, workflows={}, clock=clock) is None
    assert not any(refused or sql.startswith("UPDATE") for sql, refused in seen)
