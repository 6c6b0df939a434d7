"""What each scenario starts from: a project, a bucket, a compiled pipeline, the local cloud."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta

from django.contrib.auth.models import AbstractBaseUser

from ml_platform.cloud import storage
from ml_platform.cloud.transport.channels import storage_client
from ml_platform.conf import require_settings
from ml_platform.localcloud import LocalCloud
from ml_platform.models import Project
from ml_platform.services.operations.store import Actor

PIPELINE_KEY = "pipelines/train.json"
STAGES = ("ingest", "transform", "train", "evaluate", "push")
PARAMETERS = {"epochs": 12, "learning_rate": 0.05}
TRAINING = timedelta(hours=2, minutes=12)
"""How long a run takes."""


@dataclass(slots=True)
class Stage:
    """A project on the local cloud; `scenes` are calls to Google, each with the time to make it."""

    cloud: LocalCloud
    project: Project
    actor: Actor
    now: datetime
    scenes: list[tuple[datetime, Callable[[], object]]] = field(default_factory=list)

    def ago(self, days: float) -> datetime:
        """Return the time so many days before now."""
        return self.now - timedelta(days=days)

    def at(self, moment: datetime, act: Callable[[], object]) -> None:
        """Make this call to Google when the cloud's clock shows that time."""
        self.scenes.append((moment, act))

    def play(self) -> None:
        """Make the calls in the order of their times, then set the clock to the real time."""
        for moment, act in sorted(self.scenes, key=lambda scene: scene[0]):
            self.cloud.clock.set(moment)
            act()
        self.cloud.clock.set(datetime.now(UTC))


def actor_of(user: AbstractBaseUser) -> Actor:
    """Return the user as operations record them."""
    return Actor(label=user.get_username(), origin="page", user_id=user.pk)


def make_bucket(name: str) -> None:
    """Create a bucket in the configured location: the product itself never makes one."""
    storage_client().create_bucket(name, location=require_settings().LOCATION)


def make_stage(
    *, cloud: LocalCloud, user: AbstractBaseUser, now: datetime, name: str, description: str = ""
) -> Stage:
    """Make the configured bucket, and a project of that name with the user as its member."""
    make_bucket(require_settings().BUCKET)
    project = Project.objects.create(name=name, description=description, created_at=now)
    project.members.add(user.pk)
    return Stage(cloud, project, actor_of(user), now)


def load_empty(*, cloud: LocalCloud, user: AbstractBaseUser, now: datetime) -> None:
    """Create no data: a new platform has a project, a bucket and no models."""
    make_stage(cloud=cloud, user=user, now=now, name="my-first-project")


def write_pipeline() -> str:
    """Write the compiled pipeline of the demo's runs to the bucket; returns its `gs://` address."""
    storage.write_text(require_settings().BUCKET, PIPELINE_KEY, json.dumps(_compiled()))
    return template_uri()


def template_uri() -> str:
    """Return the address of the compiled pipeline."""
    return f"gs://{require_settings().BUCKET}/{PIPELINE_KEY}"


def _compiled() -> dict[str, object]:
    """Each stage depends on the one before it, in the format of KFP's compiler."""
    tasks = {
        stage: {
            "taskInfo": {"name": stage},
            "componentRef": {"name": f"comp-{stage}"},
            "dependentTasks": list(STAGES[max(0, number - 1) : number]),
        }
        for number, stage in enumerate(STAGES)
    }
    return {
        "pipelineInfo": {"name": "train-recommender"},
        "schemaVersion": "2.1.0",
        "sdkVersion": "kfp-2.7.0",
        "components": {f"comp-{stage}": {"executorLabel": f"exec-{stage}"} for stage in STAGES},
        "deploymentSpec": {"executors": {f"exec-{stage}": {} for stage in STAGES}},
        "root": {
            "dag": {"tasks": tasks},
            "inputDefinitions": {
                "parameters": {
                    "epochs": {"parameterType": "NUMBER_INTEGER", "defaultValue": 12},
                    "learning_rate": {"parameterType": "NUMBER_DOUBLE", "defaultValue": 0.05},
                }
            },
        },
    }
