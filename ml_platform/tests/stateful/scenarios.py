"""What the kill harness interrupts: a scenario prepares a world, then acts through to the end."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import timedelta

from ml_platform.cloud.names import ModelName
from ml_platform.models import (
    DeployedEndpoint,
    Project,
    RegisteredModel,
    TrainingRun,
    TrainingSchedule,
)
from ml_platform.models.states import RunStatus, ScheduleState
from ml_platform.services.adoption import adopt_model
from ml_platform.services.aliases import set_aliases
from ml_platform.services.deletion import delete_versions
from ml_platform.services.deployment import deploy_run
from ml_platform.services.orphans import clean_up_orphan
from ml_platform.services.reconciliation import clear_stale_pointers
from ml_platform.services.registration import register_run
from ml_platform.services.run_polling import poll_training_runs
from ml_platform.services.scheduling import cancel_schedule, create_schedule, fire_schedule
from ml_platform.services.training import submit_run
from ml_platform.services.undeployment import undeploy_endpoint
from ml_platform.tests.factories import RegisteredModelFactory, TrainingRunFactory
from ml_platform.tests.services.training_tools import TEMPLATE_URI

from .world import BO, START, Hands, World, settle

Facts = dict[str, int]


@dataclass(frozen=True, slots=True, kw_only=True)
class Scenario:
    """`act` may run again after everything is done: whoever got no answer asks again, same key."""

    prepare: Callable[[World], Facts]
    act: Callable[[Hands, Facts], None]
    lro_seconds: float = 0.0
    """How long Google's long-running operations take."""


def _one_run(world: World) -> Facts:
    return {"run": world.a_run().pk}


def _later_run(world: World) -> Facts:
    world.a_lineage(versions=2)
    return {"run": world.a_run().pk}


def _versions(count: int) -> Callable[[World], Facts]:
    def prepare(world: World) -> Facts:
        runs = world.a_lineage(versions=count)
        world.a_run("bystander")
        assert runs[0].registered_model_id
        return {"lineage": runs[0].registered_model_id, "run": runs[-1].pk, "first": runs[0].pk}

    return prepare


def _register(hands: Hands, facts: Facts) -> None:
    run = TrainingRun.objects.get(pk=facts["run"])
    register_run(run=run, actor=BO, now=hands.now())
    settle(hands)


def _delete(which: str) -> Callable[[Hands, Facts], None]:
    def act(hands: Hands, facts: Facts) -> None:
        lineage = RegisteredModel.objects.get(pk=facts["lineage"])
        runs = lineage.training_runs.order_by("version")
        delete_versions(
            lineage=lineage,
            runs=list(runs.filter(pk=facts[which]) if which else runs),
            actor=BO,
            now=hands.now(),
            idempotency_key="delete",
        )
        settle(hands)

    return act


def _move_alias(hands: Hands, facts: Facts) -> None:
    run = TrainingRun.objects.get(pk=facts["first"])
    add = ["default", "golden"]
    set_aliases(run=run, add=add, actor=BO, now=hands.now(), idempotency_key="alias")
    settle(hands)


# ---- training ------------------------------------------------------------------------------------


def _pending_run(world: World) -> Facts:
    run = TrainingRunFactory(
        project=world.project, model_name="chern", template_uri=TEMPLATE_URI, parameters={}
    )
    return {"run": run.pk}


def _train(hands: Hands, facts: Facts) -> None:
    """Submit a run, follow its pipeline to the end, and register what it made."""
    submit_run(run=TrainingRun.objects.get(pk=facts["run"]), actor=BO, now=hands.now())
    _follow(hands)


def _follow(hands: Hands) -> None:
    settle(hands)
    while TrainingRun.objects.filter(status=RunStatus.RUNNING).exists():
        hands.forward(60)
        poll_training_runs(actor=BO, clock=hands.now)
    settle(hands)


def _nothing(world: World) -> Facts:
    return {"project": world.project.pk}


