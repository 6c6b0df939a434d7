"""Adopt the Cloud Run service that serves an adopted model: it gets our labels, and an endpoint.

What it serves, its revisions and its traffic are not changed.
"""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass, field, replace
from datetime import datetime
from functools import partial
from uuid import UUID, uuid4

from ml_platform.cloud import cloud_run
from ml_platform.cloud.run_messages import ARTIFACT_ENV
from ml_platform.cloud.types import RemoteService
from ml_platform.errors import Conflict, Invalid, OutcomeUnknown, PlatformError
from ml_platform.models import DeployedEndpoint, Operation, RegisteredModel, TrainingRun
from ml_platform.models.states import EndpointState, OperationKind, Registration, RunStatus
from ml_platform.services.operations import worker
from ml_platform.services.operations.store import Actor, Subject, open_operation
from ml_platform.services.operations.subjects import lineage_lock, version_name
from ml_platform.services.operations.work import Work
from ml_platform.services.operations.workflow import Next, Outcome, Poll, Step, Workflow
from ml_platform.services.ownership.identification import holds_files_of
from ml_platform.services.ownership.labels import ENDPOINT, OWNER, labels_for
from ml_platform.services.removal.references import addresses_of
from ml_platform.services.serving.config import ServingConfig, belongs_to, compare_service
from ml_platform.services.serving.polling import (
    ServiceState,
    about_to_send,
    after_start,
    not_done,
    require_not_refused,
    wait_for,
)

from .endpoint_state import record_serving, sync_run_status

SERVICE_TYPE = "service"
LOOK = "look"
_OURS = ("AIP_", "K_", "PORT")


class NotAdoptable(Conflict):
    """The service does not serve the model alone, or it belongs to somebody."""

    code = "service_not_adoptable"
    advice = "The model is adopted. Deploy it here, or retry when the service is as it must be."


@dataclass(frozen=True, slots=True, kw_only=True)
class AdoptServiceState(ServiceState):
    """What the steps hand on."""

    uid: str = ""
    """The uid that the endpoint gets."""
    run: int = 0
    labels: Mapping[str, str] = field(default_factory=dict)


def open_service_adoption(
    *, service_name: str, lineage: RegisteredModel, actor: Actor, now: datetime
) -> Operation:
    """Open, in the transaction that ends a model's adoption, that of its service. It begins when
    that operation has ended."""
    operation, _ = open_operation(
        workflow=WORKFLOW,
        subject=Subject(
            type=SERVICE_TYPE,
            id=service_name,
            name=service_name,
            project_id=lineage.project_id,
            lineage=lineage,
            lineage_key=lineage_lock(lineage),
            service_key=service_name,
        ),
        actor=actor,
        now=now,
        state=AdoptServiceState(service=service_name, uid=uuid4().hex),
        queue=True,
    )
    worker.enqueue(operation)
    return operation


# ---- the steps ---------------------------------------------------------------------------------


def _look(work: Work[AdoptServiceState]) -> Outcome:
    """Read the service and what it serves, before our labels are written and after it."""
    service, uid = cloud_run.get_service(work.state.service), UUID(work.state.uid)
    if belongs_to(service, uid):
        return Next(to="record", note=f"{service.service_id} has our labels.")
    if DeployedEndpoint.objects.filter(service_name=service.service_id).exclude(uid=uid).exists():
        raise NotAdoptable(f"There is an endpoint {service.service_id} already.")
    if owner := service.labels.get(OWNER) or service.labels.get(ENDPOINT):
        raise NotAdoptable(f"{service.service_id} has the labels of {owner}.")
    judged = compare_service(service)
    if judged.serves is None:
        return Poll(note=judged.reason)
    if not judged.serves:
        raise NotAdoptable(judged.reason)
    require_not_refused(work)
    run = _served(work, service)
    labels = labels_for(endpoint=uid, run=run.uid, operation=work.operation.pk)
    work.state = replace(work.state, etag=service.etag, run=run.pk, labels=labels, ended=False)
    return Next(
        to="label",
        note=f"{service.service_id} serves {version_name(run)} alone.",
        change=partial(_mark, work, run),
    )


