"""Compare the counters that the database keeps with a recount, and correct them."""

from __future__ import annotations

from collections.abc import Iterator

from ml_platform.models.counting.install import differences, fold, recount
from ml_platform.models.database import atomic, write_alias
from ml_platform.services.findings.discrepancy import compare_counters as compare
from ml_platform.services.findings.exclusions import Reading
from ml_platform.services.findings.store import end_counters

from .models import Compared


def compare_counters(reading: Reading) -> Iterator[Compared]:
    """Fold the counters, and find whether they differ from a recount.

    If they do, they are counted anew when the finding is written, and the finding ends: a total
    comes from the rows that define it (law 1), so nobody has to decide anything.
    """
    fold()
    wrong = differences()
    yield Compared(compare(**wrong), [])
    if any(wrong.values()):
        with atomic():
            recount(write_alias())
            end_counters(sweep=reading.sweep, now=reading.now)
