"""A database failure is treated as the death of the worker, wherever it comes."""

from __future__ import annotations

import logging
import sqlite3
import uuid
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta
from io import StringIO
from typing import Any

import pytest
from django.core.management import CommandError, call_command
from django.db import InterfaceError, OperationalError, connection
from django.db.backends.base.base import BaseDatabaseWrapper
from django.db.models.query import ModelIterable
from django_tasks_db.management.commands.db_worker import Worker
from django_tasks_db.models import DBTaskResult

from ml_platform.cloud.transport import channels
from ml_platform.errors import Invalid, storable
from ml_platform.models import Operation
from ml_platform.models.clock import database_now
from ml_platform.models.states import OperationKind, OperationStatus
from ml_platform.services.cleanup import orphans
from ml_platform.services.metrics import service_metrics
from ml_platform.services.operations import worker
from ml_platform.services.operations import workflow as workflow_module
from ml_platform.services.operations.engine import PATIENCE, advance
from ml_platform.services.operations.retry_cancel import retry_operation
from ml_platform.services.operations.state import State
from ml_platform.services.operations.store import Actor, Subject, open_operation
from ml_platform.services.operations.work import Work
from ml_platform.services.operations.workflow import Next, Outcome, Step, Workflow
from ml_platform.tests.connections import end_connection

pytestmark = pytest.mark.django_db(transaction=True)
ANA = Actor(label="ana", origin="command")
START = datetime(2026, 2, 8, 12, tzinfo=UTC)
EFFECT = "ModelService.UploadModel"


def nothing() -> None:
    """No trouble."""


def ended() -> None:
    """The server ends our connection, as when it is restarted."""
    end_connection()
    ask("SELECT 1")


def closed() -> None:
    """Our end was closed."""
    connection.connection.close()
    ask("SELECT 1")


def ask(sql: str) -> None:
    with connection.cursor() as cursor:
        cursor.execute(sql)


def refused(code: str) -> Callable[[], None]:
    return lambda: ask(f"DO $$ BEGIN RAISE EXCEPTION 'refused' USING ERRCODE = '{code}'; END $$")


def raising(error: Exception) -> Callable[[], None]:
    def trouble() -> None:
        raise error

    return trouble


def slow() -> None:
    ask("SET statement_timeout = 10")
    ask("SELECT pg_sleep(5)")


TROUBLES: dict[str, dict[str, Callable[[], None]]] = {
    "postgresql": {
        "the connection was ended": ended,
        "the connection is closed": closed,
        "connection already closed": raising(InterfaceError("connection already closed")),
        "statement timeout": slow,
        "lock timeout": refused("55P03"),
        "deadlock detected": refused("40P01"),
        "serialization failure": refused("40001"),
        "too many connections": refused("53300"),
        "idle in a transaction for too long": refused("25P03"),
        "read-only after a failover": refused("25006"),
    },
    "sqlite": {
        "database is locked": ended,
        "connection already closed": raising(InterfaceError("connection already closed")),
        "disk I/O error": raising(OperationalError("disk I/O error")),
    },
}
TROUBLE = TROUBLES[connection.vendor]


@dataclass
class StoppedClock:
    """Time that stands still; the first asking meets `trouble`."""

    now: datetime = START
    trouble: Callable[[], None] = nothing

    def __call__(self) -> datetime:
        trouble, self.trouble = self.trouble, nothing
        trouble()
        return self.now

    def forward(self, seconds: float) -> None:
        self.now += timedelta(seconds=seconds)


@dataclass
class Play:
    """A recipe of `look` and `act`; a trouble is met once in the place named."""

    place: str = ""
    trouble: Callable[[], None] = nothing
    act: Exception | None = None
    data: dict[str, Any] = field(default_factory=dict)
    note: str = ""
    played: list[str] = field(default_factory=list)

    def meet(self, place: str) -> None:
        if place == self.place:
            self.place = ""
            self.trouble()

    def workflows(self) -> dict[str, Workflow]:
        workflow = Workflow(
            slug="test",
            kind=OperationKind.REPAIR,
            title="Mend {}",
            past="mended {}",
            steps=(
                Step(name="look", title="Look", run=self._look, cancellable=True),
                Step(name="act", title="Act", run=self._act, probe="look"),
            ),
            on_failure=self._failed,
            on_cancel=lambda work: self.meet("on_cancel"),
        )
        return {workflow.slug: workflow}

    def _look(self, work: Work[Any]) -> Outcome:
        self.played.append("look")
        return Next()

    def _act(self, work: Work[Any]) -> Outcome:
        self.played.append("act")
        self.meet("step")
        if self.place == "guard":
            assert isinstance(work.clock, StoppedClock)
            work.clock.trouble = lambda: self.meet("guard")
        channels.call(EFFECT, nothing)
        work.state = replace(work.state, other={**work.state.other, **self.data})
        if self.act:
            raise self.act
        return Next(note=self.note, change=lambda: self.meet("commit"))

    def _failed(self, work: Work[Any], error: Exception) -> None:
        Operation.objects.filter(pk=work.operation.pk).update(reason=str(error))
        self.meet("on_failure")


