"""What histories once found: each case small and by itself, so that it is found at once again."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
from django.db import transaction

from ml_platform.cloud.transport import channels
from ml_platform.errors import Conflict
from ml_platform.models import (
    Finding,
    Operation,
    RegisteredModel,
    TrainingRun,
)
from ml_platform.models.states import OperationStatus
from ml_platform.services.deletion.delete import delete_versions
from ml_platform.services.deletion.preview import preview_deletion
from ml_platform.services.deployment.deploy import deploy_run, redeploy_endpoint
from ml_platform.services.deployment.endpoint_state import mark_version_lost
from ml_platform.services.operations.retry_cancel import retry_operation
from ml_platform.services.registration.register import register_run
from ml_platform.services.repairs.pointers import clear_stale_pointers
from ml_platform.services.repairs.reconciliation import is_safe
from ml_platform.services.repairs.services import look_at_service
from ml_platform.services.sweeps.sweep import sweep

from . import planes
from .courses import COURSES, be_stale, pinned, registered
from .invariants import Judge
from .settled import unsettled
from .world import BO, prefix_of, settle

if TYPE_CHECKING:
    from .world import World


def delete(world: World, run: TrainingRun) -> Operation:
    lineage = RegisteredModel.objects.get()
    return delete_versions(lineage=lineage, runs=[run], actor=BO, now=world.now())


@pytest.mark.any_database
@pytest.mark.parametrize("name", COURSES)
def test_a_course_that_a_defect_would_end_badly_ends_well(world: World, name: str) -> None:
    with Judge(world.cloud).sitting() as judge:
        assert COURSES[name](world) == []
    assert judge.broken == []


def test_a_look_at_the_pointers_waits_for_what_is_too_young_to_show(world: World) -> None:
    registered(world)
    world.forward(600)
    young = registered(world)
    be_stale(world)
    lineage = RegisteredModel.objects.get()
    clear_stale_pointers(registered_model=lineage, actor=BO, now=world.now())
    settle(world)
    world.cloud.faults.clear()
    young.refresh_from_db()
    assert young.registration == "registered"
    assert unsettled(world) == []


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


def test_what_was_refused_before_it_began_cannot_be_retried(world: World) -> None:
    run = world.a_lineage()[0]
    delete(world, run)
    with pytest.raises(Conflict):
        delete(world, run)
    refusal = Operation.objects.get(status=OperationStatus.FAILED)
    with pytest.raises(Conflict, match="so it did not start"):
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


def test_a_second_deletion_that_fails_leaves_what_the_first_one_sent_marked(world: World) -> None:
    run = world.a_lineage(versions=2)[0]
    order = world.cloud.faults.order
    world.cloud.core.operations.lro_seconds = 90_000.0
    order("ModelService.DeleteModelVersion", "lost", "DEADLINE_EXCEEDED")
    order("ModelService.Delete*", "error", "PERMISSION_DENIED", nth=2, times=None)
    for _ in range(2):
        operation = delete(world, run)
        settle(world)
        operation.refresh_from_db()
        run.refresh_from_db()
        assert (operation.status, run.registration) == ("failed", "deleting")


@pytest.mark.parametrize("versions", [1, 2])
def test_a_lost_version_that_is_there_after_all_goes_from_vertex_ai_too(
    world: World, versions: int
) -> None:
    run = world.a_lineage(versions=versions)[0]
    with transaction.atomic():
        mark_version_lost(run_id=run.pk)
    world.forward(300)
    run.refresh_from_db()
    delete(world, run)
    settle(world)
    run.refresh_from_db()
    assert run.registration == "deleted"
    assert len(planes.versions(world.cloud)) == versions - 1
    assert unsettled(world) == []


def test_a_lost_version_whose_place_another_model_has_leaves_that_one_alone(world: World) -> None:
    run = world.a_lineage()[0]
    with transaction.atomic():
        mark_version_lost(run_id=run.pk)
    world.vanish(planes.versions(world.cloud)[0].model_id)
    run.refresh_from_db()
    model_id = run.last_vertex_version.rpartition("/")[2].partition("@")[0]
    world.cloud.models.seed(model_id, display_name="theirs", versions=[1])
    delete(world, run)
    settle(world)
    run.refresh_from_db()
    assert run.registration == "deleted"
    assert [v.model_id for v in planes.versions(world.cloud)] == [model_id]


def test_a_version_that_only_an_older_revision_serves_cannot_be_deleted(world: World) -> None:
    runs, _ = pinned(world)
    operation = delete(world, runs[0])
    settle(world)
    operation.refresh_from_db()
    runs[0].refresh_from_db()
    assert (operation.status, operation.error_code) == ("failed", "model_deployed")
    assert runs[0].registration == "registered"
    plan = preview_deletion(lineage=RegisteredModel.objects.get(), runs=[runs[0]])
    assert [block.error.code for block in plan.blocks] == ["model_deployed"]


def test_traffic_that_is_elsewhere_is_a_finding_until_it_is_sent_to_the_latest_revision(
    world: World,
) -> None:
    runs, endpoint = pinned(world)
    assert [wrong[:2] for wrong in unsettled(world)] == ["I4"]
    sweep(actor=BO, clock=world.now)
    finding = Finding.objects.open().get()
    assert (finding.kind, is_safe(finding)) == ("service_mismatch", False)
    operation = look_at_service(endpoint=endpoint, actor=BO, now=world.now())
    settle(world)
    operation.refresh_from_db()
    assert (operation.status, operation.error_code) == ("failed", "service_mismatch")
    operation = redeploy_endpoint(endpoint=endpoint, actor=BO, now=world.now())
    settle(world)
    operation.refresh_from_db()
    assert (operation.status, operation.error_code) == ("failed", "traffic_elsewhere")
    assert "--to-latest" in operation.advice
    world.send_to_latest(endpoint.service_name)
    world.forward(300)
    sweep(actor=BO, clock=world.now)
    endpoint.refresh_from_db()
    assert (endpoint.run, Finding.objects.open().count()) == (runs[1], 0)
    assert unsettled(world) == []
