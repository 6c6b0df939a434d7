"""A few histories in each run of the tests, by seeds and by a machine that makes them small."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from ml_platform.models import Operation
from ml_platform.models.states import OperationStatus

from . import machine
from .histories import many, play_history
from .mutants import seeded

if TYPE_CHECKING:
    from .world import World

# A death at a COMMIT that is only played in one process leaves psycopg inside its transaction;
# PostgreSQL has the kills and the races of real processes.
pytestmark = [pytest.mark.timeout(900), pytest.mark.sqlite_only]
NOTICED = {"no-mark": 3, "same-generation": 1, "row-after-cloud-run": 24}
"""By defect, a history that met it when this was written: the search for one begins there."""


@pytest.mark.parametrize("seed", range(6))
def test_a_history_comes_to_rest_with_every_invariant_whole(world: World, seed: int) -> None:
    play_history(world.cloud, seed)


def test_one_seed_is_one_history(world: World) -> None:
    first, again = (play_history(world.cloud, 11).told for _ in range(2))
    assert first == again
    assert first != play_history(world.cloud, 12).told


@pytest.mark.parametrize(("defect", "first"), NOTICED.items())
def test_a_seeded_defect_is_caught(world: World, defect: str, first: int) -> None:
    with seeded(defect):
        counts, failed = many(world.cloud, range(first, first + 60), stop=True)
    assert failed, f"it lived through {counts['histories']} histories"


def test_histories_do_what_people_do(world: World) -> None:
    wanted = {"register", "delete", "deploy", "undeploy", "submit", "alias"}
    for seed in range(20, 60):
        play_history(world.cloud, seed)
        succeeded = Operation.objects.filter(status=OperationStatus.SUCCEEDED)
        wanted -= set(succeeded.values_list("kind", flat=True))
        if not wanted:
            break
    assert wanted == set()


def test_the_state_machine_finds_no_course_of_events_that_breaks_an_invariant(
    world: World,
) -> None:
    machine.check(world.cloud, examples=8, fresh=False)


def test_the_state_machine_finds_a_seeded_defect(world: World) -> None:
    # Hypothesis draws from the constants of all modules that are loaded, so what it plays depends
    # on the tests before; it stops at the first history that breaks.
    with seeded("same-generation"), pytest.raises((AssertionError, ExceptionGroup)):
        machine.check(world.cloud, examples=120, fresh=False, shrink=False)
