"""Weighs `manage.py check` of the demo host against a bare Django project's, in CPU time.

`python -m ml_platform.tests.benchmarks.startup [rounds]` exits 1 above the limit. Both are run in
turn, so that a busy machine is busy for both, and the least of the rounds counts.
"""

from __future__ import annotations

import os
import resource
import subprocess
import sys
import tempfile
from pathlib import Path

GOAL, LIMIT = 1.3, 1.5
"""What it shall cost, and what the gate lets pass on a machine that is busy."""
ROOT = Path(__file__).resolve().parents[3]


def main(rounds: int) -> int:
    """Return 0 when the demo host's check costs at most LIMIT times the bare project's."""
    bare, demo = (min(costs) for costs in zip(*pairs(rounds), strict=True))
    print(
        f"bare {bare:.3f} s, demo {demo:.3f} s: {demo / bare:.2f} times, goal {GOAL}, limit {LIMIT}"
    )
    return 0 if demo <= LIMIT * bare else 1


def pairs(rounds: int) -> list[tuple[float, float]]:
    """What a bare project's check cost and what ours did, in turn."""
    with tempfile.TemporaryDirectory() as directory:
        subprocess.run(
            [sys.executable, "-m", "django", "startproject", "bare", directory], check=True
        )
        return [(_cost(Path(directory)), _cost(ROOT)) for _ in range(rounds)]


def _cost(project: Path) -> float:
    """CPU seconds, user and system, of `manage.py check`."""
    environment = {k: v for k, v in os.environ.items() if k != "DJANGO_SETTINGS_MODULE"}
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    subprocess.run(
        [sys.executable, "manage.py", "check"],
        cwd=project,
        env=environment,
        check=True,
        capture_output=True,
    )
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    return after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime


if __name__ == "__main__":
    sys.exit(main(int(sys.argv[1]) if len(sys.argv) > 1 else 9))
