"""What a soak does to its processes, its database and Google: kills, stops, restarts, faults."""

from __future__ import annotations

import heapq
import itertools
import signal
import socket
import time
from collections.abc import Callable, Mapping
from contextlib import ExitStack, suppress
from dataclasses import dataclass, field
from random import Random
from typing import TYPE_CHECKING

from django.db import connection

from ml_platform.cloud.transport.methods import METHODS
from ml_platform.tests.postgres import restart_postgres
from ml_platform.tests.stateful.play import LOSSES, REFUSALS, STALE

from .installation import HOST, LEASE
from .processes import Processes
from .record import Record
from .watch import RestartedJudge

if TYPE_CHECKING:
    from ml_platform.localcloud import LocalCloud

WORKERS = ("worker-1", "worker-2")
WEB = "web"
SERVING = 120.0
"""Seconds that a web server has to answer."""
WORKER = ("db_worker", "--interval", "0.2", "--no-startup-delay", "--no-reload")


@dataclass
class Site:
    """The web server and the workers, which are started again when they end."""

    processes: Processes
    port: int
    record: Record
    defect: str = ""
    killed: set[str] = field(default_factory=set)

    def start(self, name: str) -> None:
        """Start the web server, which then answers, or a worker."""
        if name != WEB:
            self.processes.begin(name, "command", *WORKER)
            return
        self.processes.begin(name, "web", str(self.port), self.defect)
        until = time.monotonic() + SERVING
        while time.monotonic() < until:
            with suppress(OSError), socket.create_connection((HOST, self.port), 1):
                return
            time.sleep(0.05)
        self.record.error("the web server does not answer")

    def kill(self, name: str) -> None:
        """SIGKILL; `look_after` starts it again."""
        self.killed.add(name)
        self.record.count(f"SIGKILL of {name.partition('-')[0]}")
        self.processes.send(name, signal.SIGKILL)

    def look_after(self, ended: list[tuple[str, int]], since_restart: float) -> None:
        """Start again what has ended; what nobody killed may end when the database is away."""
        for name, code in ended:
            if name not in (WEB, *WORKERS):
                if code not in (0, 1, 2, -signal.SIGKILL):
                    self.record.error(f"{name} ended with {code}")
                continue
            if name not in self.killed:
                self.record.count(f"{name.partition('-')[0]} ended with the database")
                if since_restart > LEASE:
                    self.record.error(f"{name} ended by itself with {code}")
            self.killed.discard(name)
            self.start(name)


@dataclass
class Trouble:
    """Makes trouble when its dice say so, and ends it in time."""

    site: Site
    cloud: LocalCloud
    judge: RestartedJudge
    dice: Random
    record: Record
    restarted: float = float("-inf")
    _later: list[tuple[float, int, Callable[[], object]]] = field(default_factory=list)
    _order: itertools.count[int] = field(default_factory=itertools.count)

    def turn(self) -> None:
        """Make one trouble."""
        kinds = list(KINDS)
        [kind] = self.dice.choices(kinds, [KINDS[one] for one in kinds])
        kind(self)

    def end_what_is_due(self, now: float) -> None:
        """End what was to last until then."""
        while self._later and self._later[0][0] <= now:
            heapq.heappop(self._later)[2]()

    def after(self, seconds: float, end: Callable[[], object]) -> None:
        """Call `end` in so many seconds."""
        heapq.heappush(self._later, (time.monotonic() + seconds, next(self._order), end))

    def end_all(self) -> None:
        """End all trouble now."""
        self.end_what_is_due(float("inf"))
        self.cloud.faults.clear()
        self.cloud.core.operations.lro_seconds = 0.0

    def pause(self, name: str, seconds: float) -> None:
        """SIGSTOP a process, and SIGCONT it after so many seconds."""
        what = name.partition("-")[0]
        stopped = ExitStack()
        stopped.enter_context(self.record.disturbed(what))
        self.site.processes.send(name, signal.SIGSTOP)
        self.record.count(f"SIGSTOP of {what}")

        def go_on() -> None:
            self.site.processes.send(name, signal.SIGCONT)
            stopped.close()

        self.after(seconds, go_on)


