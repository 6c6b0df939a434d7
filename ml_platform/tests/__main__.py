"""Runs every test on SQLite and, beside it, each test of what a database does on PostgreSQL.

Tests whose cases differ in what Google answers or a user sends, and those in a browser, are shared
out between the two: `pytest.ini` says by which markers, and why.

`python -m ml_platform.tests [pytest arguments]` says what it found, and fails rather than leave
something out. `python -m ml_platform.tests --quick [pytest arguments]` runs what most changes need
on SQLite alone: the quick tests of unit, services, doors and architecture, all cases of those
without a database and the first case of each other.
"""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import IO

import psycopg
import pytest

from ml_platform.localcloud import LocalCloud

from .browsers import provide_browser
from .postgres import postgres_version

QUICK = ("unit", "services", "doors", "architecture")
"""Folders whose tests the inner loop runs, but for those marked slow or on_postgresql."""


def main(arguments: list[str]) -> int:
    """Return 0 when nothing was missing, failed or skipped."""
    # An interrupted run ends as an exception, so that PostgreSQL is stopped on the way out.
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))
    if "--quick" in arguments:
        return _run_quick([one for one in arguments if one != "--quick"])
    return _run_all(arguments)


def _run_quick(arguments: list[str]) -> int:
    folders = [] if _names_a_path(arguments) else [str(Path(__file__).with_name(f)) for f in QUICK]
    marks = ["-m", "not slow and not on_postgresql", "--first-cases"]
    run = _pytest("sqlite", ["-q", *_workers(_cores() + 1), *marks, *folders, *arguments])
    try:
        return run.wait()
    finally:
        _end(run)


def _names_a_path(arguments: list[str]) -> bool:
    return any(Path(one.split("::")[0]).exists() for one in arguments)


def _run_all(arguments: list[str]) -> int:
    found = [_found(*what) for what in FINDERS]
    if not all(found):
        return 1
    started = time.monotonic()
    with tempfile.TemporaryFile() as output:
        runs = {
            "SQLite": _pytest(
                "sqlite", [*_workers(_cores() + 1), "-m", "not on_postgresql", *arguments]
            ),
            "PostgreSQL": _pytest(
                "postgresql",
                [*_workers(max(2, _cores() // 2)), "--database-only", *arguments],
                output,
            ),
        }
        try:
            results = {name: run.wait() for name, run in runs.items()}
        finally:
            _end(*runs.values())
        output.seek(0)
        print("\n--- the same on PostgreSQL ---", flush=True)
        sys.stdout.buffer.write(output.read())
        sys.stdout.flush()
    good = {0: "passed"}
    if arguments and 0 in results.values():
        # A narrowed run (`-k`, a path) may hold nothing for one of the two databases.
        good[pytest.ExitCode.NO_TESTS_COLLECTED] = "no test of this run uses it"
    for name, code in results.items():
        print(f"{name}: {good.get(code, f'FAILED (pytest exit {code})')}")
    print(f"{time.monotonic() - started:.0f} s")
    return 0 if set(results.values()) <= good.keys() else 1


def _browser() -> str:
    version = [provide_browser(), "--version"]
    return subprocess.run(version, check=True, capture_output=True, text=True).stdout


def _local_cloud() -> str:
    with LocalCloud() as cloud:
        return f"answers gRPC on {cloud.grpc_target}, HTTP on {cloud.http_url}"


FINDERS: tuple[tuple[str, Callable[[], str]], ...] = (
    ("Browser", _browser),
    ("PostgreSQL", postgres_version),
    ("Local cloud", _local_cloud),
)


def _found(name: str, find: Callable[[], str]) -> bool:
    try:
        print(f"{name}: {find().strip()}", flush=True)
    except (OSError, RuntimeError, psycopg.Error, subprocess.SubprocessError) as error:
        print(f"{name}: MISSING. {error}", flush=True)
        return False
    return True


def _cores() -> int:
    return os.cpu_count() or 1


def _workers(number: int) -> list[str]:
    """Workers that take over from each other, so that none is idle while another has tests left.

    One more than cores where nothing runs beside them, for while the others wait: the tests on
    PostgreSQL are a third of those on SQLite and end long before them.
    """
    return ["-n", str(number), "--dist", "worksteal"]


def _pytest(
    vendor: str, arguments: list[str], output: IO[bytes] | None = None
) -> subprocess.Popen[bytes]:
    # Where Python is told to keep no compiled modules, each of the dozens of processes of a run
    # would compile all of ours again; an empty value has it keep them in `__pycache__`.
    compiled = {"PYTHONDONTWRITEBYTECODE": ""}
    return subprocess.Popen(
        [sys.executable, "-m", "pytest", *arguments],
        env={**os.environ, **compiled, "ML_PLATFORM_TEST_DB": vendor},
        stdout=output,
        stderr=subprocess.STDOUT if output else None,
    )


def _end(*runs: subprocess.Popen[bytes]) -> None:
    """Interrupt what an interrupted run left: pytest cleans up after SIGINT, not after SIGTERM."""
    for run in (run for run in runs if run.poll() is None):
        run.send_signal(signal.SIGINT)
        try:
            run.wait(timeout=10)
        except subprocess.TimeoutExpired:
            run.kill()


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
