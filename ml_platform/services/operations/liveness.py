"""Whether workers take the work that is due, by the rows that operations and tasks have left.

There is no heartbeat: a worker without work writes nothing, and is not missed.
"""

from __future__ import annotations

import uuid
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

from django.conf import settings as django_settings
from django.db import router
from django.db.models import Count, DateTimeField, F, Max, Min, OuterRef, QuerySet, Subquery
from django.db.models.functions import Coalesce, Greatest
from django.utils.module_loading import import_string

from ml_platform.conf import get_settings
from ml_platform.models import Event, Operation
from ml_platform.models.prepared import Prepared, number
from ml_platform.models.states import LIVE_OPERATION_STATUSES
from ml_platform.text import rough

from .store import FURTHEST, due, furthest
from .work import Clock, lease_end

GRACE = timedelta(minutes=2)
"""A worker takes a task within a second; `resume_operations` takes each minute what was lost."""
BEHIND = timedelta(minutes=10)
"""What waits longer, although workers take work, is too much for them."""
WAITS = "It waits for a worker."
TASKS, TASK_ROWS, QUEUE = "django_tasks_db", "django_tasks_db.models.DBTaskResult", "default"
NEWEST = 100
"""Operations, the newest first, whose ends say when work was done where no task row does."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Liveness:
    """What is due, and when a worker was last seen at work."""

    now: datetime
    due: int = 0
    due_since: datetime | None = None
    """When the oldest due operation became due; None if none is due."""
    taken_at: datetime | None = None
    """When work was last taken or held; None if no row says so, or nothing has waited long."""

    @property
    def stalled(self) -> str:
        """That no worker takes work, and what to do; '' if one does, or nothing has waited."""
        if self.due_since is None:
            return ""
        idle = self.now - max(self.due_since, self.taken_at or self.due_since)
        return f"No worker has taken work for {rough(idle)}. {advice()}" if idle >= GRACE else ""

    @property
    def behind(self) -> str:
        """That workers take work, but not enough of it; '' if they do."""
        if self.due_since is None or self.stalled or self.now - self.due_since < BEHIND:
            return ""
        waited = rough(self.now - self.due_since)
        return f"The oldest due operation has waited for {waited}. Start another worker."


def read_liveness(*, now: datetime) -> Liveness:
    """Read it in one statement, and two more if something has waited for longer than GRACE."""
    [found] = _due(now=now, ahead=furthest(now))
    if found["oldest"] is None:
        return Liveness(now=now)
    since = min(found["oldest"], now)
    taken = last_taken(now=now) if now - since >= GRACE else None
    return Liveness(now=now, due=found["number"], due_since=since, taken_at=taken)


@Prepared
def _due(*, now: Any, ahead: Any) -> QuerySet[Any, dict[str, Any]]:
    return number(_with_since(due(now, ahead)), number=Count("pk"), oldest=Min("since"))


def why_waiting(rows: Iterable[Operation], *, clock: Clock) -> Mapping[uuid.UUID, str]:
    """Why nobody works on those of the operations that have long been due; the others are left out.

    It reads nothing if all have ended.
    """
    live = [row.pk for row in rows if row.status in LIVE_OPERATION_STATUSES]
    if not live:
        return {}
    now = clock()
    late = _with_since(due(now)).filter(pk__in=live, since__lte=now - GRACE)
    waiting = list(late.values_list("pk", flat=True))
    return dict.fromkeys(waiting, read_liveness(now=now).stalled or WAITS) if waiting else {}


def last_taken(*, now: datetime) -> datetime | None:
    """Return when a worker last took or held work; None if no row says so."""
    return max((min(seen, now) for seen in _signs(now)), default=None)


def backend() -> str:
    """Return the dotted path of the backend whose workers take our tasks."""
    tasks = getattr(django_settings, "TASKS", None) or {}
    return str((tasks.get("default") or {}).get("BACKEND", ""))


def keeps_tasks() -> bool:
    """Whether the rows of tasks say when a worker took one."""
    return backend().startswith(TASKS)


def advice() -> str:
    """Return what to start."""
    return "Start `manage.py db_worker`." if keeps_tasks() else f"Start a worker of {backend()}."


def _with_since(rows: QuerySet[Operation]) -> QuerySet[Any]:
    """Annotate since when a due operation is due: nobody has worked on it after its newest event,
    and after the end of the pause or of the lease that it had."""
    events = Event.objects.filter(operation=OuterRef("pk")).order_by("-seq")
    others = (F("next_attempt_at"), F("lease_until"), Subquery(events.values("at")[:1]))
    known = (Coalesce(one, F("created_at")) for one in others)
    since = Greatest(F("created_at"), *known, output_field=DateTimeField())
    return rows.annotate(since=since)


def _signs(now: datetime) -> Iterator[datetime]:
    """Yield when work was last held, and taken or ended. An operation that waited for the lock of
    one that has just ended is due since long ago, but has waited for no worker."""
    held = Operation.objects.live().filter(lease_until__lte=lease_end(now) + FURTHEST)
    if until := held.aggregate(until=Max("lease_until"))["until"]:
        yield until - timedelta(seconds=get_settings().LEASE_SECONDS)
    if keeps_tasks():
        tasks = import_string(TASK_ROWS)
        rows = tasks.objects.using(router.db_for_write(tasks)).filter(queue_name=QUEUE)
        times = rows.aggregate(started=Max("started_at"), finished=Max("finished_at"))
        yield from (seen for seen in times.values() if seen)
    else:
        newest = Operation.objects.filter(fence__gt=0).order_by("-created_at")[:NEWEST]
        yield from (seen for seen in newest.values_list("finished_at", flat=True) if seen)
