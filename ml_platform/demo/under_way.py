"""What the incident's people find under way: the product's own verbs, at the pace of real ones."""

from __future__ import annotations

from datetime import datetime, timedelta

from ml_platform import jobs
from ml_platform.localcloud import LocalCloud
from ml_platform.models import RegisteredModel
from ml_platform.models.clock import database_now
from ml_platform.services.deployment.deploy import deploy_run
from ml_platform.services.operations import worker
from ml_platform.services.operations.store import Actor
from ml_platform.services.training.polling import poll_training_runs
from ml_platform.services.training.runs import create_run, submit_run

from . import incident_data as data
from .pipeline import PARAMETERS, STAGES, template_uri
from .stage import TRAINING, Stage

BEGAN = timedelta(minutes=71)
"""How long ago the run that is under way began."""
BRING_UP_SECONDS = 1800.0
"""How long Cloud Run takes for the service that is being brought up."""


def catch_up(stage: Stage) -> None:
    """What the product does each minute and each night: follow the run, read the services' days."""
    poll_training_runs(actor=stage.actor, clock=database_now)
    jobs.run_job("collect-resource-metrics", actor=stage.actor, clock=database_now)
    jobs.set_up("collect-resource-metrics", actor=stage.actor, clock=database_now)


def train(stage: Stage, began: datetime) -> None:
    """A run that the product submits, at the pace of a real one."""
    pipelines = stage.cloud.pipelines
    pace = pipelines.stage_seconds
    pipelines.stage_seconds = TRAINING.total_seconds() / (len(STAGES) + 1)
    pipelines.outcome("not_blessed", display_name=data.TRAINING_NOW)
    run = create_run(
        project=stage.project,
        model_name=data.TRAINING_NOW,
        model_type=data.type_of(data.TRAINING_NOW),
        template_uri=template_uri(),
        parameters=PARAMETERS,
        actor=stage.actor,
        now=began,
    )
    submission = submit_run(run=run, actor=stage.actor, now=began)
    worker.run_until_idle(operation_id=submission.pk, clock=lambda: began)
    pipelines.stage_seconds = pace


def deploy(*, cloud: LocalCloud, actor: Actor, now: datetime) -> None:
    """A deploy that the product has sent and now waits for; all else is as it was."""
    lineage, service = data.DEPLOYING_NOW
    run = RegisteredModel.objects.get(model_name=lineage).latest_run
    if run is None:
        raise ValueError(f"{lineage} has no version to serve")
    remote = cloud.core.operations
    pace, remote.lro_seconds = remote.lro_seconds, BRING_UP_SECONDS
    operation = deploy_run(run=run, service_name=service, actor=actor, now=now)
    worker.run_until_idle(operation_id=operation.pk, clock=database_now)
    remote.lro_seconds = pace
