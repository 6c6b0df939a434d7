"""The course of a load: the installation, the rate that was asked, then the highest that holds."""

from __future__ import annotations

import sys
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path

import django
from django.db import connections

from ml_platform.models import Sweep
from ml_platform.models.states import SweepStatus
from ml_platform.tests.benchmarks import ground
from ml_platform.tests.benchmarks.callers import make_caller
from ml_platform.tests.benchmarks.documents import table
from ml_platform.tests.benchmarks.machine import described, today
from ml_platform.tests.benchmarks.servers import (
    ROOT,
    Client,
    Process,
    free_port,
    gunicorn,
    running,
    wait_for,
)
from ml_platform.text import counted

from .arrivals import Answer, Summary, arrive, summary
from .mix import asker, paths

WORKERS, THREADS = 2, 4
SWEEP_EACH = 60.0
"""Seconds; cron sweeps each hour."""
PARTS = 10
"""Rows of the table."""
STEP = 1.25
STEP_SECONDS = 30.0
MOST_STEPS = 12


@dataclass(frozen=True, kw_only=True)
class Asked:
    """What the command line says."""

    rate: float
    seconds: float
    models: int
    p99: float
    steps: bool

    def holds(self, found: Summary) -> bool:
        return not found.errors and found.p99 <= self.p99


@dataclass(frozen=True, kw_only=True)
class Site:
    """The processes, and what asks them."""

    web: Process
    worker: Process
    make_client: Callable[[], Client]
    make_asker: Callable[[], Callable[[int], str]]


def course(asked: Asked, directory: Path) -> tuple[str, bool]:
    """The whole course; the tables that it also prints, and whether the asked rate was held."""
    with _installed(asked.models, directory) as site, _swept(site.make_client):
        # What only a first request does is not of the load.
        arrive(site.make_asker, rate=20, seconds=min(5.0, asked.seconds))
        with _weighed(site, asked.seconds / PARTS) as weights:
            answers = arrive(site.make_asker, rate=asked.rate, seconds=asked.seconds)
        if not site.worker.lives():
            raise RuntimeError(f"The worker ended:\n{site.worker.log.read_text()[-3000:]}")
        whole = summary(answers)
        ended = (
            Sweep.objects.filter(status=SweepStatus.COMPLETE).count() - 1
        )  # one is of the ground
        said = [
            f"{today()}; {described()}; Django {django.__version__}, {ground.vendor()}; "
            f"{asked.models:,} models, {asked.rate:g} requests a second for "
            f"{asked.seconds / 60:g} min, {counted(ended, 'sweep')} ended.",
            _table(asked, answers, whole, weights),
        ]
        print("\n\n".join(said), flush=True)
        for error, times in Counter(one.error for one in answers if one.error).most_common(5):
            print(f"{times} times {error}", flush=True)
        if asked.steps:
            said.append(_highest(asked, site, held=asked.holds(whole)))
            print(f"\n{said[-1]}", flush=True)
    return "\n\n".join(said), asked.holds(whole)


@contextmanager
def _installed(models: int, directory: Path) -> Iterator[Site]:
    ground.open_database("load")
    ground.fill(models)
    token, session = make_caller()
    where = {"ML_PLATFORM_TEST_DB_NAME": "load"}
    port = free_port()
    headers = {"Authorization": token, "Cookie": session}
    with ExitStack() as stack:
        stack.callback(connections.close_all)
        web = stack.enter_context(
            running(gunicorn(port, workers=WORKERS, threads=THREADS), where, directory / "web.log")
        )
        command = [sys.executable, str(ROOT / "manage.py"), "db_worker"]
        worker = stack.enter_context(running(command, where, directory / "worker.log"))
        client = Client(port, headers)
        wait_for(web, client, "/api/models/")
        asked = paths(client, models)
        yield Site(
            web=web,
            worker=worker,
            make_client=lambda: Client(port, headers),
            make_asker=lambda: asker(port, headers, asked),
        )


@contextmanager
def _swept(make_client: Callable[[], Client]) -> Iterator[None]:
    """Ask for a sweep again and again, as Cloud Scheduler does, until the block ends."""
    over = threading.Event()

    def sweep() -> None:
        while not over.is_set():
            # It is refused while the one before is under way.
            make_client().answer("POST", "/api/audit/run/")
            over.wait(SWEEP_EACH)

    thread = threading.Thread(target=sweep, daemon=True)
    thread.start()
    try:
        yield
    finally:
        over.set()
        thread.join()


@contextmanager
def _weighed(site: Site, each: float) -> Iterator[list[tuple[float, float]]]:
    """MiB of the web processes and of the worker at the end of each part, until the block ends."""
    over, weights = threading.Event(), list[tuple[float, float]]()
    begun = time.monotonic()

    def weigh() -> None:
        for part in range(1, PARTS + 1):
            over.wait(max(0.0, begun + part * each - time.monotonic()))
            weights.append((site.web.memory(), site.worker.memory()))

    thread = threading.Thread(target=weigh, daemon=True)
    thread.start()
    try:
        yield weights
    finally:
        over.set()
        thread.join()


def _table(
    asked: Asked,
    answers: Sequence[Answer],
    whole: Summary,
    weights: Sequence[tuple[float, float]],
) -> str:
    each = asked.seconds / PARTS
    rows = []
    for part, (web, worker) in enumerate(weights):
        some = [one for one in answers if part <= one.due / each < part + 1]
        if some:
            memory = (f"{web:.0f}", f"{worker:.0f}")
            rows.append((f"{(part + 1) * each:.0f}", *_figures(summary(some)), *memory))
    rows.append(("all", *_figures(whole), "", ""))
    head = ("until second", "answers", "p50 ms", "p99 ms", "errors", "web MiB", "worker MiB")
    return table(head, rows)


def _figures(found: Summary) -> tuple[str, ...]:
    return f"{found.answers:,}", f"{found.p50:.1f}", f"{found.p99:.0f}", str(found.errors)


def _highest(asked: Asked, site: Site, *, held: bool) -> str:
    """Try higher rates until one does not hold, or, if the asked one did not, lower ones until one
    does."""
    rows, rate, best = [], asked.rate, asked.rate if held else 0.0
    for _ in range(MOST_STEPS):
        rate = rate * STEP if held else rate / STEP
        seconds = min(STEP_SECONDS, asked.seconds)
        found = summary(arrive(site.make_asker, rate=rate, seconds=seconds))
        holds = asked.holds(found)
        rows.append((f"{rate:.3g}", *_figures(found), "yes" if holds else "no"))
        if holds:
            best = rate
        if holds != held:
            break
    head = ("requests a second", "answers", "p50 ms", "p99 ms", "errors", "holds")
    return (
        f"The highest rate that holds (no error, p99 at most {asked.p99:g} ms, "
        f"{STEP_SECONDS:g} seconds each): **{best:.3g} requests a second**.\n\n{table(head, rows)}"
    )
