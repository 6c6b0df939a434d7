"""Queries of fixed shape, compiled to SQL once: for few rows, compiling takes longer than reading.

A query is made by a function from arguments that can be compared, and kept by both. One that is
limited by a queryset of the host is compiled each time.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, TypeAlias

from django.db.backends.base.base import BaseDatabaseWrapper
from django.db.models import QuerySet, Value

from ml_platform.models.database import write_connection

Query: TypeAlias = QuerySet[Any, Any]
"""One that ends with `values`."""
Row: TypeAlias = dict[str, Any]
KEPT = 256


@dataclass(frozen=True, slots=True)
class _Compiled:
    sql: str
    parameters: tuple[Any, ...]
    names: Sequence[str]
    converters: Mapping[int, tuple[Sequence[Any], Any]]
    """By the place of a column, what Django applies to its values, and its expression."""

    def read(self, connection: BaseDatabaseWrapper) -> list[Row]:
        with connection.cursor() as cursor:
            cursor.execute(self.sql, self.parameters)
            found = cursor.fetchall()
        if self.converters:
            found = [self._converted(row, connection) for row in found]
        return [dict(zip(self.names, row, strict=True)) for row in found]

    def _converted(self, row: Sequence[Any], connection: BaseDatabaseWrapper) -> list[Any]:
        values = list(row)
        for place, (steps, expression) in self.converters.items():
            for step in steps:
                values[place] = step(values[place], expression, connection)
        return values


def read_rows(query: Callable[..., Query], *arguments: Any) -> list[Row]:
    """The rows of one query."""
    return _read(lambda *given: [query(*given)], query, arguments)


def read_row(queries: Callable[..., Sequence[Query]], *arguments: Any) -> Row:
    """The columns of several queries of one row each (`totals`), in one statement."""
    [row] = _read(queries, queries, arguments)
    return row


def totals(rows: QuerySet[Any], **numbers: Any) -> Query:
    """These aggregates of all rows, as a query of one row that has not been sent."""
    # The value has no column, so that nothing is grouped.
    every = rows.order_by().annotate(every=Value(1)).values("every")
    query: Query = every.annotate(**numbers).values(*numbers)
    return query


def _read(
    queries: Callable[..., Sequence[Query]], key: Callable[..., Any], arguments: tuple[Any, ...]
) -> list[Row]:
    connection = write_connection()
    given = tuple(tuple(each) if isinstance(each, list) else each for each in arguments)
    if any(isinstance(each, QuerySet) for each in given):
        return _compile(queries(*given), connection).read(connection)
    kept = _KEPT.get((key, connection.vendor, given))
    if kept is None:
        kept = _compile(queries(*given), connection)
        if len(_KEPT) >= KEPT:
            _KEPT.clear()
        _KEPT[key, connection.vendor, given] = kept
    return kept.read(connection)


_KEPT: dict[tuple[Any, ...], _Compiled] = {}


def _compile(queries: Sequence[Query], connection: BaseDatabaseWrapper) -> _Compiled:
    parts: list[str] = []
    parameters: list[Any] = []
    names: list[str] = []
    converters: dict[int, tuple[Sequence[Any], Any]] = {}
    for place, each in enumerate(queries):
        compiler = each.query.get_compiler(connection=connection, elide_empty=False)
        sql, values = compiler.as_sql()
        found = compiler.get_converters([column[0] for column in compiler.select])
        converters |= {len(names) + column: found[column] for column in found}
        parts.append(f"({sql}) AS part{place}")
        parameters += values
        names += [*each.query.values_select, *each.query.annotation_select]
    statement = sql if len(parts) == 1 else f"SELECT * FROM {' CROSS JOIN '.join(parts)}"
    return _Compiled(statement, tuple(parameters), names, converters)
