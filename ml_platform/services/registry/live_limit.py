"""How many models callers may have verified by Vertex AI in a minute, counted in the database.

Vertex AI allows 600 reads a minute in a project and region; what callers cause is a fifth of them.
"""

from __future__ import annotations

from datetime import timedelta
from typing import Any

from ml_platform.models import VerificationCount
from ml_platform.models.clock import database_now
from ml_platform.models.database import atomic
from ml_platform.models.locking import lock_rows

OF_A_CALLER, OF_ALL = 30, 120
"""Models in a minute of the clock, of one user and of all of them together."""
ALL = ""


def take_reads(*, wanted: int, user_id: Any) -> tuple[int, str]:
    """Count up to `wanted` reads for the user; returns how many, and why not all ('' if all).

    The counts are locked, so that processes share them. SQLite locks no rows, but its transaction
    begins with a write, and there is one writer.
    """
    callers = (ALL, str(user_id))
    with atomic():
        now = database_now()
        unused = [VerificationCount(caller=one, minute=now, count=0) for one in callers]
        VerificationCount.objects.bulk_create(unused, ignore_conflicts=True)
        rows = VerificationCount.objects.filter(pk__in=callers)
        lock_rows(rows)
        minute = database_now().replace(second=0, microsecond=0)  # after the wait for the lock
        counted = dict(rows.filter(minute=minute).values_list("caller", "count"))
        all_left, own_left = OF_ALL - counted.get(ALL, 0), OF_A_CALLER - counted.get(callers[1], 0)
        reads = min(wanted, all_left, own_left)
        for one in callers:
            rows.filter(pk=one).update(minute=minute, count=counted.get(one, 0) + reads)
    if reads == wanted:
        return reads, ""
    mine = own_left <= all_left
    limit = f"{OF_A_CALLER} models of one caller" if mine else f"{OF_ALL} models of all callers"
    again = minute + timedelta(minutes=1)
    return reads, f"Vertex AI is asked about {limit} a minute. Try again at {again:%H:%M:%S} UTC."
