"""A second worker stands beside everything that excludes one: it never gets what the first has."""

from __future__ import annotations

import uuid
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import timedelta
from typing import TYPE_CHECKING, Any
from unittest.mock import patch

import pytest
from django.db import connection

from ml_platform.cloud import vertex
from ml_platform.cloud.names import ModelName
from ml_platform.cloud.transport import channels
from ml_platform.models import Operation
from ml_platform.models.states import OperationKind, OperationStatus
from ml_platform.services.cleanup.artifacts import clean_up_artifacts
from ml_platform.services.deletion.delete import delete_versions
from ml_platform.services.metrics.service_metrics import collect_metrics
from ml_platform.services.operations.engine import advance
from ml_platform.services.operations.store import Busy, Subject, claim, open_operation
from ml_platform.services.operations.work import LeaseLost, Work
from ml_platform.services.operations.workflow import Continue, Next, Outcome, Step, Workflow
from ml_platform.services.sweeps.operation import check_registry_here
from ml_platform.tests.factories import (
    DeployedEndpointFactory,
    RegisteredModelFactory,
    TrainingRunFactory,
    version_of,
)

from .world import ANA, BUCKET, Clock, a_lineage, settle, write_artifact

if TYPE_CHECKING:
    from ml_platform.localcloud import LocalCloud

pytestmark = pytest.mark.django_db(transaction=True)
LEASE = 60.0


@pytest.fixture
def clock(cloud: LocalCloud) -> Clock:
    """Nine days after everything in the cloud was made."""
    return Clock(now=cloud.clock.now() + timedelta(days=9))


class SecondWorker:
    """Tries to claim what the first one works on, whenever a call to Google has taken a while."""

    def __init__(self, clock: Clock, seconds: float) -> None:
        self.clock, self.seconds = clock, seconds
        self.got: list[Work[Any]] = []
        self.longest = 0.0
        self._since: dict[uuid.UUID, tuple[int, float]] = {}

    def tries(self) -> None:
        self.clock.forward(self.seconds)
        for operation in Operation.objects.filter(status=OperationStatus.RUNNING):
            now, done = self.clock().timestamp(), len(str(operation.steps))
            if self._since.get(operation.pk, (None, 0.0))[0] != done:
                self._since[operation.pk] = (done, now - self.seconds)
            self.longest = max(self.longest, now - self._since[operation.pk][1])
            work = claim(operation_id=operation.pk, clock=self.clock)
            self.got += [work] if work else []


@contextmanager
def beside(clock: Clock, seconds: float) -> Iterator[SecondWorker]:
    """Each call to Google takes so many seconds, after which the second worker tries."""
    second = SecondWorker(clock, seconds)
    call = channels.call

    def slow(method: str, send: Callable[[], Any]) -> Any:
        second.tries()
        return call(method, send)

    with patch.object(channels, "call", slow):
        yield second


def _delete(cloud: LocalCloud, clock: Clock) -> None:
    lineage, runs = a_lineage(cloud, clock, versions=2)
    clock.forward(600)
    delete_versions(lineage=lineage, runs=runs[:1], actor=ANA, now=clock())


def _clean_artifacts(cloud: LocalCloud, clock: Clock) -> None:
    write_artifact(cloud, TrainingRunFactory.create(failed=True), "pushed_model/1/saved_model.pb")


def _clean_strays(cloud: LocalCloud, clock: Clock) -> None:
    for number in range(3):
        cloud.storage.write(BUCKET, f"runs/abc{number}/a", b"x")


def _something_everywhere(cloud: LocalCloud, clock: Clock) -> None:
    """A page of Cloud Storage too."""
    cloud.storage.write(BUCKET, "runs/abc/a", b"x")


def _endpoint(cloud: LocalCloud, clock: Clock) -> None:
    lineage = RegisteredModelFactory.create()
    DeployedEndpointFactory.create(
        registered_model=lineage,
        run=version_of(lineage),
        serving=True,
        created_at=clock() - timedelta(days=3),
    )


LONG: dict[str, tuple[Callable[..., None], Callable[[Clock], object], float]] = {
    "deletion": (_delete, settle, 6),
    "artifacts": (
        _clean_artifacts, lambda clock: clean_up_artifacts(days=7, actor=ANA, clock=clock), 6,
    ),
    "strays": (
        _clean_strays,
        lambda clock: clean_up_artifacts(days=7, actor=ANA, clock=clock, delete_strays=True),
        6,
    ),
    "sweep": (_something_everywhere, lambda clock: check_registry_here(actor=ANA, clock=clock), 12),
    "metrics": (_endpoint, lambda clock: collect_metrics(actor=ANA, clock=clock), 20),
}  # fmt: skip
"""Each operation with a step that reads for long: what it needs, how it runs, what a call takes."""


