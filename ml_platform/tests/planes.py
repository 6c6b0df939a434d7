"""The rows of our database and of the local cloud, kept once and put back before each test."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Self

from django.db import connection, transaction

from ml_platform.localcloud import LocalCloud

Rows = Mapping[str, Sequence[tuple[Any, ...]]]
MADE_ANEW = {
    *("django_content_type", "auth_permission", "django_session"),
    *("ml_platform_listedmodel", "ml_platform_modelcount"),
    *("ml_platform_modelname", "ml_platform_modelmetric"),
}
"""Tables that Django fills after each emptying, that of the logins, and those of our triggers."""
_TABLES = "SELECT name FROM sqlite_master WHERE type='table' AND name != 'sqlite_sequence'"


@dataclass(frozen=True, slots=True)
class Planes:
    """Both as they were at one moment."""

    ours: Rows
    theirs: Rows

    @classmethod
    def kept(cls, cloud: LocalCloud) -> Self:
        """Read both."""
        names = set(connection.introspection.django_table_names(only_existing=True)) - MADE_ANEW
        with connection.cursor() as cursor:
            ours = {}
            for name in names:
                cursor.execute(f"SELECT * FROM {connection.ops.quote_name(name)}")  # noqa: S608
                ours[name] = cursor.fetchall()
        tables = [name for (name,) in cloud.store.execute(_TABLES)]
        read = {name: cloud.store.execute(f'SELECT * FROM "{name}"') for name in tables}  # noqa: S608
        return cls(ours, read)

    def put_back(self, cloud: LocalCloud) -> None:
        """Write both into an empty database and an empty local cloud, which goes on from there."""
        # The foreign keys are checked at the commit, so the order of the tables does not matter.
        with transaction.atomic(), connection.cursor() as cursor:
            for name, rows in self.ours.items():
                if rows:
                    marks = ", ".join(["%s"] * len(rows[0]))
                    into = f"INSERT INTO {connection.ops.quote_name(name)} VALUES ({marks})"  # noqa: S608
                    cursor.executemany(into, rows)
        with cloud.store.transaction():
            for name, rows in self.theirs.items():
                for row in rows:
                    marks = ", ".join("?" * len(row))
                    cloud.store.execute(f'INSERT INTO "{name}" VALUES ({marks})', row)  # noqa: S608
        for part in (cloud.storage, cloud.core.operations, cloud.pipelines, cloud.scheduler):
            part.rearm()