Kind = Callable[[Trouble], object]


def kill_worker(trouble: Trouble) -> None:
    trouble.site.kill(trouble.dice.choice(WORKERS))


def kill_web(trouble: Trouble) -> None:
    with trouble.record.disturbed(WEB):
        trouble.site.kill(WEB)
        until = time.monotonic() + 10
        while trouble.site.processes.lives(WEB) and time.monotonic() < until:
            time.sleep(0.01)
        trouble.site.look_after(trouble.site.processes.ended(), 0.0)


def kill_command(trouble: Trouble) -> None:
    name = trouble.dice.choice([name for name, _, _ in COMMANDS])
    if trouble.site.processes.lives(name):
        trouble.site.kill(name)


def stop_worker(trouble: Trouble) -> None:
    """Past its lease: another one goes on, and its own commits are refused afterwards."""
    trouble.pause(trouble.dice.choice(WORKERS), LEASE + trouble.dice.uniform(0.5, 4.0))


def stop_web(trouble: Trouble) -> None:
    trouble.pause(WEB, trouble.dice.uniform(0.5, 3.0))


def restart_database(trouble: Trouble) -> None:
    with trouble.record.disturbed("database"), trouble.judge.adjourned():
        restart_postgres(trouble.dice.uniform(0.0, 1.0))
    connection.close()
    trouble.restarted = time.monotonic()
    trouble.record.count("restarts of the database")


def refuse(trouble: Trouble) -> None:
    """Some calls of one method are refused, or done with their answer lost."""
    dice, faults = trouble.dice, trouble.cloud.faults
    method = dice.choice([name for name in METHODS if name != "storage.batch"])
    if not METHODS[method].is_read and dice.random() < 0.5:
        faults.order(method, "lost", dice.choice(LOSSES), times=dice.randint(1, 3))
    else:
        faults.order(method, "error", dice.choice(REFUSALS), times=dice.randint(1, 3))
    trouble.record.count("faults of Google")


def lag(trouble: Trouble) -> None:
    """Reads do not show what is young, for a while."""
    glob = trouble.dice.choice(STALE)
    trouble.cloud.faults.order(glob, "stale", seconds=trouble.dice.uniform(2, 15), times=None)
    trouble.after(trouble.dice.uniform(3, 12), lambda: trouble.cloud.faults.clear(glob))
    trouble.record.count("faults of Google")


def slow(trouble: Trouble) -> None:
    trouble.cloud.core.operations.lro_seconds = trouble.dice.choice([0.0, 0.5, 2.0, 6.0])


def revision_fails(trouble: Trouble) -> None:
    trouble.cloud.run.outcome(ending="fail")
    trouble.after(5.0, trouble.cloud.run.reset)


KINDS: Mapping[Kind, int] = {
    kill_worker: 5,
    kill_web: 2,
    kill_command: 2,
    stop_worker: 3,
    stop_web: 1,
    restart_database: 2,
    refuse: 8,
    lag: 2,
    slow: 2,
    revision_fails: 1,
}
"""What is done, and how often."""
COMMANDS = (
    ("resume", ("resume_operations",), 4.0),
    ("poll", ("poll_training_runs",), 3.0),
    ("audit", ("audit_registry", "--format", "json"), 12.0),
    ("orphans", ("cleanup_orphan_models", "--days", "1"), 17.0),
    ("artifacts", ("cleanup_gcs_artifacts", "--days", "1", "--delete-strays"), 23.0),
    ("metrics", ("collect_resource_metrics",), 29.0),
    ("confirm", ("confirm_installation", "--yes"), 19.0),
)
"""Name, words and the seconds between two starts of what cron does for an installation, and of what
its administrator does when a copy of the database has taken the marker."""
