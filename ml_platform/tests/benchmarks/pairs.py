"""Measuring: two things in turn, A B A B, so that a busy machine is busy for both."""

from __future__ import annotations

import gc
import time
from collections.abc import Callable
from dataclasses import dataclass
from statistics import median
from typing import Any

FEWEST = 5
PATIENCE = 20.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Figure:
    """Ours against theirs, as the ratio of medians, and what it should be at most."""

    name: str
    ours: float
    theirs: float
    goal: float
    unit: str = "ms"
    note: str = ""

    @property
    def ratio(self) -> float:
        return self.ours / self.theirs

    @property
    def met(self) -> bool:
        return self.ratio <= self.goal

    def __str__(self) -> str:
        said = "" if self.met else "  MISSED"
        note = f"  ({self.note})" if self.note else ""
        return (
            f"{self.name:<52} {self.ours:10.2f} {self.theirs:10.2f} {self.unit:<4}"
            f"{self.ratio:7.2f}  goal {self.goal:.1f}{said}{note}"
        )


def compare(
    name: str,
    ours: Callable[[], Any],
    theirs: Callable[[], Any],
    *,
    goal: float,
    rounds: int,
    warm: int = 2,
    note: str = "",
    clock: Callable[[], float] = time.perf_counter,
) -> Figure:
    """Time both in turn, `rounds` times each, after some that do not count.

    What takes long is asked less often: after PATIENCE seconds FEWEST pairs are enough.
    """
    for _ in range(warm):
        ours()
        theirs()
    gc.collect()
    pairs: list[tuple[float, float]] = []
    ends = time.perf_counter() + PATIENCE
    while len(pairs) < rounds and (len(pairs) < FEWEST or time.perf_counter() < ends):
        pairs.append((_seconds(ours, clock), _seconds(theirs, clock)))
    a, b = (median(side) * 1000 for side in zip(*pairs, strict=True))
    return Figure(name=name, ours=a, theirs=b, goal=goal, note=note)


def _seconds(work: Callable[[], Any], clock: Callable[[], float]) -> float:
    started = clock()
    work()
    return clock() - started
