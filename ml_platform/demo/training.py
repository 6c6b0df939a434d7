"""Training to watch: runs that succeed or fail, and a schedule that Cloud Scheduler calls."""

from __future__ import annotations

from datetime import datetime, timedelta

from django.contrib.auth.models import AbstractBaseUser

from ml_platform import jobs
from ml_platform.localcloud import LocalCloud
from ml_platform.models.clock import database_now
from ml_platform.models.states import Frequency, ModelType
from ml_platform.services.scheduling.schedules import create_schedule
from ml_platform.services.training.runs import create_run, submit_run

from .incident_data import metrics, type_of
from .stage import PARAMETERS, make_stage, write_pipeline

PROJECT = "recommendations"
STAGE_SECONDS = 6.0
ENDINGS = {
    "chern_retriv_v7": ("success", 0.412),
    "chern_rank_v5": ("success", 0.327),
    "chern_hybrid_v4": ("fail:train", 0.0),
    "chern_rank_v6": ("fail:transform", 0.0),
    "chern_retriv_v8": ("not_blessed", 0.264),
    "chern_hybrid_v5": ("hang:train", 0.0),
}
"""How the run of each name ends, and with which recall@100."""
HOURLY = "chern_retriv_hourly"
NIGHTLY = ("collect-resource-metrics", "cleanup-gcs-artifacts", "cleanup-orphan-models")
"""The jobs that run at night; the demo does by itself what other jobs do each minute."""
AHEAD = timedelta(seconds=20)
"""Time for the worker to create the schedule's job before its first call is due."""


def load_training(*, cloud: LocalCloud, user: AbstractBaseUser, now: datetime) -> None:
    """Start the runs and the schedule with the product's own services; the worker continues them.

    The schedule starts a run at the next full minute, and then each hour.
    """
    stage = make_stage(
        cloud=cloud, user=user, now=now, name=PROJECT, description="Trained while you watch"
    )
    project, actor, template_uri = stage.project, stage.actor, write_pipeline()
    cloud.pipelines.stage_seconds = STAGE_SECONDS
    cloud.pipelines.outcome("success", display_name=HOURLY, metrics=metrics(HOURLY, 0.398))
    for name, (ending, recall) in ENDINGS.items():
        cloud.pipelines.outcome(ending, display_name=name, metrics=metrics(name, recall))
        run = create_run(
            project=project,
            model_name=name,
            model_type=type_of(name),
            template_uri=template_uri,
            parameters=PARAMETERS,
            actor=actor,
            now=now,
        )
        submit_run(run=run, actor=actor, now=now)
    create_schedule(
        project=project,
        name="Retrieval, every hour",
        model_name=HOURLY,
        model_type=ModelType.RETRIEVAL,
        template_uri=template_uri,
        parameters=PARAMETERS,
        frequency=Frequency.HOURLY,
        first=next_minute(now + AHEAD),
        actor=actor,
        now=now,
    )
    for name in NIGHTLY:
        jobs.set_up(name, actor=actor, clock=database_now)


def next_minute(moment: datetime) -> datetime:
    """Return the first full minute that is not before it."""
    return (moment + timedelta(seconds=59, microseconds=999_999)).replace(second=0, microsecond=0)
