"""The outbox: the only way to write events, in the transaction of the change that they report."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from django.db import connection
from django.db.models import QuerySet

from ml_platform.models import Event

BATCH = 1000
"""Rows in one statement."""


def record(events: Iterable[Event]) -> None:
    """Write events in the caller's transaction, so that a change and its event commit together.

    :raises RuntimeError: there is no transaction; a crash could leave one without the other.
    """
    _require_transaction()
    Event.objects.bulk_create(events, batch_size=BATCH)


def record_selected(rows: QuerySet[Any], columns: Mapping[str, Any]) -> None:
    """Write one event for each row, in one statement, however many rows there are.

    `columns` names columns of the event and, for each, an expression over the row.

    :raises RuntimeError: as for `record`.
    """
    _require_transaction()
    query = rows.order_by("pk").values_list(*columns.values()).query
    names = ", ".join(map(connection.ops.quote_name, columns))
    table = connection.ops.quote_name(Event._meta.db_table)  # noqa: SLF001 - Django's documented name
    select, parameters = query.sql_with_params()
    with connection.cursor() as cursor:
        # Only names of tables and columns are put into the text; values are parameters.
        cursor.execute(f"INSERT INTO {table} ({names}) {select}", parameters)


def _require_transaction() -> None:
    if not connection.in_atomic_block:
        raise RuntimeError("An event is recorded in the transaction of its change.")
