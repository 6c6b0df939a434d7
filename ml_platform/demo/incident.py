"""Puts the incident onto all planes: the rows by the ORM, the rest through Google's own clients."""

from __future__ import annotations

import json
from datetime import datetime, timedelta
from functools import partial

from croniter import croniter
from django.contrib.auth.models import AbstractBaseUser

from ml_platform.cloud import scheduler, storage
from ml_platform.cloud.names import ObjectPath
from ml_platform.conf import require_settings
from ml_platform.localcloud import LocalCloud
from ml_platform.models import (
    Project,
    RegisteredModel,
    TrainingRun,
    TrainingSchedule,
)
from ml_platform.models.states import (
    LIVE_SCHEDULE_STATES,
    Registration,
    RunStatus,
)
from ml_platform.services.operations import history
from ml_platform.services.operations.store import Actor
from ml_platform.services.operations.subjects import subject_of_version
from ml_platform.services.registration import register
from ml_platform.services.registry.labels import labels_for
from ml_platform.services.registry.lineages import claim_lineage, sync_version_cache
from ml_platform.services.scheduling.job import job_spec

from . import incident_data as data
from . import under_way
from .empty import make_bucket
from .incident_endpoints import add_endpoint
from .pipeline import PARAMETERS, template_uri, write_pipeline
from .stage import TRAINING, Stage

MODEL = "pushed_model/1/saved_model.pb"
WEIGHTS = "pushed_model/1/variables/variables.data-00000-of-00001"


def load_incident(*, cloud: LocalCloud, user: AbstractBaseUser, now: datetime) -> None:
    """Make the world of the incident on an empty database and an empty local cloud."""
    make_bucket(require_settings().BUCKET)
    make_bucket(data.QUICKTEST_BUCKET)
    write_pipeline()
    project = Project.objects.create(name=data.PROJECT, description="B2B recommendations")
    project.members.add(user.pk)
    actor = Actor(label=user.get_username(), origin="page", user_id=user.pk)
    stage = Stage(cloud, project, actor, now)
    for lineage in data.LINEAGES:
        _add_lineage(stage, lineage)
    for schedule in data.SCHEDULES:
        _add_schedule(stage, schedule)
    for run in data.RUNS:
        _add_run(stage, run)
    for foreign in data.FOREIGN:
        stage.at(stage.ago(foreign.created), partial(_seed_foreign, stage, foreign))
    for endpoint in data.ENDPOINTS:
        add_endpoint(stage, endpoint)
    began = now - under_way.BEGAN
    stage.at(began, partial(under_way.train, stage, began))
    stage.play()
    under_way.catch_up(stage)
    # A ring is due by the real clock, so its jobs come last.
    for live in TrainingSchedule.objects.filter(state__in=LIVE_SCHEDULE_STATES):
        _add_job(live)


# ---- lineages and their versions ---------------------------------------------------------------


def _add_lineage(stage: Stage, told: data.Lineage) -> None:
    lineage = claim_lineage(project_id=stage.project.pk, model_name=told.name, model_type=told.type)
    RegisteredModel.objects.filter(pk=lineage.pk).update(created_at=stage.ago(told.created))
    runs = [
        _add_version(stage, told, lineage, number, age)
        for number, age in enumerate(told.versions, start=1)
    ]
    if not runs:
        return
    RegisteredModel.objects.filter(pk=lineage.pk).update(next_version=len(runs) + 1)
    sync_version_cache(registered_model=lineage)
    TrainingRun.objects.filter(pk=runs[-1].pk).update(aliases=["default"])
    if told.in_vertex:
        stage.at(_end_of(runs[0]), partial(_seed_model, stage, told, lineage, runs))


def _add_version(
    stage: Stage, told: data.Lineage, lineage: RegisteredModel, number: int, age: float
) -> TrainingRun:
    run = _new_run(stage, told.name, RunStatus.COMPLETED, age, _maker_of(told.name, number))
    run.model_type = told.type
    run.registered_model = lineage
    run.is_blessed = True
    run.progress = 100
    run.metrics = metrics(told.type, told.quality * (1 + 0.03 * (number - 1)))
    run.registration = Registration.REGISTERED
    run.version = number
    run.vertex_model_resource_name = _resource_name(stage, told.vertex_id)
    run.vertex_model_name = told.name
    run.vertex_model_version = str(number)
    run.registered_at = _end_of(run) + timedelta(minutes=4)
    run.save()
    _leave_files(stage, run, "BLESSED", MODEL, WEIGHTS)
    history.record(
        workflow=register.WORKFLOW,
        subject=subject_of_version(run),
        actor=stage.actor,
        now=run.registered_at,
        note=f"It is {told.vertex_id}@{number} in Vertex AI.",
    )
    return run


def metrics(model_type: str, recall_at_100: float) -> dict[str, float]:
    """What an evaluator says of a model of that quality."""
    shares = {5: 0.21, 10: 0.34, 50: 0.76, 100: 1.0}
    found = {f"recall_at_{k}": round(recall_at_100 * share, 4) for k, share in shares.items()}
    if model_type == data.RETRIEVAL:
        return found
    return {**found, "rmse": round(0.9 - recall_at_100, 4), "mae": round(0.7 - recall_at_100, 4)}


