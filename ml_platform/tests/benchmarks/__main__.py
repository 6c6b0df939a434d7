"""`python -m ml_platform.tests.benchmarks`: what we cost beside the least that it could cost.

Every figure is a ratio of medians of two things that were run in turn, in this very run. It exits
1 when a goal is missed, and says which.
"""

from __future__ import annotations

import argparse
import os
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from contextlib import ExitStack

from .cloud import SWEPT, cloud_of

NAMES = ("start", "sweep", "list", "html", "numbers", "orphans")
VENDORS = ("sqlite", "postgresql")
SIZES = (1_000, 100_000, 1_000_000)


def main(arguments: list[str]) -> int:
    """Return 0 when every goal is met on every database asked for."""
    parser = argparse.ArgumentParser(prog="python -m ml_platform.tests.benchmarks")
    parser.add_argument("--db", choices=VENDORS, help="default: both, one after the other")
    parser.add_argument("--models", default=",".join(map(str, SIZES)), help="sizes, with commas")
    parser.add_argument("--only", choices=NAMES, action="append", help="default: all")
    options = parser.parse_args(arguments)
    if options.db is None:
        command = (sys.executable, "-m", "ml_platform.tests.benchmarks")
        runs = [
            subprocess.run([*command, "--db", vendor, *arguments], check=False)
            for vendor in VENDORS
        ]
        return max(run.returncode for run in runs)
    sizes = sorted(int(size) for size in options.models.split(","))
    only = options.only or NAMES
    with tempfile.TemporaryDirectory(prefix="mlp-bench-") as directory, ExitStack() as stack:
        # Before Django reads its settings: they name the cloud.
        cloud = stack.enter_context(cloud_of(SWEPT)) if "sweep" in only else {}
        os.environ.update(
            cloud,
            ML_PLATFORM_TEST_DB=options.db,
            ML_PLATFORM_TEST_DIR=directory,
            DJANGO_SETTINGS_MODULE="ml_platform.tests.settings",
        )
        return _run(options.db, sizes, only)


def _run(vendor: str, sizes: Sequence[int], only: Sequence[str]) -> int:
    import django

    django.setup()
    from django.db import connections

    from .ground import settings_for_benchmarks
    from .suites import figures

    settings_for_benchmarks()
    missed = 0
    try:
        for figure in figures(vendor, sizes, only):
            print(figure, flush=True)
            missed += not figure.met
    finally:
        connections.close_all()
    print(f"{missed} goals missed" if missed else "All goals met")
    return 1 if missed else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
