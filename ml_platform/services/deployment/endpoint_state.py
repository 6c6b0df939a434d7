"""What our tables say of an endpoint and its runs, changed only inside the caller's transaction."""

from __future__ import annotations

from datetime import datetime

from ml_platform.errors import Conflict
from ml_platform.models import DeployedEndpoint, Operation, RegisteredModel, TrainingRun
from ml_platform.models.states import (
    SUCCEEDED_RUN_STATUSES,
    EndpointState,
    EventKind,
    FindingKind,
    Registration,
    RunStatus,
)
from ml_platform.services.findings.compare_services import service_subject
from ml_platform.services.findings.store import standing
from ml_platform.services.operations.store import Json, record_change
from ml_platform.services.operations.subjects import subject_of_endpoint
from ml_platform.services.registry.lineages import end_version, lock_version

from .serving import ServingConfig

MODEL_NOT_FOUND = "Model not found in Vertex AI Model Registry. It may have been deleted."


class NotDeployable(Conflict):
    """The run or the endpoint cannot be deployed as it stands."""

    code = "not_deployable"


class ForeignService(Conflict):
    """The service belongs to somebody else; it was left alone."""

    code = "foreign_service"
    advice = "Choose another service name; if it is yours, put the label back or delete it there."


_NO_VERSION = {
    Registration.NONE: ("It is not registered.", "not_registered", "Register it first."),
    Registration.DELETING: ("Its version is being deleted.", "deleting", "Deploy another version."),
    Registration.DELETED: (MODEL_NOT_FOUND, "model_not_found", "Deploy another version."),
    Registration.LOST: (
        MODEL_NOT_FOUND,
        "model_not_found",
        "Deploy another version, or register this run again.",
    ),
}


def require_deployable(run: TrainingRun) -> None:
    """Check that the run is a blessed version that may be brought up.

    :raises NotDeployable: with what stands against it.
    """
    if run.status not in {*SUCCEEDED_RUN_STATUSES, RunStatus.NOT_BLESSED}:
        raise NotDeployable(
            f"{run} is {run.get_status_display().lower()}.",
            code="run_not_completed",
            advice="Only a run whose pipeline succeeded can be deployed.",
        )
    if run.is_blessed is not True:
        raise NotDeployable(
            f"{run} was not blessed by its evaluator.",
            code="not_blessed",
            advice="Only a blessed version is deployed. Look at its metrics, then train it again.",
        )
    if run.registration != Registration.REGISTERED:
        message, code, advice = _NO_VERSION[Registration(run.registration)]
        raise NotDeployable(message, code=code, advice=advice)


def no_version_of(lineage: RegisteredModel) -> NotDeployable:
    """What is said of a lineage without a version: its last one is gone, or there never was one."""
    last = lineage.training_runs.exclude(version=None).order_by("-version").first()
    message, code, advice = _NO_VERSION[Registration(last.registration if last else "")]
    if last is None:
        message, advice = f"{lineage} has no version.", "Train and register it first."
    return NotDeployable(message, code=code, advice=advice)


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
            registered_model_id=_lineage_id(run),
            service_name=service,
            created_by_id=actor_id,
        )
    _require_free(endpoint, run, config)
    endpoint.state = EndpointState.DEPLOYING
    endpoint.intended_run = run
    endpoint.error = ""
    endpoint.save()
    TrainingRun.objects.filter(pk=run.pk).move(to=RunStatus.DEPLOYING)


def _lineage_id(run: TrainingRun) -> int:
    if run.registered_model_id is None:
        message, code, advice = _NO_VERSION[Registration.NONE]
        raise NotDeployable(message, code=code, advice=advice)
    return run.registered_model_id


