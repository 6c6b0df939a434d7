"""What people do to jobs in Cloud Scheduler. `test_scheduler_plane` has each field and more."""

from __future__ import annotations

from datetime import timedelta

from ml_platform.cloud.transport import channels
from ml_platform.models import TrainingSchedule
from ml_platform.services.scheduling.schedules import create_schedule, pause_schedule
from ml_platform.tests.services.training_tools import ANA, TEMPLATE_URI, settle

from .scene import Row, Scene, Undo, rpc


def _schedule(scene: Scene) -> TrainingSchedule:
    name = scene.name("nightly")
    create_schedule(
        project=scene.project,
        actor=ANA,
        now=scene.clock(),
        name=name,
        model_name=name,
        model_type="retrieval",
        template_uri=TEMPLATE_URI,
        parameters={},
        frequency="daily",
        first=scene.clock() + timedelta(hours=20),
        time_zone="Europe/Berlin",
    )
    settle(scene.clock)
    return TrainingSchedule.objects.get(name=name)


def create(scene: Scene) -> Undo:
    name = f"{channels.location_path()}/jobs/{scene.name('theirs')}"
    target = {"uri": "https://elsewhere.example.com/"}
    job = {"name": name, "schedule": "0 0 1 1 *", "http_target": target}
    rpc("CloudScheduler", "create_job", parent=channels.location_path(), job=job)
    return None


def delete(scene: Scene) -> Undo:
    rpc("CloudScheduler", "delete_job", name=_schedule(scene).scheduler_job_name)
    return None


def pause(scene: Scene) -> Undo:
    rpc("CloudScheduler", "pause_job", name=_schedule(scene).scheduler_job_name)
    return None


def resume(scene: Scene) -> Undo:
    schedule = _schedule(scene)
    pause_schedule(schedule=schedule, actor=ANA, now=scene.clock())
    settle(scene.clock)
    rpc("CloudScheduler", "resume_job", name=schedule.scheduler_job_name)
    return None


def update(scene: Scene) -> Undo:
    job = {"name": _schedule(scene).scheduler_job_name, "schedule": "0 0 1 1 *"}
    rpc("CloudScheduler", "update_job", job=job, update_mask={"paths": ["schedule"]})
    return None


def run(scene: Scene) -> Undo:
    rpc("CloudScheduler", "run_job", name=_schedule(scene).scheduler_job_name)
    return None


ROWS = (
    Row(
        method="CloudScheduler.CreateJob",
        act=create,
        why="A job that calls another address is the person's own.",
    ),
    Row(method="CloudScheduler.DeleteJob", act=delete, finds=("schedule_missing",)),
    Row(method="CloudScheduler.PauseJob", act=pause, finds=("schedule_paused",)),
    Row(method="CloudScheduler.ResumeJob", act=resume, finds=("schedule_changed",)),
    Row(method="CloudScheduler.UpdateJob", act=update, finds=("schedule_changed",)),
    Row(
        method="CloudScheduler.RunJob",
        act=run,
        why="One call more comes; the schedule's next time is as it was.",
    ),
)
