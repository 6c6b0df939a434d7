"""Runs, schedules and their jobs change between a look of ours and our effect."""

from __future__ import annotations

from collections.abc import Generator
from dataclasses import replace
from datetime import timedelta

import pytest

from ml_platform.cloud import pipelines, scheduler
from ml_platform.cloud.transport import channels
from ml_platform.cloud.types import JobState
from ml_platform.errors import CloudAbsent, CloudUnavailable
from ml_platform.jobs import JOBS, set_up
from ml_platform.models import Operation, TrainingRun, TrainingSchedule
from ml_platform.models.states import RunStatus, ScheduleState
from ml_platform.services.scheduling.job import job_id_of, job_spec
from ml_platform.services.scheduling.platform_jobs import job_spec as wanted
from ml_platform.services.scheduling.schedules import (
    cancel_schedule,
    create_schedule,
    pause_schedule,
    resume_schedule,
)
from ml_platform.services.training.runs import cancel_run, submit_run
from ml_platform.services.training.submission import job_name
from ml_platform.tests.factories import (
    ProjectFactory,
)
from ml_platform.tests.services.training_tools import (
    SPEC,
    TEMPLATE_URI,
    make_run,
    settle,
    start_run,
    taken_over,
    their_job,
)
from ml_platform.tests.services.world import ANA, BUCKET

from .harness import World, before, ended

Played = Generator[Operation | None, None, None]


def _jobs() -> list[object]:
    """The jobs that Cloud Scheduler has."""
    return list(channels.client("CloudScheduler").list_jobs(parent=channels.location_path()))


# ---- training runs -----------------------------------------------------------------------------


@before("create")
def a_run_that_was_cancelled_meanwhile_is_not_started(w: World) -> Played:
    run = make_run(ProjectFactory.create(), w.clock)
    operation = submit_run(run=run, actor=ANA, now=w.clock())
    yield operation
    TrainingRun.objects.filter(pk=run.pk).update(status=RunStatus.CANCELLED)
    yield None
    ended(operation, "failed", "run_ended")
    with pytest.raises(CloudAbsent):
        pipelines.get_pipeline_job(job_name(run))


@before("create")
def a_pipeline_of_somebody_else_under_our_name_is_not_taken_for_ours(w: World) -> Played:
    run = make_run(ProjectFactory.create(), w.clock)
    operation = submit_run(run=run, actor=ANA, now=w.clock())
    yield operation
    pipelines.create_pipeline_job(
        job_id=job_name(run).job_id, display_name="theirs", spec=SPEC, parameters={},
        output_directory=f"gs://{BUCKET}/theirs", labels={},
    )  # fmt: skip
    yield None
    ended(operation, "failed", "foreign_job")
    run.refresh_from_db()
    assert (run.status, run.pipeline_job_name) == ("failed", "")


@before("cancel")
def a_run_that_succeeded_meanwhile_stays_so(w: World) -> Played:
    run = start_run(ProjectFactory.create(), w.clock)
    operation = cancel_run(run=run, actor=ANA, now=w.clock())
    yield operation
    TrainingRun.objects.filter(pk=run.pk).update(status=RunStatus.COMPLETED)
    w.forget()
    yield None
    ended(operation, "succeeded")
    assert w.changes == []


# ---- schedules ---------------------------------------------------------------------------------


def _planned(w: World, *, made: bool = True) -> tuple[TrainingSchedule, Operation]:
    operation = create_schedule(
        project=ProjectFactory.create(), name="nightly", model_name="chern", model_type="retrieval",
        template_uri=TEMPLATE_URI, parameters={}, frequency="daily", time_zone="UTC",
        first=w.clock() + timedelta(days=1), actor=ANA, now=w.clock(),
    )  # fmt: skip
    if made:
        settle(w.clock)
    return TrainingSchedule.objects.latest("pk"), operation


def _state(schedule: TrainingSchedule) -> str:
    return str(scheduler.get_job(job_id_of(schedule)).state)


@before("create")
def a_job_that_is_there_by_now_is_not_made_twice(w: World) -> Played:
    schedule, operation = _planned(w, made=False)
    yield operation
    scheduler.create_job(job_spec(schedule))
    yield None
    ended(operation, "succeeded")
    assert len(_jobs()) == 1


@before("create")
def a_schedule_that_was_cancelled_meanwhile_leaves_no_job(w: World) -> Played:
    schedule, operation = _planned(w, made=False)
    yield operation
    TrainingSchedule.objects.update(state=ScheduleState.CANCELLED)
    yield None
    ended(operation, "succeeded")
    with pytest.raises(CloudAbsent):
        _state(schedule)


