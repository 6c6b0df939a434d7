"""A default alias that a person moves in the console is seen by the next sweep."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from ml_platform.cloud import vertex
from ml_platform.cloud.names import ModelName
from ml_platform.models import Finding, RegisteredModel
from ml_platform.models.clock import database_now
from ml_platform.services.registry.aliases import set_aliases
from ml_platform.services.sweeps.sweep import sweep

from .world import ANA, Clock, a_lineage, settle

if TYPE_CHECKING:
    from ml_platform.localcloud import LocalCloud

pytestmark = pytest.mark.django_db


@pytest.fixture
def clock(cloud: LocalCloud) -> Clock:
    return Clock(database_now())


def aliases(lineage: RegisteredModel) -> dict[int | None, list[str]]:
    return {run.version: run.aliases for run in lineage.training_runs.order_by("version")}


def move(lineage: RegisteredModel, version: int, *names: str) -> None:
    """What a person does in the console."""
    name = ModelName.parse(f"{lineage.vertex_model_resource_name}@{version}")
    vertex.merge_version_aliases(name, names)


def look(clock: Clock) -> None:
    clock.forward(600)
    sweep(actor=ANA, clock=clock)


@pytest.mark.slow
def test_the_default_is_where_vertex_ai_has_it(cloud: LocalCloud, clock: Clock) -> None:
    lineage, _ = a_lineage(cloud, clock, versions=3)
    look(clock)
    assert aliases(lineage) == {1: [], 2: [], 3: ["default"]}
    for version in (1, 2, 3):
        move(lineage, version, "default")
        look(clock)
        assert [v for v, names in aliases(lineage).items() if "default" in names] == [version]
        assert not Finding.objects.open().exists()


def test_other_aliases_stay_and_another_model_is_not_touched(
    cloud: LocalCloud, clock: Clock
) -> None:
    first, runs = a_lineage(cloud, clock, versions=2)
    set_aliases(run=runs[0], add=["champion"], actor=ANA, now=clock())
    settle(clock)
    move(first, 1, "default")
    look(clock)
    assert aliases(first) == {1: ["champion", "default"], 2: []}


def test_a_sweep_that_could_not_read_vertex_ai_moves_nothing(
    cloud: LocalCloud, clock: Clock
) -> None:
    lineage, _ = a_lineage(cloud, clock, versions=2)
    move(lineage, 1, "default")
    cloud.faults.order("ModelService.ListModels", "error", code="PERMISSION_DENIED")
    look(clock)
    assert aliases(lineage) == {1: [], 2: ["default"]}
    look(clock)
    assert aliases(lineage) == {1: ["default"], 2: []}
