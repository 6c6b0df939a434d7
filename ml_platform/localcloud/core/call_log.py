"""The black box: every call a client made, and every change that really happened, in order."""

from __future__ import annotations

import itertools
import threading
from collections import deque
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass, field
from datetime import datetime
from fnmatch import fnmatchcase
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from .faults.orders import Fault

_KEPT = 1_000_000


@dataclass(eq=False)
class Call:
    """One call of a client (or, in `mutations`, one change that landed after its call).

    `outcome` is what the client received (a gRPC code name, `OK`, or `PENDING` while it runs);
    `mutating` is what really happened: a lost answer is `UNAVAILABLE` and still `mutating`.
    `caller` is the account of its credentials, '' without any.
    """

    seq: int
    at: datetime
    method: str
    resource: str = ""
    mutating: bool = False
    outcome: str = "PENDING"
    reason: str = ""
    caller: str = ""
    labels: dict[str, str] = field(default_factory=dict)
    detail: dict[str, Any] = field(default_factory=dict)


@dataclass(eq=False)
class Running:
    """The call that this thread serves, and the faults that apply to it."""

    call: Call
    late_seconds: float = 0.0
    stale_seconds: float | None = None
    ends: Fault | None = None
    """How its long-running operation ends instead."""


_running: ContextVar[Running | None] = ContextVar("localcloud_running", default=None)


class Effects:
    """Append-only, bounded to a million entries."""

    def __init__(self, now: Callable[[], datetime]) -> None:
        self._now = now
        self._seq = itertools.count(1)
        self._calls: deque[Call] = deque(maxlen=_KEPT)
        self._mutations: deque[Call] = deque(maxlen=_KEPT)
        self._judges: list[Callable[[Call], None]] = []
        self._lock = threading.Lock()

    def calls(self, method: str = "*") -> list[Call]:
        """The calls of clients, oldest first; `method` is a glob such as `ModelService.*`."""
        with self._lock:
            return [call for call in self._calls if fnmatchcase(call.method, method)]

    def count(self, method: str = "*") -> int:
        """How many calls clients made."""
        return len(self.calls(method))

    def mutations(self, method: str = "*") -> list[Call]:
        """What really changed, oldest first, late landings included."""
        with self._lock:
            return [call for call in self._mutations if fnmatchcase(call.method, method)]

    def subscribe(self, judge: Callable[[Call], None]) -> Callable[[], None]:
        """Have `judge` called at each change, before its answer is sent; returns the way out."""
        self._judges.append(judge)
        return lambda: self._judges.remove(judge)

    def begin(self, method: str, resource: str = "", reason: str = "") -> Call:
        """Write down that a call came in."""
        call = Call(next(self._seq), self._now(), method, resource, reason=reason)
        with self._lock:
            self._calls.append(call)
        return call

    def record(
        self,
        resource: str = "",
        *,
        labels: Mapping[str, str] | None = None,
        detail: Mapping[str, Any] | None = None,
    ) -> None:
        """Record, at the moment of the change, that the running call changed `resource`."""
        running = _running.get()
        call = Call(0, self._now(), "Internal") if running is None else running.call
        call.resource = resource or call.resource
        call.labels.update(labels or {})
        call.detail.update(detail or {})
        with self._lock:
            if call.seq == 0:
                call.seq, call.outcome = next(self._seq), "LANDED"
            if not call.mutating:
                self._mutations.append(call)
            call.mutating = True
        for judge in tuple(self._judges):
            judge(call)

    def reset(self) -> None:
        """Clear all records and subscribers."""
        with self._lock:
            self._calls.clear()
            self._mutations.clear()
            self._judges.clear()
            self._seq = itertools.count(1)


def running() -> Running | None:
    """The call being served in this thread, if any."""
    return _running.get()


@contextmanager
def serving(run: Running) -> Iterator[None]:
    """Make `run` the call of this thread for a while."""
    token = _running.set(run)
    try:
        yield
    finally:
        _running.reset(token)
