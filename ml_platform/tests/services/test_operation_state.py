"""What steps hand on: typed, stored with its version, readable by the releases around ours."""

from __future__ import annotations

import json
from dataclasses import dataclass, replace
from typing import Any, ClassVar

import pytest

from ml_platform.errors import Invalid, PlatformError
from ml_platform.models import Operation
from ml_platform.models.states import OperationKind, OperationStatus
from ml_platform.services.cleanup.state import ArtifactState
from ml_platform.services.deployment.rollout import DeployState
from ml_platform.services.operations.engine import advance
from ml_platform.services.operations.log import KEPT, LoggedState, logged
from ml_platform.services.operations.state import State
from ml_platform.services.operations.store import Subject, open_operation
from ml_platform.services.operations.work import Work
from ml_platform.services.operations.workflow import Next, Outcome, Step, Workflow
from ml_platform.services.registration.upload import RegistrationState
from ml_platform.services.removal.refused import place
from ml_platform.services.workflows import WORKFLOWS

from .test_engine import ANA, StoppedClock

OLD_DEPLOY = {
    "run": 7,
    "service": "svc",
    "config": {"cpu": "1"},
    "marked": True,
    "sent": True,
    "invokers_before": ["allUsers"],
    "going_back": True,
}
"""As the release before wrote it: without a version, a flag only where it is set."""


def test_a_state_of_the_release_before_is_read_and_written_in_a_form_it_can_read() -> None:
    state = DeployState.load(OLD_DEPLOY)
    assert (state.run, state.sent, state.going_back, state.gone) == (7, True, True, False)
    assert (state.tries, state.before, state.invokers_before) == (1, None, ("allUsers",))
    stored = replace(state, sent=False, before="").dump()
    left = {key: value for key, value in OLD_DEPLOY.items() if key != "sent"}
    assert stored == {"v": 1, **left, "before": "", "invokers_before": ("allUsers",)}


def test_a_version_found_without_aliases_is_not_taken_for_one_just_uploaded() -> None:
    found = {"aliases": [], "taken": ["default"], "again": True, "pointer": "m@3"}
    state = RegistrationState.load(found)
    assert (state.aliases, state.taken, state.again, state.lost) == ((), ("default",), True, ())
    assert state.dump() == {"v": 1, **found, "aliases": (), "taken": ("default",)}
    assert RegistrationState.load({"pointer": "m@3"}).aliases is None


def test_keys_that_this_release_does_not_know_are_kept() -> None:
    state = DeployState.load({"v": 1, "run": 7, "color": {"of": "tomorrow"}})
    assert replace(state, run=8).dump() == {"v": 1, "run": 8, "color": {"of": "tomorrow"}}


@pytest.mark.parametrize("workflow", WORKFLOWS.values(), ids=lambda workflow: workflow.slug)
def test_every_state_can_be_made_of_nothing(workflow: Workflow) -> None:
    if workflow.state:
        assert workflow.state.load({}).dump() == {"v": workflow.state.VERSION}


def test_a_log_keeps_the_first_lines_and_counts_the_others() -> None:
    state = logged(LoggedState(), [str(n) for n in range(KEPT - 1)])
    state = logged(state, ["a", "b", "c"])
    assert (len(state.lines), state.lines[-1], state.lines_left_out) == (KEPT, "a", 2)


@dataclass(frozen=True, slots=True, kw_only=True)
class Counted(State):
    VERSION: ClassVar[int] = 2

    seen: int = 0
    changed: tuple[int, ...] = ()


@dataclass
class Play:
    """Two steps that learn something; the second fails if it shall."""

    error: PlatformError | None = None
    defect: bool = False

    def workflow(self) -> Workflow:
        return Workflow(
            slug="count",
            kind=OperationKind.REPAIR,
            title="Count {}",
            past="counted {}",
            state=Counted,
            steps=(Step(name="see", title="See", run=self._see), self._acting()),
            on_failure=self._failed,
        )

    def _acting(self) -> Step:
        return Step(name="act", title="Act", run=self._act)

    def _see(self, work: Work[Counted]) -> Outcome:
        work.state = replace(work.state, seen=work.state.seen + 1)
        return Next()

    def _act(self, work: Work[Counted]) -> Outcome:
        if self.error:
            raise self.error

        def change() -> None:
            work.state = replace(work.state, changed=(1, 2))
            if self.defect:
                raise Invalid("The change does not fit.")

        return Next(change=change)

    def _failed(self, work: Work[Counted], error: PlatformError) -> None:
        work.state = replace(work.state, changed=(9,))
        work.retry_at = "see"