@before("pause")
def a_job_that_was_deleted_meanwhile_is_made_again_and_paused(w: World) -> Played:
    schedule, _ = _planned(w)
    operation = pause_schedule(schedule=schedule, actor=ANA, now=w.clock())
    yield operation
    scheduler.delete_job(job_id_of(schedule))
    yield None
    ended(operation, "succeeded")
    assert _state(schedule) == "paused"


@before("resume")
def a_schedule_that_was_paused_again_meanwhile_does_not_ring(w: World) -> Played:
    schedule, _ = _planned(w)
    pause_schedule(schedule=schedule, actor=ANA, now=w.clock())
    settle(w.clock)
    schedule.refresh_from_db()
    operation = resume_schedule(schedule=schedule, actor=ANA, now=w.clock())
    yield operation
    TrainingSchedule.objects.update(state=ScheduleState.PAUSED)
    yield None
    ended(operation, "succeeded")
    assert _state(schedule) == "paused"


@before("update")
def a_job_that_was_deleted_before_its_correction_is_made_again(w: World) -> Played:
    schedule, _ = _planned(w)
    TrainingSchedule.objects.update(cron="5 5 * * *")
    operation = pause_schedule(schedule=schedule, actor=ANA, now=w.clock())
    yield operation
    scheduler.delete_job(job_id_of(schedule))
    yield None
    ended(operation, "succeeded")
    job = scheduler.get_job(job_id_of(schedule))
    assert (job.spec.schedule, str(job.state)) == ("5 5 * * *", "paused")


@before("delete")
def a_job_that_was_deleted_meanwhile_is_done(w: World) -> Played:
    schedule, _ = _planned(w)
    operation = cancel_schedule(schedule=schedule, actor=ANA, now=w.clock())
    yield operation
    scheduler.delete_job(job_id_of(schedule))
    yield None
    ended(operation, "succeeded")
    schedule.refresh_from_db()
    assert schedule.scheduler_job_name == ""


@before("pause_theirs")
def a_job_of_others_that_was_deleted_meanwhile_is_replaced_all_the_same(w: World) -> Played:
    spec = their_job()
    operation = taken_over(ProjectFactory.create(), w.clock())
    yield operation
    scheduler.delete_job(spec.job_id)
    yield None
    ended(operation, "succeeded")
    [job] = _jobs()
    assert (job.name.rpartition("/")[2], job.state.name) == (  # type: ignore[attr-defined]
        job_id_of(TrainingSchedule.objects.get()), "ENABLED",
    )  # fmt: skip


def _set_up(w: World) -> Operation:
    """The setup of a platform's job, which waits because Cloud Scheduler does not answer."""
    w.cloud.faults.order("CloudScheduler.GetJob", code="UNAVAILABLE", times=None)
    with pytest.raises(CloudUnavailable):
        set_up(next(iter(JOBS)), actor=ANA, clock=w.clock, idempotency_key="")
    w.cloud.faults.clear()
    w.clock.forward(600)
    return Operation.objects.latest("created_at")


@before("create_job")
def a_platform_job_that_is_there_by_now_is_corrected(w: World) -> Played:
    operation = _set_up(w)
    yield operation
    spec = wanted(operation.data["spec"])
    scheduler.create_job(replace(spec, schedule="1 1 * * *"))
    yield None
    ended(operation, "succeeded")
    assert len(_jobs()) == 1
    assert scheduler.get_job(spec.job_id).spec == spec


@before("update_job")
def a_platform_job_that_was_deleted_before_its_correction_is_made_again(w: World) -> Played:
    operation = _set_up(w)
    spec = wanted(operation.data["spec"])
    scheduler.create_job(replace(spec, schedule="1 1 * * *"))
    yield operation
    scheduler.delete_job(spec.job_id)
    yield None
    ended(operation, "succeeded")
    assert len(_jobs()) == 1
    assert scheduler.get_job(spec.job_id).spec == spec


@before("resume_job")
def a_paused_platform_job_that_was_deleted_before_it_is_resumed_is_made_again(w: World) -> Played:
    operation = _set_up(w)
    spec = wanted(operation.data["spec"])
    scheduler.create_job(spec)
    scheduler.pause_job(spec.job_id)
    yield operation
    scheduler.delete_job(spec.job_id)
    yield None
    ended(operation, "succeeded")
    assert len(_jobs()) == 1
    assert scheduler.get_job(spec.job_id).state == JobState.ENABLED
