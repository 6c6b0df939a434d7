"""`python -m ml_platform.tests.benchmarks.load`: requests at a fixed rate to gunicorn with two
workers on PostgreSQL, while a worker sweeps a local cloud of as many models.

A time counts from when the request was due, so that a server that stands still is not spared those
that it kept from being sent. It exits with 1 if an answer was an error, or late.
"""

from __future__ import annotations

import argparse
import os
import signal
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path

from ml_platform.tests.benchmarks.cloud import cloud_of

P99 = 100.0


def main(arguments: Sequence[str]) -> int:
    """Load; 0 when every answer was right and 99 of 100 came in time."""
    parser = argparse.ArgumentParser(prog="python -m ml_platform.tests.benchmarks.load")
    parser.add_argument("--rate", type=float, default=100.0, help="requests a second")
    parser.add_argument("--minutes", type=float, default=10.0)
    parser.add_argument("--models", type=int, default=10_000)
    parser.add_argument("--p99", type=float, default=P99, help="milliseconds at most")
    parser.add_argument("--no-steps", action="store_true", help="do not search the highest rate")
    parser.add_argument("--write", action="store_true", help="into docs/benchmarks.md")
    options = parser.parse_args(arguments)
    # An interrupted run ends as an exception, so that its servers end with it.
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))
    with (
        tempfile.TemporaryDirectory(prefix="mlp-load-") as directory,
        cloud_of(options.models) as cloud,
    ):
        # Before Django reads its settings: they name the cloud.
        os.environ.update(
            cloud,
            ML_PLATFORM_TEST_DB="postgresql",
            ML_PLATFORM_TEST_DIR=directory,
            DJANGO_SETTINGS_MODULE="ml_platform.tests.settings",
        )
        import django

        django.setup()
        from .course import Asked, course

        asked = Asked(
            rate=options.rate,
            seconds=options.minutes * 60,
            models=options.models,
            p99=options.p99,
            steps=not options.no_steps,
        )
        said, held = course(asked, Path(directory))
    if options.write:
        from ml_platform.tests.benchmarks.documents import write

        write("load", said)
    return 0 if held else 1


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
