"""Files change at a random moment of a deploy: by every way, before every call.

`python -m ml_platform.tests.stateful.swaps --tries 200 --seed 0`; 0 when the next sweep found every
change, and no version got traffic whose files differed when its revision was there.
"""

from __future__ import annotations

import argparse
import sys
from collections import Counter
from collections.abc import Sequence
from random import Random
from typing import TYPE_CHECKING, Any

from .ground import standing

if TYPE_CHECKING:
    from ml_platform.localcloud import LocalCloud
    from ml_platform.models import Operation, TrainingRun

    from .play import Play

MAKES = ("Services.CreateService", "Services.UpdateService")
LATEST_CALL = 16
"""A deploy makes about as many; a change after its last call is found by the sweep only."""


def swaps(cloud: LocalCloud, tries: int, seed: int = 0) -> Counter[str]:
    """Deploy so many times while files change; returns how the deploys ended.

    :raises BrokenInvariant: other files got traffic, or a sweep did not find them.
    """
    from ml_platform.tests.boundaries import BrokenInvariant

    from .invariants import Judge
    from .people import SECOND_FILE
    from .play import Play, ids_of
    from .world import World

    world, dice, ends = World(cloud), Random(seed), Counter[str]()
    world.reset()
    with ids_of(dice), Judge(cloud).sitting() as judge:
        play = Play(world, dice, judge)
        runs = world.a_lineage(versions=2)
        for run in runs:
            world.write(run, SECOND_FILE, b"names")
        _sweep(play)
        for number in range(tries):
            [run] = dice.sample([run for run in runs if run.uid.hex not in _served(play)], 1)
            ended, wrong = _one(play, run)
            ends[ended] += 1
            if wrong := [*wrong, *judge.broken]:
                raise BrokenInvariant(f"try {number}: {'; '.join(wrong)}")
    return ends


def _one(play: Play, run: TrainingRun) -> tuple[str, list[str]]:
    """One deploy with one change; how it ended, and what is wrong."""
    from ml_platform.models import Manifest

    from .people import restore_files

    world, dice = play.world, play.dice
    if dice.random() < 0.3:
        _stop_serving(play)
    manifest = Manifest.objects.get(run=run)
    operation, made = _deploy(play, run, manifest.folder, dice.randrange(LATEST_CALL + 1))
    wrong = []
    served = operation.status == "succeeded" or run.uid.hex in _served(play)
    if served and made != [manifest.digest]:
        wrong.append(f"{run} serves with {made}, not {manifest.digest}: {play.told[-1:]}")
    wrong += _sweep(play)
    restore_files(play, [run])
    world.forward(60)
    return str(operation.error_code or operation.status), wrong


def _deploy(play: Play, run: TrainingRun, folder: str, moment: int) -> tuple[Operation, list[str]]:
    """Deploy, and change a file before that call; the digest of the files when the platform first
    looked at the revision that it made: only the first revision of a service has traffic by then.
    """
    from ml_platform.services.deployment.deploy import deploy_run
    from ml_platform.tests.boundaries import watched

    from . import planes
    from .people import edit_run
    from .world import BO, settle

    made: list[str] = []
    calls = Counter[str]()

    def before(method: str) -> None:
        if method != "COMMIT" and calls.total() == moment:
            edit_run(play, run)
        calls[method] += method != "COMMIT"

    def after(method: str) -> None:
        if method == "Services.GetService" and not made and any(calls[each] for each in MAKES):
            made.append(planes.digest_of(play.world.cloud, folder))

    with watched(before=before, after=after):
        operation = deploy_run(run=run, actor=BO, now=play.world.now())
        settle(play.world)
    operation.refresh_from_db()
    return operation, made


def _served(play: Play) -> set[str]:
    from . import planes

    cloud = play.world.cloud
    return {uid for key in planes.services(cloud) for uid in planes.served_by(cloud, key)}


def _stop_serving(play: Play) -> None:
    from ml_platform.models import DeployedEndpoint
    from ml_platform.services.deployment.undeploy import undeploy_endpoint

    from .world import BO, settle

    for endpoint in DeployedEndpoint.objects.filter(is_active=True):
        undeploy_endpoint(endpoint=endpoint, actor=BO, now=play.world.now())
    settle(play.world)


def _sweep(play: Play) -> list[str]:
    """What a sweep does not see; without other files there is no finding either (I17)."""
    from ml_platform.services.sweeps.sweep import sweep

    from .oracle import verified_is_the_same
    from .world import BO

    play.world.forward(60)
    return list(verified_is_the_same(play.world, sweep(actor=BO, clock=play.world.now)))


def main(arguments: Sequence[str]) -> int:
    """Try; 0 when nothing was wrong."""
    parser = argparse.ArgumentParser(prog="python -m ml_platform.tests.stateful.swaps")
    parser.add_argument("--tries", type=int, default=200)
    parser.add_argument("--seed", type=int, default=0)
    asked: Any = parser.parse_args(arguments)
    with standing("sqlite") as cloud:
        ends = swaps(cloud, asked.tries, asked.seed)
    print(f"{asked.tries} tries:", ", ".join(f"{n} {end}" for end, n in ends.most_common()))
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
