"""A sample of the kill harness, and each place where it once found something."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any, Literal

import pytest

from ml_platform.models import Operation, RegisteredModel, TrainingRun
from ml_platform.services.deletion.delete import delete_versions
from ml_platform.services.operations.workflow import workflow_of
from ml_platform.services.registry.aliases import set_aliases
from ml_platform.services.workflows import WORKFLOWS

from .ground import DIE, DROP
from .kill import Harness
from .scenarios import SCENARIOS
from .settled import unsettled
from .world import BO, settle

if TYPE_CHECKING:
    from .kill import Zygote
    from .world import World

pytestmark = pytest.mark.timeout(900)


@pytest.fixture
def killing(world: World, zygote: Zygote) -> Harness:
    return Harness(world, zygote)


@pytest.mark.parametrize("way", [DIE, DROP])
@pytest.mark.parametrize("name", ["register-later", "delete-one-of-three"])
def test_a_killed_process_or_an_ended_connection_is_only_a_pause(
    world: World, zygote: Zygote, name: str, way: str
) -> None:
    walk = Harness(world, zygote, way).walk(name, sample=5)
    assert walk.points >= 5
    assert walk.failures == []


def test_the_harness_sees_what_an_undisturbed_course_would_not_have_done(
    killing: Harness, world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    original = Harness._recover

    def forgetful(self: Harness, name: str, facts: dict[str, int]) -> list[str]:
        wrong = original(self, name, facts)
        TrainingRun.objects.update(aliases=[])
        return wrong

    points, reference = killing._count("move-alias")
    monkeypatch.setattr(Harness, "_recover", forgetful)
    assert killing._die_and_recover("move-alias", points[0], reference) != []


def test_scenarios_pass_every_step_and_act_again_without_doing_anything_again(
    world: World,
) -> None:
    passed: set[Callable[..., Any]] = set()
    for name, scenario in SCENARIOS.items():
        world.reset()
        facts = scenario.prepare(world)
        world.cloud.core.operations.lro_seconds = scenario.lro_seconds
        scenario.act(world, facts)
        done = len(world.cloud.effects.mutations())
        scenario.act(world, facts)
        assert len(world.cloud.effects.mutations()) == done, name
        assert {o.status for o in Operation.objects.all()} <= {"succeeded", "failed"} != set(), name
        assert unsettled(world) == [], name
        for operation in Operation.objects.all():
            workflow = workflow_of(operation)
            passed |= {workflow.step(entry["step"]).run for entry in operation.steps}
    # A probe may be taken after a death only; the kills take it.
    known = [(w, step) for w in WORKFLOWS.values() for step in w.steps if not w.is_probe(step)]
    assert [f"{w.slug}: {step.name}" for w, step in known if step.run not in passed] == []


def test_a_deletion_asked_for_again_after_its_end_gives_the_same_operation(world: World) -> None:
    runs = world.a_lineage(versions=2)
    lineage = RegisteredModel.objects.get()

    def ask() -> Operation:
        operation = delete_versions(
            lineage=lineage, runs=runs[:1], actor=BO, now=world.now(), idempotency_key="k"
        )
        settle(world)
        return operation

    assert ask().pk == ask().pk
    assert Operation.objects.count() == 1


def test_an_alias_asked_for_again_after_its_version_went_gives_the_same_operation(
    world: World,
) -> None:
    runs = world.a_lineage(versions=2)
    first = set_aliases(run=runs[0], add=["golden"], actor=BO, now=world.now(), idempotency_key="k")
    settle(world)
    lineage = RegisteredModel.objects.get()
    delete_versions(lineage=lineage, runs=runs[:1], actor=BO, now=world.now())
    settle(world)
    runs[0].refresh_from_db()
    again = set_aliases(run=runs[0], add=["golden"], actor=BO, now=world.now(), idempotency_key="k")
    assert again.pk == first.pk


@pytest.mark.parametrize("kind", ["lost", "error"])
def test_the_heir_of_the_default_alias_is_known_though_the_answer_was_lost(
    world: World, kind: Literal["lost", "error"]
) -> None:
    runs = world.a_lineage(versions=3)
    lineage = RegisteredModel.objects.get()
    world.cloud.faults.order("ModelService.MergeVersionAliases", kind, "DEADLINE_EXCEEDED")
    delete_versions(lineage=lineage, runs=runs[2:], actor=BO, now=world.now())
    settle(world)
    runs[1].refresh_from_db()
    assert runs[1].aliases == ["default"]