def _require_free(endpoint: DeployedEndpoint, run: TrainingRun, config: ServingConfig) -> None:
    if endpoint.registered_model_id != run.registered_model_id:
        raise ForeignService(f"The service {endpoint.service_name} belongs to another model.")
    require_restorable(endpoint)
    same = ServingConfig.from_dict(endpoint.config).with_image() == config.with_image()
    serving = endpoint.is_active and endpoint.run_id == run.pk
    if serving and same and endpoint.state == EndpointState.ACTIVE and not _differs(endpoint):
        raise NotDeployable(
            f"{endpoint.service_name} serves version {run.version} already.",
            code="already_deployed",
            advice="Deploy another version or another configuration.",
        )


def _differs(endpoint: DeployedEndpoint) -> bool:
    """Whether a sweep found that Cloud Run serves something else; a deploy brings it back."""
    subject = service_subject(endpoint.service_name)
    found = standing().filter(kind=FindingKind.SERVICE_MISMATCH, subject=subject)
    return found.exists()


def require_restorable(endpoint: DeployedEndpoint) -> None:
    """Check that the endpoint may serve again.

    :raises NotDeployable: the version it served was deleted.
    """
    if endpoint.model_deleted:
        raise NotDeployable(
            "The model was deleted; this endpoint cannot be restored.",
            code="model_deleted",
            advice="Deploy another version without naming this endpoint.",
        )


def record_serving(
    *,
    service: str,
    run_id: int,
    config: ServingConfig,
    url: str,
    revision: str,
    now: datetime,
    operation: Operation | None = None,
) -> None:
    """Record that the run serves there now, and which one it took over from, served how."""
    endpoint = DeployedEndpoint.objects.select_for_update().get(service_name=service)
    before, served, state = endpoint.run_id, endpoint.is_active, _state(endpoint)
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
    _record_event(EventKind.DEPLOYED, endpoint, state, operation)
    sync_run_status(run_id)
    if served and before is not None and before != run_id:
        sync_run_status(before)


def abort_deploy(
    *,
    service: str,
    run_id: int,
    gone: bool,
    error: str,
    revision: str = "",
    operation: Operation | None = None,
) -> None:
    """Record that a deploy ended without success: what served does, unless it is `gone`."""
    endpoint = DeployedEndpoint.objects.select_for_update().get(service_name=service)
    served, state = endpoint.is_active, _state(endpoint)
    endpoint.is_active = served and not gone
    endpoint.state = EndpointState.ACTIVE if endpoint.is_active else EndpointState.INACTIVE
    endpoint.intended_run = None
    endpoint.error = error
    endpoint.revision = revision or endpoint.revision
    endpoint.save()
    if served and gone:
        _record_event(EventKind.UNDEPLOYED, endpoint, state, operation)
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


def record_stopped(*, service: str, operation: Operation | None = None) -> None:
    """Record that Cloud Run has no such service any more."""
    endpoint = DeployedEndpoint.objects.select_for_update().get(service_name=service)
    state = _state(endpoint)
    endpoint.state = EndpointState.INACTIVE
    endpoint.is_active = False
    endpoint.intended_run = None
    endpoint.url = endpoint.revision = endpoint.error = ""
    endpoint.save()
    _record_event(EventKind.UNDEPLOYED, endpoint, state, operation)
    if endpoint.run_id is not None:
        sync_run_status(endpoint.run_id)


def _state(endpoint: DeployedEndpoint) -> Json:
    return {
        "state": endpoint.state,
        "is_active": endpoint.is_active,
        "run": endpoint.run_id,
        "revision": endpoint.revision,
    }


def _record_event(
    kind: EventKind, endpoint: DeployedEndpoint, before: Json, operation: Operation | None
) -> None:
    subject, after = subject_of_endpoint(endpoint), _state(endpoint)
    record_change(kind, operation=operation, subject=subject, before=before, after=after)


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


def mark_version_lost(*, run_id: int, operation: Operation | None = None) -> None:
    """Clear exactly this version's stale pointer; what it said stays readable in the run."""
    run = lock_version(run_id)
    if run.registered_model is not None and run.registration == Registration.REGISTERED:
        end_version(run=run, registration=Registration.LOST, operation=operation)
