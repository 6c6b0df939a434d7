"""What the tests of deploy and undeploy share."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from ml_platform.cloud import cloud_run, storage
from ml_platform.cloud.types import RemoteService
from ml_platform.models import DeployedEndpoint, Operation, TrainingRun
from ml_platform.services.deployment.deploy import deploy_run
from ml_platform.services.deployment.undeploy import undeploy_endpoint
from ml_platform.services.operations.worker import resume_operations

from .world import ANA, BUCKET, Clock, a_lineage, settle

if TYPE_CHECKING:
    from ml_platform.localcloud import LocalCloud

A_WHILE = 600
"""Seconds after which nothing is so young that Google may not show it yet."""


def deploy(run: TrainingRun, clock: Clock, **options: Any) -> Operation:
    return deploy_run(run=run, actor=ANA, now=clock(), **options)


def undeploy(endpoint: DeployedEndpoint, clock: Clock, **options: Any) -> Operation:
    return undeploy_endpoint(endpoint=endpoint, actor=ANA, now=clock(), **options)


def deployed(
    cloud: LocalCloud, clock: Clock, versions: int = 1, **options: Any
) -> tuple[DeployedEndpoint, list[TrainingRun]]:
    """An endpoint that serves the first of a lineage's versions."""
    _, runs = a_lineage(cloud, clock, versions=versions)
    clock.forward(A_WHILE)
    finish(deploy(runs[0], clock, **options), clock)
    clock.forward(A_WHILE)
    endpoint = DeployedEndpoint.objects.get()
    assert (endpoint.state, endpoint.run) == ("active", runs[0])
    return endpoint, runs


def finish(operation: Operation, clock: Clock) -> Operation:
    settle(clock)
    operation.refresh_from_db()
    return operation


def go_on(cloud: LocalCloud, clock: Clock, rounds: int = 40) -> None:
    """Let workers go on while time passes for us and for the cloud."""
    for _ in range(rounds):
        resume_operations(clock=clock)
        clock.forward(60)
        cloud.clock.advance(60)


def service_of(endpoint: DeployedEndpoint) -> RemoteService:
    return cloud_run.get_service(endpoint.service_name)


def services() -> dict[str, str]:
    """What Cloud Run has: service -> the run its label names."""
    return {s.service_id: s.labels.get("mlp_run", "") for p in cloud_run.list_services() for s in p}


def facts(endpoint: DeployedEndpoint) -> tuple[str, bool, int | None, int | None]:
    endpoint.refresh_from_db()
    return endpoint.state, endpoint.is_active, endpoint.run_id, endpoint.intended_run_id


def status(run: TrainingRun) -> str:
    run.refresh_from_db()
    return run.status


def remove_artifacts(cloud: LocalCloud, run: TrainingRun) -> None:
    prefix = run.gcs_artifacts_path.removeprefix(f"gs://{BUCKET}/")
    found = [o for page in storage.list_objects(BUCKET, prefix) for o in page]
    storage.delete_objects(BUCKET, [(o.name, o.generation) for o in found])
