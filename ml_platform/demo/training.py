"""Training as one watches it: runs that end well and badly, and a schedule that rings by itself."""

from __future__ import annotations

from datetime import datetime, timedelta

from django.contrib.auth.models import AbstractBaseUser

from ml_platform import jobs
from ml_platform.conf import require_settings
from ml_platform.localcloud import LocalCloud
from ml_platform.models import Project
from ml_platform.models.clock import database_now
from ml_platform.models.states import Frequency, ModelType
from ml_platform.services.operations.store import Actor
from ml_platform.services.scheduling.schedules import create_schedule
from ml_platform.services.training.runs import create_run, submit_run

from .empty import make_bucket
from .incident import metrics
from .incident_data import type_of
from .pipeline import PARAMETERS, write_pipeline

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
"""What rings from 02:00 to 04:00; what rings each minute elsewhere, the demo does by itself."""
AHEAD = timedelta(seconds=20)
"""So long the worker has to have Cloud Scheduler know of the schedule before it first rings."""


def load_training(*, cloud: LocalCloud, user: AbstractBaseUser, now: datetime) -> None:
    """Ask for everything through the verbs that the doors call; the worker does the rest.

    The schedule rings at the next full minute, and then each hour.
    """
    make_bucket(require_settings().BUCKET)
    template_uri = write_pipeline()
    project = Project.objects.create(name=PROJECT, description="Trained while you watch")
    project.members.add(user.pk)
    actor = Actor(label=user.get_username(), origin="page", user_id=user.pk)
    cloud.pipelines.stage_seconds = STAGE_SECONDS
    cloud.pipelines.outcome(
        "success", display_name=HOURLY, metrics=metrics(ModelType.RETRIEVAL, 0.398)
    )
    for name, (ending, recall) in ENDINGS.items():
        told = metrics(type_of(name), recall)
        cloud.pipelines.outcome(ending, display_name=name, metrics=told)
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
    """The first full minute that is not before it."""
    return (moment + timedelta(seconds=59, microseconds=999_999)).replace(second=0, microsecond=0)