@pytest.mark.parametrize("name", LONG)
def test_nobody_gets_an_operation_during_a_step_longer_than_its_lease(
    name: str, cloud: LocalCloud, clock: Clock
):
    prepare, run, seconds = LONG[name]
    prepare(cloud, clock)
    for number in range(12):
        cloud.models.seed(f"m-{number}", display_name="m")
    with beside(clock, seconds) as second:
        run(clock)
    assert second.got == []
    assert second.longest > LEASE
    assert Operation.objects.latest("created_at").status == OperationStatus.SUCCEEDED


# ---- the lease, to the second ------------------------------------------------------------------


def opened(clock: Clock, **fields: Any) -> Operation:
    operation, _ = open_operation(
        workflow=_flow(lambda work: Next()),
        subject=Subject(type="x", id="1", name="x", **fields),
        actor=ANA,
        now=clock(),
    )
    return operation


def _flow(run: Callable[[Work[Any]], Outcome]) -> Workflow:
    return Workflow(
        slug="test", kind=OperationKind.DEPLOY, title="Test {}", past="tested {}",
        steps=(Step(name="work", title="Work", run=run),),
    )  # fmt: skip


def running(
    operation: Operation, clock: Clock, run: Callable[[Work[Any]], Outcome]
) -> Operation | None:
    return advance(operation_id=operation.pk, workflows={"test": _flow(run)}, clock=clock)


def test_each_commit_prolongs_the_lease(clock: Clock):
    """Three parts of 40 seconds each are longer than a lease, and no single one is."""
    operation = opened(clock)
    got: list[Work[Any] | None] = []

    def part(work: Work[Any]) -> Outcome:
        clock.forward(40)
        got.append(claim(operation_id=operation.pk, clock=clock))
        work.require_lease()
        return Next() if len(got) == 3 else Continue()

    done = running(operation, clock, part)
    assert (got, done and done.status) == ([None, None, None], OperationStatus.SUCCEEDED)


def test_a_lease_is_kept_until_its_last_second_and_not_longer(clock: Clock):
    operation = opened(clock)
    first = claim(operation_id=operation.pk, clock=clock)
    assert first
    clock.forward(LEASE)
    assert claim(operation_id=operation.pk, clock=clock) is None
    clock.forward(1)
    second = claim(operation_id=operation.pk, clock=clock)
    assert second
    assert (second.fence, second.after_crash) == (first.fence + 1, True)
    for late in (first.renew_lease, first.commit):
        with pytest.raises(LeaseLost):
            late()


def test_what_waits_for_its_time_is_claimed_by_nobody_before_it(clock: Clock):
    operation = opened(clock)
    work = claim(operation_id=operation.pk, clock=clock)
    assert work
    work.commit(lease_until=None, next_attempt_at=clock() + timedelta(seconds=30))
    clock.forward(29)
    assert claim(operation_id=operation.pk, clock=clock) is None
    clock.forward(1)
    assert claim(operation_id=operation.pk, clock=clock)


def test_two_that_saw_the_same_operation_due_do_not_both_get_it(clock: Clock):
    """The second one claims it between the first one's look and its claim."""
    operation = opened(clock)
    second: list[Work[Any] | None] = []

    def meanwhile(execute: Callable[..., object], sql: str, *given: object) -> object:
        if sql.startswith("UPDATE") and not second:
            second.append(None)
            second[0] = claim(operation_id=operation.pk, clock=clock)
        return execute(sql, *given)

    with connection.execute_wrapper(meanwhile):
        assert claim(operation_id=operation.pk, clock=clock) is None
    assert second[0] is not None


@pytest.mark.parametrize("lock", ["lineage_key", "service_key"])
def test_one_lock_is_held_by_one_operation(clock: Clock, lock: str):
    opened(clock, **{lock: "held"})
    with pytest.raises(Busy):
        opened(clock, **{lock: "held"})


@pytest.mark.parametrize(("seconds", "sends"), [(40, True), (41, False)])
def test_no_effect_is_sent_that_may_be_answered_after_the_lease(
    clock: Clock, cloud: LocalCloud, seconds: float, sends: bool
):
    """The lease is 60 seconds, a call may take 20."""
    cloud.models.seed("m", display_name="m")
    operation = opened(clock)

    def effect(work: Work[Any]) -> Outcome:
        clock.forward(seconds)
        vertex.delete_model(ModelName("demo-project", "europe-central2", "m"))
        return Next()

    done = running(operation, clock, effect)
    assert (done is not None) is sends
    assert bool(cloud.effects.mutations("ModelService.*")) is sends
