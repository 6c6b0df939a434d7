"""A few histories in each run of the tests, by seeds and by Hypothesis, which makes them small."""

from __future__ import annotations

from contextlib import ExitStack
from random import Random
from typing import TYPE_CHECKING

import pytest
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st

from ml_platform.models import Operation
from ml_platform.models.states import OperationStatus

from .histories import many, play_history
from .invariants import Judge
from .mutants import seeded
from .play import Luck, Play
from .rest import come_to_rest
from .rules import MEANWHILE, RULES, furnish
from .world import World

if TYPE_CHECKING:
    from ml_platform.localcloud import LocalCloud

# A death at a COMMIT that is only played in one process leaves psycopg inside its transaction;
# PostgreSQL has the kills and the races of real processes.
pytestmark = [pytest.mark.timeout(900), pytest.mark.sqlite_only]


@pytest.mark.parametrize("seed", range(6))
def test_a_history_comes_to_rest_with_every_invariant_whole(world: World, seed: int) -> None:
    play_history(world.cloud, seed)


def test_one_seed_is_one_history(world: World) -> None:
    first, again = (play_history(world.cloud, 11).told for _ in range(2))
    assert first == again
    assert first != play_history(world.cloud, 12).told


@pytest.mark.parametrize("defect", ["no-mark", "same-generation", "row-after-cloud-run"])
def test_a_seeded_defect_is_caught(world: World, defect: str) -> None:
    with seeded(defect):
        counts, failed = many(world.cloud, range(60), stop=True)
    assert failed, f"it lived through {counts['histories']} histories"


def test_histories_do_what_people_do(world: World) -> None:
    done = set()
    for seed in range(20, 32):
        play_history(world.cloud, seed)
        succeeded = Operation.objects.filter(status=OperationStatus.SUCCEEDED)
        done |= set(succeeded.values_list("kind", flat=True))
    assert {"register", "delete", "deploy", "undeploy", "submit", "alias"} <= done


turns = st.lists(st.sampled_from(sorted(RULES)), min_size=1, max_size=40)


@settings(
    max_examples=15,
    deadline=None,
    database=None,
    derandomize=True,
    suppress_health_check=list(HealthCheck),
    phases=(Phase.generate, Phase.shrink),
)
@given(turns=turns, dice=st.randoms(use_true_random=False), luck=st.integers(0, 2**16))
def check_turns(cloud: LocalCloud, turns: list[str], dice: Random, luck: int) -> None:
    world = World(cloud)
    world.reset()
    furnish(world, dice)
    with ExitStack() as stack:
        judge = stack.enter_context(Judge(cloud).sitting())
        play = Play(world, dice, judge, Luck.draw(Random(luck)), MEANWHILE)
        stack.enter_context(play.staged())
        for name in turns:
            play.act(name, RULES[name][1])
        come_to_rest(play)


def test_hypothesis_finds_no_course_of_events_that_breaks_an_invariant(world: World) -> None:
    check_turns(world.cloud)
