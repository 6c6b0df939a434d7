"""What people do to pipeline jobs and to schedules in Vertex AI."""

from __future__ import annotations

from typing import Any

from google.cloud.aiplatform_v1.services.schedule_service import ScheduleServiceClient

from ml_platform.cloud.transport import channels
from ml_platform.models import TrainingRun
from ml_platform.tests.services.training_tools import BUCKET, SPEC, poll, start_run

from .models import upload_by_hand
from .scene import Row, Scene, Undo, rpc

POLLED = "A sweep reads no pipelines: the poll reads each live run's job, every minute."
IN_VERTEX = "The schedules of the platform are in Cloud Scheduler; those in Vertex AI are people's."


def create(scene: Scene) -> Undo:
    rpc(
        "PipelineService",
        "create_pipeline_job",
        parent=channels.location_path(),
        pipeline_job=_job(),
        pipeline_job_id=scene.name("job"),
    )
    return None


def _job() -> dict[str, Any]:
    config = {"gcs_output_directory": f"gs://{BUCKET}/theirs"}
    return {"display_name": "by hand", "pipeline_spec": SPEC, "runtime_config": config}


def _run(scene: Scene) -> TrainingRun:
    run = start_run(scene.project, scene.clock, model_name=scene.name("trained"))
    scene.kept["run"] = run
    return run


def cancel(scene: Scene) -> Undo:
    rpc("PipelineService", "cancel_pipeline_job", name=_run(scene).pipeline_job_name)
    return None


def cancel_batch(scene: Scene) -> Undo:
    names = [_run(scene).pipeline_job_name]
    parent = channels.location_path()
    rpc("PipelineService", "batch_cancel_pipeline_jobs", parent=parent, names=names)
    return None


def delete(scene: Scene) -> Undo:
    name = _run(scene).pipeline_job_name
    rpc("PipelineService", "cancel_pipeline_job", name=name)
    scene.clock.forward(60)
    rpc("PipelineService", "delete_pipeline_job", name=name)
    return None


def delete_batch(scene: Scene) -> Undo:
    name = _run(scene).pipeline_job_name
    rpc("PipelineService", "cancel_pipeline_job", name=name)
    scene.clock.forward(60)
    parent = channels.location_path()
    rpc("PipelineService", "batch_delete_pipeline_jobs", parent=parent, names=[name])
    return None


def is_cancelled(scene: Scene) -> None:
    assert _polled(scene).status == "cancelled"


def is_forgotten(scene: Scene) -> None:
    scene.clock.forward(600)
    run = _polled(scene)
    assert (run.status, run.error) == ("failed", "The run's pipeline was deleted in Vertex AI.")


def _polled(scene: Scene) -> TrainingRun:
    poll(scene.clock)
    run: TrainingRun = scene.kept["run"]
    run.refresh_from_db()
    return run


def create_schedule(scene: Scene) -> Undo:
    parent = channels.location_path()
    asked = {
        "display_name": "by hand",
        "cron": "0 0 1 1 *",
        "max_concurrent_run_count": 1,
        "create_pipeline_job_request": {"parent": parent, "pipeline_job": _job()},
    }
    client = scene.client(ScheduleServiceClient)
    scene.kept["schedule"] = client.create_schedule({"parent": parent, "schedule": asked}).name
    return None


def pause_schedule(scene: Scene) -> Undo:
    scene.client(ScheduleServiceClient).pause_schedule(name=scene.kept["schedule"])
    return None


def resume_schedule(scene: Scene) -> Undo:
    scene.client(ScheduleServiceClient).resume_schedule(name=scene.kept["schedule"])
    return None


def update_schedule(scene: Scene) -> Undo:
    asked = {"name": scene.kept["schedule"], "display_name": "another"}
    mask = {"paths": ["display_name"]}
    client = scene.client(ScheduleServiceClient)
    client.update_schedule({"schedule": asked, "update_mask": mask})
    return None


def delete_schedule(scene: Scene) -> Undo:
    scene.client(ScheduleServiceClient).delete_schedule(name=scene.kept["schedule"]).result()
    return None


def cancel_operation(scene: Scene) -> Undo:
    channels.client("ModelService").transport.operations_client.cancel_operation(_operation(scene))
    return None


def delete_operation(scene: Scene) -> Undo:
    channels.client("ModelService").transport.operations_client.delete_operation(_operation(scene))
    return None


def _operation(scene: Scene) -> str:
    name = upload_by_hand(scene, model_id=scene.name("theirs")).model
    started = channels.client("ModelService").delete_model(name=name)
    started.result()
    return str(started.operation.name)


ROWS = (
    Row(
        method="PipelineService.CreatePipelineJob",
        act=create,
        why="A job without our labels is the person's own; ours have the id of their run.",
    ),
    Row(method="PipelineService.CancelPipelineJob", act=cancel, why=POLLED, tells=is_cancelled),
    Row(
        method="PipelineService.BatchCancelPipelineJobs",
        act=cancel_batch,
        why=POLLED,
        tells=is_cancelled,
    ),
    Row(method="PipelineService.DeletePipelineJob", act=delete, why=POLLED, tells=is_forgotten),
    Row(
        method="PipelineService.BatchDeletePipelineJobs",
        act=delete_batch,
        why=POLLED,
        tells=is_forgotten,
    ),
    Row(method="ScheduleService.CreateSchedule", act=create_schedule, why=IN_VERTEX),
    Row(method="ScheduleService.PauseSchedule", act=pause_schedule, why=IN_VERTEX),
    Row(method="ScheduleService.ResumeSchedule", act=resume_schedule, why=IN_VERTEX),
    Row(method="ScheduleService.UpdateSchedule", act=update_schedule, why=IN_VERTEX),
    Row(method="ScheduleService.DeleteSchedule", act=delete_schedule, why=IN_VERTEX),
    Row(
        method="Operations.CancelOperation",
        act=cancel_operation,
        why="An operation that has ended is not undone; one of ours that ends without its effect "
        "fails the step, which reads the plane before it tries again.",
    ),
    Row(
        method="Operations.DeleteOperation",
        act=delete_operation,
        why="Only the record of an operation that has ended goes; its effect stays.",
    ),
)
