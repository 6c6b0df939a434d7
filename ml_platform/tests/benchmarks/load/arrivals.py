"""Requests that arrive at a fixed rate, whether or not the earlier ones were answered."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import count
from statistics import median

THREADS = 64
"""Requests that can be under way at once; what is late then waits, and its wait counts."""


@dataclass(frozen=True, slots=True)
class Answer:
    """When a request was due, in seconds from the start, and how long after that its answer came:
    a server that stands still is late for all that were due meanwhile."""

    due: float
    seconds: float
    error: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Summary:
    """What some answers have in common; times are in milliseconds."""

    answers: int
    p50: float
    p99: float
    errors: int


def arrive(
    make_asker: Callable[[], Callable[[int], str]], *, rate: float, seconds: float
) -> list[Answer]:
    """Ask `rate` times a second for so many seconds; the answers in the order of their end.

    `make_asker` makes what one thread asks with: it gets the number of the request, and returns
    what was wrong with the answer, or ''.
    """
    answers: list[Answer] = []
    numbers, begun = count(), time.monotonic() + 0.1

    def ask_in_turn() -> None:
        ask = make_asker()
        while (due := (number := next(numbers)) / rate) < seconds:
            if (wait := begun + due - time.monotonic()) > 0:
                time.sleep(wait)
            error = ask(number)
            answers.append(Answer(due, time.monotonic() - begun - due, error))

    threads = [threading.Thread(target=ask_in_turn, daemon=True) for _ in range(THREADS)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    return answers


def summary(answers: Sequence[Answer]) -> Summary:
    """Of at least one answer; the 99th percentile is that of the nearest rank."""
    times = sorted(answer.seconds * 1000 for answer in answers)
    return Summary(
        answers=len(times),
        p50=median(times),
        p99=times[-(len(times) // 100) - 1],
        errors=sum(bool(answer.error) for answer in answers),
    )
