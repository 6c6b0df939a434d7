"""Requests to deploy a version to a Cloud Run service.

A deploy never registers a model: it would re-create one that a person deleted (law 4).
"""

from __future__ import annotations

from contextlib import AbstractContextManager
from dataclasses import dataclass, replace
from datetime import datetime
from itertools import count

from django.db import transaction

from ml_platform.conf import get_settings
from ml_platform.models import DeployedEndpoint, Operation, RegisteredModel, TrainingRun
from ml_platform.services.operations import worker
from ml_platform.services.operations.history import refusals_recorded
from ml_platform.services.operations.store import Actor, Subject, answered_before, open_operation
from ml_platform.services.operations.subjects import (
    subject_of_endpoint,
    subject_of_version,
)
from ml_platform.services.operations.work import Json
from ml_platform.services.operations.workflow import Workflow
from ml_platform.services.registry import service_names

from .deploy_state import DeployState
from .deployable import (
    NEVER_SERVED,
    NO_PREVIOUS,
    choose_endpoint,
    require_deployable,
    require_offered,
)
from .endpoint_state import mark_deploying
from .serving import ServingConfig
from .steps import DEPLOY, REDEPLOY, ROLLBACK


@dataclass(frozen=True, slots=True, kw_only=True)
class _Asked:
    """A request to deploy; `request` is what must be equal for a repeated idempotency key."""

    actor: Actor
    now: datetime
    reason: str
    idempotency_key: str
    request: Json

    def answered(self) -> Operation | None:
        """The operation that the same request opened before, in whatever state it is now."""
        return answered_before(idempotency_key=self.idempotency_key, request=self.request)

    def refusing(self, workflow: Workflow, subject: Subject) -> AbstractContextManager[None]:
        """Record a refusal raised inside in the history."""
        return refusals_recorded(
            workflow=workflow, subject=subject, actor=self.actor, now=self.now, reason=self.reason
        )


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
    wanted = endpoint.service_name if endpoint else service_name
    asked = _Asked(
        actor=actor,
        now=now,
        reason=reason,
        idempotency_key=idempotency_key,
        request={"run": run.pk, "service": wanted, "config": _said(config)},
    )
    subject = subject_of_version(run)
    with asked.refusing(DEPLOY, subject):
        if known := asked.answered():
            return known
        service = endpoint.service_name if endpoint else _choose_service(run, service_name)
        return _open(DEPLOY, subject, run, service, config, asked)


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
    asked = _Asked(
        actor=actor,
        now=now,
        reason=reason,
        idempotency_key=idempotency_key,
        request={
            "endpoint": endpoint.pk,
            "run": run.pk if run else None,
            "config": _said(config),
        },
    )
    return _restore(REDEPLOY, endpoint, run or endpoint.run, NEVER_SERVED, config, asked)


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
    asked = _Asked(
        actor=actor,
        now=now,
        reason=reason,
        idempotency_key=idempotency_key,
        request={"endpoint": endpoint.pk, "rollback": True},
    )
    config = ServingConfig.from_dict(endpoint.previous_config)
    return _restore(ROLLBACK, endpoint, endpoint.previous_run, NO_PREVIOUS, config, asked)


def _restore(
    workflow: Workflow,
    endpoint: DeployedEndpoint,
    run: TrainingRun | None,
    lacks: tuple[str, str],
    config: ServingConfig | None,
    asked: _Asked,
) -> Operation:
    subject = subject_of_endpoint(endpoint)
    with asked.refusing(workflow, subject):
        if known := asked.answered():
            return known
        run = require_offered(endpoint, run, lacks)
        service = endpoint.service_name
        return _open(workflow, subject, run, service, config, asked)


def _open(
    workflow: Workflow,
    subject: Subject,
    run: TrainingRun,
    service: str,
    config: ServingConfig | None,
    asked: _Asked,
) -> Operation:
    wanted = (config or _config_of(service)).with_image()
    with transaction.atomic():
        operation, new = open_operation(
            workflow=workflow,
            subject=replace(subject, service_key=service),
            actor=asked.actor,
            now=asked.now,
            state=DeployState(run=run.pk, service=service, config=wanted.to_dict(), marked=True),
            reason=asked.reason,
            idempotency_key=asked.idempotency_key,
            request=asked.request,
        )
        if new:
            by = asked.actor.user_id
            mark_deploying(run_id=run.pk, service=service, config=wanted, actor_id=by)
            worker.enqueue(operation)
    return operation


def _said(config: ServingConfig | None) -> Json | None:
    return config.to_dict() if config else None


def _config_of(service: str) -> ServingConfig:
    endpoint = DeployedEndpoint.objects.filter(service_name=service).first()
    return ServingConfig.from_dict(endpoint.config if endpoint else {})


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
