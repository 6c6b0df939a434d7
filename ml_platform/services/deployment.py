"""Deployment: a version comes to be served by a Cloud Run service; it never registers (law 4)."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from datetime import datetime
from itertools import count

from django.db import transaction

from ml_platform.conf import get_settings
from ml_platform.errors import PlatformError
from ml_platform.models import DeployedEndpoint, Operation, RegisteredModel, TrainingRun
from ml_platform.models.states import OperationKind

from . import service_names, worker
from .endpoint_rows import NotDeployable, mark_deploying, require_deployable, require_restorable
from .operations import Actor, Json, Subject, open_operation, record_refusal
from .serving import ServingConfig
from .subjects import subject_of_endpoint, subject_of_version

FIRST_STEP = "verify_model"


def deploy_run(
    *,
    run: TrainingRun,
    actor: Actor,
    now: datetime,
    endpoint: DeployedEndpoint | None = None,
    service_name: str = "",
    config: ServingConfig | None = None,
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
    subject = subject_of_version(run)
    with refusals_recorded(kind=OperationKind.DEPLOY, subject=subject, actor=actor, now=now):
        return _open(
            kind=OperationKind.DEPLOY,
            subject=subject,
            run=run,
            service=endpoint.service_name if endpoint else _choose_service(run, service_name),
            config=config,
            asked={"run": run.pk, "service": endpoint.service_name if endpoint else service_name},
            actor=actor,
            now=now,
            idempotency_key=idempotency_key,
        )


def redeploy_endpoint(
    *,
    endpoint: DeployedEndpoint,
    actor: Actor,
    now: datetime,
    run: TrainingRun | None = None,
    config: ServingConfig | None = None,
    idempotency_key: str = "",
) -> Operation:
    """Open the deploy of the version the endpoint served last, or of `run`, to the same service.

    :raises NotDeployable: the endpoint's model was deleted, it never served, or as in deploy_run.
    """
    return _restore(
        endpoint=endpoint,
        run=run or endpoint.run,
        otherwise=("no version yet", "never_served"),
        config=config,
        asked={"endpoint": endpoint.pk, "run": run.pk if run else None},
        actor=actor,
        now=now,
        idempotency_key=idempotency_key,
    )


def rollback_endpoint(
    *, endpoint: DeployedEndpoint, actor: Actor, now: datetime, idempotency_key: str = ""
) -> Operation:
    """Open the deploy of the version that the endpoint served before this one.

    :raises NotDeployable: there is none, or as in redeploy_endpoint.
    """
    return _restore(
        endpoint=endpoint,
        run=endpoint.previous_run,
        otherwise=("no version before this one", "no_previous_version"),
        config=None,
        asked={"endpoint": endpoint.pk, "rollback": True},
        actor=actor,
        now=now,
        idempotency_key=idempotency_key,
    )


def _restore(
    *,
    endpoint: DeployedEndpoint,
    run: TrainingRun | None,
    otherwise: tuple[str, str],
    config: ServingConfig | None,
    asked: Json,
    actor: Actor,
    now: datetime,
    idempotency_key: str,
) -> Operation:
    subject = subject_of_endpoint(endpoint)
    with refusals_recorded(kind=OperationKind.REDEPLOY, subject=subject, actor=actor, now=now):
        require_restorable(endpoint)
        if run is None:
            lacks, code = otherwise
            raise NotDeployable(
                f"{endpoint.service_name} has served {lacks}.",
                code=code,
                advice="Choose the version to deploy.",
            )
        return _open(
            kind=OperationKind.REDEPLOY,
            subject=subject,
            run=run,
            service=endpoint.service_name,
            config=config,
            asked=asked,
            actor=actor,
            now=now,
            idempotency_key=idempotency_key,
        )


@contextmanager
def refusals_recorded(
    *, kind: OperationKind, subject: Subject, actor: Actor, now: datetime
) -> Iterator[None]:
    """Keep what is refused inside in the history; the refused transaction itself is undone."""
    try:
        yield
    except PlatformError as error:
        record_refusal(kind=kind, subject=subject, actor=actor, now=now, error=error)
        raise


def _open(
    *,
    kind: OperationKind,
    subject: Subject,
    run: TrainingRun,
    service: str,
    config: ServingConfig | None,
    asked: Json,
    actor: Actor,
    now: datetime,
    idempotency_key: str,
) -> Operation:
    wanted = (config or _config_of(service)).with_image()
    with transaction.atomic():
        operation, new = open_operation(
            kind=kind,
            subject=replace(subject, service_key=service),
            actor=actor,
            now=now,
            step=FIRST_STEP,
            data={
                "run": run.pk,
                "service": service,
                "config": wanted.to_dict(),
                "marked": True,
            },
            idempotency_key=idempotency_key,
            request={**asked, "config": config.to_dict() if config else None},
        )
        if new:
            mark_deploying(run_id=run.pk, service=service, config=wanted, actor_id=actor.user_id)
            worker.ring(operation)
    return operation


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
