"""Creates the incident's data: rows by the ORM, cloud resources through Google's own clients."""

from __future__ import annotations

import json
from datetime import datetime, timedelta
from functools import partial
from typing import Any

from croniter import croniter
from django.contrib.auth.models import AbstractBaseUser
from django.db import transaction

from ml_platform import jobs
from ml_platform.cloud import scheduler, storage
from ml_platform.cloud.names import ObjectPath
from ml_platform.conf import require_settings
from ml_platform.localcloud import LocalCloud
from ml_platform.models import RegisteredModel, TrainingRun, TrainingSchedule
from ml_platform.models.clock import database_now
from ml_platform.models.states import LIVE_SCHEDULE_STATES, Registration, RunStatus
from ml_platform.services.operations import history, worker
from ml_platform.services.operations.subjects import subject_of_version
from ml_platform.services.ownership.labels import labels_for
from ml_platform.services.registration import register
from ml_platform.services.registry.lineages import claim_lineage, sync_version_cache
from ml_platform.services.scheduling.job import job_spec
from ml_platform.services.training.polling import poll_training_runs
from ml_platform.services.training.runs import create_run, submit_run

from . import incident_data as data
from .incident_endpoints import add_endpoint
from .stage import (
    PARAMETERS,
    STAGES,
    TRAINING,
    Stage,
    make_bucket,
    make_stage,
    template_uri,
    write_pipeline,
)

MODEL = "pushed_model/1/saved_model.pb"
WEIGHTS = "pushed_model/1/variables/variables.data-00000-of-00001"
BEGAN = timedelta(minutes=71)
"""How long ago the run began that has not ended."""


def load_incident(*, cloud: LocalCloud, user: AbstractBaseUser, now: datetime) -> None:
    """Make the incident on an empty database and an empty local cloud."""
    stage = make_stage(
        cloud=cloud, user=user, now=now, name=data.PROJECT, description="B2B recommendations"
    )
    make_bucket(data.QUICKTEST_BUCKET)
    write_pipeline()
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
    stage.at(now - BEGAN, partial(_train, stage, now - BEGAN))
    stage.play()
    poll_training_runs(actor=stage.actor, clock=database_now)
    jobs.run_job("collect-resource-metrics", actor=stage.actor, clock=database_now)
    jobs.set_up("collect-resource-metrics", actor=stage.actor, clock=database_now)
    # A job is due by the real clock, so the jobs of schedules come last.
    for live in TrainingSchedule.objects.filter(state__in=LIVE_SCHEDULE_STATES):
        _add_job(live)


# ---- lineages and their versions ---------------------------------------------------------------


def _add_lineage(stage: Stage, given: data.Lineage) -> None:
    with transaction.atomic():
        lineage = claim_lineage(
            project_id=stage.project.pk, model_name=given.name, model_type=data.type_of(given.name)
        )
    RegisteredModel.objects.filter(pk=lineage.pk).update(created_at=stage.ago(given.created))
    runs = [
        _add_version(stage, given, lineage, number, age)
        for number, age in enumerate(given.versions, start=1)
    ]
    if not runs:
        return
    RegisteredModel.objects.filter(pk=lineage.pk).update(next_version=len(runs) + 1)
    sync_version_cache(registered_model=lineage)
    TrainingRun.objects.filter(pk=runs[-1].pk).update(aliases=["default"])
    if given.in_vertex:
        stage.at(_end_of(runs[0]), partial(_seed_model, stage, given, lineage, runs))


def _add_version(
    stage: Stage, given: data.Lineage, lineage: RegisteredModel, number: int, age: float
) -> TrainingRun:
    # As Vertex AI answers: with the project's number.
    where = f"projects/{stage.cloud.project_number}/locations/{require_settings().LOCATION}"
    run = _new_run(
        stage,
        given.name,
        RunStatus.COMPLETED,
        age,
        _maker_of(given.name, number),
        model_type=data.type_of(given.name),
        registered_model=lineage,
        is_blessed=True,
        progress=100,
        metrics=data.metrics(given.name, given.quality * (1 + 0.03 * (number - 1))),
        registration=Registration.REGISTERED,
        version=number,
        vertex_model_resource_name=f"{where}/models/{given.vertex_id}",
        vertex_model_name=given.name,
        vertex_model_version=str(number),
    )
    run.registered_at = _end_of(run) + timedelta(minutes=4)
    run.save()
    _leave_files(stage, run, "BLESSED", MODEL, WEIGHTS)
    history.record(
        workflow=register.WORKFLOW,
        subject=subject_of_version(run),
        actor=stage.actor,
        now=run.registered_at,
        note=f"It is {given.vertex_id}@{number} in Vertex AI.",
    )
    return run


