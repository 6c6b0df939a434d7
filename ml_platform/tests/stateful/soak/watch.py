"""What is watched while a soak runs: effects, operations, the database's log, all outputs."""

from __future__ import annotations

import re
import time
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

from ml_platform.models import Operation
from ml_platform.models.clock import database_now
from ml_platform.services.operations.store import due_operations
from ml_platform.tests.stateful.invariants import Judge

LONGEST_DUE = 90.0
"""Seconds for which an operation may be due while nobody continues it."""
_EXPLAINED = re.compile(
    # The server was restarted:
    r"(FATAL: terminating connection due to administrator command"
    r"|FATAL: the database system is (shutting down|starting up)"
    r"|ERROR: canceling statement due to user request"
    # A process was killed:
    r"|FATAL: connection to client lost)(; .*)?"
)
"""What the server may log as an error."""
_RACE = re.compile(
    r"ERROR: duplicate key value violates unique constraint "
    r'"mlp_operation_one_per_(lineage|service)"; UPDATE "ml_platform_operation" SET'
)
"""A request has taken the lock between a worker's look and its claim; the worker leaves it.

An UPDATE cannot pass by a conflict as an INSERT can, and a lock for both would let requests wait
for workers."""
SELDOM = 100
"""Of so many operations one may meet that race: more would be claims that nothing waits for."""
DATABASE_GONE = re.compile(
    r"^(django\.db\.utils|psycopg(\.errors)?)\.(OperationalError|InterfaceError|AdminShutdown"
    r"|CannotConnectNow|DatabaseError)"
)
"""How the traceback ends with which `db_worker` exits when the database is away."""
INTERRUPTED = "can't change 'autocommit' now: connection in transaction status ACTIVE"
_LOGGED = re.compile(r"^.*? \[(\d+)\] ([A-Z]+):  (.*)$", re.MULTILINE)
_BEGINS = "Traceback (most recent call last):"
_FRAME = re.compile(r'^[ |]+File "(.*?([^/]*))", line (\d+)')
_END = re.compile(r"^(  \| )?\w[\w.]*(: .*| \(\d+ sub-exceptions?\))?$")
_CHAINED = ("The above exception was the direct cause", "During handling of the above exception")


class RestartedJudge(Judge):
    """A judge that outlives restarts of the database: meanwhile the cloud's effects wait."""

    @contextmanager
    def adjourned(self) -> Iterator[None]:
        """Judge nothing inside, and read through a new connection afterwards."""
        with self._lock:
            try:
                yield
            finally:
                self._own.close()


def unexplained(log: str, operations: int) -> list[str]:
    """The errors in a log of PostgreSQL that nothing explains, in a soak of so many operations."""
    found = list(_errors(log))
    races = [one for one in found if _RACE.fullmatch(one)]
    few = len(races) <= 1 + operations // SELDOM
    return [one for one in found if not _EXPLAINED.fullmatch(one) and not (few and one in races)]


def _errors(log: str) -> Iterator[str]:
    """`ERROR: words; UPDATE "table"` of each error."""
    open_errors: dict[str, str] = {}
    for pid, level, words in _LOGGED.findall(log):
        if level in ("ERROR", "FATAL", "PANIC"):
            if pid in open_errors:
                yield open_errors[pid]
            open_errors[pid] = f"{level}: {words}"
        elif level == "STATEMENT" and pid in open_errors:
            yield f"{open_errors.pop(pid)}; {' '.join(words.split()[:3])}"
    yield from open_errors.values()


@dataclass
class Outputs:
    """The outputs of all processes, read to their end so far."""

    folder: Path
    _read: dict[Path, int] = field(default_factory=dict)

    def tracebacks(self, *, database_was_away: bool) -> list[str]:
        """The tracebacks written since the last look that nothing explains."""
        found = []
        for path in sorted(self.folder.glob("*.log")):
            text, begin = _whole(path), self._read.get(path, 0)
            self._read[path] = len(text)
            found += [
                f"{path.stem}: {last} ({where})"
                for last, where in ends_of_tracebacks(text[begin:])
                if not (database_was_away and _exits_with(path, last))
                and not (path.stem.startswith("worker") and last.endswith(INTERRUPTED))
            ]
        return found


def _exits_with(path: Path, last: str) -> bool:
    """Whether a worker exits with this, to be started again, or the web server answers it with 503,
    which Django logs; commands say it in a sentence."""
    return path.stem.startswith(("worker", "web")) and bool(DATABASE_GONE.match(last))


def was_told_in_a_statement(path: Path) -> bool:
    """Whether a worker that looked for work ended in the middle of a statement: `db_worker` raises
    SystemExit there at once, and Django cannot end the transaction."""
    return _whole(path).rstrip().endswith(INTERRUPTED)


def _whole(path: Path) -> str:
    """The text of a log; what may be writing a traceback has the time to end it."""
    text = path.read_text(errors="replace")
    while _BEGINS in text:
        time.sleep(0.05)
        if text == (text := path.read_text(errors="replace")):
            break
    return text


def ends_of_tracebacks(text: str) -> list[tuple[str, str]]:
    """The last line of each traceback, of chained ones only of the last, and where it arose."""
    lines, ends = iter(text.splitlines()), list[tuple[str, str]]()
    for line in lines:
        if line.startswith(_CHAINED) and ends:
            ends.pop()
        elif _BEGINS in line:
            ends.append(_rest_of(lines))
    return ends


def _rest_of(lines: Iterator[str]) -> tuple[str, str]:
    """The last line of the traceback that has begun, and the frames of ours above it."""
    places: list[str] = []
    last = ""
    for last in lines:
        if frame := _FRAME.search(last):
            places += [f"{frame[2]}:{frame[3]}"] if "ml_platform" in frame[1] else []
        elif _END.match(last):
            break
    return last.lstrip(" |"), " < ".join(reversed(places[-3:]))


@dataclass
class Queue:
    """The operations that are due, and since when."""

    _due: dict[uuid.UUID, tuple[int, float]] = field(default_factory=dict)

    def stuck(self) -> list[str]:
        """Those that nobody has continued for too long."""
        fences = dict(
            Operation.objects.filter(pk__in=due_operations(now=database_now())).values_list(
                "pk", "fence"
            )
        )
        now = time.monotonic()
        self._due = {
            key: self._due[key] if self._due.get(key, (-1, 0))[0] == fence else (fence, now)
            for key, fence in fences.items()
        }
        late = [key for key, (_, since) in self._due.items() if now - since > LONGEST_DUE]
        for key in late:
            del self._due[key]
        return [
            f"{operation} is stuck at {operation.step!r}: {operation.error}"
            for operation in Operation.objects.filter(pk__in=late)
        ]
