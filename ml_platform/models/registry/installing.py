"""Install what `kept_rows` describes after migrations, and remove the triggers before them.

Django changes a table on SQLite by making another one in its place, which loses its triggers; and
SQLite renames no table while a trigger names one that is not there.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from django.db.backends.base.base import BaseDatabaseWrapper

from ml_platform.models.database import atomic, connection_of

from . import kept_rows

_TRIGGERS = {
    "sqlite": "SELECT name, sql FROM sqlite_master WHERE type = 'trigger' AND name GLOB 'mlpw_*'",
    "postgresql": (
        "SELECT proname, prosrc FROM pg_proc WHERE proname LIKE 'mlpw\\_%' "
        "AND prorettype = 'trigger'::regtype AND pronamespace = current_schema()::regnamespace"
    ),
}
_OTHERS = {
    "sqlite": f"SELECT name FROM sqlite_master WHERE name = '{kept_rows.PARTS}'",
    "postgresql": (
        f"SELECT proname FROM pg_proc WHERE proname = '{kept_rows.TRIGRAMS}' "
        "AND pronamespace = current_schema()::regnamespace"
    ),
}


def before_migrations(*, using: str, plan: Sequence[Any], **_: Any) -> None:
    """Remove the triggers if these migrations may change a table that they name.

    On PostgreSQL only ours may: a host's own migrations lose no trigger.
    """
    connection = connection_of(using)
    ours = any(migration.app_label == "ml_platform" for migration, _ in plan)
    if plan and connection.vendor in _TRIGGERS and (ours or connection.vendor == "sqlite"):
        _execute(connection, _dropping(connection, _installed(connection)))


def after_migrations(*, using: str, **_: Any) -> None:
    """Install what is not there as this release has it; without the tables, remove it."""
    connection = connection_of(using)
    if connection.vendor not in _TRIGGERS:
        return
    if not set(connection.introspection.table_names()) >= kept_rows.TABLES:
        _execute(connection, _removing(connection))
    elif not is_installed(using):
        install(using)


def is_installed(using: str) -> bool:
    """Whether the database has exactly the triggers of this release."""
    connection = connection_of(using)
    there, wanted = _installed(connection), kept_rows.statements(connection)
    return there.keys() == wanted.keys() and all(
        text in wanted[name][0] for name, text in there.items()
    )


def install(using: str) -> None:
    """Install the triggers in place of those that are there, and correct what they keep.

    Writers wait for the last transaction. The first time another one has written nearly all.
    """
    connection = connection_of(using)
    vendor = connection.vendor
    correct = kept_rows.comparison(vendor)
    if not _names(connection, _OTHERS[vendor]):
        with atomic(using):
            _execute(connection, [*correct, *kept_rows.indexes(vendor)])
    triggers = kept_rows.statements(connection).values()
    with atomic(using):
        drop = _dropping(connection, _installed(connection))
        _execute(connection, [*drop, *(line for lines in triggers for line in lines), *correct])


def _installed(connection: BaseDatabaseWrapper) -> dict[str, str]:
    with connection.cursor() as cursor:
        cursor.execute(_TRIGGERS[connection.vendor])
        return dict(cursor.fetchall())


def _names(connection: BaseDatabaseWrapper, query: str) -> list[str]:
    with connection.cursor() as cursor:
        cursor.execute(query)
        return [name for (name,) in cursor.fetchall()]


def _dropping(connection: BaseDatabaseWrapper, triggers: dict[str, str]) -> list[str]:
    if connection.vendor == "postgresql":
        return [f"DROP FUNCTION {name}() CASCADE" for name in triggers]
    return [f"DROP TRIGGER {name}" for name in triggers]


def _removing(connection: BaseDatabaseWrapper) -> list[str]:
    drop = (
        "DROP FUNCTION {}(text) CASCADE" if connection.vendor == "postgresql" else "DROP TABLE {}"
    )
    others = _names(connection, _OTHERS[connection.vendor])
    return [*_dropping(connection, _installed(connection)), *map(drop.format, others)]


def _execute(connection: BaseDatabaseWrapper, statements: Sequence[str]) -> None:
    with connection.cursor() as cursor:
        for statement in statements:
            cursor.execute(statement)
