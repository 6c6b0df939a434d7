"""Seeded histories: one integer is one history of at least forty turns, judged to its rest.

`python -m ml_platform.tests.stateful.histories --count 2000 --seed 0`; a seed that fails is
printed, and `--seed N --count 1 --tell` plays it again.
"""

from __future__ import annotations

import argparse
import random
import subprocess
import sys
import time
import traceback
from collections import Counter
from collections.abc import Sequence
from typing import TYPE_CHECKING

from .ground import standing

if TYPE_CHECKING:
    from ml_platform.localcloud import LocalCloud

    from .play import Play

TURNS = 40
PROCESSES = 2
OFTEN = 10
"""The weight of the turns of a history that has only these."""
ALWAYS = ("register_new", "work", "tick", "heal")
"""Turns without which nothing would happen; of the others each history leaves some out."""


def play_history(
    cloud: LocalCloud, seed: int, turns: int = TURNS, only: Sequence[str] = ()
) -> Play:
    """Play one history to its rest; with `only` it has ALWAYS, and these turns often.

    :raises BrokenInvariant: with the name of what broke; the play is its `play`.
    """
    from ml_platform.tests.boundaries import BrokenInvariant

    from .invariants import Judge
    from .oracle import after_turn
    from .play import Luck, Play, ids_of, small_pages
    from .rest import come_to_rest
    from .rules import MEANWHILE, RULES, furnish
    from .world import World

    random.seed(seed)
    dice = random.Random(seed)
    world = World(cloud)
    world.reset()
    names = [name for name in RULES if name in ALWAYS or dice.random() < 0.8]
    if only:
        names = [name for name in RULES if name in (*ALWAYS, *only)]
    weights = [OFTEN if name in only else RULES[name][0] for name in names]
    with ids_of(dice):
        furnish(world, dice)
    with Judge(cloud).sitting() as judge:
        play = Play(world, dice, judge, Luck.draw(dice), MEANWHILE, after_turn)
        try:
            with play.staged(), small_pages(cloud, dice.choice([0, 0, 2])):
                for name in dice.choices(names, weights, k=turns):
                    play.act(name, RULES[name][1])
                come_to_rest(play)
        except (BrokenInvariant, Exception) as error:
            error.play = play  # type: ignore[union-attr]
            raise
    return play


def many(
    cloud: LocalCloud, seeds: Sequence[int], *, tell: bool = False, stop: bool = False
) -> tuple[Counter[str], list[int]]:
    """Play histories, with `stop` to the first failure; returns what they met, and who failed."""
    from ml_platform.tests.boundaries import BrokenInvariant

    counts: Counter[str] = Counter()
    failed = []
    for seed in seeds:
        try:
            play = play_history(cloud, seed)
        except (BrokenInvariant, Exception) as error:  # noqa: BLE001 - any end but rest is a failure
            play = error.play  # type: ignore[union-attr]
            failed.append(seed)
            print(f"seed {seed}: {_what(error)}", flush=True)
        if tell:
            print(*play.told, *_operations(), sep="\n")
        counts.update(play.counts)
        counts["histories"] += 1
        if failed and stop:
            break
    return counts, failed


def _what(error: BaseException) -> str:
    """The error, of a group its first, with the place it came from when it is no invariant."""
    while isinstance(error, BaseExceptionGroup):
        error = error.exceptions[0]
    where = traceback.extract_tb(error.__traceback__)[-3:]
    places = " < ".join(f"{frame.name}:{frame.lineno}" for frame in reversed(where))
    return f"{type(error).__name__}: {error} ({places})"


def _operations() -> list[str]:
    """How each operation ended, step by step."""
    from ml_platform.models import Operation

    return [
        f"{operation.created_at:%H:%M:%S} {operation}: {operation.status} {operation.error}\n    "
        + " > ".join(f"{s['step']} {s.get('status')}: {s.get('note', '')}" for s in operation.steps)
        for operation in Operation.objects.order_by("created_at")
    ]


def main(arguments: Sequence[str]) -> int:
    """Play; 0 when no invariant broke."""
    parser = argparse.ArgumentParser(prog="python -m ml_platform.tests.stateful.histories")
    parser.add_argument("--count", type=int, default=2000)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--db", choices=("sqlite", "postgresql"), default="sqlite")
    parser.add_argument("--tell", action="store_true", help="print what happened, turn by turn")
    parser.add_argument("--step", type=int, default=0, help="of another process: every so many")
    asked = parser.parse_args(arguments)
    if not asked.step and asked.count >= 2 * PROCESSES and not asked.tell:
        return _share(asked)
    started = time.monotonic()
    seeds = range(asked.seed, asked.seed + asked.count * (asked.step or 1), asked.step or 1)
    with standing(asked.db) as cloud:
        counts, failed = many(cloud, seeds, tell=asked.tell)
    seconds = time.monotonic() - started
    met = ", ".join(f"{number:,} {what}" for what, number in sorted(counts.items()))
    print(f"{met}; {len(failed)} failed; {counts['histories'] / seconds:.1f} histories/s")
    return 1 if failed else 0


def _share(asked: argparse.Namespace) -> int:
    """Each process plays every second history in a world of its own."""
    base = [sys.executable, "-m", "ml_platform.tests.stateful.histories", "--db", asked.db]
    parts = [
        subprocess.Popen(
            [
                *base,
                *("--seed", str(asked.seed + part)),
                *("--count", str((asked.count + PROCESSES - 1 - part) // PROCESSES)),
                *("--step", str(PROCESSES)),
            ]
        )
        for part in range(PROCESSES)
    ]
    return max(part.wait() for part in parts)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
