"""Statements that the ORM builds once in a process and runs again with other values.

To build one takes the ORM a millisecond or more, ten times as long as a database takes to answer
it. Only its text is kept: the rows are read each time (law 1).
"""

from __future__ import annotations

from collections.abc import Callable, Hashable, Mapping, Sequence
from copy import copy
from dataclasses import dataclass
from functools import update_wrapper
from typing import Any, Generic, NamedTuple, TypeAlias, TypeVar

from django.core.exceptions import EmptyResultSet
from django.db.backends.base.base import BaseDatabaseWrapper
from django.db.models import Expression, QuerySet, Value
from django.db.models.query import ValuesIterable

from ml_platform.conf import Settings, get_settings

from .database import write_connection

R = TypeVar("R")
Build: TypeAlias = "Callable[..., QuerySet[Any, R]] | Callable[..., Sequence[QuerySet[Any, R]]]"


MOST = 64
"""Texts that are kept of one statement; they are few, unless a host builds its own by the user."""


class Prepared(Generic[R]):
    """A function that builds a queryset, made into one that returns its rows.

    Positional arguments decide the text of the statement. Those by name are its values: the
    function gets a placeholder for each, which only the ORM can use, and for a list or a queryset
    one that stands on the right side of `in`. It gets None and an empty list as they are. It may
    build several querysets of one row each (`number`): one statement returns the columns of all.
    """

    def __init__(self, build: Build[R]) -> None:
        self.build = build
        self._kept: dict[Hashable, _Statement | _Joined] = {}
        self._settings: Settings | None = None
        update_wrapper(self, build)

    def __call__(self, *shape: Hashable, **values: Any) -> list[R]:
        """The rows, read now."""
        connection = write_connection()
        given = {name: _read(value, connection) for name, value in values.items()}
        return self._statement(connection.vendor, shape, given).rows(connection, given)

    def _statement(
        self, vendor: str, shape: Sequence[Hashable], given: Mapping[str, _Given]
    ) -> _Statement | _Joined:
        settings = get_settings()
        # Settings are constants in the texts.
        if self._settings is not settings or len(self._kept) > MOST:
            self._settings, self._kept = settings, {}
        key = (vendor, *shape, *((name, one.text) for name, one in given.items()))
        found = self._kept.get(key)
        if found is None:
            slots = {name: one.slot(name) for name, one in given.items()}
            made = self.build(*shape, **slots)
            found = _Statement.of(made) if isinstance(made, QuerySet) else _Joined.of(made)
            self._kept[key] = found
        return found


def number(rows: QuerySet[Any, Any], **numbers: Any) -> QuerySet[Any, dict[str, Any]]:
    """One row of numbers over all the rows, as `aggregate` returns it, as a queryset to prepare."""
    # The value has no column, so that nothing is grouped. Numbers may be called as columns are.
    every = rows.order_by().annotate(every=Value(1)).values("every")
    found: QuerySet[Any, dict[str, Any]] = every.annotate(**numbers).values(*numbers)
    return found


class _Place(NamedTuple):
    """The place of a value in the list of parameters."""

    name: str
    at: int


class _Slot(Expression):
    """The text that stands for a value, or for several, in a statement."""

    def __init__(self, name: str, text: str, size: int) -> None:
        super().__init__()
        self.name, self.text, self.size = name, text, size

    def as_sql(self, compiler: Any, connection: Any) -> Any:
        return self.text, [_Place(self.name, at) for at in range(self.size)]


class _Given(NamedTuple):
    """A value, and the text that stands for it; None and an empty list have no place in it."""

    text: str
    values: Sequence[Any] = ()

    def slot(self, name: str) -> Any:
        """What the building function gets."""
        if self.text in CONSTANT:
            return CONSTANT[self.text]
        return _Slot(name, self.text, len(self.values))


CONSTANT: Mapping[str, Any] = {"NULL": None, "()": []}


def _read(value: Any, connection: BaseDatabaseWrapper) -> _Given:
    if value is None:
        return _Given("NULL")
    if isinstance(value, QuerySet):
        return _read_query(value)
    if isinstance(value, list | tuple | set | frozenset):
        return _read_list(list(value), connection)
    return _Given("%s", [_stored(value, connection)])


def _read_query(rows: QuerySet[Any, Any]) -> _Given:
    try:
        sql, params = rows.order_by().values("pk").query.sql_with_params()
    except EmptyResultSet:
        return _Given("()")
    return _Given(f"({sql})", params)


