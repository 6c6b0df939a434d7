"""What a soak has met: counts, errors, and when something was disturbed on purpose."""

from __future__ import annotations

import threading
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field

GRACE = 10.0
"""Seconds after a disturbance for which it still explains what a client saw."""


@dataclass
class Record:
    """Everything that threads write down."""

    statuses: Counter[tuple[str, str]] = field(default_factory=Counter)
    """(what was asked, status and code) -> number."""
    counts: Counter[str] = field(default_factory=Counter)
    errors: list[str] = field(default_factory=list)
    _spells: list[tuple[str, float, float]] = field(default_factory=list)
    _lock: threading.Lock = field(default_factory=threading.Lock)

    def answer(self, asked: str, status: str) -> None:
        """One more answer."""
        with self._lock:
            self.statuses[asked, status] += 1

    def count(self, what: str) -> None:
        """One more of these."""
        with self._lock:
            self.counts[what] += 1

    def error(self, what: str) -> None:
        """What must not be."""
        with self._lock:
            self.errors.append(what)

    @contextmanager
    def disturbed(self, what: str) -> Iterator[None]:
        """Something is disturbed inside."""
        with self._lock:
            number = len(self._spells)
            self._spells.append((what, time.monotonic(), float("inf")))
        try:
            yield
        finally:
            with self._lock:
                _, begun, _ = self._spells[number]
                self._spells[number] = (what, begun, time.monotonic())

    def explains(self, since: float, *what: str) -> bool:
        """Whether one of these was disturbed between `since` and now, or a little before."""
        with self._lock:
            return any(name in what and end + GRACE >= since for name, _, end in self._spells)
