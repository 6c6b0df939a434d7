"""`python -m ml_platform.tests.benchmarks.peers.one_database DATABASE SIZES ROUNDS FILE`: the part
of the comparison in one database; its result goes into the file as JSON.
"""

from __future__ import annotations

import os
import platform
import signal
import sys
import tempfile
from pathlib import Path

from ml_platform.tests.benchmarks.cloud import cloud_of
from ml_platform.tests.benchmarks.machine import described, today

from .results import Result


def main(database: str, sizes: str, rounds: str, file: str) -> None:
    """Measure at each size; the sizes are numbers with commas between them."""
    # An interrupted run ends as an exception, so that its servers end with it.
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))
    with tempfile.TemporaryDirectory(prefix="mlp-peers-") as directory, cloud_of(1) as cloud:
        # Before Django reads its settings: they name the cloud.
        os.environ.update(
            cloud,
            ML_PLATFORM_TEST_DB=database,
            ML_PLATFORM_TEST_DIR=directory,
            DJANGO_SETTINGS_MODULE="ml_platform.tests.settings",
        )
        numbers = sorted(map(int, sizes.split(",")))
        result = _measure(database, numbers, int(rounds), Path(directory))
    Path(file).write_text(result.to_json())


def _measure(database: str, sizes: list[int], rounds: int, directory: Path) -> Result:
    import django

    django.setup()
    from django.db import connections

    from ml_platform.tests.benchmarks.ground import vendor

    from . import mlflow
    from .measure import measured

    programs = mlflow.environment()
    try:
        runs = [measured(database, size, rounds, programs, directory) for size in sizes]
        versions = [
            f"MLflow {mlflow.version(programs)}",
            f"Django {django.__version__}",
            f"Python {platform.python_version()}",
            vendor(),
        ]
    finally:
        connections.close_all()
    return Result(when=today(), machine=described(), versions=versions, runs=runs)


if __name__ == "__main__":
    main(*sys.argv[1:])
