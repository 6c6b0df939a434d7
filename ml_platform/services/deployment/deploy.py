"""Requests to deploy a version to a Cloud Run service.

A deploy never registers a model, because it could re-create one that a user deleted (law 4).
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from datetime import datetime
from itertools import count

from ml_platform.conf import get_settings
from ml_platform.models import DeployedEndpoint, Operation, RegisteredModel, TrainingRun
from ml_platform.models.database import atomic
from ml_platform.services.operations import worker
from ml_platform.services.operations.history import refusals_recorded
from ml_platform.services.operations.store import Actor, Subject, answered_before, open_operation
from ml_platform.services.operations.subjects import (
    subject_of_endpoint,
    subject_of_version,
)
from ml_platform.services.operations.work import Json
from ml_platform.services.operations.workflow import Workflow
from ml_platform.services.ownership import service_names
from ml_platform.services.serving.config import ServingConfig

from .deployable import (
    NEVER_SERVED,
    NO_PREVIOUS,
    DeployFacts,
    choose_endpoint,
    require_deployable,
    told_overwritten,
    version_in,
    with_differences,
)
from .endpoint_state import mark_deploying
from .state import DeployState
from .steps import DEPLOY, REDEPLOY, ROLLBACK


def deploy_run(
    *,
    run: TrainingRun,
    actor: Actor,
    now: datetime,
    endpoint: DeployedEndpoint | None = None,
    service_name: str = "",
    config: ServingConfig | None = None,
    reason: str = "",
    idempotency_key: str = "",
) -> Operation:
    """Open the deploy of a version to `endpoint`, to the service of that name, or, if neither is
    given, to the endpoint that `choose_endpoint` returns.

    Without `config` the endpoint keeps its configuration. A refusal is recorded.

    :raises NotDeployable: the run cannot be deployed, the endpoint serves it already, or the
        endpoint's model was deleted.
    :raises ForeignService: the endpoint of that name belongs to another model.
    :raises Busy: another operation holds the model or the service.
    :raises Invalid: Cloud Run does not allow that name.
    """
    named = endpoint.service_name if endpoint else service_name
    return _open(
        DEPLOY,
        DeployFacts(run=run, target=endpoint, config=config),
        service_of=lambda run: named if endpoint else _choose_service(run, named),
        subject=subject_of_version(run),
        request={"run": run.pk, "service": named, "config": config.to_dict() if config else None},
        actor=actor,
        now=now,
        reason=reason,
        idempotency_key=idempotency_key,
    )


def redeploy_endpoint(
    *,
    endpoint: DeployedEndpoint,
    actor: Actor,
    now: datetime,
    run: TrainingRun | None = None,
    config: ServingConfig | None = None,
    reason: str = "",
    idempotency_key: str = "",
) -> Operation:
    """Open the deploy of `run`, or of the version the endpoint served last, to the same service.

    :raises NotDeployable: the endpoint's model was deleted, it never served, or see `deploy_run`.
    """
    wanted = run.pk if run else None
    return _open(
        REDEPLOY,
        DeployFacts(run=run or endpoint.run, target=endpoint, config=config, lacks=NEVER_SERVED),
        service_of=lambda run: endpoint.service_name,
        subject=subject_of_endpoint(endpoint),
        request={
            "endpoint": endpoint.pk,
            "run": wanted,
            "config": config.to_dict() if config else None,
        },
        actor=actor,
        now=now,
        reason=reason,
        idempotency_key=idempotency_key,
    )


def rollback_endpoint(
    *,
    endpoint: DeployedEndpoint,
    actor: Actor,
    now: datetime,
    reason: str = "",
    idempotency_key: str = "",
) -> Operation:
    """Open the deploy of the version that the endpoint served before, with its configuration then.

    :raises NotDeployable: there is none, or see `redeploy_endpoint`.
    """
    config = ServingConfig.from_dict(endpoint.previous_config)
    return _open(
        ROLLBACK,
        DeployFacts(run=endpoint.previous_run, target=endpoint, config=config, lacks=NO_PREVIOUS),
        service_of=lambda run: endpoint.service_name,
        subject=subject_of_endpoint(endpoint),
        request={"endpoint": endpoint.pk, "rollback": True},
        actor=actor,
        now=now,
        reason=reason,
        idempotency_key=idempotency_key,
    )


def _open(
    workflow: Workflow,
    facts: DeployFacts,
    *,
    service_of: Callable[[TrainingRun], str],
    subject: Subject,
    request: Json,
    actor: Actor,
    now: datetime,
    reason: str,
    idempotency_key: str,
) -> Operation:
    refusals = refusals_recorded(
        workflow=workflow, subject=subject, actor=actor, now=now, reason=reason
    )
    with refusals:
        if known := answered_before(idempotency_key=idempotency_key, request=request):
            return known
        run = version_in(facts)
        service = service_of(run)
        target = with_differences(DeployedEndpoint.objects.filter(service_name=service)).first()
        own = ServingConfig.from_dict(target.config if target else {})
        config = (facts.config or own).with_image()
        with atomic():
            operation, new = open_operation(
                workflow=workflow,
                subject=replace(subject, service_key=service),
                actor=actor,
                now=now,
                state=DeployState(
                    run=run.pk,
                    service=service,
                    config=config.to_dict(),
                    marked=True,
                    announced=told_overwritten(target) if target else (),
                ),
                reason=reason,
                idempotency_key=idempotency_key,
                request=request,
            )
            if new:
                mark_deploying(
                    run_id=run.pk, service=service, config=config, actor_id=actor.user_id
                )
                worker.enqueue(operation)
    return operation


def _choose_service(run: TrainingRun, wanted: str) -> str:
    if wanted:
        return service_names.check_service_name(wanted)
    require_deployable(run)
    lineage = RegisteredModel.objects.select_related("project").get(training_runs=run)
    usable = choose_endpoint(lineage.deployed_endpoints.all())
    return usable.service_name if usable else _new_name(lineage)


def _new_name(lineage: RegisteredModel) -> str:
    """A name that no endpoint has: one whose model was deleted keeps its name."""
    names = (
        service_names.service_name(
            project=str(lineage.project),
            model=lineage.model_name,
            installation=get_settings().INSTALLATION,
            lineage=lineage.uid,
            number=number,
        )
        for number in count(1)
    )
    taken = DeployedEndpoint.objects
    return next(name for name in names if not taken.filter(service_name=name).exists())
