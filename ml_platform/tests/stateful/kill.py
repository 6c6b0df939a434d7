"""The kill harness: at every boundary of every scenario a real process dies, or the connection to
its database ends (`--way drop`), and the rest goes on.

`python -m ml_platform.tests.stateful.kill [--db sqlite|postgresql] [--way die|drop]
[--scenario NAME] [--sample N]`
"""

from __future__ import annotations

import argparse
import contextlib
import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import IO, TYPE_CHECKING, Any

from .ground import DIE, DROP, standing

if TYPE_CHECKING:
    from ml_platform.localcloud import LocalCloud

    from .world import World

KILLED = -signal.SIGKILL
LOST = "lost answer of "


class Zygote:
    """The other end of `zygote`."""

    def __init__(self, cloud: LocalCloud, mutant: str = "") -> None:
        self._mutant = mutant
        self._process = subprocess.Popen(
            [sys.executable, "-m", "ml_platform.tests.stateful.zygote"],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            env={
                **os.environ,
                "ML_PLATFORM_LOCAL_CLOUD": cloud.grpc_target,
                "ML_PLATFORM_LOCAL_CLOUD_HTTP": cloud.http_url,
            },
            text=True,
        )
        self._read()

    def begin(self, **order: Any) -> int:
        """Start a child; returns its process id."""
        pipe = self._pipe(self._process.stdin)
        pipe.write(json.dumps({"mutant": self._mutant, **order}) + "\n")
        pipe.flush()
        return int(self._read()["pid"])

    def race(self, parts: list[dict[str, Any]]) -> list[str]:
        """Run a race; returns what each part was told: `ok` or the code of its refusal."""
        pipe = self._pipe(self._process.stdin)
        pipe.write(json.dumps({"race": parts}) + "\n")
        pipe.flush()
        said: list[str] = self._read()["said"]
        return said

    def end(self) -> tuple[int, list[str]]:
        """How the child ended, and the boundaries it passed if it lived."""
        said = self._read()
        return said["code"], said["report"]

    def close(self) -> None:
        """Let it go."""
        self._pipe(self._process.stdin).close()
        self._process.wait()
        self._pipe(self._process.stdout).close()

    def _read(self) -> dict[str, Any]:
        line = self._pipe(self._process.stdout).readline()
        if not line:
            raise RuntimeError("The zygote died; see its traceback above.")
        said: dict[str, Any] = json.loads(line)
        return said

    def _pipe(self, pipe: IO[str] | None) -> IO[str]:
        assert pipe is not None
        return pipe


@dataclass
class Walk:
    """What came of the points of one scenario."""

    name: str
    points: int = 0
    failures: list[str] = field(default_factory=list)
    seconds: float = 0.0

    def __str__(self) -> str:
        good = self.points - len(self.failures)
        return f"{self.name:24} {good:4} of {self.points:4} points recovered, {self.seconds:.0f} s"