@pytest.fixture
def clock() -> StoppedClock:
    return StoppedClock()


@pytest.fixture(autouse=True)
def whole_connection() -> Iterator[None]:
    """What a test did to its connection ends with it."""
    yield
    connection.close()


def opened(clock: StoppedClock, number: int = 1, **more: Any) -> Operation:
    subject = Subject(type="model", id=str(number), name="chern", lineage_key=f"1:{number}")
    given = {"workflow": Play().workflows()["test"], **more}
    return open_operation(subject=subject, actor=ANA, now=clock.now, **given)[0]


def advanced(operation: Operation, play: Play, clock: StoppedClock) -> Operation | None:
    found = advance(operation_id=operation.pk, workflows=play.workflows(), clock=clock)
    operation.refresh_from_db()
    return found


@pytest.mark.parametrize("name", TROUBLE)
@pytest.mark.parametrize("place", ["claim", "step", "guard", "commit", "on_failure", "on_cancel"])
def test_a_database_failure_is_treated_as_a_death_wherever_it_comes(
    clock: StoppedClock, caplog: pytest.LogCaptureFixture, place: str, name: str
) -> None:
    play = Play(place=place, trouble=TROUBLE[name])
    operation = opened(clock)
    if place == "claim":
        clock.trouble = play.trouble
    if place == "on_failure":
        play.act = Invalid("no")
    if place == "on_cancel":
        Operation.objects.filter(pk=operation.pk).update(cancel_requested=True)
    assert advanced(operation, play, clock) is None
    assert (operation.status, operation.error, operation.finished_at) == ("running", "", None)
    assert operation.reason == ""
    assert [step["status"] for step in operation.steps] == ["done"] * len(operation.steps)
    assert (operation.lease_until is None) == (place == "claim")
    [told] = [record for record in caplog.records if record.name == "ml_platform.operations"]
    assert str(operation.pk) in told.getMessage()
    assert (told.levelno, told.exc_info) == (logging.WARNING, None)
    _goes_on_as_after_a_death(operation, play, clock, place)


def _goes_on_as_after_a_death(
    operation: Operation, play: Play, clock: StoppedClock, place: str
) -> None:
    if place != "claim":
        assert advanced(operation, play, clock) is None  # until the lease is over
    clock.forward(61)
    assert advanced(operation, play, clock) == operation
    ends = {"on_failure": "failed", "on_cancel": "cancelled"}
    assert operation.status == ends.get(place, "succeeded")
    once, again = ["look", "act"], ["look", "act"]
    played = {"claim": once, "on_cancel": []}
    assert play.played == played.get(place, once + again)


def test_a_database_failure_is_no_defect_but_a_defect_is_one(clock: StoppedClock) -> None:
    for place in ("step", "commit", "on_cancel"):
        operation = opened(clock)
        play = Play(place=place, trouble=raising(TypeError("oops")))
        if place == "on_cancel":
            Operation.objects.filter(pk=operation.pk).update(cancel_requested=True)
        with pytest.raises(TypeError):
            advanced(operation, play, clock)
        operation.refresh_from_db()
        assert (operation.status, operation.error_code) == ("failed", "internal_error"), place


def test_what_fails_for_longer_than_an_operation_may_take_ends(clock: StoppedClock) -> None:
    operation = opened(clock)
    play = Play(place="step", trouble=ended)
    clock.forward(PATIENCE.total_seconds() + 1)
    assert advanced(operation, play, clock) is None  # the first time, and so it may pass
    clock.forward(61)
    play.place = "step"
    assert advanced(operation, play, clock) == operation
    assert (operation.status, operation.error_code) == ("failed", "database_failed")
    retry_operation(operation=operation, actor=ANA)
    advanced(operation, play, clock)
    assert operation.status == OperationStatus.SUCCEEDED


