"""A remote operation that never ends: ours fails, says what is left, and holds nothing any more."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from ml_platform.errors import Conflict
from ml_platform.models import DeployedEndpoint, Operation, TrainingRun
from ml_platform.services.deletion.delete import delete_versions
from ml_platform.services.deployment.undeploy import undeploy_endpoint
from ml_platform.services.operations.retry_cancel import request_cancel, retry_operation
from ml_platform.services.operations.worker import resume_operations
from ml_platform.services.registration.register import register_run

from .deploy_tools import deployed
from .world import ANA, Clock, a_lineage, a_run, settle

if TYPE_CHECKING:
    from ml_platform.localcloud import LocalCloud

pytestmark = pytest.mark.django_db(transaction=True)
NEVER = 1_000_000.0


@pytest.fixture
def clock(cloud: LocalCloud) -> Clock:
    return Clock()


def ended(operation: Operation, clock: Clock) -> Operation:
    """Let workers go on for three hours."""
    for _ in range(36):
        resume_operations(clock=clock)
        clock.forward(300)
    operation.refresh_from_db()
    return operation


def assert_given_up(operation: Operation) -> None:
    assert (operation.status, operation.error_code) == ("failed", "wait_ended")
    assert operation.remote_operation
    assert operation.remote_operation in operation.error
    assert "retry" in operation.advice


@pytest.mark.slow
def test_a_deletion_that_vertex_never_ends_lets_go_of_the_model(
    cloud: LocalCloud, clock: Clock
) -> None:
    lineage, runs = a_lineage(cloud, clock, versions=2)
    cloud.core.operations.lro_seconds = NEVER
    operation = delete_versions(lineage=lineage, runs=runs[:1], actor=ANA, now=clock())
    for _ in range(2):
        resume_operations(clock=clock)
        clock.forward(60)
    operation.refresh_from_db()
    assert operation.step == "wait"
    with pytest.raises(Conflict) as refused:
        request_cancel(operation=operation, actor=ANA, now=clock())
    assert refused.value.code == "not_cancellable"
    assert_given_up(ended(operation, clock))
    runs[0].refresh_from_db()
    assert runs[0].registration == "deleting"  # it was sent and may still happen
    cloud.core.operations.lro_seconds = 0.0
    other = delete_versions(lineage=lineage, runs=runs[1:], actor=ANA, now=clock())
    settle(clock)
    other.refresh_from_db()
    assert other.status == "succeeded"
    retry_operation(operation=operation, actor=ANA)
    settle(clock)
    assert not TrainingRun.objects.versions().exists()


@pytest.mark.slow
def test_a_registration_that_vertex_never_ends_can_be_asked_for_again(
    cloud: LocalCloud, clock: Clock
) -> None:
    run = a_run(cloud)
    cloud.core.operations.lro_seconds = NEVER
    operation = register_run(run=run, actor=ANA, now=clock())
    assert_given_up(ended(operation, clock))
    cloud.core.operations.lro_seconds = 0.0
    again = register_run(run=run, actor=ANA, now=clock())
    settle(clock)
    run.refresh_from_db()
    assert (again.pk, run.registration) == (operation.pk, "registered")


@pytest.mark.slow
def test_an_undeploy_that_cloud_run_never_ends_lets_go_of_the_service(
    cloud: LocalCloud, clock: Clock
) -> None:
    endpoint, _ = deployed(cloud, clock)
    cloud.core.operations.lro_seconds = NEVER
    operation = undeploy_endpoint(endpoint=endpoint, actor=ANA, now=clock())
    assert_given_up(ended(operation, clock))
    row = DeployedEndpoint.objects.get()
    assert (row.state, row.is_active, row.error) == ("undeploying", True, operation.error)
    cloud.core.operations.lro_seconds = 0.0
    retry_operation(operation=operation, actor=ANA)
    settle(clock)
    row.refresh_from_db()
    assert (row.state, row.is_active) == ("inactive", False)
