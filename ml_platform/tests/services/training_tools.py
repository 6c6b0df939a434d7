"""What the tests of training share: one clock for us and the local cloud, a template, a worker."""

from __future__ import annotations

import json
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any

from ml_platform.cloud import scheduler
from ml_platform.cloud.transport import channels
from ml_platform.cloud.types import JobSpec
from ml_platform.models import Operation, Project, TrainingRun
from ml_platform.services.operations.store import Actor
from ml_platform.services.operations.worker import resume_operations
from ml_platform.services.scheduling.takeover import take_over_schedule
from ml_platform.services.training.polling import PollResult, poll_training_runs
from ml_platform.services.training.runs import create_run, keyed_uid, submit_run

if TYPE_CHECKING:
    from ml_platform.localcloud import LocalCloud

ANA = Actor(label="ana", origin="command")
BUCKET = "demo-artifacts"
TEMPLATE_URI = f"gs://{BUCKET}/templates/retrieval.json"
START = datetime(2026, 2, 8, 12, tzinfo=UTC)
STAGES = ["ingest", "train", "evaluate", "push"]
SPEC: dict[str, Any] = {
    "pipelineInfo": {"name": "retrieval"},
    "schemaVersion": "2.1.0",
    "root": {
        "dag": {
            "tasks": {
                name: {"dependentTasks": STAGES[:number]} for number, name in enumerate(STAGES)
            }
        },
        "inputDefinitions": {
            "parameters": {
                "epochs": {"parameterType": "NUMBER_INTEGER", "defaultValue": 3},
                "learning_rate": {"parameterType": "NUMBER_DOUBLE", "isOptional": True},
                "note": {"parameterType": "STRING", "isOptional": True},
            }
        },
    },
}


class CloudClock:
    """The local cloud's clock, read as ours: both planes see the same frozen time."""

    def __init__(self, cloud: LocalCloud, start: datetime = START) -> None:
        self.cloud = cloud
        cloud.clock.freeze()
        cloud.clock.set(start)
        cloud.storage.write(BUCKET, "templates/retrieval.json", json.dumps(SPEC).encode())

    def __call__(self) -> datetime:
        return self.cloud.clock.now()

    def forward(self, seconds: float) -> None:
        self.cloud.clock.advance(seconds)


def settle(clock: CloudClock, rounds: int = 60) -> None:
    """Let workers go on until nothing is left to do."""
    for _ in range(rounds):
        resume_operations(clock=clock)
        if not Operation.objects.live().exists():
            return
        clock.forward(60)
    raise AssertionError(list(Operation.objects.live().values("kind", "step", "error")))


def make_run(project: Project, clock: CloudClock, **changes: Any) -> TrainingRun:
    """A manual run of the template above."""
    given: dict[str, Any] = {
        "model_name": "chern_retriv_v7",
        "model_type": "retrieval",
        "template_uri": TEMPLATE_URI,
        "parameters": {"epochs": 5},
        "actor": ANA,
        "now": clock(),
    }
    return create_run(project=project, **(given | changes))


def start_run(project: Project, clock: CloudClock, **changes: Any) -> TrainingRun:
    """A manual run whose pipeline was just created."""
    run = make_run(project, clock, **changes)
    submit_run(run=run, actor=ANA, now=clock())
    resume_operations(clock=clock)
    run.refresh_from_db()
    assert run.status == "running", run.error
    return run


def poll(clock: CloudClock) -> PollResult:
    """Poll once."""
    return poll_training_runs(actor=ANA, clock=clock)


def their_job() -> JobSpec:
    """The job of another program, which calls that program."""
    spec = JobSpec(
        job_id="theirs",
        schedule="0 4 * * *",
        uri="https://theirs.example.com/",
        service_account="theirs@demo-project.iam.gserviceaccount.com",
        audience="https://theirs.example.com/",
    )
    scheduler.create_job(spec)
    return spec


def taken_over(project: Any, now: datetime) -> Operation:
    """A schedule in the place of the one that `their_job` calls."""
    return take_over_schedule(
        project=project,
        uid=keyed_uid("test", "theirs"),
        state="active",
        job=f"{channels.location_path()}/jobs/theirs",
        created_by=None,
        name="nightly",
        model_name="chern",
        model_type="retrieval",
        template_uri=TEMPLATE_URI,
        parameters={},
        frequency="daily",
        first=now + timedelta(hours=15),
        time_zone="UTC",
        actor=ANA,
        now=now,
    )
