"""The outbox: the only way to write events, in the transaction of the change that they report."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from django.db.models import BooleanField, QuerySet, Value
from django.db.models.functions import Cast

from ml_platform.models import Event
from ml_platform.models.database import write_connection
from ml_platform.models.states import EventKind

from . import hooks

BATCH = 1000
"""Rows in one statement."""


def record(events: Iterable[Event]) -> None:
    """Write events in the caller's transaction, so that a change and its event commit together.

    :raises RuntimeError: there is no transaction; a crash could leave one without the other.
    """
    _require_transaction()
    written = list(events)
    for event in written:
        event.sent = not hooks.is_heard(event.kind)
    Event.objects.bulk_create(written, batch_size=BATCH)
    hooks.send_later({event.kind for event in written})


def record_selected(kind: EventKind, rows: QuerySet[Any], columns: Mapping[str, Any]) -> None:
    """Write one event for each row, in one statement, however many rows there are.

    `columns` names columns of the event and, for each, an expression over the row.

    :raises RuntimeError: as for `record`.
    """
    _require_transaction()
    columns = {
        "kind": Value(kind.value),
        "sent": Cast(Value(not hooks.is_heard(kind)), BooleanField()),
        **columns,
    }
    query = rows.order_by("pk").values_list(*columns.values()).query
    connection = write_connection()
    names = ", ".join(map(connection.ops.quote_name, columns))
    table = connection.ops.quote_name(Event._meta.db_table)  # noqa: SLF001 - Django's documented name
    select, parameters = query.sql_with_params()
    with connection.cursor() as cursor:
        # Only names of tables and columns are put into the text; values are parameters.
        cursor.execute(f"INSERT INTO {table} ({names}) {select}", parameters)
    hooks.send_later([kind])


def _require_transaction() -> None:
    if not write_connection().in_atomic_block:
        raise RuntimeError("An event is recorded in the transaction of its change.")
