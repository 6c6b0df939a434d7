"""Emptying the database after tests that commit."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import pytest
from django.db.backends.postgresql.operations import DatabaseOperations


def delete_few_rows(patch: pytest.MonkeyPatch) -> None:
    """Have Django's flush on PostgreSQL delete the rows that there are.

    It truncates every table, which makes new files for all tables and indexes.
    """
    truncate = DatabaseOperations.sql_flush

    def sql_flush(
        self: DatabaseOperations, style: Any, tables: Sequence[str], **options: Any
    ) -> list[str]:
        if options.get("reset_sequences") or not tables:
            return truncate(self, style, tables, **options)
        names = {table: self.quote_name(table) for table in tables}
        asked = [
            f"SELECT '{table}' WHERE EXISTS (SELECT FROM {name})"  # noqa: S608 - names of models
            for table, name in names.items()
        ]
        with self.connection.cursor() as cursor:
            cursor.execute(" UNION ALL ".join(asked))
            filled = [names[table] for (table,) in cursor.fetchall()]
        # Each foreign key points into a table that is emptied too.
        unchecked = "SET LOCAL session_replication_role = replica"
        return [unchecked, *(f"DELETE FROM {name}" for name in filled)]  # noqa: S608

    patch.setattr(DatabaseOperations, "sql_flush", sql_flush)