# ---- workers live on -----------------------------------------------------------------------------


def test_a_pass_goes_on_with_the_next_operation(
    clock: StoppedClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    play = Play(place="step", trouble=ended)
    monkeypatch.setattr(workflow_module, "workflows", play.workflows)
    first = opened(clock)
    clock.forward(1)
    second = opened(clock, 2)
    assert worker.resume_operations(clock=clock) == [second]
    clock.forward(61)
    assert worker.resume_operations(clock=clock) == [first]


@contextmanager
def database_away() -> Iterator[None]:
    """No new connection comes about."""
    with pytest.MonkeyPatch.context() as patched:
        refusal = raising(OperationalError("the database system is starting up"))
        patched.setattr(BaseDatabaseWrapper, "connect", lambda self: refusal())
        yield


def test_rows_read_one_by_one_fail_as_django_says_when_the_driver_itself_raises(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """As psycopg does when a server-side cursor is closed after the connection ended."""
    driver: Any = connection
    failure = raising(driver.Database.OperationalError("the server closed the connection"))
    monkeypatch.setattr(ModelIterable, "__iter__", lambda self: failure())
    with pytest.raises(OperationalError, match="the server closed"):
        list(Operation.objects.iterator())


def test_a_pass_ends_with_one_sentence_when_the_database_stays_away(
    clock: StoppedClock, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    play = Play(place="step", trouble=ended)
    monkeypatch.setattr(workflow_module, "workflows", play.workflows)
    clock.now = database_now()
    for number in range(4):
        opened(clock, number)
    with (
        database_away(),
        pytest.raises(CommandError, match=r"The database failed: .* starting up"),
    ):
        call_command("resume_operations")
    assert len([r for r in caplog.records if r.name == "ml_platform.operations"]) == 1
    assert play.played == ["look", "act"]
    clock.forward(61)
    assert len(worker.resume_operations(clock=clock)) == 4


def test_a_defect_met_before_the_database_went_away_is_told_with_it(
    clock: StoppedClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    play = Play(place="step", trouble=raising(TypeError("oops")))
    monkeypatch.setattr(workflow_module, "workflows", play.workflows)
    for number in range(3):
        opened(clock, number)
        clock.forward(1)
    ended_once: list[uuid.UUID] = []
    original = worker.run_until_idle

    def then_ended(**given: Any) -> Operation | None:
        if ended_once:
            play.place, play.trouble = "step", ended
        ended_once.append(given["operation_id"])
        return original(**given)

    monkeypatch.setattr(worker, "run_until_idle", then_ended)
    with database_away(), pytest.raises(ExceptionGroup) as caught:
        worker.resume_operations(clock=clock)
    assert [type(error) for error in caught.value.exceptions] == [TypeError, OperationalError]
    assert len(ended_once) == 2


def test_the_command_tells_what_went_on(
    clock: StoppedClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(workflow_module, "workflows", Play(place="step", trouble=ended).workflows)
    clock.now = database_now()
    opened(clock)
    out = StringIO()
    call_command("resume_operations", stdout=out)
    assert out.getvalue() == "0 continued, 0 of them failed.\n"


def test_a_task_worker_lives_on(clock: StoppedClock, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(workflow_module, "workflows", Play(place="step", trouble=ended).workflows)
    clock.now = database_now()
    operations = [opened(clock), opened(clock, 2)]
    for operation in operations:
        worker.enqueue(operation)
    Worker(
        queue_names=["default"],
        interval=0,
        batch=True,
        backend_name="default",
        startup_delay=False,
        max_tasks=None,
        worker_id="w",
        excluded_queue_names=[],
    ).run()
    assert set(DBTaskResult.objects.values_list("status", flat=True)) == {"SUCCESSFUL"}
    for operation in operations:
        operation.refresh_from_db()
    assert [operation.status for operation in operations] == ["running", "succeeded"]
    resumed = worker.resume_operations(clock=lambda: database_now() + timedelta(seconds=61))
    assert resumed == operations[:1]


def test_an_operation_that_ended_has_ended_though_its_bell_did_not_ring(
    clock: StoppedClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(workflow_module, "workflows", Play().workflows)
    monkeypatch.setattr(worker, "_enqueue", lambda *_: ended())
    operation, waiting = opened(clock), opened(clock, queue=True)
    assert worker.run_until_idle(operation_id=operation.pk, clock=clock) == operation
    operation.refresh_from_db()
    assert operation.status == OperationStatus.SUCCEEDED
    assert worker.resume_operations(clock=clock) == [waiting]


def test_a_job_that_meets_a_database_failure_says_that_it_goes_on(
    clock: StoppedClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    for job, verb, module in (
        ("_next_batch", orphans.clean_up_orphans, orphans),
        ("_collect_next", service_metrics.collect_metrics, service_metrics),
    ):
        with monkeypatch.context() as patched:
            patched.setattr(module, job, lambda *_, **__: ended())
            found: Any = verb(actor=ANA, clock=clock)
        assert found.operation.status == OperationStatus.RUNNING
        assert found.operation.error == ""


@pytest.mark.sqlite_only
def test_a_database_that_another_process_holds_is_asked_again_later(clock: StoppedClock) -> None:
    operation = opened(clock)
    other = sqlite3.connect(connection.settings_dict["NAME"])
    other.execute("BEGIN IMMEDIATE")
    ask("PRAGMA busy_timeout = 0")
    assert advanced(operation, Play(), clock) is None
    other.close()
    assert advanced(operation, Play(), clock) == operation
    assert operation.status == OperationStatus.SUCCEEDED


# ---- a failure can always be recorded ------------------------------------------------------------

TEXTS = {
    "nul": ("a\x00b", "a\ufffdb"),
    "lone surrogate": ("a\ud83db", "a\ufffdb"),
    "long": ("x" * 1_000_000, "x" * 9_999 + "…"),
}


def test_only_what_no_database_can_store_is_replaced() -> None:
    assert storable("a\U0001f600\tb\n\x00\ud800\udfff") == "a\U0001f600\tb\n\ufffd\ufffd\ufffd"


@pytest.mark.parametrize("name", TEXTS)
def test_a_failure_is_recorded_whatever_its_text(clock: StoppedClock, name: str) -> None:
    text, stored = TEXTS[name]
    operation = opened(clock)
    advanced(operation, Play(act=Invalid(text, code=text, advice=text)), clock)
    assert operation.status == OperationStatus.FAILED
    assert (operation.error, operation.advice, operation.reason) == (stored, stored, stored)
    assert operation.error_code == text.replace(text[1], stored[1])[:64]
    assert operation.steps[-1]["note"] == stored


@pytest.mark.parametrize("name", TEXTS)
def test_a_defect_is_recorded_whatever_its_text(clock: StoppedClock, name: str) -> None:
    operation = opened(clock)
    with pytest.raises(ValueError, match=TEXTS[name][0][:1]):
        advanced(operation, Play(act=ValueError(TEXTS[name][0])), clock)
    operation.refresh_from_db()
    assert (operation.status, operation.error_code) == ("failed", "internal_error")
    assert operation.error.startswith(f"ValueError: {TEXTS[name][1][:1]}")


def test_what_a_step_keeps_and_notes_is_stored_whatever_is_in_it(clock: StoppedClock) -> None:
    operation = opened(clock)
    data = {"a\x00": ["b\ud800", {"c": ("\x00", float("inf"), 1.5)}], "d": float("nan")}
    advanced(operation, Play(data=data, note="\x00 of \udfff"), clock)
    assert operation.status == OperationStatus.SUCCEEDED
    assert operation.data == {
        "v": 1,
        "a\ufffd": ["b\ufffd", {"c": ["\ufffd", None, 1.5]}],
        "d": None,
    }
    assert operation.steps[-1]["note"] == "\ufffd of \ufffd"


def test_what_a_step_kept_and_cannot_be_stored_does_not_keep_its_failure_out(
    clock: StoppedClock,
) -> None:
    operation = opened(clock, state=State(other={"kept": 1}))
    with pytest.raises(TypeError, match="not JSON serializable"):
        advanced(operation, Play(data={"kept": object()}), clock)
    operation.refresh_from_db()
    assert (operation.status, operation.error_code) == ("failed", "internal_error")
    assert operation.data == {"v": 1, "kept": 1}
