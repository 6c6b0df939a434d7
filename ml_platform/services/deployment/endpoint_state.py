"""Rules for endpoints and the runs they serve, and the row changes of deploy and undeploy.

`choose_endpoint` and the `reason_*` functions are pure: a page calls them for its buttons, a
request before it opens an operation, and the worker before it changes Cloud Run. Functions that
write expect the transaction of their caller.
"""

from __future__ import annotations

from collections.abc import Iterable
from datetime import datetime

from ml_platform.errors import Conflict
from ml_platform.models import DeployedEndpoint, RegisteredModel, TrainingRun
from ml_platform.models.locking import lock_row
from ml_platform.models.states import SUCCEEDED_RUN_STATUSES, EndpointState, Registration, RunStatus
from ml_platform.services.findings.compare_services import service_subject
from ml_platform.services.findings.kinds import FindingKind
from ml_platform.services.findings.store import standing
from ml_platform.services.registry.lineages import end_version, lock_version

from .serving import ServingConfig

MODEL_NOT_FOUND = "Model not found in Vertex AI Model Registry. It may have been deleted."


class NotDeployable(Conflict):
    """The run or the endpoint cannot be deployed in its present state."""

    code = "not_deployable"


class ForeignService(Conflict):
    """The service belongs to another owner; it was not changed."""

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


def choose_endpoint(endpoints: Iterable[DeployedEndpoint]) -> DeployedEndpoint | None:
    """The endpoint that a deploy uses when the request names none; None for a new service.

    It is the model's oldest endpoint whose version was not deleted.
    """
    usable = (endpoint for endpoint in endpoints if not endpoint.model_deleted)
    return min(usable, key=lambda endpoint: endpoint.pk, default=None)


def reason_not_deployable(run: TrainingRun) -> NotDeployable | None:
    """Why the run cannot be deployed; None for a blessed, registered version."""
    if run.status not in {*SUCCEEDED_RUN_STATUSES, RunStatus.NOT_BLESSED}:
        return NotDeployable(
            f"{run} is {run.get_status_display().lower()}.",
            code="run_not_completed",
            advice="Only a run whose pipeline succeeded can be deployed.",
        )
    if run.is_blessed is not True:
        return NotDeployable(
            f"{run} was not blessed by its evaluator.",
            code="not_blessed",
            advice="Only a blessed version is deployed. Look at its metrics, then train it again.",
        )
    if run.registration != Registration.REGISTERED:
        message, code, advice = _NO_VERSION[Registration(run.registration)]
        return NotDeployable(message, code=code, advice=advice)
    return None


def reason_not_restorable(endpoint: DeployedEndpoint) -> NotDeployable | None:
    """Why the endpoint cannot serve again: the version it served was deleted."""
    if not endpoint.model_deleted:
        return None
    return NotDeployable(
        "The model was deleted; this endpoint cannot be restored.",
        code="model_deleted",
        advice="Deploy another version without naming this endpoint.",
    )


def reason_already_deployed(endpoint: DeployedEndpoint, run: TrainingRun) -> NotDeployable | None:
    """Why a deploy of the run with the same configuration would change nothing."""
    if (endpoint.state, endpoint.run_id) != (EndpointState.ACTIVE, run.pk):
        return None
    return NotDeployable(
        f"{endpoint.service_name} serves v{run.version} already.",
        code="already_deployed",
        advice="Deploy another version or another configuration.",
    )


def require_deployable(run: TrainingRun) -> RegisteredModel:
    """Check that the run can be deployed; returns its model.

    :raises NotDeployable: it cannot.
    """
    if reason := reason_not_deployable(run):
        raise reason
    if run.registered_model is None:
        raise NotDeployable(f"{run} belongs to no model.", code="not_registered")
    return run.registered_model


def no_version_of(lineage: RegisteredModel) -> NotDeployable:
    """Why a model without a version cannot be deployed: the last one is gone, or there was none."""
    last = lineage.training_runs.exclude(version=None).order_by("-version").first()
    message, code, advice = _NO_VERSION[Registration(last.registration if last else "")]
    if last is None:
        message, advice = f"{lineage} has no version.", "Train and register it first."
    return NotDeployable(message, code=code, advice=advice)