def opened(play: Play, **data: Any) -> Operation:
    subject = Subject(type="model", id="1", name="chern")
    state = Counted(seen=3)
    operation, _ = open_operation(
        workflow=play.workflow(), subject=subject, actor=ANA, now=StoppedClock()(), state=state
    )
    if data:
        Operation.objects.update(data=data)
    return operation


def carried(operation: Operation, play: Play) -> Operation:
    workflow = play.workflow()
    advance(operation_id=operation.pk, workflows={workflow.slug: workflow}, clock=StoppedClock())
    operation.refresh_from_db()
    return operation


@pytest.mark.django_db
def test_what_steps_and_their_changes_learn_is_stored_with_their_outcome() -> None:
    play = Play()
    operation = carried(opened(play), play)
    assert operation.status == OperationStatus.SUCCEEDED
    assert operation.data == {"v": 2, "seen": 4, "changed": [1, 2]}


@pytest.mark.django_db
def test_what_a_refused_change_has_set_is_forgotten_with_it() -> None:
    play = Play(defect=True)
    operation = carried(opened(play), play)
    assert (operation.status, operation.error_code) == (OperationStatus.FAILED, "invalid")
    assert operation.data == {"v": 2, "seen": 4, "changed": [9]}  # by on_failure, not by the change
    assert operation.step == "see"


@pytest.mark.django_db
def test_a_failure_says_where_a_retry_begins() -> None:
    play = Play(error=Invalid("no"))
    operation = carried(opened(play), play)
    assert (operation.step, operation.data) == ("see", {"v": 2, "seen": 4, "changed": [9]})


@pytest.mark.django_db
def test_a_cancellation_forgets_what_the_step_that_it_replaces_has_learnt() -> None:
    play, seen = Play(), list[int]()

    def asked(work: Work[Counted]) -> Outcome:
        work.state = replace(work.state, seen=99)
        Operation.objects.update(cancel_requested=True)
        return Next()

    step = Step(name="see", title="See", run=asked, cancellable=True)
    workflow = replace(
        play.workflow(), steps=(step,), on_cancel=lambda work: seen.append(work.state.seen)
    )
    operation = opened(play)
    advance(operation_id=operation.pk, workflows={"count": workflow}, clock=StoppedClock())
    operation.refresh_from_db()
    assert (operation.status, operation.data, seen) == ("cancelled", {"v": 2, "seen": 3}, [3])


@pytest.mark.django_db
def test_a_state_of_a_newer_release_is_left_to_it() -> None:
    play = Play()
    operation = carried(opened(play, v=3, seen=1), play)
    assert (operation.status, operation.fence) == (OperationStatus.RUNNING, 0)
    assert operation.next_attempt_at is not None
    assert operation.data == {"v": 3, "seen": 1}


def test_a_cleanup_that_an_earlier_release_began_is_read_from_its_keys():
    data = {
        "days": 7, "ended_before": "2026-02-01T00:00:00+00:00", "include_registered": False,
        "delete_strays": True, "after": 12, "doomed": [[3, "gs://b/runs/3/"]], "freed": [4, 5],
        "refused": {"after": "x%2F", "objects": 2, "first": "no"}, "lines": ["Deleted a."],
    }  # fmt: skip
    state = ArtifactState.load(data)
    assert (state.doomed, state.freed, place(state.refused)) == (
        ((3, "gs://b/runs/3/"),),
        (4, 5),
        "x/",
    )
    stored = json.loads(json.dumps(state.dump()))
    assert stored == {"v": 1, **{key: value for key, value in data.items() if value}}


@pytest.mark.parametrize(
    "workflow", [w for w in WORKFLOWS.values() if w.state], ids=lambda w: w.slug
)
def test_what_every_workflow_hands_on_is_json_and_has_a_default(workflow: Workflow):
    assert workflow.state is not None
    assert json.loads(json.dumps(workflow.state().dump())) == {"v": workflow.state.VERSION}
