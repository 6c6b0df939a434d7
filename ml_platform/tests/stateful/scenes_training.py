"""Scenes for the kill harness: runs are trained, schedules turned, jobs set up."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from datetime import timedelta

from ml_platform.cloud import scheduler
from ml_platform.models import Operation, Project, TrainingRun, TrainingSchedule
from ml_platform.models.states import OperationKind, RunStatus, ScheduleState
from ml_platform.services.scheduling import schedules as scheduling
from ml_platform.services.scheduling.job import job_spec
from ml_platform.services.scheduling.platform_jobs import set_up_job
from ml_platform.services.training.polling import poll_training_runs
from ml_platform.services.training.runs import cancel_run, submit_run
from ml_platform.tests.factories import TrainingRunFactory
from ml_platform.tests.services.training_tools import TEMPLATE_URI, taken_over, their_job

from .world import BO, START, Facts, Hands, World, settle

JOB = "cleanup"


def pending_run(world: World) -> Facts:
    run = TrainingRunFactory(
        project=world.project, model_name="chern", template_uri=TEMPLATE_URI, parameters={}
    )
    return {"run": run.pk}


def train(hands: Hands, facts: Facts) -> None:
    """Submit a run, follow its pipeline to the end, and register what it made."""
    submit_run(run=TrainingRun.objects.get(pk=facts["run"]), actor=BO, now=hands.now())
    follow(hands)


def follow(hands: Hands) -> None:
    settle(hands)
    while TrainingRun.objects.filter(status=RunStatus.RUNNING).exists():
        hands.forward(60)
        poll_training_runs(actor=BO, clock=hands.now)
    settle(hands)


def nothing(world: World) -> Facts:
    return {"project": world.project.pk}


def plan(hands: Hands, facts: Facts) -> None:
    scheduling.create_schedule(
        project=Project.objects.get(pk=facts["project"]),
        name="nightly",
        model_name="chern",
        model_type="retrieval",
        template_uri=TEMPLATE_URI,
        parameters={},
        frequency="daily",
        first=START + timedelta(hours=15),
        actor=BO,
        now=hands.now(),
        idempotency_key="plan",
    )
    settle(hands)


def planned(world: World) -> Facts:
    plan(world, nothing(world))
    return {"schedule": TrainingSchedule.objects.get().pk}


def fire(hands: Hands, facts: Facts) -> None:
    """The webhook rings for a time, twice."""
    schedule = TrainingSchedule.objects.get(pk=facts["schedule"])
    for _ in range(2):
        tick = START + timedelta(hours=15)
        scheduling.fire_schedule(schedule=schedule, scheduled_for=tick, actor=BO, now=tick)
    follow(hands)


def cancel_plan(hands: Hands, facts: Facts) -> None:
    schedule = TrainingSchedule.objects.get(pk=facts["schedule"])
    if schedule.state == ScheduleState.ACTIVE:
        scheduling.cancel_schedule(schedule=schedule, actor=BO, now=hands.now())
    settle(hands)


def running(world: World) -> Facts:
    """A run whose pipeline takes longer than a dead worker's lease."""
    world.cloud.pipelines.stage_seconds = 600.0
    facts = pending_run(world)
    submit_run(run=TrainingRun.objects.get(pk=facts["run"]), actor=BO, now=world.now())
    settle(world)
    return facts


def stop(hands: Hands, facts: Facts) -> None:
    if not Operation.objects.filter(kind=OperationKind.CANCEL).exists():
        cancel_run(run=TrainingRun.objects.get(pk=facts["run"]), actor=BO, now=hands.now())
    follow(hands)


def turn(to: ScheduleState) -> Callable[[Hands, Facts], None]:
    """Pause a schedule, or let it ring again."""
    verbs = {
        ScheduleState.PAUSED: scheduling.pause_schedule,
        ScheduleState.ACTIVE: scheduling.resume_schedule,
    }

    def act(hands: Hands, facts: Facts) -> None:
        schedule = TrainingSchedule.objects.get(pk=facts["schedule"])
        if schedule.state != to:
            verbs[to](schedule=schedule, actor=BO, now=hands.now())
        settle(hands)

    return act


def paused(world: World) -> Facts:
    facts = planned(world)
    turn(ScheduleState.PAUSED)(world, facts)
    return facts


def changed_job(world: World) -> Facts:
    """Somebody changed the schedule's job in the console."""
    facts = planned(world)
    spec = job_spec(TrainingSchedule.objects.get())
    scheduler.update_job(replace(spec, description="changed"))
    return facts


def with_their_job(world: World) -> Facts:
    """Another program has a job in Cloud Scheduler."""
    their_job()
    return nothing(world)


def take_over(hands: Hands, facts: Facts) -> None:
    """Take over that program's schedule."""
    if not TrainingSchedule.objects.exists():
        taken_over(Project.objects.get(pk=facts["project"]), hands.now())
    settle(hands)


def trigger(hands: Hands, facts: Facts) -> None:
    schedule = TrainingSchedule.objects.get(pk=facts["schedule"])
    scheduling.trigger_schedule(schedule=schedule, actor=BO, now=hands.now(), idempotency_key="t")
    follow(hands)


def set_up(cron: str) -> Callable[[Hands, Facts], None]:
    """Set the platform's own job up."""

    def act(hands: Hands, facts: Facts) -> None:
        del facts
        if not any(op.data["spec"]["schedule"] == cron for op in Operation.objects.all()):
            set_up_job(
                job_id=JOB,
                cron=cron,
                webhook="webhook/",
                deadline=180,
                description="Cleans up.",
                actor=BO,
                clock=hands.now,
            )
        settle(hands)

    return act


def old_job(world: World) -> Facts:
    facts = nothing(world)
    set_up("0 3 * * *")(world, facts)
    return facts


def paused_job(world: World) -> Facts:
    """A person paused the platform's own job."""
    facts = old_job(world)
    scheduler.pause_job(JOB)
    return facts