def mark_deploying(
    *, run_id: int, service: str, config: ServingConfig, actor_id: int | None
) -> None:
    """Record what a deploy is about to serve; this protects the run and the version served now.

    :raises NotDeployable: the run cannot be deployed, or the endpoint serves it already.
    :raises ForeignService: the endpoint of that name belongs to another model.
    """
    endpoint = DeployedEndpoint.objects.select_for_update().filter(service_name=service).first()
    run = lock_row(TrainingRun.objects.filter(pk=run_id))
    lineage = require_deployable(run)
    if endpoint is None:
        endpoint = DeployedEndpoint(
            project_id=run.project_id,
            registered_model=lineage,
            service_name=service,
            created_by_id=actor_id,
        )
    _require_free(endpoint, run, config)
    endpoint.state = EndpointState.DEPLOYING
    endpoint.intended_run = run
    endpoint.error = ""
    endpoint.save()
    TrainingRun.objects.filter(pk=run.pk).move(to=RunStatus.DEPLOYING)


def _require_free(endpoint: DeployedEndpoint, run: TrainingRun, config: ServingConfig) -> None:
    if endpoint.registered_model_id != run.registered_model_id:
        raise ForeignService(f"The service {endpoint.service_name} belongs to another model.")
    if reason := reason_not_restorable(endpoint):
        raise reason
    same = ServingConfig.from_dict(endpoint.config).with_image() == config.with_image()
    reason = reason_already_deployed(endpoint, run)
    if reason and same and not _differs(endpoint):
        raise reason


def _differs(endpoint: DeployedEndpoint) -> bool:
    """Whether a sweep found that Cloud Run serves something else; a deploy brings it back."""
    subject = service_subject(endpoint.service_name)
    found = standing().filter(kind=FindingKind.SERVICE_MISMATCH, subject=subject)
    return found.exists()


def record_serving(
    *, service: str, run_id: int, config: ServingConfig, url: str, revision: str, now: datetime
) -> None:
    """Record that the endpoint serves the run now, and which run and configuration it replaced."""
    endpoint = lock_row(DeployedEndpoint.objects.filter(service_name=service))
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
    """Record that a deploy failed: the endpoint serves as before, unless the service is `gone`."""
    endpoint = lock_row(DeployedEndpoint.objects.filter(service_name=service))
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
    """Record that a deploy ended and that it is unknown which version serves.

    The endpoint stays `deploying`, which protects both versions until a retry or an undeploy has
    read the service.
    """
    DeployedEndpoint.objects.filter(service_name=service).update(error=error)
    sync_run_status(run_id, error=error)


def mark_undeploying(*, service: str) -> None:
    """Record that the service is about to be deleted; its version is protected until then."""
    DeployedEndpoint.objects.filter(service_name=service).update(
        state=EndpointState.UNDEPLOYING, error=""
    )


def record_stopped(*, service: str) -> None:
    """Record that the service no longer exists on Cloud Run."""
    endpoint = lock_row(DeployedEndpoint.objects.filter(service_name=service))
    endpoint.state = EndpointState.INACTIVE
    endpoint.is_active = False
    endpoint.intended_run = None
    endpoint.url = endpoint.revision = endpoint.error = ""
    endpoint.save()
    if endpoint.run_id is not None:
        sync_run_status(endpoint.run_id)


def abort_undeploy(*, service: str, error: str) -> None:
    """Record that an undeploy did not begin: the endpoint gets the state it had before."""
    endpoint = DeployedEndpoint.objects.select_for_update().filter(service_name=service).first()
    if endpoint is None:
        return
    unsure = EndpointState.DEPLOYING if endpoint.intended_run_id else EndpointState.INACTIVE
    endpoint.state = EndpointState.ACTIVE if endpoint.is_active else unsure
    endpoint.error = error
    endpoint.save()


def sync_run_status(run_id: int, *, error: str = "") -> None:
    """Set the status of a run: deployed while any endpoint serves it."""
    run = TrainingRun.objects.filter(pk=run_id)
    if DeployedEndpoint.objects.filter(run_id=run_id, is_active=True).exists():
        run.move(to=RunStatus.DEPLOYED, error="")
    elif error:
        run.move(to=RunStatus.DEPLOY_FAILED, error=error)
    else:
        run.move(to=RunStatus.COMPLETED, error="")


def mark_version_lost(*, run_id: int) -> None:
    """Clear the stale Vertex pointer of this version only; the run keeps its last value."""
    run = lock_version(run_id)
    if run.registered_model is not None and run.registration == Registration.REGISTERED:
        end_version(run=run, registration=Registration.LOST)
