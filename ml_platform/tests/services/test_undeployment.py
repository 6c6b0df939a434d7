"""Undeploy: the version is protected until Cloud Run says NOT_FOUND; only ours is deleted."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest

from ml_platform.cloud import cloud_run
from ml_platform.cloud.types import ServiceSpec
from ml_platform.errors import Conflict
from ml_platform.models import DeployedEndpoint, Operation
from ml_platform.models.states import EndpointState, RunStatus
from ml_platform.services.deletion.delete import delete_versions
from ml_platform.services.deletion.plan import DeployedModel
from ml_platform.services.deployment.deployable import NotStopped
from ml_platform.services.deployment.undeploy import delete_endpoint
from ml_platform.services.operations.engine import advance
from ml_platform.services.operations.retry_cancel import retry_operation
from ml_platform.services.operations.store import Busy
from ml_platform.services.operations.worker import resume_operations
from ml_platform.services.workflows import WORKFLOWS
from ml_platform.tests.factories import DeployedEndpointFactory

from .deploy_tools import (
    deploy,
    deployed,
    facts,
    finish,
    go_on,
    services,
    status,
    undeploy,
)
from .world import ANA, Clock, a_lineage, settle

if TYPE_CHECKING:
    from ml_platform.localcloud import LocalCloud

pytestmark = pytest.mark.django_db


@pytest.fixture
def clock(cloud: LocalCloud) -> Clock:
    return Clock()


def test_the_service_goes_and_the_endpoint_remembers_what_it_served(
    cloud: LocalCloud, clock: Clock
) -> None:
    endpoint, (run,) = deployed(cloud, clock)
    operation = undeploy(endpoint, clock, reason="Costs too much.")
    assert facts(endpoint) == ("undeploying", True, run.pk, None)
    finish(operation, clock)
    assert (operation.status, operation.reason) == ("succeeded", "Costs too much.")
    assert facts(endpoint) == ("inactive", False, run.pk, None)
    assert (endpoint.url, endpoint.model_deleted) == ("", False)
    assert status(run) == RunStatus.COMPLETED
    assert services() == {}
    assert cloud.effects.count("Services.DeleteService") == 1
    assert cloud.effects.count("ModelService.UploadModel") == 0


WAYS: list[dict[str, Any]] = [
    {"method": "Services.DeleteService", "kind": "error", "code": "UNAVAILABLE"},
    {"method": "Services.DeleteService", "kind": "error", "code": "ABORTED"},
    {"method": "Services.DeleteService", "kind": "lost", "code": "UNAVAILABLE"},
    {"method": "Services.DeleteService", "kind": "lost", "code": "INTERNAL"},
    {"method": "Services.DeleteService", "kind": "hang", "when": "before"},
    {"method": "Services.DeleteService", "kind": "hang", "when": "after"},
    {"method": "Services.DeleteService", "kind": "late", "seconds": 240.0},
    {"method": "Services.GetService", "kind": "error", "code": "UNAVAILABLE"},
    {"method": "Services.GetService", "kind": "error", "code": "PERMISSION_DENIED"},
    {"method": "Services.GetService", "kind": "hang", "when": "before"},
    {"method": "Services.GetService", "kind": "error", "code": "PERMISSION_DENIED", "nth": 2},
]


@pytest.mark.any_database
@pytest.mark.slow
@pytest.mark.parametrize("way", WAYS, ids=lambda way: "-".join(str(v) for v in way.values()))
def test_trouble_on_the_way_only_delays_an_undeploy(
    cloud: LocalCloud, clock: Clock, settings: Any, way: dict[str, Any]
) -> None:
    settings.ML_PLATFORM = {**settings.ML_PLATFORM, "RETRY_TIMEOUT": 0, "CALL_TIMEOUT": 0.3}
    endpoint, (run,) = deployed(cloud, clock)
    fault = cloud.faults.order(**way)
    operation = undeploy(endpoint, clock)
    go_on(cloud, clock, rounds=12)
    operation.refresh_from_db()
    assert fault.hits == 1
    assert (operation.status, operation.error) == ("succeeded", "")
    assert facts(endpoint) == ("inactive", False, run.pk, None)
    assert services() == {}


def test_while_it_goes_its_version_cannot_be_deleted(cloud: LocalCloud, clock: Clock) -> None:
    endpoint, (run,) = deployed(cloud, clock)
    cloud.faults.order(method="Services.DeleteService", kind="late", seconds=240.0)
    undeploy(endpoint, clock)
    resume_operations(clock=clock)
    with pytest.raises(DeployedModel):
        _delete_past_the_lock(endpoint, clock)
    assert facts(endpoint) == ("undeploying", True, run.pk, None)


def _delete_past_the_lock(endpoint: DeployedEndpoint, clock: Clock) -> None:
    """As if the lock had failed: the row alone refuses."""
    Operation.objects.filter(status="running").update(lineage_key="")
    assert endpoint.run
    delete_versions(lineage=endpoint.registered_model, runs=[endpoint.run], actor=ANA, now=clock())


def test_a_service_that_is_gone_already_counts_as_done(cloud: LocalCloud, clock: Clock) -> None:
    endpoint, (run,) = deployed(cloud, clock)
    cloud_run.delete_service(endpoint.service_name, etag="")
    assert finish(undeploy(endpoint, clock), clock).status == "succeeded"
    assert facts(endpoint) == ("inactive", False, run.pk, None)
    assert cloud.effects.count("Services.DeleteService") == 1


def test_a_service_so_new_that_it_may_not_show_yet_is_not_taken_for_gone(
    cloud: LocalCloud, clock: Clock
) -> None:
    _, (run,) = a_lineage(cloud, clock)
    finish(deploy(run, clock), clock)
    endpoint = DeployedEndpoint.objects.get()
    cloud.faults.order(method="Services.GetService", kind="stale", seconds=90, times=None)
    operation = undeploy(endpoint, clock)
    resume_operations(clock=clock)
    assert facts(endpoint)[0] == "undeploying"
    go_on(cloud, clock, rounds=4)
    operation.refresh_from_db()
    assert operation.status == "succeeded"
    cloud.faults.clear()
    assert services() == {}


def test_a_service_of_somebody_else_under_the_name_is_never_deleted(
    cloud: LocalCloud, clock: Clock
) -> None:
    endpoint, (run,) = deployed(cloud, clock)
    name = endpoint.service_name
    cloud_run.delete_service(name, etag="")
    cloud_run.create_service(name, ServiceSpec(image="theirs", labels={"team": "theirs"}))
    operation = finish(undeploy(endpoint, clock), clock)
    assert "belongs to another owner" in operation.steps[0]["note"]
    assert facts(endpoint) == ("inactive", False, run.pk, None)
    assert services() == {name: ""}
    assert cloud.effects.count("Services.DeleteService") == 1


def test_a_service_that_changed_since_it_was_looked_at_is_looked_at_again(
    cloud: LocalCloud, clock: Clock
) -> None:
    endpoint, _ = deployed(cloud, clock)
    name = endpoint.service_name
    operation = undeploy(endpoint, clock)
    advance(operation_id=operation.pk, workflows=WORKFLOWS, clock=clock, steps=1)
    cloud_run.delete_service(name, etag="")
    cloud_run.create_service(name, ServiceSpec(image="theirs", labels={"team": "theirs"}))
    settle(clock)
    assert facts(endpoint)[0] == "inactive"
    assert services() == {name: ""}


def test_an_undeploy_denied_for_good_leaves_the_endpoint_as_it_was_and_can_be_retried(
    cloud: LocalCloud, clock: Clock
) -> None:
    endpoint, (run,) = deployed(cloud, clock)
    cloud.faults.order(
        method="Services.DeleteService", kind="error", code="PERMISSION_DENIED", times=None
    )
    operation = finish(undeploy(endpoint, clock), clock)
    assert (operation.status, operation.error_code) == ("failed", "cloud_denied")
    assert facts(endpoint) == ("active", True, run.pk, None)
    assert endpoint.error == operation.error
    assert status(run) == RunStatus.DEPLOYED
    cloud.faults.clear()
    retry_operation(operation=operation, actor=ANA)
    assert finish(operation, clock).status == "succeeded"
    assert (*facts(endpoint), services()) == ("inactive", False, run.pk, None, {})


def test_what_a_deploy_left_unclear_can_be_undeployed(cloud: LocalCloud, clock: Clock) -> None:
    _, (run,) = a_lineage(cloud, clock)
    cloud.faults.order(
        method="Services.GetService", kind="error", code="PERMISSION_DENIED", nth=2, times=None
    )
    operation = deploy(run, clock)
    resume_operations(clock=clock)
    clock.forward(25 * 3600)
    assert finish(operation, clock).status == "failed"
    endpoint = DeployedEndpoint.objects.get()
    assert facts(endpoint) == ("deploying", False, None, run.pk)
    cloud.faults.clear()
    assert finish(undeploy(endpoint, clock), clock).status == "succeeded"
    assert facts(endpoint) == ("inactive", False, None, None)
    assert services() == {}


def test_two_undeploys_are_one_and_a_stopped_endpoint_has_nothing_to_undeploy(
    cloud: LocalCloud, clock: Clock
) -> None:
    endpoint, _ = deployed(cloud, clock)
    undeploy(endpoint, clock)
    with pytest.raises(Busy):
        undeploy(endpoint, clock)
    settle(clock)
    with pytest.raises(Conflict, match="not deployed"):
        undeploy(endpoint, clock)
    assert cloud.effects.count("Services.DeleteService") == 1
    assert Operation.objects.filter(kind="undeploy", status="failed").count() == 2


def test_a_stopped_endpoint_can_be_deleted_and_its_history_stays(
    cloud: LocalCloud, clock: Clock
) -> None:
    endpoint, (run,) = deployed(cloud, clock)
    name = endpoint.service_name
    finish(undeploy(endpoint, clock), clock)
    operation = delete_endpoint(endpoint=endpoint, actor=ANA, now=clock())
    assert DeployedEndpoint.objects.count() == 0
    assert operation.steps[0]["title"] == f"Deleted the endpoint {name}. It served {run} last."
    kinds = Operation.objects.filter(service_key=name).order_by("created_at", "pk")
    assert sorted(kinds.values_list("kind", flat=True)) == ["delete", "deploy", "undeploy"]
    assert finish(deploy(run, clock), clock).status == "succeeded"
    assert DeployedEndpoint.objects.get().service_name == name


@pytest.mark.parametrize(
    "state", [EndpointState.ACTIVE, EndpointState.DEPLOYING, EndpointState.UNDEPLOYING]
)
def test_an_endpoint_that_serves_or_may_serve_cannot_be_deleted(
    cloud: LocalCloud, clock: Clock, state: EndpointState
) -> None:
    lineage, (run,) = a_lineage(cloud, clock)
    endpoint = DeployedEndpointFactory(
        registered_model=lineage,
        run=run,
        intended_run=run,
        state=state,
        is_active=state == EndpointState.ACTIVE,
    )
    with pytest.raises(NotStopped):
        delete_endpoint(endpoint=endpoint, actor=ANA, now=clock())
    assert DeployedEndpoint.objects.count() == 1
    kept = Operation.objects.get(kind="delete")
    assert (kept.status, kept.error_code) == ("failed", "endpoint_active")
