"""The row changes of deploy and undeploy; each expects the transaction of its caller."""

from __future__ import annotations

from collections.abc import Collection
from datetime import datetime

from ml_platform.cloud.types import ServiceSpec
from ml_platform.models import DeployedEndpoint, Operation, TrainingRun
from ml_platform.models.locking import lock_row, lock_rows
from ml_platform.models.states import EndpointState, EventKind, Registration, RunStatus
from ml_platform.services.operations.subjects import subject_of_endpoint
from ml_platform.services.operations.work import Json, record_change
from ml_platform.services.registry.lineages import end_version, lock_version
from ml_platform.services.serving.config import ServingConfig
from ml_platform.services.serving.our_fields import keep_written

from .deployable import DeployFacts, require_deploy, with_differences


def mark_deploying(
    *, run_id: int, service: str, config: ServingConfig, actor_id: int | None
) -> None:
    """Record what a deploy is about to serve; this protects the run and the version served now.

    :raises NotDeployable: the run cannot be deployed, or the endpoint serves it already.
    :raises ForeignService: the endpoint of that name belongs to another model.
    """
    there = DeployedEndpoint.objects.select_for_update().filter(service_name=service)
    endpoint = with_differences(there).first()
    run = lock_row(TrainingRun.objects.filter(pk=run_id))
    require_deploy(DeployFacts(run=run, target=endpoint, config=config))
    endpoint = endpoint or DeployedEndpoint(
        project_id=run.project_id,
        registered_model=run.registered_model,
        service_name=service,
        created_by_id=actor_id,
    )
    endpoint.state = EndpointState.DEPLOYING
    endpoint.intended_run = run
    endpoint.error = ""
    endpoint.save()
    TrainingRun.objects.filter(pk=run.pk).move(to=RunStatus.DEPLOYING)


def record_serving(
    *,
    service: str,
    run_id: int,
    config: ServingConfig,
    url: str,
    revision: str,
    now: datetime,
    written: ServiceSpec | None = None,
    operation: Operation | None = None,
    overwritten: Collection[str] = (),
) -> None:
    """Record that the endpoint serves the run now, and which run and configuration it replaced.

    `written` is what the service has in our fields, None if unknown; `overwritten` is what others
    had changed on Cloud Run, in words; the event tells it.
    """
    endpoint = _lock_with_runs(service, run_id)
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
    by = str(operation.pk) if operation else ""
    endpoint.written = keep_written(written, revision=revision, operation=by) if written else None
    endpoint.deployed_at = now
    endpoint.save()
    if overwritten:
        state["changed_by_others"] = list(overwritten)
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
    """Record that a deploy failed: the endpoint serves as before, unless the service is `gone`."""
    endpoint = _lock_with_runs(service, run_id)
    served, state = endpoint.is_active, _state(endpoint)
    endpoint.is_active = served and not gone
    endpoint.state = EndpointState.ACTIVE if endpoint.is_active else EndpointState.INACTIVE
    endpoint.intended_run = None
    endpoint.error = error
    if revision and endpoint.written:  # the version before, brought up again as it was
        endpoint.written = {**endpoint.written, "revision": revision}
    endpoint.revision = revision or endpoint.revision
    endpoint.save()
    if gone:
        endpoint.traffic.all().delete()
    if served and gone:
        _record_event(EventKind.UNDEPLOYED, endpoint, state, operation)
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


def record_stopped(*, service: str, operation: Operation | None = None) -> None:
    """Record that the service no longer exists on Cloud Run."""
    endpoint = _lock_with_runs(service)
    state = _state(endpoint)
    endpoint.state = EndpointState.INACTIVE
    endpoint.is_active = False
    endpoint.intended_run = None
    endpoint.url = endpoint.revision = endpoint.error = ""
    endpoint.save()
    endpoint.traffic.all().delete()
    _record_event(EventKind.UNDEPLOYED, endpoint, state, operation)
    if endpoint.run_id is not None:
        sync_run_status(endpoint.run_id)


def _lock_with_runs(service: str, *run_ids: int) -> DeployedEndpoint:
    """Lock the endpoint, then the runs whose status follows from it: a change of the endpoint locks
    its model's counters, which come last."""
    endpoint = lock_row(DeployedEndpoint.objects.filter(service_name=service))
    lock_rows(TrainingRun.objects.filter(pk__in=[*run_ids, endpoint.run_id]))
    return endpoint


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
    record_change(kind, operation, before=before, after=after, **subject.columns)


def abort_undeploy(*, service: str, error: str) -> None:
    """Record that an undeploy did not start: the endpoint gets its previous state."""
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


def mark_version_lost(*, run_id: int, operation: Operation | None = None) -> None:
    """Clear the stale Vertex pointer of this version only; the run keeps its last value."""
    run = lock_version(run_id)
    if run.registered_model is not None and run.registration == Registration.REGISTERED:
        end_version(run=run, registration=Registration.LOST, operation=operation)
