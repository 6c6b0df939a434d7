"""Row locks, always taken in one order, so that two transactions cannot deadlock.

Tables: RegisteredModel, DeployedEndpoint, TrainingRun, then any other. Rows of a table: by primary
key, all of them before the first is changed.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any, TypeVar

from django.db.models import Model, QuerySet

from .database import atomic

Row = TypeVar("Row", bound=Model)

PART = 500
"""Keys in one statement; databases limit their number."""


def lock_row(rows: QuerySet[Row]) -> Row:
    """Lock the only row in the caller's transaction and return it as it is after the wait.

    :raises DoesNotExist: no row matches.
    """
    return rows.select_for_update(no_key=True).get()


def lock_free_row(rows: QuerySet[Row]) -> Row | None:
    """Lock, in the caller's transaction, the first row that no transaction has locked."""
    return rows.order_by("pk").select_for_update(skip_locked=True).first()


def lock_rows(rows: QuerySet[Any]) -> list[Any]:
    """Lock the rows in the caller's transaction, to change them; returns their keys, in order.

    Rows that refer to them may still be inserted. Read the rows again after this call: what was
    committed while it waited is visible only to a later statement.
    """
    return _keys(rows.select_for_update(no_key=True))


def update_rows(rows: QuerySet[Any], **values: Any) -> int:
    """Change the rows, in a transaction; returns how many there were."""
    with atomic():
        return sum(part.update(**values) for part in _parts(rows.model, lock_rows(rows)))


def delete_rows(rows: QuerySet[Any]) -> int:
    """Delete the rows that no transaction has locked, in a transaction; returns how many.

    It does not wait: use it for rows that a later call may delete as well.
    """
    with atomic():
        free = _keys(rows.select_for_update(skip_locked=True))
        return sum(part.delete()[0] for part in _parts(rows.model, free))


def _keys(rows: QuerySet[Any]) -> list[Any]:
    return list(rows.order_by("pk").values_list("pk", flat=True))


def _parts(table: type[Model], keys: Sequence[Any]) -> Iterator[QuerySet[Any]]:
    for start in range(0, len(keys), PART):
        yield table._default_manager.filter(pk__in=keys[start : start + PART])  # noqa: SLF001 - Django's documented name