class Harness:
    """Walks scenarios in a world whose cloud and database this process holds."""

    def __init__(self, world: World, zygote: Zygote, way: str = DIE) -> None:
        self._world, self._zygote, self._way = world, zygote, way

    def walk(self, name: str, *, sample: int = 0, until_failure: bool = False) -> Walk:
        """Interrupt at every boundary of a scenario, or at about `sample`, evenly spread."""
        started = time.monotonic()
        points, reference = self._count(name)
        chosen = points[:: max(1, len(points) // sample)] if sample else points
        walk = Walk(name)
        for point in chosen:
            walk.points += 1
            if wrong := self._die_and_recover(name, point, reference):
                walk.failures.append(f"{name}, {point[1]} (number {point[0]}): {'; '.join(wrong)}")
            if walk.failures and until_failure:
                break
        walk.seconds = time.monotonic() - started
        return walk

    def _count(self, name: str) -> tuple[list[tuple[int, str]], list[Any]]:
        """All points of a scenario, and what an undisturbed course of it comes to."""
        with self._prepared(name) as (facts, broken):
            before = self._world.cloud.effects.count()
            self._zygote.begin(at=0, **self._order(name, facts))
            code, passed = self._zygote.end()
            asked = [call.method for call in self._world.cloud.effects.calls()[before:]]
            if code:
                raise RuntimeError(f"{name} failed without being killed; see above.")
            wrong = [*self._recover(name, facts), *broken]
        if wrong:
            raise RuntimeError(f"{name} is wrong without being killed: {'; '.join(wrong)}")
        points = list(enumerate(passed, 1))
        if self._way == DROP and self._world.vendor == "sqlite":
            # It refuses statements, but the answer to one it took is not lost.
            points = [point for point in points if point[1].startswith("before")]
        if self._way == DIE:
            points += [(number, LOST + method) for number, method in enumerate(asked, 1)]
        return points, self._outcome()

    def _die_and_recover(
        self, name: str, point: tuple[int, str], reference: list[Any]
    ) -> list[str]:
        with self._prepared(name) as (facts, broken):
            wrong = self._interrupt(point, self._order(name, facts))
            wrong += self._recover(name, facts)
            outcome = self._outcome()
            wrong += broken
            wrong += [
                f"{part} is {now.get(part)!r} and not {then.get(part)!r}"
                for then, now in zip(reference, outcome, strict=True)
                for part in sorted(then.keys() | now.keys())
                if then.get(part) != now.get(part)
            ]
            return wrong + self._said() if wrong else []

    @contextlib.contextmanager
    def _prepared(self, name: str) -> Iterator[tuple[dict[str, int], list[str]]]:
        from .invariants import Judge
        from .scenarios import SCENARIOS

        self._world.reset()
        facts = SCENARIOS[name].prepare(self._world)
        self._world.cloud.core.operations.lro_seconds = SCENARIOS[name].lro_seconds
        with Judge(self._world.cloud).sitting() as judge:
            yield facts, judge.broken
            judge.look()

    def _order(self, name: str, facts: dict[str, int]) -> dict[str, Any]:
        now = self._world.now().isoformat()
        return {"scenario": name, "facts": facts, "now": now, "way": self._way}

    def _interrupt(self, point: tuple[int, str], order: dict[str, Any]) -> list[str]:
        number, label = point
        if label.startswith(LOST):
            return self._die_waiting(number, order)
        self._zygote.begin(at=number, **order)
        code, passed = self._zygote.end()
        if self._way == DIE:
            return [] if code == KILLED else [f"the child was not killed but ended with {code}"]
        wrong = [f"the worker ended with {code}"] if code else []
        wrong += [] if code or len(passed) >= number else ["the statement never came"]
        return wrong + self._defects()

    def _die_waiting(self, number: int, order: dict[str, Any]) -> list[str]:
        """Let the child wait for the answer to a call that was done, and die of it."""
        fault = self._world.cloud.faults.order("*", "hang", when="after", nth=number)
        pid = self._zygote.begin(at=0, **order)
        until = time.monotonic() + 10
        while not fault.hits and time.monotonic() < until:
            time.sleep(0.001)
        if fault.hits:  # it hangs now, so it lives
            os.kill(pid, signal.SIGKILL)
        code, _ = self._zygote.end()
        self._world.cloud.faults.clear()
        return [] if fault.hits else [f"the call never came; the child ended with {code}"]

    def _recover(self, name: str, facts: dict[str, int]) -> list[str]:
        """What restarted workers do, and a client who got no answer and asks again."""
        from .scenarios import SCENARIOS
        from .settled import unsettled
        from .world import settle

        try:
            settle(self._world)
            SCENARIOS[name].act(self._world, facts)
        except Exception as error:  # noqa: BLE001 - whatever comes is a failure of this point
            return [f"{type(error).__name__}: {error}"]
        return unsettled(self._world)

    def _defects(self) -> list[str]:
        """What was taken for a defect of ours, which a client who asks again would hide."""
        from ml_platform.models import Operation

        taken = Operation.objects.filter(error_code="internal_error")
        return [f"{operation} ended as internal_error" for operation in taken]

    def _said(self) -> list[str]:
        """What operations that failed say, beside what is wrong."""
        from ml_platform.models import Operation

        failed = Operation.objects.filter(status="failed")
        return [f"{operation} failed: {operation.error}" for operation in failed]

    def _outcome(self) -> list[dict[str, Any]]:
        from .world import done_once, signature

        return [signature(self._world), dict(done_once(self._world))]


@contextlib.contextmanager
def harness(cloud: LocalCloud, mutant: str = "", way: str = DIE) -> Iterator[Harness]:
    """A harness on the database and cloud that ML_PLATFORM points at."""
    from ml_platform.services import workflows as workflows

    from .world import World

    zygote = Zygote(cloud, mutant)
    try:
        yield Harness(World(cloud), zygote, way)
    finally:
        zygote.close()


def main(arguments: Sequence[str]) -> int:
    """Walk; 0 when every point recovered."""
    parser = argparse.ArgumentParser(prog="python -m ml_platform.tests.stateful.kill")
    parser.add_argument("--db", choices=("sqlite", "postgresql"), default="sqlite")
    parser.add_argument("--way", choices=(DIE, DROP), default=DIE)
    parser.add_argument("--scenario", action="append", default=[], help="all without it")
    parser.add_argument("--sample", type=int, default=0, help="points of each scenario, 0 for all")
    asked = parser.parse_args(arguments)
    with standing(asked.db) as cloud, harness(cloud, way=asked.way) as walker:
        from .scenarios import SCENARIOS

        walks = []
        for name in asked.scenario or SCENARIOS:
            walks.append(walker.walk(name, sample=asked.sample))
            print(walks[-1], *walks[-1].failures, sep="\n  ", flush=True)
    total = Walk(f"total on {asked.db}", sum(walk.points for walk in walks))
    total.failures = [failure for walk in walks for failure in walk.failures]
    total.seconds = sum(walk.seconds for walk in walks)
    print(f"{total}: {total.points / max(total.seconds, 0.001):.1f} points/s")
    return 1 if total.failures else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