def _read_list(values: list[Any], connection: BaseDatabaseWrapper) -> _Given:
    """A list is filled up with its last value, so that lists of many lengths have one text."""
    if not values:
        return _Given("()")
    size = 1 << (len(values) - 1).bit_length()
    stored = [_stored(value, connection) for value in values]
    stored += stored[-1:] * (size - len(stored))
    return _Given(f"({', '.join(['%s'] * size)})", stored)


def _stored(value: Any, connection: BaseDatabaseWrapper) -> Any:
    """The value, or the key of a row, as the database's driver takes it."""
    if type(value) in (int, str):
        return value
    [stored] = Value(getattr(value, "pk", value)).as_sql(None, connection)[1]  # type: ignore[arg-type]
    return stored


@dataclass(frozen=True, slots=True)
class _Statement:
    """A queryset with its text and the places of its values."""

    made: QuerySet[Any, Any]
    compiler: Any
    sql: str
    params: Sequence[Any]
    names: Sequence[str]
    """The keys of its rows, if these are dicts."""
    converters: Any
    """What the database's values of some columns become."""

    @classmethod
    def of(cls, made: QuerySet[Any, Any]) -> _Statement:
        """Build the statement of a queryset."""
        query = made.query
        # Where no row can match, the database still has to answer what a sum of none is.
        compiler = query.get_compiler(using=made.db, elide_empty=False)
        sql, params = compiler.as_sql()
        is_dict = made._iterable_class is ValuesIterable  # noqa: SLF001 - `values` sets it
        names = (*query.extra_select, *query.values_select, *query.annotation_select)
        converters = compiler.get_converters(one[0] for one in compiler.select)
        return cls(made, compiler, sql, tuple(params), names if is_dict else (), converters)

    def rows(self, connection: BaseDatabaseWrapper, given: Mapping[str, _Given]) -> list[Any]:
        """Run it on this connection."""
        params = _filled(self.params, given)
        return (self._dicts if self.names else self._objects)(connection, params)

    def _dicts(self, connection: BaseDatabaseWrapper, params: list[Any]) -> list[Any]:
        with connection.cursor() as cursor:
            cursor.execute(self.sql, params)
            rows: Any = cursor.fetchall()
        if self.converters:
            rows = self._bound(connection, params).apply_converters(rows, self.converters)
        return [dict(zip(self.names, row, strict=True)) for row in rows]

    def _objects(self, connection: BaseDatabaseWrapper, params: list[Any]) -> list[Any]:
        compiler, query = self._bound(connection, params), copy(self.made.query)
        query.get_compiler = lambda *_, **__: compiler  # type: ignore[method-assign]
        found = self.made.all()
        # The setter of `query` would change the type of the rows.
        found._query = query  # type: ignore[attr-defined]  # noqa: SLF001
        return list(found)

    def _bound(self, connection: BaseDatabaseWrapper, params: list[Any]) -> Any:
        compiler = copy(self.compiler)
        compiler.connection = connection
        compiler.as_sql = lambda *_, **__: (self.sql, params)
        return compiler


@dataclass(frozen=True, slots=True)
class _Joined:
    """Several querysets of one row each as one statement."""

    sql: str
    params: Sequence[Any]
    names: Sequence[str]
    converters: Mapping[int, tuple[Sequence[Any], Any]]
    """By the place of a column, what Django applies to its value, and its expression."""

    @classmethod
    def of(cls, parts: Sequence[QuerySet[Any, Any]]) -> _Joined:
        """Build the statement of querysets that end with `values`."""
        texts: list[str] = []
        params: list[Any] = []
        names: list[str] = []
        converters: dict[int, tuple[Sequence[Any], Any]] = {}
        for number_, part in enumerate(parts):
            compiler = part.query.get_compiler(using=part.db, elide_empty=False)
            sql, values = compiler.as_sql()
            found = compiler.get_converters([column[0] for column in compiler.select])
            converters |= {len(names) + place: found[place] for place in found}
            texts.append(f"({sql}) AS part{number_}")
            params += values
            names += [*part.query.values_select, *part.query.annotation_select]
        return cls(f"SELECT * FROM {' CROSS JOIN '.join(texts)}", params, names, converters)

    def rows(self, connection: BaseDatabaseWrapper, given: Mapping[str, _Given]) -> list[Any]:
        """The one row."""
        with connection.cursor() as cursor:
            cursor.execute(self.sql, _filled(self.params, given))
            values = list(cursor.fetchone() or ())
        for place, (steps, expression) in self.converters.items():
            for step in steps:
                values[place] = step(values[place], expression, connection)
        return [dict(zip(self.names, values, strict=True))]


def _filled(params: Sequence[Any], given: Mapping[str, _Given]) -> list[Any]:
    return [given[one.name].values[one.at] if isinstance(one, _Place) else one for one in params]
