"""Races between real processes: one wins, the others are told why not, and the planes agree."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from ml_platform.models import DeployedEndpoint, RegisteredModel, TrainingRun

from . import planes
from .invariants import Judge
from .settled import unsettled
from .world import settle

if TYPE_CHECKING:
    from .kill import Zygote
    from .world import World

pytestmark = pytest.mark.timeout(900)
ROUNDS = 3


def race(world: World, zygote: Zygote, *parts: tuple[str, TrainingRun]) -> list[str]:
    """Run a race under the judge's eyes, and return what each part was told, sorted."""
    with Judge(world.cloud).sitting() as judge:
        said = zygote.race([{"verb": verb, "run": run.pk} for verb, run in parts])
    assert judge.broken == []
    assert unsettled(world) == []
    return sorted(said)


def test_sixteen_first_versions_of_one_name_are_one_model_with_sixteen_versions(
    world: World, zygote: Zygote
) -> None:
    runs = [world.a_run() for _ in range(16)]
    assert race(world, zygote, *[("register", run) for run in runs]) == ["ok"] * 16
    versions = planes.versions(world.cloud)
    assert len({v.model_id for v in versions}) == 1
    assert sorted(int(v.version) for v in versions) == list(range(1, 17))
    numbers = TrainingRun.objects.values_list("version", flat=True)
    assert sorted(n or 0 for n in numbers) == list(range(1, 17))
    lineage = RegisteredModel.objects.registered().get()
    assert (lineage.total_versions, lineage.next_version) == (16, 17)
    assert lineage.latest_run == TrainingRun.objects.get(version=16)
    assert len(world.cloud.effects.mutations("ModelService.UploadModel")) == 16


def test_a_deploy_and_a_deletion_of_one_version_have_one_winner(
    world: World, zygote: Zygote
) -> None:
    for _ in range(ROUNDS):
        world.reset()
        run = world.a_lineage(versions=2)[0]
        said = race(world, zygote, ("deploy", run), ("delete", run))
        assert said in (["busy", "ok"], ["model_deployed", "ok"], ["deleting", "ok"])
        run.refresh_from_db()
        serving = DeployedEndpoint.objects.filter(is_active=True).count()
        assert (run.registration, serving) in (("registered", 1), ("deleted", 0))


def test_two_deploys_to_one_name_have_one_winner(world: World, zygote: Zygote) -> None:
    for _ in range(ROUNDS):
        world.reset()
        runs = world.a_lineage(versions=2)
        assert race(world, zygote, *[("deploy", run) for run in runs]) == ["busy", "ok"]
        assert len(planes.services(world.cloud)) == 1
        assert len(world.cloud.effects.mutations("Services.CreateService")) == 1


def test_two_deploys_of_two_models_to_one_name_have_one_winner(
    world: World, zygote: Zygote
) -> None:
    for _ in range(ROUNDS):
        world.reset()
        runs = [*world.a_lineage(), *world.a_lineage(name="ranker")]
        said = race(world, zygote, *[("deploy", run) for run in runs])
        assert said in (["busy", "ok"], ["foreign_service", "ok"])
        assert len(planes.services(world.cloud)) == 1


def test_two_deletions_of_one_version_have_one_winner(world: World, zygote: Zygote) -> None:
    for _ in range(ROUNDS):
        world.reset()
        run = world.a_lineage(versions=2)[0]
        said = race(world, zygote, ("delete", run), ("delete", run))
        assert said in (["busy", "ok"], ["no_version", "ok"])
        assert len(world.cloud.effects.mutations("ModelService.Delete*")) == 1


def test_two_undeploys_of_one_endpoint_have_one_winner(world: World, zygote: Zygote) -> None:
    run = world.a_lineage()[0]
    assert race(world, zygote, ("deploy", run)) == ["ok"]
    said = race(world, zygote, ("undeploy", run), ("undeploy", run))
    assert said in (["busy", "ok"], ["not_deployed", "ok"])
    assert len(world.cloud.effects.mutations("Services.DeleteService")) == 1


def test_a_deletion_and_a_registration_of_one_lineage_end_in_agreement(
    world: World, zygote: Zygote
) -> None:
    for _ in range(ROUNDS):
        world.reset()
        old = world.a_lineage()[0]
        new = world.a_run()
        said = race(world, zygote, ("delete", old), ("register", new))
        settle(world)
        assert said in (["ok", "ok"], ["busy", "ok"]), "a registration waits for its turn"
        new.refresh_from_db()
        assert new.registration == "registered"
        assert unsettled(world) == []
