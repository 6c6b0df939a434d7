"""What is young is waited for, what a clock ahead wrote is not, and what ends the same is not
repeated for ever."""

from __future__ import annotations

from collections.abc import Callable
from datetime import timedelta
from typing import TYPE_CHECKING

import pytest

from ml_platform.models import Operation, RegisteredModel, TrainingRun
from ml_platform.services.deletion.delete import delete_versions
from ml_platform.services.operations.repeats import SAME_ENDS
from ml_platform.services.operations.retry_cancel import retry_operation
from ml_platform.services.registration.register import register_run
from ml_platform.services.registry.aliases import set_aliases
from ml_platform.services.registry.verification import seconds_until_consistent
from ml_platform.services.repairs.unmanaged_models import delete_unmanaged_model

from .installations import a_bucket
from .world import ANA, Clock, a_lineage, a_run, settle

if TYPE_CHECKING:
    from ml_platform.localcloud import LocalCloud

pytestmark = [pytest.mark.django_db, pytest.mark.any_database]


class CloudClock(Clock):
    """Our clock, with which the local cloud's goes."""

    def __init__(self, cloud: LocalCloud) -> None:
        super().__init__()
        self.cloud = cloud
        cloud.clock.freeze()
        cloud.clock.set(self.now)

    def forward(self, seconds: float) -> None:
        super().forward(seconds)
        self.cloud.clock.advance(seconds)


@pytest.fixture
def clock(cloud: LocalCloud) -> CloudClock:
    return CloudClock(cloud)


def _alias(lineage: RegisteredModel, run: TrainingRun, clock: CloudClock) -> Operation:
    return set_aliases(run=run, add=["champion"], actor=ANA, now=clock())


def _delete(lineage: RegisteredModel, run: TrainingRun, clock: CloudClock) -> Operation:
    return delete_versions(lineage=lineage, runs=[run], actor=ANA, now=clock())


@pytest.mark.parametrize("change", [_alias, _delete])
@pytest.mark.parametrize("method", ["GetModel", "ListModelVersions"])
def test_a_read_that_lags_does_not_fail_a_change_of_a_young_model(
    cloud: LocalCloud,
    clock: CloudClock,
    method: str,
    change: Callable[[RegisteredModel, TrainingRun, CloudClock], Operation],
) -> None:
    lineage, [run] = a_lineage(cloud, clock)
    TrainingRun.objects.update(registered_at=clock())
    cloud.faults.order(f"ModelService.{method}", "stale", seconds=100.0, times=None)
    operation = change(lineage, run, clock)
    settle(clock)
    operation.refresh_from_db()
    assert (operation.status, operation.error) == ("succeeded", "")


def test_a_model_that_lags_is_not_lost_by_the_next_registration(
    cloud: LocalCloud, clock: CloudClock
) -> None:
    lineage, [run] = a_lineage(cloud, clock)
    RegisteredModel.objects.update(latest_registered_at=clock())
    cloud.faults.order("ModelService.*", "stale", seconds=100.0, times=None)
    second = a_run(cloud, project=lineage.project)
    register_run(run=second, actor=ANA, now=clock())
    settle(clock)
    for one in (run, second):
        one.refresh_from_db()
        assert one.registration == "registered"
    assert run.vertex_model_resource_name == second.vertex_model_resource_name


def test_a_time_far_ahead_keeps_nothing_young(cloud: LocalCloud, clock: CloudClock) -> None:
    """The model is gone, and its row is of the next year."""
    lineage, [run] = a_lineage(cloud, clock)
    TrainingRun.objects.update(registered_at=clock() + timedelta(days=400))
    cloud.reset()
    cloud.clock.advance((clock() - cloud.clock.now()).total_seconds())
    operation = _alias(lineage, run, clock)
    settle(clock, rounds=3)
    operation.refresh_from_db()
    assert (operation.status, operation.error_code) == ("failed", "cloud_absent")


@pytest.mark.parametrize(("age", "left"), [(-400, 0), (-100, 220), (0, 120), (119, 1), (121, 0)])
def test_how_long_a_resource_is_young(clock: CloudClock, age: float, left: float) -> None:
    now = clock()
    assert seconds_until_consistent(now - timedelta(seconds=age), now=now) == left


# ---- what always ends the same -------------------------------------------------------------------


@pytest.mark.slow
@pytest.mark.parametrize("code", ["INTERNAL", "UNAVAILABLE", "RESOURCE_EXHAUSTED"])
def test_an_upload_that_always_ends_the_same_is_not_repeated_for_ever(
    cloud: LocalCloud, clock: CloudClock, code: str
) -> None:
    cloud.faults.order("ModelService.UploadModel", "fails", code, times=None)
    run = a_run(cloud)
    operation = register_run(run=run, actor=ANA, now=clock())
    settle(clock)
    operation.refresh_from_db()
    assert (operation.status, operation.error_code) == ("failed", "ends_the_same")
    assert len(cloud.effects.calls("ModelService.UploadModel")) == SAME_ENDS
    for word in ("upload", f"tried {SAME_ENDS} times", "has no version of it"):
        assert word in operation.error
    cloud.faults.clear()
    retry_operation(operation=operation, actor=ANA)
    settle(clock)
    run.refresh_from_db()
    assert run.registration == "registered"


@pytest.mark.parametrize("code", ["INTERNAL", "UNAVAILABLE"])
def test_a_deletion_that_always_ends_the_same_is_not_repeated_for_ever(
    cloud: LocalCloud, clock: CloudClock, code: str
) -> None:
    lineage, [run] = a_lineage(cloud, clock)
    clock.forward(600)
    cloud.faults.order("ModelService.DeleteModel", "fails", code, times=None)
    operation = _delete(lineage, run, clock)
    settle(clock)
    operation.refresh_from_db()
    assert (operation.status, operation.error_code) == ("failed", "ends_the_same")
    assert len(cloud.effects.calls("ModelService.DeleteModel")) == SAME_ENDS
    cloud.faults.clear()
    retry_operation(operation=operation, actor=ANA)
    settle(clock)
    operation.refresh_from_db()
    assert operation.status == "succeeded"


def test_a_repair_that_always_ends_the_same_is_not_repeated_for_ever(
    cloud: LocalCloud, clock: CloudClock
) -> None:
    a_bucket()
    cloud.models.seed("77", display_name="theirs")
    clock.forward(600)
    cloud.faults.order("ModelService.DeleteModel", "fails", "INTERNAL", times=None)
    name = "projects/demo-project/locations/europe-central2/models/77"
    operation = delete_unmanaged_model(resource_name=name, actor=ANA, now=clock())
    settle(clock)
    operation.refresh_from_db()
    assert (operation.status, operation.error_code) == ("failed", "ends_the_same")
    assert len(cloud.effects.calls("ModelService.DeleteModel")) == SAME_ENDS
