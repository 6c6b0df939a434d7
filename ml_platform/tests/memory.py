"""How much memory a piece of work needs."""

from __future__ import annotations

import gc
import tracemalloc
from collections.abc import Callable

USUAL = (700, 10, 10)
"""How often Python looks for garbage where nobody says otherwise; the tests have it look rarely."""


def peak_of(work: Callable[[], object]) -> int:
    """The most bytes that Python held at once during some work, beside what was there before."""
    gc.collect()  # what other tests left is not of this work
    rarely = gc.get_threshold()
    gc.set_threshold(*USUAL)
    tracemalloc.start()
    try:
        work()
        return tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
        gc.set_threshold(*rarely)