def _mark(work: Work[AdoptServiceState], run: TrainingRun) -> None:
    """Record that the service is about to become ours, which protects the version."""
    DeployedEndpoint.objects.get_or_create(
        uid=UUID(work.state.uid),
        defaults={
            "project_id": run.project_id,
            "registered_model_id": work.operation.lineage_id or 0,
            "service_name": work.state.service,
            "state": EndpointState.DEPLOYING,
            "intended_run": run,
            "created_by_id": work.operation.actor_id,
        },
    )
    TrainingRun.objects.filter(pk=run.pk).move(to=RunStatus.DEPLOYING)


def _served(work: Work[AdoptServiceState], service: RemoteService) -> TrainingRun:
    """The version whose files the service is told to load; the newest of several with the same.

    :raises NotAdoptable: it loads none of the model's.
    """
    uri = service.env.get(ARTIFACT_ENV, "")
    told = {uri} if uri else set(addresses_of(service.texts))
    runs = TrainingRun.objects.filter(
        registered_model=work.operation.lineage_id, registration=Registration.REGISTERED
    )
    for run in runs.order_by("-version"):
        if any(holds_files_of(run, text) for text in told):
            return run
    raise NotAdoptable(
        f"{service.service_id} names the files of no version of {work.operation.lineage}."
    )


def _label(work: Work[AdoptServiceState]) -> Outcome:
    service = cloud_run.get_service(work.state.service)
    if service.etag != work.state.etag:
        return Next(to=LOOK, note=f"{service.service_id} has changed since it was read.")
    about_to_send(work)
    try:
        started = cloud_run.relabel_service(service, work.state.labels)
    except OutcomeUnknown:
        raise
    except PlatformError as error:
        raise not_done(work, error) from error
    return after_start(work, started, to=LOOK)


def _record(work: Work[AdoptServiceState]) -> Outcome:
    service = cloud_run.get_service(work.state.service)
    run = TrainingRun.objects.get(pk=work.state.run)
    return Next(
        note=f"The endpoint {service.service_id} is active and serves {version_name(run)}.",
        change=partial(_serve, work, run, service),
    )


def _serve(work: Work[AdoptServiceState], run: TrainingRun, service: RemoteService) -> None:
    record_serving(
        service=service.service_id,
        run_id=run.pk,
        config=_config_of(service),
        url=service.uri,
        revision=service.latest_ready_revision,
        now=work.clock(),
        operation=work.operation,
    )


def _config_of(service: RemoteService) -> ServingConfig:
    """How the service is served, as far as our own configuration can say it."""
    spec = service.spec
    if spec is None:
        return ServingConfig()
    names = ("image", "cpu", "memory", "min_instances", "max_instances", "concurrency")
    given = {name: getattr(spec, name) for name in (*names, "timeout_seconds", "ingress")}
    env = {name: value for name, value in spec.env.items() if not name.startswith(_OURS)}
    with suppress(Invalid):
        return ServingConfig.from_dict(
            {**given, "env": env, "service_account": spec.service_account}
        )
    return ServingConfig(image=spec.image)


def _unmark(work: Work[AdoptServiceState], error: PlatformError | None = None) -> None:
    """Forget the endpoint if our labels were not sent. If they may be there, it stays as one that
    is being deployed, which protects the version until a retry or an undeploy."""
    work.retry_at = LOOK
    uid, name = UUID(work.state.uid), work.state.service
    mine = DeployedEndpoint.objects.filter(service_name=name, uid=uid, is_active=False)
    if work.state.sent:
        mine.update(error=str(error or ""))
    else:
        mine.delete()
    if work.state.run:
        sync_run_status(work.state.run)


WORKFLOW = Workflow(
    slug="adopt-service",
    kind=OperationKind.ADOPT,
    title="Adopt the service {}",
    past="adopted the service {}",
    state=AdoptServiceState,
    steps=(
        Step(name=LOOK, title="Read what the service serves", run=_look, cancellable=True),
        Step(name="label", title="Write our labels on the service", run=_label, probe=LOOK),
        Step(
            name="wait",
            title="Wait for Cloud Run",
            run=partial(wait_for, to=LOOK),
            back_to=LOOK,
        ),
        Step(name="record", title="Record the endpoint", run=_record),
    ),
    on_failure=_unmark,
    on_cancel=_unmark,
)