def _resource_name(stage: Stage, vertex_id: str) -> str:
    """As Vertex AI answers: with the project's number."""
    location = require_settings().LOCATION
    return f"projects/{stage.cloud.project_number}/locations/{location}/models/{vertex_id}"


def _seed_model(
    stage: Stage, told: data.Lineage, lineage: RegisteredModel, runs: list[TrainingRun]
) -> None:
    """Numeric ids are Google's to give, so no client can upload these."""
    versions = [
        {
            "version": run.version,
            "labels": labels_for(lineage=lineage.uid, generation=lineage.generation, run=run.uid),
            "artifact_uri": f"{run.gcs_artifacts_path}pushed_model/1",
        }
        for run in runs
    ]
    stage.cloud.models.seed(told.vertex_id, display_name=told.name, versions=versions)


def _seed_foreign(stage: Stage, told: data.Foreign) -> None:
    storage.write_text(data.QUICKTEST_BUCKET, f"{told.name}/{MODEL}", "A quick test's model.")
    stage.cloud.models.seed(
        told.vertex_id,
        display_name=told.name,
        artifact_uri=f"gs://{data.QUICKTEST_BUCKET}/{told.name}/pushed_model/1",
    )


# ---- runs and schedules ------------------------------------------------------------------------


def _new_run(
    stage: Stage, name: str, status: RunStatus, age: float, maker: data.Schedule | None
) -> TrainingRun:
    settings = require_settings()
    began = _tick(stage, maker, age) if maker else stage.ago(age)
    run = TrainingRun(
        project=stage.project,
        model_name=name,
        template_uri=template_uri(),
        parameters=PARAMETERS,
        status=status,
        created_at=began,
        submitted_at=began + timedelta(minutes=1),
        finished_at=began + TRAINING,
        created_by_id=None if maker else stage.actor.user_id,
        scheduled_for=began if maker else None,
    )
    root = f"gs://{settings.BUCKET}/{settings.ARTIFACTS_PREFIX}"
    run.gcs_artifacts_path = f"{root}/{run.uid.hex}/"
    return run


def _maker_of(name: str, version: int) -> data.Schedule | None:
    made = (s for s in data.SCHEDULES if s.lineage == name and 0 < s.first_version <= version)
    return next(made, None)


def _tick(stage: Stage, schedule: data.Schedule, age: float) -> datetime:
    """The last time before that age at which the schedule was due."""
    if not schedule.cron:
        return stage.ago(schedule.created).replace(second=0, microsecond=0)
    due: datetime = croniter(schedule.cron, stage.ago(age)).get_prev(datetime)
    return due


def _end_of(run: TrainingRun) -> datetime:
    return run.created_at + TRAINING


def _leave_files(stage: Stage, run: TrainingRun, verdict: str, *files: str) -> None:
    path = ObjectPath.parse(run.gcs_artifacts_path)
    texts = {
        "metrics.json": json.dumps(run.metrics),
        f"evaluator/{verdict}": "",
        **{name: f"{run.model_name} {name}" for name in files},
    }
    for name, text in texts.items():
        write = partial(storage.write_text, path.bucket, f"{path.key}{name}", text)
        stage.at(_end_of(run), write)


def _add_schedule(stage: Stage, told: data.Schedule) -> None:
    lineage = RegisteredModel.objects.get(project=stage.project, model_name=told.lineage)
    created = stage.ago(told.created)
    schedule = TrainingSchedule.objects.create(
        project=stage.project,
        name=told.name,
        model_name=told.lineage,
        model_type=lineage.model_type,
        registered_model=lineage,
        template_uri=template_uri(),
        parameters=PARAMETERS,
        state=told.state,
        frequency=told.frequency,
        cron=told.cron or f"{created:%-M %-H %-d %-m} *",
        starts_at=created.replace(second=0, microsecond=0),
        created_by_id=stage.actor.user_id,
        created_at=created,
    )
    made = TrainingRun.objects.filter(registered_model=lineage, scheduled_for__isnull=False)
    made.update(schedule=schedule)


def _add_run(stage: Stage, told: data.Run) -> None:
    """A run that became no version; only a schedule's belongs to a lineage (law 2)."""
    maker = next((one for one in data.SCHEDULES if one.name == told.schedule), None)
    run = _new_run(stage, told.name, told.status, told.age, maker)
    lineage = next((one for one in data.LINEAGES if one.name == told.name), None)
    run.model_type = data.type_of(told.name)
    run.stage, run.error = told.stage, told.error
    if maker:
        run.schedule = TrainingSchedule.objects.get(project=stage.project, name=maker.name)
        run.registered_model = run.schedule.registered_model
    if told.status == RunStatus.NOT_BLESSED:
        run.is_blessed, run.progress = False, 100
        run.metrics = metrics(run.model_type, 0.85 * lineage.quality if lineage else 0.26)
        _leave_files(stage, run, "NOT_BLESSED")
    run.save()


def _add_job(schedule: TrainingSchedule) -> None:
    job = scheduler.create_job(job_spec(schedule))
    last = schedule.training_runs.order_by("-scheduled_for").first()
    schedule.scheduler_job_name = str(job.name)
    schedule.next_run_at = job.next_run
    schedule.last_run_at = last.scheduled_for if last else None
    schedule.save()
