"""What histories once found: each case small and by itself, so that it is found at once again."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from ml_platform.cloud import channels
from ml_platform.errors import Conflict
from ml_platform.models import Operation, RegisteredModel, TrainingRun
from ml_platform.models.states import OperationStatus
from ml_platform.services.deletion import delete_versions
from ml_platform.services.deployment import deploy_run
from ml_platform.services.interventions import retry_operation
from ml_platform.services.registration import register_run
from ml_platform.services.worker import carry_on, resume_operations

from . import planes
from .play import STALE
from .settled import unsettled
from .world import BO, prefix_of, settle

if TYPE_CHECKING:
    from .world import World


def delete(world: World, run: TrainingRun) -> Operation:
    lineage = RegisteredModel.objects.get()
    return delete_versions(lineage=lineage, runs=[run], actor=BO, now=world.now())


def registered(world: World) -> TrainingRun:
    run = world.a_run()
    register_run(run=run, actor=BO, now=world.now())
    settle(world)
    run.refresh_from_db()
    return run


def be_stale(world: World) -> None:
    for glob in STALE:
        world.cloud.faults.order(glob, "stale", seconds=25.0, times=None)


def test_a_version_too_young_to_show_is_not_taken_for_gone(world: World) -> None:
    run = registered(world)
    be_stale(world)
    delete(world, run)
    settle(world)
    assert unsettled(world) == []
    assert len(world.cloud.effects.mutations("ModelService.DeleteModel")) == 1


def test_a_sibling_too_young_to_show_does_not_go_with_the_model(world: World) -> None:
    old = registered(world)
    world.forward(600)
    young = registered(world)
    be_stale(world)
    delete(world, old)
    settle(world)
    world.cloud.faults.clear()
    young.refresh_from_db()
    assert young.registration == "registered"
    assert world.cloud.effects.mutations("ModelService.DeleteModel") == []
    assert unsettled(world) == []


def test_a_worker_that_was_held_up_past_its_lease_sends_nothing(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    registered(world)
    run = world.a_run()
    operation = register_run(run=run, actor=BO, now=world.now())
    held: list[str] = []

    def stall(method: str) -> None:
        if method == "ModelService.UploadModel" and not held:
            held.append(method)
            world.forward(61)
            for _ in range(10):
                carry_on(operation_id=operation.pk, clock=world.now)
                world.forward(31)

    monkeypatch.setattr(channels, "before_call", [stall])
    resume_operations(clock=world.now)
    settle(world)
    assert held
    assert len(world.cloud.effects.mutations("ModelService.UploadModel")) == 2
    assert unsettled(world) == []


def test_what_was_refused_before_it_began_cannot_be_retried(world: World) -> None:
    run = world.a_lineage()[0]
    delete(world, run)
    with pytest.raises(Conflict):
        delete(world, run)
    refusal = Operation.objects.get(status=OperationStatus.FAILED)
    with pytest.raises(Conflict, match="nothing of it began"):
        retry_operation(operation=refusal, actor=BO)
    settle(world)
    assert unsettled(world) == []


def test_a_deploy_that_may_not_look_what_is_left_of_artifacts_fails_and_clears_nothing(
    world: World,
) -> None:
    run = world.a_lineage()[0]
    for name, _ in list(planes.objects(world.cloud, prefix_of(run))):
        world.cloud.storage.tables.delete(planes.BUCKET, name)
    world.write(run, "metrics.json")
    world.cloud.faults.order("storage.objects.list", code="PERMISSION_DENIED", nth=2, times=None)
    operation = deploy_run(run=run, actor=BO, now=world.now())
    settle(world)
    operation.refresh_from_db()
    run.refresh_from_db()
    assert (operation.status, operation.error_code) == ("failed", "cloud_denied")
    assert run.gcs_artifacts_path != ""


@pytest.mark.parametrize("seconds", [0.0, 20.0], ids=["refused-at-once", "refused-later"])
def test_a_parent_that_went_between_look_and_upload_is_looked_at_again(
    world: World, monkeypatch: pytest.MonkeyPatch, seconds: float
) -> None:
    lineage_runs = world.a_lineage()
    model_id = planes.versions(world.cloud)[0].model_id
    world.cloud.core.operations.lro_seconds = seconds
    gone: list[str] = []

    def vanish(method: str) -> None:
        if method == "ModelService.UploadModel" and not gone:
            gone.append(method)
            world.vanish(model_id)

    monkeypatch.setattr(channels, "before_call", [vanish])
    run = world.a_run()
    operation = register_run(run=run, actor=BO, now=world.now())
    settle(world)
    operation.refresh_from_db()
    run.refresh_from_db()
    lineage_runs[0].refresh_from_db()
    assert (operation.status, run.registration) == ("succeeded", "registered")
    assert lineage_runs[0].registration == "lost"
    assert unsettled(world) == []


def test_a_failed_registration_is_retried_from_its_beginning(world: World) -> None:
    run = world.a_run()
    world.cloud.faults.order("ModelService.UploadModel", code="INVALID_ARGUMENT", times=2)
    operation = register_run(run=run, actor=BO, now=world.now())
    for _ in range(2):
        settle(world)
        operation.refresh_from_db()
        assert (operation.status, operation.step) == ("failed", "find_artifacts")
        operation = retry_operation(operation=operation, actor=BO)
    settle(world)
    run.refresh_from_db()
    assert run.registration == "registered"
