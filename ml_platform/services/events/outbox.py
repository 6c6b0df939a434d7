"""The outbox: the only way to write events, in the transaction of the change that they report."""

from __future__ import annotations

from collections.abc import Iterable

from django.db import connection

from ml_platform.models import Event

BATCH = 1000
"""Rows in one statement."""


def record(events: Iterable[Event]) -> None:
    """Write events in the caller's transaction, so that a change and its event commit together.

    :raises RuntimeError: there is no transaction; a crash could leave one without the other.
    """
    if not connection.in_atomic_block:
        raise RuntimeError("An event is recorded in the transaction of its change.")
    Event.objects.bulk_create(events, batch_size=BATCH)
