"""Schedules: the row, its Cloud Scheduler job, and one run for each scheduled time."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from datetime import UTC, datetime, timedelta, timezone
from threading import Thread
from typing import TYPE_CHECKING, Any

import pytest
from django.db import connection

from ml_platform.cloud import scheduler
from ml_platform.cloud.types import JobState, RemoteJob
from ml_platform.errors import CloudAbsent, Conflict, Invalid, Misconfigured
from ml_platform.models import Operation, Project, RegisteredModel, TrainingRun, TrainingSchedule
from ml_platform.models.states import OperationStatus, ScheduleState
from ml_platform.services.operations.retry_cancel import request_cancel, retry_operation
from ml_platform.services.operations.store import KeyReused
from ml_platform.services.operations.worker import resume_operations
from ml_platform.services.scheduling.job import job_id_of, job_spec
from ml_platform.services.scheduling.schedules import (
    Firing,
    cancel_schedule,
    create_schedule,
    create_schedule_from_run,
    fire_schedule,
    pause_schedule,
    resume_schedule,
    trigger_schedule,
)
from ml_platform.services.training.runs import delete_run

from .training_tools import ANA, TEMPLATE_URI, CloudClock, make_run, poll, settle

if TYPE_CHECKING:
    from ml_platform.localcloud import LocalCloud

pytestmark = pytest.mark.django_db
FIRST = datetime(2026, 2, 9, 3, 0, tzinfo=UTC)
RINGER = "ringer@demo-project.iam.gserviceaccount.com"


@pytest.fixture
def clock(cloud: LocalCloud, settings: Any) -> CloudClock:
    settings.ML_PLATFORM = {
        **settings.ML_PLATFORM,
        "PUBLIC_URL": "http://127.0.0.1:9/ml/",
        "WEBHOOK_SERVICE_ACCOUNTS": (RINGER,),
    }
    return CloudClock(cloud)


@pytest.fixture
def project() -> Project:
    return Project.objects.create(name="test_v1")


def plan(project: Project, clock: CloudClock, **changes: Any) -> Operation:
    given: dict[str, Any] = {
        "name": "nightly",
        "model_name": "chern_retriv_v7",
        "model_type": "retrieval",
        "template_uri": TEMPLATE_URI,
        "parameters": {"epochs": 5},
        "frequency": "daily",
        "first": FIRST,
        "time_zone": "Europe/Berlin",
        "actor": ANA,
        "now": clock(),
    }
    return create_schedule(project=project, **(given | changes))


def planned(project: Project, clock: CloudClock, **changes: Any) -> TrainingSchedule:
    plan(project, clock, **changes)
    settle(clock)
    return TrainingSchedule.objects.latest("id")


def job_of(schedule: TrainingSchedule) -> RemoteJob:
    return scheduler.get_job(job_id_of(schedule))


def ring(schedule: TrainingSchedule, clock: CloudClock, at: datetime) -> Firing:
    return fire_schedule(schedule=schedule, scheduled_for=at, actor=ANA, now=clock())


def test_a_schedule_is_kept_as_a_job_that_rings_its_webhook_with_a_token(
    cloud: LocalCloud, clock: CloudClock, project: Project
) -> None:
    operation = plan(project, clock)
    assert cloud.effects.count("CloudScheduler.*") == 0, "intent before effect"
    settle(clock)
    schedule = TrainingSchedule.objects.get(pk=operation.subject_id)
    job = job_of(schedule)
    assert (job.spec.schedule, job.spec.time_zone) == ("0 4 * * *", "Europe/Berlin")
    assert job.spec.uri == f"http://127.0.0.1:9/ml/api/training/schedules/{schedule.pk}/webhook/"
    assert (job.spec.audience, job.spec.service_account) == ("http://127.0.0.1:9/ml/", RINGER)
    assert (job.state, job.next_run) == (JobState.ENABLED, FIRST)
    assert (schedule.next_run_at, schedule.scheduler_job_name) == (FIRST, str(job.name))
    assert job.spec == job_spec(schedule)
    operation.refresh_from_db()
    assert [step["step"] for step in operation.steps] == ["look", "create", "look", "record"]
    assert cloud.effects.count("CloudScheduler.CreateJob") == 1


def test_a_schedule_carries_its_lineage_which_counts_nowhere(
    clock: CloudClock, project: Project
) -> None:
    schedule = planned(project, clock)
    assert schedule.registered_model is not None
    assert RegisteredModel.objects.get().model_name == "chern_retriv_v7"
    assert RegisteredModel.objects.registered().count() == 0
    assert RegisteredModel.objects.unneeded().count() == 0, "it is no orphan while it is scheduled"
    other = planned(project, clock, name="weekly", frequency="weekly")
    assert other.registered_model == schedule.registered_model


@pytest.mark.any_database
@pytest.mark.parametrize(
    ("changes", "code"),
    [
        ({"name": " "}, "bad_schedule_name"),
        ({"name": "<i>x"}, "bad_schedule_name"),
        ({"name": "x" * 129}, "bad_schedule_name"),
        ({"model_name": "<script>"}, "bad_model_name"),
        ({"frequency": "yearly"}, "bad_frequency"),
        ({"time_zone": "Mars/Olympus"}, "bad_time_zone"),
        ({"first": datetime(2026, 2, 9, 3)}, "bad_time"),  # noqa: DTZ001
        ({"first": FIRST - timedelta(days=2), "frequency": "once"}, "bad_time"),
        ({"first": datetime.min.replace(tzinfo=timezone(timedelta(hours=14)))}, "bad_time"),
        ({"first": datetime.max.replace(tzinfo=timezone(-timedelta(hours=12)))}, "bad_time"),
        ({"template_uri": "gs://demo-artifacts/none"}, "template_missing"),
        ({"parameters": {"nope": 1}}, "unknown_parameter"),
    ],
    ids=str,
)
def test_a_schedule_that_cannot_work_leaves_nothing_behind(
    cloud: LocalCloud, clock: CloudClock, project: Project, changes: dict[str, Any], code: str
) -> None:
    with pytest.raises(Invalid) as caught:
        plan(project, clock, **changes)
    assert caught.value.code == code
    rows = (TrainingSchedule, RegisteredModel, Operation)
    assert [table.objects.count() for table in rows] == [0, 0, 0]
    assert cloud.effects.count("CloudScheduler.*") == 0


def test_a_name_is_taken_once_in_a_project(clock: CloudClock, project: Project) -> None:
    plan(project, clock)
    with pytest.raises(Conflict, match="a schedule nightly already"):
        plan(project, clock, model_name="another")
    assert RegisteredModel.objects.count() == 1
    plan(Project.objects.create(name="another"), clock)
    assert TrainingSchedule.objects.count() == 2


def test_the_same_key_makes_the_same_schedule(clock: CloudClock, project: Project) -> None:
    first = plan(project, clock, idempotency_key="k")
    assert plan(project, clock, idempotency_key="k") == first
    with pytest.raises(KeyReused):
        plan(project, clock, idempotency_key="k", frequency="weekly")
    assert TrainingSchedule.objects.count() == 1


def test_without_a_public_address_nothing_is_scheduled(
    clock: CloudClock, project: Project, settings: Any
) -> None:
    settings.ML_PLATFORM = {**settings.ML_PLATFORM, "PUBLIC_URL": ""}
    with pytest.raises(Misconfigured, match="has no PUBLIC_URL"):
        plan(project, clock)
    assert TrainingSchedule.objects.count() == 0


def test_a_schedule_from_a_run_trains_what_the_run_did(clock: CloudClock, project: Project) -> None:
    run = make_run(project, clock, parameters={"epochs": 8})
    create_schedule_from_run(
        run=run, name="again", frequency="hourly", first=FIRST, actor=ANA, now=clock()
    )
    schedule = TrainingSchedule.objects.get()
    run.refresh_from_db()
    assert (schedule.model_name, schedule.parameters) == (run.model_name, {"epochs": 8})
    assert (schedule.template_uri, schedule.cron) == (run.template_uri, "0 * * * *")
    assert run.registered_model is None


def test_pause_resume_and_cancel_move_the_job_with_the_row(
    clock: CloudClock, project: Project
) -> None:
    schedule = planned(project, clock)
    pause_schedule(schedule=schedule, actor=ANA, now=clock())
    settle(clock)
    assert job_of(schedule).state == JobState.PAUSED
    assert (schedule.state, schedule.next_run_at) == ("paused", None)
    clock.forward(3 * 86400)
    resume_schedule(schedule=schedule, actor=ANA, now=clock())
    settle(clock)
    assert job_of(schedule).state == JobState.ENABLED
    assert schedule.next_run_at == FIRST + timedelta(days=3)
    assert schedule.next_run_at == job_of(schedule).next_run
    cancel_schedule(schedule=schedule, actor=ANA, now=clock())
    settle(clock)
    with pytest.raises(CloudAbsent):
        job_of(schedule)
    schedule.refresh_from_db()
    assert (schedule.state, schedule.scheduler_job_name) == ("cancelled", "")


def test_moves_that_make_no_sense_are_refused(clock: CloudClock, project: Project) -> None:
    schedule = planned(project, clock)
    with pytest.raises(Conflict, match="nightly is active"):
        resume_schedule(schedule=schedule, actor=ANA, now=clock())
    cancel_schedule(schedule=schedule, actor=ANA, now=clock())
    verbs: list[Callable[..., object]] = [
        pause_schedule,
        resume_schedule,
        cancel_schedule,
        trigger_schedule,
    ]
    for verb in verbs:
        with pytest.raises(Conflict, match="nightly is cancelled"):
            verb(schedule=schedule, actor=ANA, now=clock())


def test_operations_in_the_wrong_order_leave_the_job_as_the_row_says(
    cloud: LocalCloud, clock: CloudClock, project: Project
) -> None:
    schedule = planned(project, clock)
    first = pause_schedule(schedule=schedule, actor=ANA, now=clock())
    resume_schedule(schedule=schedule, actor=ANA, now=clock())
    Operation.objects.filter(pk=first.pk).update(created_at=clock() + timedelta(days=1))
    settle(clock)
    assert job_of(schedule).state == JobState.ENABLED
    assert cloud.effects.count("CloudScheduler.PauseJob") == 0


def test_a_job_that_was_changed_or_deleted_in_the_console_is_put_right(
    clock: CloudClock, project: Project
) -> None:
    schedule = planned(project, clock)
    scheduler.delete_job(job_id_of(schedule))
    pause_schedule(schedule=schedule, actor=ANA, now=clock())
    settle(clock)
    assert job_of(schedule).state == JobState.PAUSED
    TrainingSchedule.objects.update(parameters={}, cron="30 5 * * *")
    resume_schedule(schedule=schedule, actor=ANA, now=clock())
    settle(clock)
    assert (job_of(schedule).spec.schedule, job_of(schedule).state) == (
        "30 5 * * *",
        JobState.ENABLED,
    )


def test_a_job_that_vanishes_before_it_is_paused_is_made_again(
    cloud: LocalCloud, clock: CloudClock, project: Project
) -> None:
    schedule = planned(project, clock)
    cloud.faults.order(method="CloudScheduler.PauseJob", kind="error", code="NOT_FOUND")
    pause_schedule(schedule=schedule, actor=ANA, now=clock())
    settle(clock)
    assert job_of(schedule).state == JobState.PAUSED


def test_a_job_that_is_not_shown_at_first_is_found_when_its_name_is_taken(
    cloud: LocalCloud, clock: CloudClock, project: Project
) -> None:
    cloud.faults.order(method="CloudScheduler.CreateJob", kind="lost", code="INTERNAL")
    cloud.faults.order(method="CloudScheduler.GetJob", kind="stale", seconds=3600.0, nth=2)
    operation = plan(project, clock)
    settle(clock)
    operation.refresh_from_db()
    assert operation.status == OperationStatus.SUCCEEDED
    assert cloud.effects.count("CloudScheduler.CreateJob") == 2


def test_changes_of_one_schedule_wait_for_each_other(
    cloud: LocalCloud, clock: CloudClock, project: Project
) -> None:
    schedule = planned(project, clock)
    cloud.faults.order(method="CloudScheduler.PauseJob", kind="error", code="UNAVAILABLE")
    pause_schedule(schedule=schedule, actor=ANA, now=clock())
    resume_operations(clock=clock)
    second = cancel_schedule(schedule=schedule, actor=ANA, now=clock())
    assert resume_operations(clock=clock) == []
    second.refresh_from_db()
    assert (second.status, second.step) == (OperationStatus.PENDING, "look")
    settle(clock)
    with pytest.raises(CloudAbsent):
        job_of(schedule)


FAULTS: list[dict[str, Any]] = [
    {"kind": "lost", "code": "UNAVAILABLE"},
    {"kind": "lost", "code": "DEADLINE_EXCEEDED", "times": 2},
    {"kind": "error", "code": "INTERNAL", "times": 3},
    {"kind": "error", "code": "RESOURCE_EXHAUSTED"},
]


@pytest.mark.any_database
@pytest.mark.slow
@pytest.mark.parametrize("fault", FAULTS, ids=str)
@pytest.mark.parametrize("method", ["CreateJob", "PauseJob", "ResumeJob", "DeleteJob"])
def test_whatever_google_answers_job_and_row_agree_in_the_end(
    cloud: LocalCloud, clock: CloudClock, project: Project, method: str, fault: dict[str, Any]
) -> None:
    cloud.faults.order(method=f"CloudScheduler.{method}", **fault)
    schedule = planned(project, clock)
    assert job_of(schedule).state == JobState.ENABLED
    for verb, state in ((pause_schedule, JobState.PAUSED), (resume_schedule, JobState.ENABLED)):
        verb(schedule=schedule, actor=ANA, now=clock())
        settle(clock)
        assert job_of(schedule).state == state
    cancel_schedule(schedule=schedule, actor=ANA, now=clock())
    settle(clock)
    with pytest.raises(CloudAbsent):
        job_of(schedule)
    assert set(Operation.objects.values_list("status", flat=True)) == {OperationStatus.SUCCEEDED}


def test_a_job_that_may_not_be_made_fails_the_operation_which_can_be_retried(
    cloud: LocalCloud, clock: CloudClock, project: Project
) -> None:
    cloud.faults.order(
        method="CloudScheduler.CreateJob", kind="error", code="INVALID_ARGUMENT", times=1
    )
    operation = plan(project, clock)
    settle(clock)
    operation.refresh_from_db()
    assert operation.status == OperationStatus.FAILED
    retry_operation(operation=operation, actor=ANA)
    settle(clock)
    assert job_of(TrainingSchedule.objects.get()).state == JobState.ENABLED


def test_five_rings_for_one_time_make_one_run_and_one_job(
    cloud: LocalCloud, clock: CloudClock, project: Project
) -> None:
    schedule = planned(project, clock)
    clock.forward((FIRST - clock()).total_seconds() + 1)
    rings = [ring(schedule, clock, FIRST + timedelta(microseconds=n)) for n in range(5)]
    assert len({firing.run for firing in rings}) == 1
    assert [firing.operation is not None for firing in rings] == [True] + [False] * 4
    resume_operations(clock=clock)
    assert ring(schedule, clock, FIRST).operation is None
    run = TrainingRun.objects.get()
    assert (run.status, run.scheduled_for, run.schedule) == ("running", FIRST, schedule)
    assert run.registered_model == schedule.registered_model
    assert cloud.effects.count("PipelineService.CreatePipelineJob") == 1
    schedule.refresh_from_db()
    assert schedule.next_run_at == FIRST + timedelta(days=1)
    assert schedule.last_run_at == clock()


@pytest.mark.django_db(transaction=True)
def test_rings_at_the_same_moment_make_one_run(clock: CloudClock, project: Project) -> None:
    schedule = planned(project, clock)
    clock.forward((FIRST - clock()).total_seconds())
    firings: list[Firing] = []

    def work() -> None:
        try:
            firings.append(ring(schedule, clock, FIRST))
        finally:
            connection.close()

    threads = [Thread(target=work) for _ in range(5)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(firings) == 5
    assert sum(firing.operation is not None for firing in firings) == 1
    assert TrainingRun.objects.count() == 1


@pytest.mark.slow
def test_each_time_has_its_run_and_a_scheduled_success_is_a_version(
    clock: CloudClock, project: Project
) -> None:
    schedule = planned(project, clock)
    for day in range(2):
        tick = FIRST + timedelta(days=day)
        clock.forward((tick - clock()).total_seconds())
        ring(schedule, clock, tick)
        resume_operations(clock=clock)
        clock.forward(100)
        poll(clock)
        settle(clock)
    lineage = RegisteredModel.objects.registered().get()
    assert (lineage, lineage.total_versions) == (schedule.registered_model, 2)


def test_a_paused_or_ended_schedule_or_one_that_has_not_begun_trains_nothing(
    clock: CloudClock, project: Project
) -> None:
    schedule = planned(project, clock)
    assert (
        ring(schedule, clock, FIRST - timedelta(days=1)).message
        == "The schedule has not started yet."
    )
    pause_schedule(schedule=schedule, actor=ANA, now=clock())
    clock.forward((FIRST - clock()).total_seconds())
    assert ring(schedule, clock, FIRST).message == "The schedule is paused."
    cancel_schedule(schedule=schedule, actor=ANA, now=clock())
    assert ring(schedule, clock, FIRST).message == "The schedule is cancelled."
    assert TrainingRun.objects.count() == 0
    with pytest.raises(Invalid, match="no time zone"):
        ring(schedule, clock, datetime(2026, 2, 9, 3))  # noqa: DTZ001


def test_a_ring_forced_in_the_console_does_not_take_the_next_ticks_place(
    clock: CloudClock, project: Project
) -> None:
    schedule = planned(project, clock)
    forced = [ring(schedule, clock, FIRST) for _ in range(3)]
    assert len({firing.run for firing in forced}) == 1
    assert forced[0].run is not None
    assert forced[0].run.scheduled_for is None
    clock.forward((FIRST - clock()).total_seconds())
    assert ring(schedule, clock, FIRST).operation is not None
    assert TrainingRun.objects.filter(schedule=schedule).count() == 2


def test_trigger_trains_now_and_uses_up_no_scheduled_time(
    clock: CloudClock, project: Project
) -> None:
    schedule = planned(project, clock)
    first = trigger_schedule(schedule=schedule, actor=ANA, now=clock(), idempotency_key="k")
    again = trigger_schedule(schedule=schedule, actor=ANA, now=clock(), idempotency_key="k")
    assert first.run is not None
    assert first.run == again.run
    assert (first.run.scheduled_for, first.run.registered_model) == (
        None,
        schedule.registered_model,
    )
    clock.forward((FIRST - clock()).total_seconds())
    ring(schedule, clock, FIRST)
    trigger_schedule(schedule=schedule, actor=ANA, now=clock())
    assert TrainingRun.objects.count() == 3


def test_a_schedule_for_once_ends_with_its_run(clock: CloudClock, project: Project) -> None:
    schedule = planned(project, clock, frequency="once")
    assert job_of(schedule).spec.schedule == "0 3 9 2 *"
    assert job_of(schedule).spec.time_zone == "Etc/UTC"
    clock.forward((FIRST - clock()).total_seconds())
    first, again = ring(schedule, clock, FIRST), ring(schedule, clock, FIRST)
    assert first.run == again.run
    settle(clock)
    schedule.refresh_from_db()
    assert (schedule.state, schedule.next_run_at) == (ScheduleState.COMPLETED, None)
    with pytest.raises(CloudAbsent):
        job_of(schedule)


def test_a_schedule_for_once_whose_ring_was_missed_ends_instead_of_training_a_year_later(
    clock: CloudClock, project: Project
) -> None:
    schedule = planned(project, clock, frequency="once")
    next_year = FIRST.replace(year=FIRST.year + 1)
    clock.forward((next_year - clock()).total_seconds())
    rung = ring(schedule, clock, next_year)
    assert (rung.run, rung.message) == (None, "The schedule's only time has passed.")
    settle(clock)
    schedule.refresh_from_db()
    assert (schedule.state, TrainingRun.objects.count()) == (ScheduleState.COMPLETED, 0)
    with pytest.raises(CloudAbsent):
        job_of(schedule)


def test_a_ring_for_a_run_that_was_deleted_since_makes_no_other(
    cloud: LocalCloud, clock: CloudClock, project: Project
) -> None:
    cloud.pipelines.outcome("fail:train")
    schedule = planned(project, clock)
    clock.forward((FIRST - clock()).total_seconds())
    run = ring(schedule, clock, FIRST).run
    settle(clock)
    clock.forward(100)
    poll(clock)
    assert run
    delete_run(run=run, actor=ANA, now=clock())
    again = ring(schedule, clock, FIRST)
    assert (again.run, again.message) == (None, "The run of that time was deleted.")
    assert TrainingRun.objects.count() == 0


def test_a_job_that_never_reads_as_it_was_sent_is_given_up_after_a_few_tries(
    cloud: LocalCloud, clock: CloudClock, project: Project, monkeypatch: pytest.MonkeyPatch
) -> None:
    read = scheduler._read_job

    def otherwise(raw: Any) -> RemoteJob:
        job = read(raw)
        return replace(job, spec=replace(job.spec, description="kept otherwise"))

    monkeypatch.setattr(scheduler, "_read_job", otherwise)
    operation = plan(project, clock)
    settle(clock)
    operation.refresh_from_db()
    assert (operation.status, operation.error_code) == ("failed", "cloud_conflict")
    assert cloud.effects.count("CloudScheduler.UpdateJob") == 6
    monkeypatch.undo()
    retry_operation(operation=operation, actor=ANA)
    settle(clock)
    operation.refresh_from_db()
    assert operation.status == OperationStatus.SUCCEEDED


@pytest.mark.parametrize("verb", [create_schedule, cancel_schedule])
def test_an_operation_that_brings_job_and_row_together_cannot_be_cancelled(
    clock: CloudClock, project: Project, verb: Callable[..., Operation]
) -> None:
    if verb is create_schedule:
        operation = plan(project, clock)
    else:
        operation = verb(schedule=planned(project, clock), actor=ANA, now=clock())
    assert operation.status == OperationStatus.PENDING
    with pytest.raises(Conflict) as refused:
        request_cancel(operation=operation, actor=ANA, now=clock())
    assert refused.value.code == "not_cancellable"
    settle(clock)
    operation.refresh_from_db()
    assert operation.status == OperationStatus.SUCCEEDED


def test_a_time_of_day_that_comes_twice_trains_once(clock: CloudClock, project: Project) -> None:
    twice = datetime(2026, 10, 25, 0, 30, tzinfo=UTC)  # 02:30 in Berlin, and again an hour later
    clock.forward((twice - timedelta(days=1) - clock()).total_seconds())
    schedule = planned(project, clock, first=twice)
    for moment in (twice, twice + timedelta(hours=1)):
        clock.forward((moment - clock()).total_seconds())
        ring(schedule, clock, moment)
    assert TrainingRun.objects.get().scheduled_for == twice


def test_a_paused_schedule_whose_only_time_has_passed_is_not_resumed(
    clock: CloudClock, project: Project
) -> None:
    schedule = planned(project, clock, frequency="once")
    pause_schedule(schedule=schedule, actor=ANA, now=clock())
    settle(clock)
    clock.forward(86400)
    with pytest.raises(Conflict, match="has passed"):
        resume_schedule(schedule=schedule, actor=ANA, now=clock())
