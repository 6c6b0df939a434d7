"""Rows that the database writes as JSON text, the same on both databases.

It takes a database a few microseconds to write a row, and Python and the ORM fifty times as long to
read its columns, convert them, and write them again.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from django.db.models import (
    BooleanField,
    DateTimeField,
    Expression,
    Field,
    Func,
    JSONField,
    TextField,
)
from django.db.models.functions import Cast

_MOMENT = (
    "replace(to_char({} AT TIME ZONE 'UTC', 'YYYY-MM-DD\"T\"HH24:MI:SS.US\"Z\"'), '.000000', '')"
)


class _Written(TextField):  # type: ignore[type-arg]
    """The type of what is JSON already."""


_SQLITE: Mapping[type[Field[Any, Any]], str] = {
    BooleanField: "json(CASE {} WHEN 1 THEN 'true' WHEN 0 THEN 'false' END)",
    # Django stores UTC, as the check of USE_TZ demands.
    DateTimeField: "replace({}, ' ', 'T') || 'Z'",
    JSONField: "json({})",
    _Written: "json({})",
}
_POSTGRESQL: Mapping[type[Field[Any, Any]], str] = {DateTimeField: _MOMENT}
"""How a column of that type becomes what JSON has; other types are right as they are."""


class JsonObject(Func):
    """An object of these fields. Times are as RFC 3339 has them, in UTC.

    In place of Django's JSONObject, which writes a boolean of SQLite as a number and a time as it
    is stored, and which has PostgreSQL parse each object to keep its keys in another order.
    """

    output_field = _Written()

    def __init__(self, **fields: Any) -> None:
        super().__init__(*fields.values())
        self.names = tuple(fields)

    def as_sqlite(self, compiler: Any, connection: Any, **_: Any) -> tuple[str, list[Any]]:  # type: ignore[override]
        """Its SQL on SQLite."""
        return self._write(compiler, "json_object({})", _SQLITE)

    def as_postgresql(self, compiler: Any, connection: Any, **_: Any) -> tuple[str, list[Any]]:
        """Its SQL on PostgreSQL."""
        return self._write(compiler, "json_build_object({})", _POSTGRESQL)

    def _write(
        self, compiler: Any, function: str, kinds: Mapping[type[Field[Any, Any]], str]
    ) -> tuple[str, list[Any]]:
        parts: list[str] = []
        params: list[Any] = []
        for name, source in zip(self.names, self.get_source_expressions(), strict=True):
            sql, given = compiler.compile(source)
            # The names are ours; as parameters they would be bound for each of forty fields.
            parts.append(f"'{name}', {kinds.get(type(source.output_field), '{}').format(sql)}")
            params += given
        return function.format(", ".join(parts)), params


def as_text(written: Expression) -> Cast:
    """The object as the text that the database's driver returns as it is."""
    return Cast(written, TextField())
