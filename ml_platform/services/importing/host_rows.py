"""Read the host's own tables, as they are in the database and page by page."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from django.apps import apps
from django.core.exceptions import FieldDoesNotExist
from django.db import connections
from django.utils.connection import ConnectionDoesNotExist

from .mapping import BadMapping, PlatformMap, Section

PAGE = 500
"""Rows that are read, and at most committed, at once."""


def check_tables(mapping: PlatformMap) -> None:
    """Check that the database has each table and column that the mapping names.

    :raises BadMapping: it does not; the message names the key of the mapping.
    """
    try:
        connection = connections[mapping.database]
    except ConnectionDoesNotExist as error:
        raise BadMapping(f"database: {error}") from error
    with connection.cursor() as cursor:
        tables = set(connection.introspection.table_names(cursor, include_views=True))
        for name, section in mapping.sections().items():
            table, columns = _place(name, section)
            if table not in tables:
                raise BadMapping(f"{name}: the database {mapping.database} has no table {table}.")
            there = connection.introspection.get_table_description(cursor, table)
            known = sorted(column.name for column in there)
            for field, column in columns.items():
                if column not in known:
                    raise BadMapping(
                        f"{_key_of(name, section, field)}: the table {table} has no column "
                        f"{column}. It has: {', '.join(known)}."
                    )


def read_pages(database: str, name: str, section: Section) -> Iterator[list[dict[str, Any]]]:
    """Yield the rows of a table, by the names that the mapping gives its columns.

    Each page is a statement of its own, which begins after the key of the last row, so that what is
    written between two pages disturbs no cursor.
    """
    connection = connections[database]
    table, columns = _place(name, section)
    quote = connection.ops.quote_name
    listed = ", ".join(quote(column) for column in columns.values())
    key = quote(columns[section.key.column])
    at = list(columns).index(section.key.column)
    last: list[Any] = []
    while True:
        where = f"WHERE {key} > %s" if last else ""
        # All names are quoted by Django, and check_tables has found them in the database.
        statement = f"SELECT {listed} FROM {quote(table)} {where} ORDER BY {key} LIMIT {PAGE}"  # noqa: S608
        with connection.cursor() as cursor:
            cursor.execute(statement, last)
            found = cursor.fetchall()
        if not found:
            return
        yield [dict(zip(columns, row, strict=True)) for row in found]
        last = [found[-1][at]]


def table_of(name: str, section: Section) -> str:
    """Return the name of a section's table in the database."""
    return _place(name, section)[0]


def _place(name: str, section: Section) -> tuple[str, dict[str, str]]:
    """The table of a section, and its columns by the names that the mapping uses."""
    if "." not in section.table:
        return section.table, {column: column for column in section.columns()}
    try:
        meta = apps.get_model(section.table)._meta  # noqa: SLF001 - Django's documented name
    except (LookupError, ValueError) as error:
        raise BadMapping(f"{name}.table: {error}") from error
    columns = {}
    for field in section.columns():
        try:
            columns[field] = str(meta.get_field(field).column)
        except (FieldDoesNotExist, AttributeError) as error:
            key = _key_of(name, section, field)
            raise BadMapping(f"{key}: {section.table} has no column {field}.") from error
    return meta.db_table, columns


def _key_of(name: str, section: Section, field: str) -> str:
    """The key of the mapping that names this column: `runs.metrics.loss`."""
    return next(f"{name}.{key}" for key, source in section.sources() if source.column == field)