def _seed_model(
    stage: Stage, given: data.Lineage, lineage: RegisteredModel, runs: list[TrainingRun]
) -> None:
    """Only Google makes numeric ids, so no client can upload these."""
    versions = [
        {
            "version": run.version,
            "labels": labels_for(lineage=lineage.uid, generation=lineage.generation, run=run.uid),
            "artifact_uri": f"{run.gcs_artifacts_path}pushed_model/1",
        }
        for run in runs
    ]
    stage.cloud.models.seed(given.vertex_id, display_name=given.name, versions=versions)


def _seed_foreign(stage: Stage, given: data.Foreign) -> None:
    storage.write_text(data.QUICKTEST_BUCKET, f"{given.name}/{MODEL}", "A quick test's model.")
    stage.cloud.models.seed(
        given.vertex_id,
        display_name=given.name,
        artifact_uri=f"gs://{data.QUICKTEST_BUCKET}/{given.name}/pushed_model/1",
    )


# ---- runs and schedules ------------------------------------------------------------------------


def _new_run(
    stage: Stage,
    name: str,
    status: RunStatus,
    age: float,
    maker: data.Schedule | None,
    **given: Any,
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
        **given,
    )
    run.gcs_artifacts_path = f"gs://{settings.BUCKET}/{settings.ARTIFACTS_PREFIX}/{run.uid.hex}/"
    return run


def _maker_of(name: str, version: int) -> data.Schedule | None:
    """The schedule that made that version."""
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
        key = f"{path.key}{name}"
        stage.at(_end_of(run), partial(storage.write_text, path.bucket, key, text))


def _add_schedule(stage: Stage, given: data.Schedule) -> None:
    lineage = RegisteredModel.objects.get(project=stage.project, model_name=given.lineage)
    created = stage.ago(given.created)
    schedule = TrainingSchedule.objects.create(
        project=stage.project,
        name=given.name,
        model_name=given.lineage,
        model_type=lineage.model_type,
        registered_model=lineage,
        template_uri=template_uri(),
        parameters=PARAMETERS,
        state=given.state,
        frequency=given.frequency,
        cron=given.cron or f"{created:%-M %-H %-d %-m} *",
        starts_at=created.replace(second=0, microsecond=0),
        created_by_id=stage.actor.user_id,
        created_at=created,
    )
    TrainingRun.objects.filter(registered_model=lineage, scheduled_for__isnull=False).update(
        schedule=schedule
    )


def _add_run(stage: Stage, given: data.Run) -> None:
    """A run without a version. Only a schedule's run has a lineage, because a manual run creates
    no registered model before it succeeds (law 2)."""
    maker = next((one for one in data.SCHEDULES if one.name == given.schedule), None)
    run = _new_run(
        stage,
        given.name,
        given.status,
        given.age,
        maker,
        model_type=data.type_of(given.name),
        error=given.error,
    )
    run.stage = given.stage
    lineage = next((one for one in data.LINEAGES if one.name == given.name), None)
    if maker:
        run.schedule = TrainingSchedule.objects.get(project=stage.project, name=maker.name)
        run.registered_model = run.schedule.registered_model
    if given.status == RunStatus.NOT_BLESSED:
        run.is_blessed, run.progress = False, 100
        run.metrics = data.metrics(given.name, 0.85 * lineage.quality if lineage else 0.26)
        _leave_files(stage, run, "NOT_BLESSED")
    run.save()


def _add_job(schedule: TrainingSchedule) -> None:
    job = scheduler.create_job(job_spec(schedule))
    last = schedule.training_runs.order_by("-scheduled_for").first()
    TrainingSchedule.objects.filter(pk=schedule.pk).update(
        scheduler_job_name=str(job.name),
        next_run_at=job.next_run,
        last_run_at=last.scheduled_for if last else None,
    )


def _train(stage: Stage, began: datetime) -> None:
    """Submit the run that has not ended, at the pace of a real one."""
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
