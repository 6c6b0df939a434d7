"""Scenes for the kill harness: versions come to be served, and are served no more."""

from __future__ import annotations

from collections.abc import Callable

from ml_platform.cloud.names import ModelName
from ml_platform.models import DeployedEndpoint, TrainingRun
from ml_platform.services.deployment.deploy import deploy_run, redeploy_endpoint, rollback_endpoint
from ml_platform.services.deployment.undeploy import delete_endpoint, undeploy_endpoint
from ml_platform.services.serving.config import ServingConfig

from . import planes
from .scenes_versions import versions
from .world import BO, Facts, Hands, World, prefix_of, settle


def deploy(which: str) -> Callable[[Hands, Facts], None]:
    def act(hands: Hands, facts: Facts) -> None:
        run = TrainingRun.objects.get(pk=facts[which])
        deploy_run(run=run, actor=BO, now=hands.now(), idempotency_key=which)
        settle(hands)

    return act


def serving(world: World) -> Facts:
    facts = versions(2)(world)
    deploy("first")(world, facts)
    return facts | {"endpoint": DeployedEndpoint.objects.get().pk}


def broken(world: World) -> Facts:
    facts = serving(world)
    world.cloud.run.outcome(ending="fail")
    return facts


def never_serving(world: World) -> Facts:
    world.cloud.run.outcome(ending="fail")
    return versions(2)(world)


def undeploy(hands: Hands, facts: Facts) -> None:
    endpoint = DeployedEndpoint.objects.get(pk=facts["endpoint"])
    undeploy_endpoint(endpoint=endpoint, actor=BO, now=hands.now(), idempotency_key="undeploy")
    settle(hands)


def deploy_for_ana(hands: Hands, facts: Facts) -> None:
    """A deploy that says who may call the service."""
    config = ServingConfig(invokers=("user:ana@example.com",))
    run = TrainingRun.objects.get(pk=facts["run"])
    deploy_run(run=run, config=config, actor=BO, now=hands.now(), idempotency_key="ana")
    settle(hands)


def without_model(world: World) -> Facts:
    facts = versions(1)(world)
    name = TrainingRun.objects.get(pk=facts["run"]).vertex_model_resource_name
    world.vanish(ModelName.parse(name).model_id)
    return facts


def without_artifacts(world: World) -> Facts:
    facts = versions(1)(world)
    run = TrainingRun.objects.get(pk=facts["run"])
    for name, _ in list(planes.objects(world.cloud, prefix_of(run))):
        world.cloud.storage.tables.delete(planes.BUCKET, name)
    return facts


def stopped(world: World) -> Facts:
    facts = serving(world)
    undeploy(world, facts)
    return facts


def restore(hands: Hands, facts: Facts) -> None:
    endpoint = DeployedEndpoint.objects.get(pk=facts["endpoint"])
    redeploy_endpoint(endpoint=endpoint, actor=BO, now=hands.now(), idempotency_key="restore")
    settle(hands)


def served_twice(world: World) -> Facts:
    facts = serving(world)
    world.forward(300)
    deploy("run")(world, facts)
    return facts


def roll_back(hands: Hands, facts: Facts) -> None:
    endpoint = DeployedEndpoint.objects.get(pk=facts["endpoint"])
    rollback_endpoint(endpoint=endpoint, actor=BO, now=hands.now(), idempotency_key="back")
    settle(hands)


def drop(hands: Hands, facts: Facts) -> None:
    if endpoint := DeployedEndpoint.objects.filter(pk=facts["endpoint"]).first():
        delete_endpoint(endpoint=endpoint, actor=BO, now=hands.now())
