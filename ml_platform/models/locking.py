"""Writes to several rows at once. Each locks its rows in the order of their keys before it changes
the first, so that two that meet wait for one another in a line and never in a circle."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

from django.db import transaction
from django.db.models import Model, QuerySet

PART = 500
"""Keys in one statement, which databases limit."""


def lock_rows(rows: QuerySet[Any]) -> list[Any]:
    """Lock the rows in the caller's transaction, to change them; returns their keys, in order.

    Rows that refer to them may still be written. Judge the rows by a statement after this one:
    only that sees what was committed while this one waited.
    """
    return _keys(rows.select_for_update(no_key=True))


def update_rows(rows: QuerySet[Any], **values: Any) -> int:
    """Change the rows, in a transaction; returns how many there were."""
    with transaction.atomic():
        return sum(part.update(**values) for part in _parts(rows.model, lock_rows(rows)))


def delete_rows(rows: QuerySet[Any]) -> int:
    """Delete the rows that nobody holds just now, in a transaction; returns how many went.

    It waits for none: for what may as well be deleted the next time.
    """
    with transaction.atomic():
        free = _keys(rows.select_for_update(skip_locked=True))
        return sum(part.delete()[0] for part in _parts(rows.model, free))


def _keys(rows: QuerySet[Any]) -> list[Any]:
    return list(rows.order_by("pk").values_list("pk", flat=True))


def _parts(table: type[Model], keys: Sequence[Any]) -> Iterator[QuerySet[Any]]:
    for start in range(0, len(keys), PART):
        yield table._default_manager.filter(pk__in=keys[start : start + PART])  # noqa: SLF001 - Django's documented name