def _plan(hands: Hands, facts: Facts) -> None:
    create_schedule(
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


def _planned(world: World) -> Facts:
    _plan(world, _nothing(world))
    return {"schedule": TrainingSchedule.objects.get().pk}


def _fire(hands: Hands, facts: Facts) -> None:
    """The webhook rings for a time, twice."""
    schedule = TrainingSchedule.objects.get(pk=facts["schedule"])
    for _ in range(2):
        tick = START + timedelta(hours=15)
        fire_schedule(schedule=schedule, scheduled_for=tick, actor=BO, now=tick)
    _follow(hands)


def _cancel_plan(hands: Hands, facts: Facts) -> None:
    schedule = TrainingSchedule.objects.get(pk=facts["schedule"])
    if schedule.state == ScheduleState.ACTIVE:
        cancel_schedule(schedule=schedule, actor=BO, now=hands.now())
    settle(hands)


# ---- serving -------------------------------------------------------------------------------------


def _deploy(which: str) -> Callable[[Hands, Facts], None]:
    def act(hands: Hands, facts: Facts) -> None:
        run = TrainingRun.objects.get(pk=facts[which])
        deploy_run(run=run, actor=BO, now=hands.now(), idempotency_key=which)
        settle(hands)

    return act


def _serving(world: World) -> Facts:
    facts = _versions(2)(world)
    _deploy("first")(world, facts)
    return facts | {"endpoint": DeployedEndpoint.objects.get().pk}


def _broken(world: World) -> Facts:
    facts = _serving(world)
    world.cloud.run.outcome(ending="fail")
    return facts


def _never_serving(world: World) -> Facts:
    world.cloud.run.outcome(ending="fail")
    return _versions(2)(world)


def _undeploy(hands: Hands, facts: Facts) -> None:
    endpoint = DeployedEndpoint.objects.get(pk=facts["endpoint"])
    undeploy_endpoint(endpoint=endpoint, actor=BO, now=hands.now(), idempotency_key="undeploy")
    settle(hands)


# ---- repairs -------------------------------------------------------------------------------------


def _orphan(world: World) -> Facts:
    lineage = RegisteredModelFactory(project=world.project, model_name="orphan")
    run = TrainingRunFactory(
        failed=True, project=world.project, model_name="orphan", registered_model=lineage
    )
    return {"lineage": lineage.pk, "run": run.pk}


def _clean_up(hands: Hands, facts: Facts) -> None:
    if lineage := RegisteredModel.objects.filter(pk=facts["lineage"]).first():
        clean_up_orphan(registered_model=lineage, actor=BO, now=hands.now())
    settle(hands)


def _stale(world: World) -> Facts:
    facts = _versions(2)(world)
    lineage = RegisteredModel.objects.get(pk=facts["lineage"])
    world.vanish(ModelName.parse(lineage.vertex_model_resource_name).model_id)
    return facts


def _repair(hands: Hands, facts: Facts) -> None:
    lineage = RegisteredModel.objects.get(pk=facts["lineage"])
    if lineage.vertex_model_resource_name:
        clear_stale_pointers(registered_model=lineage, actor=BO, now=hands.now())
    settle(hands)


def _unmanaged(world: World) -> Facts:
    world.cloud.models.seed("4711", display_name="theirs", versions=[1, 2])
    return {"project": world.project.pk}


def _adopt(hands: Hands, facts: Facts) -> None:
    if not RegisteredModel.objects.exists():
        adopt_model(
            resource_name="projects/123456789012/locations/europe-central2/models/4711",
            project=Project.objects.get(pk=facts["project"]),
            model_name="adopted",
            actor=BO,
            now=hands.now(),
        )
    settle(hands)


SCENARIOS: Mapping[str, Scenario] = {
    "submit-and-poll": Scenario(prepare=_pending_run, act=_train),
    "register-first": Scenario(prepare=_one_run, act=_register),
    "register-first-slow": Scenario(prepare=_one_run, act=_register, lro_seconds=20),
    "register-later": Scenario(prepare=_later_run, act=_register),
    "register-later-slow": Scenario(prepare=_later_run, act=_register, lro_seconds=20),
    "schedule-create": Scenario(prepare=_nothing, act=_plan),
    "schedule-fire": Scenario(prepare=_planned, act=_fire),
    "schedule-cancel": Scenario(prepare=_planned, act=_cancel_plan),
    "deploy": Scenario(prepare=_versions(2), act=_deploy("run")),
    "deploy-slow": Scenario(prepare=_versions(2), act=_deploy("run"), lro_seconds=20),
    "deploy-that-fails": Scenario(prepare=_never_serving, act=_deploy("run")),
    "redeploy": Scenario(prepare=_serving, act=_deploy("run")),
    "redeploy-that-fails": Scenario(prepare=_broken, act=_deploy("run")),
    "undeploy": Scenario(prepare=_serving, act=_undeploy),
    "undeploy-slow": Scenario(prepare=_serving, act=_undeploy, lro_seconds=20),
    "delete-one-of-three": Scenario(prepare=_versions(3), act=_delete("run")),
    "delete-one-slow": Scenario(prepare=_versions(2), act=_delete("first"), lro_seconds=20),
    "delete-last": Scenario(prepare=_versions(1), act=_delete("run")),
    "delete-lineage": Scenario(prepare=_versions(3), act=_delete("")),
    "move-alias": Scenario(prepare=_versions(2), act=_move_alias),
    "orphan-cleanup": Scenario(prepare=_orphan, act=_clean_up),
    "stale-pointer": Scenario(prepare=_stale, act=_repair),
    "adopt": Scenario(prepare=_unmanaged, act=_adopt),
}
