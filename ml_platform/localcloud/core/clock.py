"""The cloud's own time: real time until a caller moves it, with timers that fire in order."""

from __future__ import annotations

import heapq
import itertools
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from datetime import UTC, datetime, timedelta
from fnmatch import fnmatchcase
from functools import partial

Timer = tuple[datetime, int, str, Callable[[], None]]
_AGREE = timedelta(0)
_skew: ContextVar[timedelta] = ContextVar("localcloud_skew", default=_AGREE)
Carry = Callable[[Callable[[], None]], Callable[[], None]]


class Clock:
    """UTC time that can be advanced, set and frozen.

    Timers due within an `advance` run in the caller's thread, in time order, and each sees `now()`
    at exactly its own due time. Timers due by real time run in one background thread. `carried`
    wraps what a timer does, at the time when it is set.
    """

    def __init__(self, carried: Carry = lambda work: work) -> None:
        self._carried = carried
        self._offset = timedelta(0)
        self._skews: dict[str, timedelta] = {}
        self._pinned: datetime | None = None
        self._frozen = False
        self._advancing = False
        self._timers: list[Timer] = []
        self._live: dict[str, int] = {}
        self._order = itertools.count()
        self._wake = threading.Condition(threading.RLock())
        self._one_advance = threading.RLock()
        self._stopped = True
        self._thread: threading.Thread | None = None

    def now(self) -> datetime:
        """The time, UTC and aware, on the clock of the service whose call runs here."""
        return self.time() + _skew.get()

    def time(self) -> datetime:
        """The cloud's time, whatever the clock of a service shows."""
        with self._wake:
            if self._pinned is not None:
                return self._pinned
            return datetime.now(UTC) + self._offset

    def skew(self, method: str, seconds: float) -> None:
        """Set the clock of the services whose methods match the glob `seconds` ahead.

        A negative number sets it back, 0 right. What they create from now on has their time.
        """
        self._skews[method] = timedelta(seconds=seconds)

    @contextmanager
    def of(self, method: str) -> Iterator[None]:
        """Read the clock of the service of that method for a while."""
        found = [skew for glob, skew in self._skews.items() if fnmatchcase(method, glob)]
        token = _skew.set(found[-1] if found else _AGREE)
        try:
            yield
        finally:
            _skew.reset(token)

    @property
    def advancing(self) -> bool:
        """Whether a caller is moving time forward now."""
        return self._advancing

    def call_at(self, when: datetime, key: str, fn: Callable[[], None]) -> None:
        """Run `fn` once at `when`; a timer of the same `key` is replaced.

        `when` is a time of the clock that `now` reads here, and `fn` reads the same clock.
        """
        skew = _skew.get()
        when, fn = when - skew, fn if skew == _AGREE else partial(_with_skew, skew, fn)
        with self._wake:
            number = next(self._order)
            self._live[key] = number
            heapq.heappush(self._timers, (when, number, key, self._carried(fn)))
            self._wake.notify_all()

    def cancel(self, key: str) -> None:
        """Forget the timer of that key, if there is one."""
        with self._wake:
            self._live.pop(key, None)

    def pending(self) -> list[tuple[datetime, str]]:
        """The timers still to fire, soonest first."""
        with self._wake:
            return [
                (when, key)
                for when, number, key, _ in sorted(self._timers, key=lambda t: t[:2])
                if self._live.get(key) == number
            ]

    def advance(self, seconds: float) -> None:
        """Move time forward, firing every timer on the way in this thread."""
        with self._one_advance:
            start = self.time()
            target = start + timedelta(seconds=seconds)
            with self._wake:
                self._advancing = True
            try:
                while (timer := self._take(target)) is not None:
                    with self._wake:
                        self._pinned = max(timer[0], self._pinned or start)
                    timer[3]()
            finally:
                with self._wake:
                    self._advancing = False
                    self._settle(target)

    def set(self, when: datetime) -> None:
        """Make it `when`: forward fires the timers on the way, backward only turns the hands."""
        seconds = (when - self.time()).total_seconds()
        if seconds > 0:
            self.advance(seconds)
            return
        with self._wake:
            self._settle(when)

    def freeze(self) -> None:
        """Stop time; only `advance` and `set` move it from here."""
        with self._wake:
            self._pinned, self._frozen = self.time(), True

    def thaw(self) -> None:
        """Let time run again from the frozen moment."""
        with self._wake:
            now, self._frozen = self.time(), False
            self._settle(now)

    def reset(self) -> None:
        """Back to real time, without a single timer."""
        with self._one_advance, self._wake:
            self._timers.clear()
            self._live.clear()
            self._offset, self._pinned, self._frozen = timedelta(0), None, False
            self._skews.clear()

    def start(self) -> None:
        """Begin to fire timers by real time."""
        self._stopped = False
        self._thread = threading.Thread(target=self._run, name="localcloud-clock", daemon=True)
        self._thread.start()

    def stop(self) -> None:
        """End the background thread; a running timer has a second to finish."""
        with self._wake:
            self._stopped = True
            self._wake.notify_all()
        if self._thread is not None and self._thread is not threading.current_thread():
            self._thread.join(1.0)

    def _settle(self, now: datetime) -> None:
        self._offset = now - datetime.now(UTC)
        self._pinned = now if self._frozen else None
        self._wake.notify_all()

    def _take(self, until: datetime) -> Timer | None:
        with self._wake:
            while self._timers and self._timers[0][0] <= until:
                timer = heapq.heappop(self._timers)
                if self._live.get(timer[2]) == timer[1]:
                    del self._live[timer[2]]
                    return timer
            return None

    def _run(self) -> None:
        while True:
            with self._wake:
                if self._stopped:
                    return
                timer = None if self._advancing else self._take(self.time())
                if timer is None:
                    self._wake.wait(self._seconds_to_next())
                    continue
            timer[3]()

    def _seconds_to_next(self) -> float | None:
        if self._advancing or self._frozen or not self._timers:
            return None
        return max(0.0, (self._timers[0][0] - self.time()).total_seconds())


def _with_skew(skew: timedelta, fn: Callable[[], None]) -> None:
    token = _skew.set(skew)
    try:
        fn()
    finally:
        _skew.reset(token)
