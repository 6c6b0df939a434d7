"""Install the triggers, count anew, and fold what they have added."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from django.db.backends.base.base import BaseDatabaseWrapper

from ml_platform.models.database import atomic, connection_of, write_alias
from ml_platform.models.registry import kept_rows
from ml_platform.models.registry.listed_model import ListedModel
from ml_platform.models.registry.model_count import ModelCount

from . import postgresql, sqlite
from .rules import COPIED, PROPERTIES, TABLES, Rules

VENDORS: Mapping[str, Any] = {"sqlite": sqlite, "postgresql": postgresql}


def rules_for(connection: BaseDatabaseWrapper) -> Rules:
    """The rules in the SQL of this connection."""
    return Rules(connection, VENDORS[connection.vendor].DIFFERS)


def is_installed(alias: str) -> bool:
    """Whether the database has exactly the triggers of this release."""
    connection = connection_of(alias)
    vendor = VENDORS[connection.vendor]
    return bool(vendor.installed(connection) == vendor.triggers(rules_for(connection)))


def has_tables(alias: str) -> bool:
    """Whether the database has the tables, of this release or another."""
    there = connection_of(alias).introspection.table_names()
    ours = {table._meta.db_table for table in TABLES}  # noqa: SLF001
    return ours | kept_rows.TABLES <= set(there)


def install(alias: str) -> None:
    """Install the triggers in place of those that are there, and count and compare anew.

    Writers wait for the last transaction. The first time another one has written the names and
    metrics, and indexed the parts of names, which takes longer.
    """
    connection = connection_of(alias)
    vendor, rules = VENDORS[connection.vendor], rules_for(connection)
    correct = kept_rows.comparison(connection.vendor)
    if not has_index(alias):
        with atomic(alias):
            _execute(connection, [*correct, *kept_rows.indexes(connection.vendor)])
    with atomic(alias):
        _execute(connection, [*vendor.dropping(connection), *vendor.creating(rules), *correct])
        recount(alias)


def has_index(alias: str) -> bool:
    """Whether the database has an index of the parts of names."""
    connection = connection_of(alias)
    with connection.cursor() as cursor:
        cursor.execute(kept_rows.finding_index(connection.vendor))
        return bool(cursor.fetchall())


def remove_index(alias: str) -> None:
    """Remove that index, which on SQLite stays when its table is gone."""
    connection = connection_of(alias)
    _execute(connection, [kept_rows.removing_index(connection.vendor)])


def uninstall(alias: str) -> None:
    """Remove the triggers, and on PostgreSQL their functions."""
    connection = connection_of(alias)
    with atomic(alias):
        _execute(connection, VENDORS[connection.vendor].dropping(connection))


def recount(alias: str) -> None:
    """Write both tables anew, from the rows that they are derived from.

    On PostgreSQL writers wait meanwhile at their first change of a `ListedModel`: what they have
    added and not committed would be counted twice.
    """
    connection = connection_of(alias)
    rules = rules_for(connection)
    with atomic(alias):
        if connection.vendor == "postgresql":
            _execute(connection, [postgresql.lock(rules)])
        _execute(connection, rules.recount())


def fold() -> None:
    """Replace the counts of the same properties by their sum, beside others who add to them.

    Each row is taken by one transaction only, and what is added meanwhile stays.
    """
    connection = connection_of(write_alias())
    rules = rules_for(connection)
    with atomic():
        _execute(connection, VENDORS[connection.vendor].folding(rules))


def differences() -> dict[str, int]:
    """How many rows of both tables are not as a recount would write them, in two statements."""
    connection = connection_of(write_alias())
    if connection.vendor not in _COMPARING:
        _COMPARING[connection.vendor] = _comparing(rules_for(connection))
    found = {}
    with connection.cursor() as cursor:
        for name, statement in _COMPARING[connection.vendor].items():
            cursor.execute(statement)
            found[name] = sum(number for (number,) in cursor.fetchall())
    return found


_COMPARING: dict[str, Mapping[str, str]] = {}
"""The statements by vendor: they are the same for each connection, and compiling takes longer than
running them."""


def _comparing(rules: Rules) -> Mapping[str, str]:
    listed = f"SELECT {', '.join(rules.columns(ListedModel, list(COPIED)))} FROM "
    shared = ", ".join(rules.columns(ModelCount, PROPERTIES))
    counted = (
        f"SELECT {shared}, SUM(n), SUM(versions) FROM {rules.table(ModelCount)} "
        f"GROUP BY {shared} HAVING SUM(n) <> 0 OR SUM(versions) <> 0"
    )
    return {
        "models": _differing(listed + rules.table(ListedModel), rules.truth),
        "counts": _differing(counted, rules.recounted),
    }


def _differing(stored: str, right: str) -> str:
    """Count the rows that one query has and the other has not, in either direction."""
    return " UNION ALL ".join(
        f"SELECT COUNT(*) FROM "
        f"(SELECT * FROM ({one}) AS a EXCEPT SELECT * FROM ({other}) AS b) AS c"
        for one, other in ((stored, right), (right, stored))
    )


def _execute(connection: BaseDatabaseWrapper, statements: Sequence[str]) -> None:
    with connection.cursor() as cursor:
        for statement in statements:
            cursor.execute(statement)
