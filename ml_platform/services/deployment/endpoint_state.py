"""What our tables say of an endpoint and its runs, changed only inside the caller's transaction."""

from __future__ import annotations

from datetime import datetime

from ml_platform.models import DeployedEndpoint, TrainingRun
from ml_platform.models.states import (
    EndpointState,
    Registration,
    RunStatus,
)
from ml_platform.services.registry.lineages import end_version, lock_version

from .deployable import differs, require_deployable, require_free, with_differences
from .serving import ServingConfig


def mark_deploying(
    *, run_id: int, service: str, config: ServingConfig, actor_id: int | None
) -> None:
    """Say what a deploy is about to bring up; from now on the run and what serves are protected.

    :raises NotDeployable: the run is no blessed version, or it serves there already.
    :raises ForeignService: the endpoint of that name is another model's.
    """
    endpoint = DeployedEndpoint.objects.select_for_update().filter(service_name=service).first()
    run = TrainingRun.objects.select_for_update(no_key=True).get(pk=run_id)
    require_deployable(run)
    if endpoint is None:
        endpoint = DeployedEndpoint(
            project_id=run.project_id,
            registered_model=run.registered_model,
            service_name=service,
            created_by_id=actor_id,
        )
    require_free(endpoint, run, config, differs=_differs(endpoint))
    endpoint.state = EndpointState.DEPLOYING
    endpoint.intended_run = run
    endpoint.error = ""
    endpoint.save()
    TrainingRun.objects.filter(pk=run.pk).move(to=RunStatus.DEPLOYING)


def _differs(endpoint: DeployedEndpoint) -> bool:
    return any(map(differs, with_differences(DeployedEndpoint.objects.filter(pk=endpoint.pk))))


def record_serving(
    *, service: str, run_id: int, config: ServingConfig, url: str, revision: str, now: datetime
) -> None:
    """Record that the run serves there now, and which one it took over from, served how."""
    endpoint = DeployedEndpoint.objects.select_for_update().get(service_name=service)
    before, served = endpoint.run_id, endpoint.is_active
    if before is not None and before != run_id:
        endpoint.previous_run_id = before
        endpoint.previous_config = endpoint.config
    endpoint.run_id = run_id
    endpoint.intended_run = None
    endpoint.state = EndpointState.ACTIVE
    endpoint.is_active = True
    endpoint.url, endpoint.revision, endpoint.error = url, revision, ""
    endpoint.config = config.to_dict()
    endpoint.deployed_at = now
    endpoint.save()
    sync_run_status(run_id)
    if served and before is not None and before != run_id:
        sync_run_status(before)


def abort_deploy(*, service: str, run_id: int, gone: bool, error: str, revision: str = "") -> None:
    """Record that a deploy ended without success: what served does, unless it is `gone`."""
    endpoint = DeployedEndpoint.objects.select_for_update().get(service_name=service)
    served = endpoint.is_active
    endpoint.is_active = served and not gone
    endpoint.state = EndpointState.ACTIVE if endpoint.is_active else EndpointState.INACTIVE
    endpoint.intended_run = None
    endpoint.error = error
    endpoint.revision = revision or endpoint.revision
    endpoint.save()
    sync_run_status(run_id, error=error)
    if served and endpoint.run_id is not None and endpoint.run_id != run_id:
        sync_run_status(endpoint.run_id)


def mark_outcome_unknown(*, service: str, run_id: int, error: str) -> None:
    """Record that a deploy ended without our knowing what serves: the endpoint stays `deploying`,
    which protects both versions until a retry or an undeploy finds out."""
    DeployedEndpoint.objects.filter(service_name=service).update(error=error)
    sync_run_status(run_id, error=error)


def mark_undeploying(*, service: str) -> None:
    """Say that the service is about to go; it protects its version until it is gone."""
    DeployedEndpoint.objects.filter(service_name=service).update(
        state=EndpointState.UNDEPLOYING, error=""
    )


def record_stopped(*, service: str) -> None:
    """Record that Cloud Run has no such service any more."""
    endpoint = DeployedEndpoint.objects.select_for_update().get(service_name=service)
    endpoint.state = EndpointState.INACTIVE
    endpoint.is_active = False
    endpoint.intended_run = None
    endpoint.url = endpoint.revision = endpoint.error = ""
    endpoint.save()
    if endpoint.run_id is not None:
        sync_run_status(endpoint.run_id)


def abort_undeploy(*, service: str, error: str) -> None:
    """Record that an undeploy did not begin, so that all is as before it."""
    endpoint = DeployedEndpoint.objects.select_for_update().filter(service_name=service).first()
    if endpoint is None:
        return
    unsure = EndpointState.DEPLOYING if endpoint.intended_run_id else EndpointState.INACTIVE
    endpoint.state = EndpointState.ACTIVE if endpoint.is_active else unsure
    endpoint.error = error
    endpoint.save()


def sync_run_status(run_id: int, *, error: str = "") -> None:
    """Give a run the status that fits: deployed while any endpoint serves it."""
    run = TrainingRun.objects.filter(pk=run_id)
    if DeployedEndpoint.objects.filter(run_id=run_id, is_active=True).exists():
        run.move(to=RunStatus.DEPLOYED, error="")
    elif error:
        run.move(to=RunStatus.DEPLOY_FAILED, error=error)
    else:
        run.move(to=RunStatus.COMPLETED, error="")


def mark_version_lost(*, run_id: int) -> None:
    """Clear exactly this version's stale pointer; what it said stays readable in the run."""
    run = lock_version(run_id)
    if run.registered_model is not None and run.registration == Registration.REGISTERED:
        end_version(run=run, registration=Registration.LOST)
