"""The sender of the signals: from the rows of the table Event, once they are committed."""

from __future__ import annotations

import logging
from collections.abc import Collection
from types import MappingProxyType

from django.db import DatabaseError

from ml_platform.compat import task
from ml_platform.models import Event
from ml_platform.models.database import atomic, on_commit, write_connection
from ml_platform.models.locking import lock_free_row
from ml_platform.models.states import EventKind
from ml_platform.signals import SIGNALS, Happened

logger = logging.getLogger("ml_platform.hooks")


def is_heard(kind: str) -> bool:
    """Whether a receiver is connected to the signal of that kind."""
    signal = SIGNALS.get(kind)
    return signal is not None and signal.has_listeners(Event)


def send_later(kinds: Collection[str]) -> None:
    """Have a worker send the signals of events of these kinds, once they are committed."""
    if any(map(is_heard, kinds)):
        on_commit(send_signals.enqueue, robust=True)


@task()
def send_signals() -> None:
    """Send what is due; a task, so that no receiver delays a page, the API or an operation."""
    send_due()


def send_due() -> int:
    """Send the signal of each event that has not been sent, oldest first; returns their number.

    An event is marked in the transaction in which its receivers run: what they write to this
    database is committed exactly once, also when this process ends in between.
    """
    sent = 0
    while _send_next():
        sent += 1
    return sent


def _send_next() -> bool:
    with atomic():
        event = lock_free_row(Event.objects.filter(sent=False, kind__in=SIGNALS))
        if event is None:
            return False
        event.sent = True
        event.save(update_fields=["sent"])
        _send(event)
    return True


def _send(event: Event) -> None:
    """A receiver that fails is logged; what it and the others wrote stays only if it can."""
    with atomic():
        answers = SIGNALS[event.kind].send_robust(Event, event=_happened(event))
        failed = [answer for _, answer in answers if isinstance(answer, Exception)]
        if any(isinstance(error, DatabaseError) for error in failed):
            write_connection().set_rollback(True)
    for error in failed:
        logger.error("A receiver of %s failed: event %s", event.kind, event.pk, exc_info=error)


def _happened(event: Event) -> Happened:
    return Happened(
        id=event.pk,
        kind=EventKind(event.kind),
        at=event.at,
        project_id=event.project_id,
        subject_type=event.subject_type,
        subject_id=event.subject_id,
        subject_name=event.subject_name,
        model_id=event.lineage_id,
        operation_id=event.operation_id,
        actor=event.actor_label,
        origin=event.origin,
        before=MappingProxyType(event.before),
        after=MappingProxyType(event.after),
    )
