"""The engine without any cloud: claims, leases, fences, verdicts and the record they leave."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from ml_platform.errors import (
    CloudAbsent,
    CloudConflict,
    CloudDenied,
    CloudThrottled,
    CloudUnavailable,
    Conflict,
    Invalid,
    OutcomeUnknown,
    PlatformError,
)
from ml_platform.models import Operation
from ml_platform.models.states import OperationKind, OperationStatus
from ml_platform.services.operations import worker
from ml_platform.services.operations import workflow as workflow_module
from ml_platform.services.operations.engine import PATIENCE, UNKNOWN_PAUSE, advance, retry_pause
from ml_platform.services.operations.retry_cancel import request_cancel, retry_operation
from ml_platform.services.operations.store import (
    Actor,
    Busy,
    KeyReused,
    Subject,
    claim,
    due_operations,
    open_operation,
)
from ml_platform.services.operations.work import LeaseLost, Work
from ml_platform.services.operations.workflow import Continue, Next, Outcome, Poll, Step, Workflow

pytestmark = pytest.mark.django_db
ANA = Actor(label="ana", origin="command")
START = datetime(2026, 2, 8, 12, tzinfo=UTC)


@dataclass
class StoppedClock:
    now: datetime = START

    def __call__(self) -> datetime:
        return self.now

    def forward(self, seconds: float) -> None:
        self.now += timedelta(seconds=seconds)


@dataclass
class Script:
    """A recipe of two steps, `look` then `act`, that plays what a test wrote down for each."""

    look: list[Outcome | BaseException] = field(default_factory=list)
    act: list[Outcome | BaseException] = field(default_factory=list)
    played: list[str] = field(default_factory=list)
    failures: list[str] = field(default_factory=list)
    cancels: int = 0

    def workflows(self) -> dict[str, Workflow]:
        steps = (
            Step(name="look", title="Look", run=self._play("look", self.look), cancellable=True),
            Step(name="act", title="Act", run=self._play("act", self.act), probe="look"),
        )
        workflow = Workflow(
            slug="test",
            kind=OperationKind.REPAIR,
            title="Mend {}",
            past="mended {}",
            steps=steps,
            on_failure=lambda work, error: self.failures.append(error.code),
            on_cancel=self._cancelled,
        )
        return {workflow.slug: workflow}

    def _cancelled(self, work: Work[Any]) -> None:
        self.cancels += 1

    def _play(self, name: str, lines: list[Any]) -> Callable[[Work[Any]], Outcome]:
        def run(work: Work[Any]) -> Outcome:
            self.played.append(name)
            line = lines.pop(0) if lines else Next()
            if isinstance(line, BaseException):
                raise line
            assert isinstance(line, Next | Continue | Poll)
            return line

        return run


@pytest.fixture
def clock() -> StoppedClock:
    return StoppedClock()


def opened(clock: StoppedClock, step: str = "", **options: Any) -> Operation:
    subject = Subject(type="model", id="1", name="chern", lineage_key="1:chern")
    operation, _ = open_operation(
        **{
            "workflow": Script().workflows()["test"],
            "subject": subject,
            "actor": ANA,
            "now": clock(),
            **options,
        }
    )
    if step:
        operation.step = step
        operation.save()
    return operation


def advanced(operation: Operation, script: Script, clock: StoppedClock) -> Operation:
    advance(operation_id=operation.pk, workflows=script.workflows(), clock=clock)
    operation.refresh_from_db()
    return operation


def test_an_operation_runs_its_steps_once_and_records_each_with_its_times(
    clock: StoppedClock,
) -> None:
    script = Script(act=[Next(note="one model")])
    operation = advanced(opened(clock), script, clock)
    assert script.played == ["look", "act"]
    assert operation.status == OperationStatus.SUCCEEDED
    assert operation.finished_at == START
    assert [(s["step"], s["status"], s.get("note", "")) for s in operation.steps] == [
        ("look", "done", ""),
        ("act", "done", "one model"),
    ]
    assert all(s["started_at"] and s["finished_at"] for s in operation.steps)


def test_two_changes_of_one_lineage_cannot_be_opened_at_once_and_the_error_names_the_holder(
    clock: StoppedClock,
) -> None:
    held = opened(clock)
    with pytest.raises(Busy, match=f"is held by .* {held.subject_name}, which ") as refused:
        opened(clock)
    assert refused.value.holder == held
    assert Operation.objects.count() == 1


def test_a_queued_operation_waits_for_the_lineage_and_goes_on_when_it_is_free(
    clock: StoppedClock,
) -> None:
    held, queued = opened(clock), opened(clock, queue=True)
    script = Script()
    assert advance(operation_id=queued.pk, workflows=script.workflows(), clock=clock) is None
    assert script.played == []
    advanced(held, script, clock)
    assert advanced(queued, script, clock).status == OperationStatus.SUCCEEDED


def test_a_worker_that_holds_the_lease_keeps_others_out_until_it_is_over(
    clock: StoppedClock,
) -> None:
    operation = opened(clock)
    assert claim(operation_id=operation.pk, clock=clock)
    assert claim(operation_id=operation.pk, clock=clock) is None
    assert due_operations(now=clock()) == []
    clock.forward(61)
    assert due_operations(now=clock()) == [operation.pk]
    assert claim(operation_id=operation.pk, clock=clock)


def test_a_stalled_worker_cannot_commit_after_another_took_over(clock: StoppedClock) -> None:
    operation = opened(clock)
    stalled = claim(operation_id=operation.pk, clock=clock)
    clock.forward(61)
    second = claim(operation_id=operation.pk, clock=clock)
    assert stalled
    assert second
    changes: list[str] = []
    with pytest.raises(LeaseLost):
        stalled.commit(lambda: changes.append("stalled"), step="act")
    second.commit(lambda: changes.append("second"), step="act")
    assert changes == ["second"]
    operation.refresh_from_db()
    assert (operation.step, operation.fence) == ("act", 2)


def test_what_a_step_changes_is_undone_when_its_record_cannot_be_written(
    clock: StoppedClock,
) -> None:
    operation = opened(clock)
    work = claim(operation_id=operation.pk, clock=clock)
    assert work

    def change() -> None:
        Operation.objects.filter(pk=operation.pk).update(subject_name="changed")
        raise Invalid("no")

    with pytest.raises(Invalid):
        work.commit(change, step="act")
    operation.refresh_from_db()
    assert (operation.subject_name, operation.step) == ("chern", "look")


def test_a_crash_between_steps_is_only_a_pause(clock: StoppedClock) -> None:
    operation = opened(clock)
    advance(operation_id=operation.pk, workflows=Script().workflows(), clock=clock, steps=1)
    resumed = Script()
    assert advanced(operation, resumed, clock).status == OperationStatus.SUCCEEDED
    assert resumed.played == ["act"]


def test_after_a_death_in_a_step_with_an_effect_the_effect_is_looked_up_first(
    clock: StoppedClock,
) -> None:
    operation = opened(clock)
    script = Script(act=[SystemExit("killed")])
    with pytest.raises(SystemExit):
        advanced(operation, script, clock)
    assert advance(operation_id=operation.pk, workflows=script.workflows(), clock=clock) is None
    clock.forward(61)
    assert advanced(operation, script, clock).status == OperationStatus.SUCCEEDED
    assert script.played == ["look", "act", "look", "act"]


def test_an_unknown_outcome_goes_back_to_the_step_that_looks_it_up(clock: StoppedClock) -> None:
    script = Script(act=[OutcomeUnknown("no answer")])
    operation = advanced(opened(clock), script, clock)
    assert (operation.status, operation.step) == (OperationStatus.RUNNING, "look")
    assert (operation.error_code, operation.lease_until) == ("outcome_unknown", None)
    clock.forward(10)
    operation = advanced(operation, script, clock)
    assert script.played == ["look", "act", "look", "act"]
    assert (operation.status, operation.error) == (OperationStatus.SUCCEEDED, "")


def test_looking_up_between_tries_does_not_make_an_effect_that_is_always_denied_last_for_ever(
    clock: StoppedClock,
) -> None:
    script = Script(act=[CloudDenied("403") for _ in range(9)])
    operation = opened(clock)
    while operation.status == OperationStatus.RUNNING:
        operation = advanced(operation, script, clock)
        clock.forward(300)
    assert (operation.status, operation.error_code) == (OperationStatus.FAILED, "cloud_denied")
    assert script.played.count("act") == 6


def test_a_step_that_waits_is_not_run_before_its_time(clock: StoppedClock) -> None:
    script = Script(look=[Poll(seconds=5, note="uploading")])
    operation = advanced(opened(clock), script, clock)
    advanced(operation, script, clock)
    assert script.played == ["look"]
    clock.forward(5)
    advanced(operation, script, clock)
    assert script.played == ["look", "look", "act"]


def test_chunked_work_stays_one_entry_in_the_history(clock: StoppedClock) -> None:
    script = Script(
        look=[Continue(note="100 of 250"), Continue(note="200 of 250"), Next(note="250")]
    )
    operation = advanced(opened(clock), script, clock)
    assert script.played == ["look", "look", "look", "act"]
    assert [(s["step"], s.get("note")) for s in operation.steps] == [("look", "250"), ("act", "")]


def test_a_failure_says_which_step_why_and_what_to_do_and_frees_the_lineage(
    clock: StoppedClock,
) -> None:
    script = Script(act=[CloudAbsent("It is gone.", advice="Register it again.")])
    operation = advanced(opened(clock), script, clock)
    assert operation.status == OperationStatus.FAILED
    assert (operation.step, operation.error, operation.advice) == (
        "act",
        "It is gone.",
        "Register it again.",
    )
    assert operation.steps[-1]["status"] == "failed"
    assert script.failures == ["cloud_absent"]
    assert opened(clock).status == OperationStatus.RUNNING


def test_a_failed_operation_goes_on_at_its_step_when_a_person_retries_it(
    clock: StoppedClock,
) -> None:
    script = Script(act=[Invalid("no")])
    operation = advanced(opened(clock), script, clock)
    retry_operation(operation=operation, actor=ANA)
    operation = advanced(operation, script, clock)
    assert script.played == ["look", "act", "act"]
    assert operation.status == OperationStatus.SUCCEEDED
    with pytest.raises(Conflict, match="not failed"):
        retry_operation(operation=operation, actor=ANA)


def test_an_error_nobody_foresaw_is_recorded_as_failure_and_raised_again(
    clock: StoppedClock,
) -> None:
    operation = opened(clock)
    with pytest.raises(ZeroDivisionError):
        advanced(operation, Script(act=[ZeroDivisionError("oops")]), clock)
    operation.refresh_from_db()
    assert (operation.status, operation.error_code) == (OperationStatus.FAILED, "internal_error")


def test_a_defect_in_what_a_failure_changes_does_not_leave_the_operation_running(
    clock: StoppedClock,
) -> None:
    script = Script(act=[Invalid("no")])
    workflow = script.workflows()["test"]

    def defect(work: Work[Any], error: PlatformError) -> None:
        raise ZeroDivisionError("oops")

    operation = opened(clock)
    workflows = {"test": replace(workflow, on_failure=defect)}
    with pytest.raises(ZeroDivisionError):
        advance(operation_id=operation.pk, workflows=workflows, clock=clock)
    operation.refresh_from_db()
    assert (operation.status, operation.error_code) == (OperationStatus.FAILED, "invalid")


@pytest.mark.parametrize("changes", [{"step": "of-tomorrow"}, {"workflow": "of-tomorrow"}])
def test_what_this_release_does_not_know_is_left_to_a_newer_one_for_a_day_then_fails(
    clock: StoppedClock, changes: dict[str, str]
) -> None:
    operation, script = opened(clock, queue=True), Script()
    Operation.objects.update(**changes)
    for _ in range(3):
        operation = advanced(operation, script, clock)
        assert (operation.status, operation.fence) == (OperationStatus.PENDING, 0)
        assert [entry["status"] for entry in operation.steps] == ["waiting"]
        assert "newer release" in operation.steps[0]["title"]
        assert due_operations(now=clock()) == []
        clock.forward(UNKNOWN_PAUSE.total_seconds())
        assert due_operations(now=clock()) == [operation.pk]
    clock.forward(PATIENCE.total_seconds())
    operation = advanced(operation, script, clock)
    assert (operation.status, operation.error_code) == (OperationStatus.FAILED, "unknown_step")
    assert script.played == []


def test_a_newer_release_goes_on_with_what_an_older_one_left(clock: StoppedClock) -> None:
    operation, script = opened(clock), Script()
    advance(operation_id=operation.pk, workflows={}, clock=clock)
    assert advance(operation_id=operation.pk, workflows=script.workflows(), clock=clock) is None
    clock.forward(UNKNOWN_PAUSE.total_seconds())
    assert advanced(operation, script, clock).status == OperationStatus.SUCCEEDED


def test_a_defect_in_one_operation_does_not_stop_the_others(
    clock: StoppedClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    script = Script(look=[ZeroDivisionError("oops")])
    monkeypatch.setattr(workflow_module, "workflows", script.workflows)
    first = opened(clock)
    clock.forward(1)
    second = opened(clock, subject=Subject(type="model", id="2", name="other"))
    with pytest.raises(ExceptionGroup) as caught:
        worker.resume_operations(clock=clock)
    assert [type(defect) for defect in caught.value.exceptions] == [ZeroDivisionError]
    first.refresh_from_db()
    second.refresh_from_db()
    assert (first.status, second.status) == (OperationStatus.FAILED, OperationStatus.SUCCEEDED)


def test_cancelling_stops_before_a_step_that_allows_it_and_nowhere_else(
    clock: StoppedClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    waiting, early, late = Script(), Script(), Script()
    monkeypatch.setattr(workflow_module, "workflows", waiting.workflows)
    queued = opened(clock, queue=True)
    assert request_cancel(operation=queued, actor=ANA, now=clock()).status == "cancelled"
    assert waiting.cancels == 1

    running = opened(clock)
    request_cancel(operation=running, actor=ANA, now=clock())
    assert advanced(running, early, clock).status == OperationStatus.CANCELLED
    assert (early.played, early.cancels) == ([], 1)

    past = opened(clock)
    advance(operation_id=past.pk, workflows=waiting.workflows(), clock=clock, steps=1)
    with pytest.raises(Conflict) as refused:
        request_cancel(operation=past, actor=ANA, now=clock())
    assert refused.value.code == "not_cancellable"
    assert advanced(past, late, clock).status == OperationStatus.SUCCEEDED
    with pytest.raises(Conflict, match="succeeded already"):
        request_cancel(operation=past, actor=ANA, now=clock())


def test_a_request_to_cancel_that_comes_while_its_step_runs_is_kept(
    clock: StoppedClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    script, changes = Script(), list[str]()
    monkeypatch.setattr(workflow_module, "workflows", script.workflows)
    operation = opened(clock)

    def asked(work: Work[Any]) -> Outcome:
        seen = Operation.objects.get(pk=operation.pk)
        request_cancel(operation=seen, actor=ANA, now=clock())
        return Next(change=lambda: changes.append("look"))

    workflow = script.workflows()["test"]
    steps = (replace(workflow.steps[0], run=asked), workflow.steps[1])
    workflows = {"test": replace(workflow, steps=steps)}
    advance(operation_id=operation.pk, workflows=workflows, clock=clock)
    operation.refresh_from_db()
    assert (operation.status, changes) == (OperationStatus.CANCELLED, [])
    assert (script.played, script.cancels) == ([], 1)


def test_a_step_that_leads_back_has_the_steps_from_there_ahead_of_it() -> None:
    def step(name: str, back_to: str = "") -> Step:
        return Step(name=name, title=name, run=lambda work: Next(), back_to=back_to)

    steps = (step("a"), step("b"), step("c", "b"), step("d", "c"), step("e"))
    workflow = replace(Script().workflows()["test"], steps=steps)
    ahead = {s.name: "".join(found.name for found in workflow.ahead(s.name)) for s in steps}
    assert ahead == {"a": "abcde", "b": "bcde", "c": "bcde", "d": "bcde", "e": "e"}
    assert workflow.ahead("unknown") == ()


def test_no_step_waits_for_ever(clock: StoppedClock) -> None:
    script = Script(act=[Poll(seconds=600, note="Not yet.")] * 20)
    operation = opened(clock)
    Operation.objects.update(remote_operation="operations/7")
    for _ in range(8):
        operation = advanced(operation, script, clock)
        clock.forward(600)
    assert (operation.status, operation.error_code) == (OperationStatus.FAILED, "wait_ended")
    assert "1:10:00" in operation.error
    assert "Not yet." in operation.error
    assert "operations/7" in operation.error
    assert script.failures == ["wait_ended"]


def test_steps_that_wait_for_each_other_end_with_the_longest_an_operation_may_take(
    clock: StoppedClock,
) -> None:
    script = Script()
    operation = opened(clock)
    for _ in range(30):
        script.look[:] = [Next()]
        script.act[:] = [Poll(seconds=3000), Next(to="look"), Poll(seconds=1)]
        operation = advanced(operation, script, clock)
        clock.forward(3000)
    assert (operation.status, operation.error_code) == (OperationStatus.FAILED, "wait_ended")


def test_an_operation_that_waits_at_a_step_which_must_be_taken_is_not_cancelled(
    clock: StoppedClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    script = Script()
    monkeypatch.setattr(workflow_module, "workflows", script.workflows)
    queued = opened(clock, queue=True, step="act")
    with pytest.raises(Conflict) as refused:
        request_cancel(operation=queued, actor=ANA, now=clock())
    assert refused.value.code == "not_cancellable"
    assert script.cancels == 0
    assert advanced(queued, script, clock).status == OperationStatus.SUCCEEDED


def test_a_wish_to_cancel_ends_with_the_try_it_was_meant_for(
    clock: StoppedClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    script = Script(act=[Invalid("no")])
    monkeypatch.setattr(workflow_module, "workflows", script.workflows)
    operation = opened(clock)
    advance(operation_id=operation.pk, workflows=script.workflows(), clock=clock, steps=1)
    Operation.objects.update(cancel_requested=True)  # as the cancellation of a run does
    operation = advanced(operation, script, clock)
    assert operation.status == OperationStatus.FAILED
    operation = advanced(retry_operation(operation=operation, actor=ANA), script, clock)
    assert (operation.status, operation.cancel_requested) == (OperationStatus.SUCCEEDED, False)


def test_the_name_of_the_remote_operation_is_kept_with_the_step_that_started_it(
    clock: StoppedClock,
) -> None:
    operation = opened(clock)
    work = claim(operation_id=operation.pk, clock=clock)
    assert work
    work.remote_operation = "operations/7"
    work.commit(step="act", lease_until=None)
    operation.refresh_from_db()
    assert operation.remote_operation == "operations/7"
    again = claim(operation_id=operation.pk, clock=clock)
    assert again
    assert again.remote_operation == "operations/7"


def test_a_repeated_key_answers_with_the_first_operation_and_never_opens_a_second(
    clock: StoppedClock,
) -> None:
    first = opened(clock, idempotency_key="k1", request={"run": 1})
    assert opened(clock, idempotency_key="k1", request={"run": 1}).pk == first.pk
    with pytest.raises(KeyReused, match="k1"):
        opened(clock, idempotency_key="k1", request={"run": 2})
    assert Operation.objects.count() == 1


@pytest.mark.parametrize(
    ("error", "attempts", "fail"),
    [
        (CloudUnavailable("503"), 50, False),
        (CloudThrottled("429"), 50, False),
        (OutcomeUnknown("timeout"), 50, False),
        (CloudConflict("etag"), 0, False),
        (CloudConflict("etag"), 5, True),
        (CloudDenied("403"), 4, False),
        (CloudDenied("403"), 5, True),
        (CloudAbsent("404"), 0, True),
        (Invalid("bad"), 0, True),
    ],
)
def test_each_category_of_error_has_its_verdict(
    error: PlatformError, attempts: int, fail: bool
) -> None:
    pause = retry_pause(error=error, attempts=attempts, age=timedelta(0), spread=0.0)
    assert (pause is None) is fail


def test_patience_ends_after_a_day_and_pauses_grow_to_five_minutes_at_most() -> None:
    def pause(attempts: int, spread: float, error: PlatformError | None = None) -> float:
        given = error or CloudUnavailable("503")
        seconds = retry_pause(error=given, attempts=attempts, age=timedelta(0), spread=spread)
        assert seconds is not None
        return seconds

    late = PATIENCE + timedelta(seconds=1)
    error = CloudUnavailable("503")
    assert retry_pause(error=error, attempts=1, age=late, spread=0.0) is None
    assert [pause(n, 0.0) for n in (0, 1, 2, 20)] == [1.0, 2.0, 4.0, 150.0]
    assert pause(20, 0.999) < 300
    assert pause(0, 0.0, CloudThrottled("429", retry_after=40)) == 40
