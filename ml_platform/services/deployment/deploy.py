"""Deployment: a version comes to be served by a Cloud Run service; it never registers (law 4)."""

from __future__ import annotations

from contextlib import AbstractContextManager
from dataclasses import dataclass, replace
from datetime import datetime
from itertools import count

from django.db import transaction

from ml_platform.conf import get_settings
from ml_platform.models import DeployedEndpoint, Operation, RegisteredModel, TrainingRun
from ml_platform.services.operations import worker
from ml_platform.services.operations.store import (
    Actor,
    Subject,
    answered_before,
    open_operation,
    refusals_recorded,
)
from ml_platform.services.operations.subjects import (
    subject_of_endpoint,
    subject_of_lineage,
    subject_of_version,
)
from ml_platform.services.operations.work import Json
from ml_platform.services.operations.workflow import Workflow
from ml_platform.services.registry import service_names

from .deploy_state import DeployState
from .endpoint_state import (
    NotDeployable,
    mark_deploying,
    no_version_of,
    require_deployable,
    require_restorable,
)
from .serving import ServingConfig
from .steps import DEPLOY, REDEPLOY, ROLLBACK


@dataclass(frozen=True, slots=True, kw_only=True)
class _Asked:
    """Who asks for a deploy, when, why, under which key, and in which words it is the same."""

    actor: Actor
    now: datetime
    reason: str
    idempotency_key: str
    request: Json

    def answered(self) -> Operation | None:
        """What was opened when the same was asked before, whatever has become of it."""
        return answered_before(idempotency_key=self.idempotency_key, request=self.request)

    def refusing(self, workflow: Workflow, subject: Subject) -> AbstractContextManager[None]:
        """Keep what is refused inside in the history."""
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
    """Open the deploy of a version: to `endpoint`, to a service of that name, or to its model's.

    Without `config` the endpoint keeps its own. A refusal is recorded.

    :raises NotDeployable: the run is no blessed version, serves there already, or the endpoint's
        model was deleted.
    :raises ForeignService: the endpoint of that name is another model's.
    :raises Busy: another operation holds the lineage or the service.
    :raises Invalid: Cloud Run would not take that name.
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


def newest_version(
    *, registered_model: RegisteredModel, actor: Actor, now: datetime, reason: str = ""
) -> TrainingRun:
    """The version that a deploy without a choice takes. A refusal is recorded.

    :raises NotDeployable: the lineage has no version, or none any more.
    """
    subject = subject_of_lineage(registered_model)
    with refusals_recorded(workflow=DEPLOY, subject=subject, actor=actor, now=now, reason=reason):
        if registered_model.latest_run is None:
            raise no_version_of(registered_model)
        return registered_model.latest_run


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
    """Open the deploy of the version the endpoint served last, or of `run`, to the same service.

    :raises NotDeployable: the endpoint's model was deleted, it never served, or as in deploy_run.
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
    otherwise = ("no version yet", "never_served")
    return _restore(REDEPLOY, endpoint, run or endpoint.run, otherwise, config, asked)


def rollback_endpoint(
    *,
    endpoint: DeployedEndpoint,
    actor: Actor,
    now: datetime,
    reason: str = "",
    idempotency_key: str = "",
) -> Operation:
    """Open the deploy of the version that the endpoint served before this one, as it was served.

    :raises NotDeployable: there is none, or as in redeploy_endpoint.
    """
    asked = _Asked(
        actor=actor,
        now=now,
        reason=reason,
        idempotency_key=idempotency_key,
        request={"endpoint": endpoint.pk, "rollback": True},
    )
    otherwise = ("no version before this one", "no_previous_version")
    config = ServingConfig.from_dict(endpoint.previous_config)
    return _restore(ROLLBACK, endpoint, endpoint.previous_run, otherwise, config, asked)


def _restore(
    workflow: Workflow,
    endpoint: DeployedEndpoint,
    run: TrainingRun | None,
    otherwise: tuple[str, str],
    config: ServingConfig | None,
    asked: _Asked,
) -> Operation:
    subject = subject_of_endpoint(endpoint)
    with asked.refusing(workflow, subject):
        if known := asked.answered():
            return known
        require_restorable(endpoint)
        if run is None:
            lacks, code = otherwise
            raise NotDeployable(
                f"{endpoint.service_name} has served {lacks}.",
                code=code,
                advice="Choose the version to deploy.",
            )
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
    """The name asked for, else that of the lineage's first endpoint that may serve, else a new one.

    A new one is free in our tables: an endpoint whose model was deleted keeps its name.
    """
    if wanted:
        return service_names.check_service_name(wanted)
    lineage = run.registered_model
    if lineage is None:
        require_deployable(run)  # a run that failed is not told to be registered first
        raise NotDeployable(
            "It is not registered.", code="not_registered", advice="Register it first."
        )
    usable = lineage.deployed_endpoints.filter(model_deleted=False).order_by("pk").first()
    return usable.service_name if usable else _new_name(lineage)


def _new_name(lineage: RegisteredModel) -> str:
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
