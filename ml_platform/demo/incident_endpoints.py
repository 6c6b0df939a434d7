"""The incident's endpoints: their rows, their services, a month of traffic, and a deploy."""

from __future__ import annotations

from datetime import datetime
from functools import partial

from ml_platform.cloud import cloud_run
from ml_platform.cloud.types import ServiceSpec
from ml_platform.conf import require_settings
from ml_platform.localcloud import LocalCloud
from ml_platform.models import DeployedEndpoint, RegisteredModel, TrainingRun
from ml_platform.models.clock import database_now
from ml_platform.models.states import EndpointState, RunStatus
from ml_platform.services.deployment.deploy import deploy_run
from ml_platform.services.deployment.steps import DEPLOY
from ml_platform.services.operations import history, worker
from ml_platform.services.operations.store import Actor
from ml_platform.services.operations.subjects import subject_of_version
from ml_platform.services.ownership.labels import labels_for

from . import incident_data as data
from .stage import Stage

METRICS_DAYS = 30
BRING_UP_SECONDS = 1800.0
"""How long Cloud Run takes for the service of the deploy."""


def add_endpoint(stage: Stage, given: data.Endpoint) -> None:
    """Add the row and the history of an endpoint, and its service if it is active."""
    lineage, run = _newest_version(given.lineage)
    endpoint = DeployedEndpoint.objects.create(
        project=stage.project,
        registered_model=lineage,
        service_name=given.service,
        run=run,
        state=given.state,
        is_active=given.state == EndpointState.ACTIVE,
        deployed_at=stage.ago(given.deployed),
        created_at=stage.ago(given.created),
        created_by_id=stage.actor.user_id,
    )
    history.record(
        workflow=DEPLOY,
        subject=subject_of_version(run),
        actor=stage.actor,
        now=stage.ago(given.deployed),
        note=f"{given.service} serves it.",
    )
    if endpoint.is_active:
        TrainingRun.objects.filter(pk=run.pk).update(status=RunStatus.DEPLOYED)
        stage.at(stage.ago(given.deployed), partial(_serve, endpoint, run))
        _seed_traffic(stage, given)


def _serve(endpoint: DeployedEndpoint, run: TrainingRun) -> None:
    spec = ServiceSpec(
        image=require_settings().SERVING_IMAGE,
        labels=labels_for(
            lineage=endpoint.registered_model.uid,
            generation=endpoint.registered_model.generation,
            run=run.uid,
            endpoint=endpoint.uid,
        ),
        env={"AIP_STORAGE_URI": f"{run.gcs_artifacts_path}pushed_model/1"},
    )
    cloud_run.create_service(endpoint.service_name, spec)
    service = cloud_run.get_service(endpoint.service_name)
    endpoint.url, endpoint.revision = service.uri, service.latest_ready_revision
    endpoint.save()


def _newest_version(name: str) -> tuple[RegisteredModel, TrainingRun]:
    lineage = RegisteredModel.objects.get(model_name=name)
    if lineage.latest_run is None:
        raise ValueError(f"{name} has no version to serve")
    return lineage, lineage.latest_run


def start_deploy(*, cloud: LocalCloud, actor: Actor, now: datetime) -> None:
    """Start a deploy that the product has sent and now waits for."""
    name, service = data.DEPLOYING_NOW
    _, run = _newest_version(name)
    remote = cloud.core.operations
    pace, remote.lro_seconds = remote.lro_seconds, BRING_UP_SECONDS
    operation = deploy_run(run=run, service_name=service, actor=actor, now=now)
    worker.run_until_idle(operation_id=operation.pk, clock=database_now)
    remote.lro_seconds = pace


def _seed_traffic(stage: Stage, given: data.Endpoint) -> None:
    """A month of requests, with quiet weekends."""
    for ago in range(METRICS_DAYS):
        day = stage.ago(ago).date()
        if day < stage.ago(given.created).date():
            return
        share = 0.45 if day.weekday() >= 5 else 1 - 0.006 * ago
        wave = 1 + 0.04 * ((day.toordinal() * 7) % 5 - 2)
        stage.cloud.monitoring.seed(
            given.service,
            day,
            requests=round(given.requests * share * wave),
            errors=round(given.requests * 0.0004),
            p50=round(21 * wave, 1),
            p95=round(84 * wave, 1),
            p99=round(190 * wave, 1),
        )
