"""The rules as Hypothesis' state machine: it makes a history that breaks something small.

`python -m ml_platform.tests.stateful.machine --examples 200` plays with fresh seeds, on a database
and a cloud of its own; what breaks is shrunk and printed with the way to play it again.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from random import Random
from typing import TYPE_CHECKING, Any

from hypothesis import HealthCheck, Phase, settings
from hypothesis import strategies as st
from hypothesis.stateful import (
    RuleBasedStateMachine,
    initialize,
    rule,
    run_state_machine_as_test,
)

from ml_platform.tests.boundaries import BrokenInvariant

from .ground import standing

if TYPE_CHECKING:
    from ml_platform.localcloud import LocalCloud

    from .play import Play

STEPS = 50


def check(cloud: LocalCloud, *, examples: int, fresh: bool, shrink: bool = True) -> None:
    """Play so many histories of STEPS turns each.

    :raises AssertionError: what broke, with `shrink` in the smallest history that was found.
    """
    chosen = settings(
        max_examples=examples,
        stateful_step_count=STEPS,
        derandomize=not fresh,
        deadline=None,
        database=None,
        print_blob=True,
        suppress_health_check=list(HealthCheck),
        phases=(Phase.generate, Phase.shrink) if shrink else (Phase.generate,),
    )
    run_state_machine_as_test(_machine(cloud), settings=chosen)


def _machine(cloud: LocalCloud) -> type[RuleBasedStateMachine]:
    """The machine of all rules, in this cloud."""
    from .rules import RULES

    turns = {name: _turn(name, act) for name, (_, act) in RULES.items()}
    return type("Machine", (_Base,), {"cloud": cloud, **turns})


def _turn(name: str, act: Callable[..., None]) -> Any:
    def turn(self: _Base) -> None:
        with _told_to_hypothesis():
            self.play.act(name, act)

    turn.__name__ = name
    return rule()(turn)


@contextmanager
def _told_to_hypothesis() -> Iterator[None]:
    """It makes small what raises an Exception, which a broken invariant is not."""
    try:
        yield
    except BrokenInvariant as broken:
        raise AssertionError(str(broken)) from broken


class _Base(RuleBasedStateMachine):
    """A play that begins with the draw of its luck and ends at rest."""

    cloud: LocalCloud
    play: Play

    def __init__(self) -> None:
        super().__init__()
        self.stack = ExitStack()

    @initialize(seed=st.integers(0, 2**16), pages=st.sampled_from([0, 2]))
    def begin(self, seed: int, pages: int) -> None:
        from .invariants import Judge
        from .oracle import after_turn
        from .play import Luck, Play, ids_of, small_pages
        from .rules import MEANWHILE, furnish
        from .world import World

        dice = Random(seed)
        world = World(self.cloud)
        world.reset()
        with ids_of(dice):
            furnish(world, dice)
        judge = self.stack.enter_context(Judge(self.cloud).sitting())
        self.play = Play(world, dice, judge, Luck.draw(dice), MEANWHILE, after_turn)
        self.stack.enter_context(self.play.staged())
        self.stack.enter_context(small_pages(self.cloud, pages))

    def teardown(self) -> None:
        from .rest import come_to_rest

        broken = sys.exc_info()[0] is not None
        with self.stack:
            if hasattr(self, "play") and not broken:
                with _told_to_hypothesis():
                    come_to_rest(self.play)


def main(arguments: Sequence[str]) -> int:
    """Play with fresh seeds; 0 when nothing broke."""
    parser = argparse.ArgumentParser(prog="python -m ml_platform.tests.stateful.machine")
    parser.add_argument("--examples", type=int, default=200)
    asked = parser.parse_args(arguments)
    with standing("sqlite") as cloud:
        check(cloud, examples=asked.examples, fresh=True)
    print(f"{asked.examples} examples of up to {STEPS} steps; nothing broke")
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
