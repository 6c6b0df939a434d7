"""Scenes for the kill harness: versions are registered, deleted, named."""

from __future__ import annotations

from collections.abc import Callable
from unittest.mock import patch

from ml_platform.models import RegisteredModel, TrainingRun
from ml_platform.services.artifacts import folders
from ml_platform.services.deletion.delete import delete_versions
from ml_platform.services.registration.register import register_run
from ml_platform.services.registry.aliases import set_aliases

from .world import BO, Facts, Hands, World, settle


def one_run(world: World) -> Facts:
    return {"run": world.a_run().pk}


def later_run(world: World) -> Facts:
    world.a_lineage(versions=2)
    return {"run": world.a_run().pk}


def versions(count: int) -> Callable[[World], Facts]:
    def prepare(world: World) -> Facts:
        runs = world.a_lineage(versions=count)
        world.a_run("bystander")
        assert runs[0].registered_model_id
        return {"lineage": runs[0].registered_model_id, "run": runs[-1].pk, "first": runs[0].pk}

    return prepare


def register(hands: Hands, facts: Facts) -> None:
    run = TrainingRun.objects.get(pk=facts["run"])
    register_run(run=run, actor=BO, now=hands.now())
    settle(hands)


def delete(which: str) -> Callable[[Hands, Facts], None]:
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


def move_alias(hands: Hands, facts: Facts) -> None:
    run = TrainingRun.objects.get(pk=facts["first"])
    add = ["default", "golden"]
    set_aliases(run=run, add=add, actor=BO, now=hands.now(), idempotency_key="alias")
    settle(hands)


def much_to_delete(world: World) -> Facts:
    """Two versions, the first with more objects than two chunks of a deletion take."""
    facts = versions(2)(world)
    for number in range(5):
        world.write(TrainingRun.objects.get(pk=facts["first"]), f"data/{number}")
    return facts


def delete_in_small_chunks(hands: Hands, facts: Facts) -> None:
    with patch.object(folders, "CHUNK", 2):
        delete("first")(hands, facts)
