"""Which models a list has to read: their sort keys and labels in indexed columns."""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

from ...core.lists.filters import Comparison
from ...core.store import Store

# Beside each label of a model stands its key with this value, which no label can have: so both
# "has the label" and "has this value" are one range of the index.
_ANY = "*"
_TABLES = """
CREATE TABLE IF NOT EXISTS model_index (
    seq INTEGER PRIMARY KEY, place TEXT NOT NULL, name TEXT NOT NULL UNIQUE,
    display_name TEXT NOT NULL, create_time TEXT NOT NULL, update_time TEXT NOT NULL,
    labels TEXT NOT NULL, base_model_name TEXT NOT NULL);
CREATE INDEX IF NOT EXISTS model_place ON model_index (place, seq);
CREATE INDEX IF NOT EXISTS model_display_name ON model_index (place, display_name, seq);
CREATE INDEX IF NOT EXISTS model_create_time ON model_index (place, create_time, seq);
CREATE INDEX IF NOT EXISTS model_update_time ON model_index (place, update_time, seq);
CREATE TABLE IF NOT EXISTS model_label (
    place TEXT NOT NULL, key TEXT NOT NULL, value TEXT NOT NULL, seq INTEGER NOT NULL,
    PRIMARY KEY (place, key, value, seq)) WITHOUT ROWID;
CREATE INDEX IF NOT EXISTS model_label_seq ON model_label (seq, key, value);
"""
_LABELLED = "EXISTS (SELECT 1 FROM model_label m WHERE m.seq={} AND m.key=? AND m.value=?)"
_CHUNK, _COUNTED = 500, 10_000


@dataclass(frozen=True)
class Entry:
    """What lists filter and sort by, of a model's default version."""

    display_name: str
    create_time: str
    update_time: str
    labels: dict[str, str]
    base_model_name: str


@dataclass(frozen=True)
class Row:
    """One model of a list: the key of its place in the order, its name and its fields."""

    key: list[Any]
    name: str
    _labels: str
    _texts: tuple[str, str]

    def field(self, field: str) -> Any:
        """The value of a field that filters know."""
        if field == "model":
            return self.name.rpartition("/")[2]
        if field == "labels":
            return json.loads(self._labels)
        return self._texts[field == "base_model_name"]


class ModelIndex:
    """Two tables beside the store's rows; each model of the store has its entry here."""

    def __init__(self, store: Store) -> None:
        self._store = store
        store.create(_TABLES)

    def put(self, place: str, name: str, entry: Entry) -> None:
        """Write the entry of the model stored under `name`."""
        ((seq,),) = self._store.execute(
            "INSERT INTO model_index SELECT seq, ?, name, ?, ?, ?, ?, ? FROM resource "
            "WHERE kind=? AND name=? ON CONFLICT (seq) DO UPDATE SET "
            "display_name=excluded.display_name, create_time=excluded.create_time, "
            "update_time=excluded.update_time, labels=excluded.labels, "
            "base_model_name=excluded.base_model_name RETURNING seq",
            (
                place,
                entry.display_name,
                entry.create_time,
                entry.update_time,
                json.dumps(entry.labels),
                entry.base_model_name,
                self._store.kind_here("model"),
                name,
            ),
        )
        self._store.execute("DELETE FROM model_label WHERE seq=?", (seq,))
        for key, value in entry.labels.items():
            self._store.execute(
                "INSERT INTO model_label VALUES (?, ?, ?, ?), (?, ?, ?, ?)",
                (place, key, value, seq, place, key, _ANY, seq),
            )

    def drop(self, name: str) -> None:
        """Forget a model."""
        sql = "DELETE FROM model_index WHERE name=? RETURNING seq"
        for (seq,) in self._store.execute(sql, (name,)):
            self._store.execute("DELETE FROM model_label WHERE seq=?", (seq,))

    def scan(
        self,
        place: str,
        needed: Sequence[Comparison],
        order: Sequence[tuple[str, bool]],
        cursor: Sequence[Any] | None,
    ) -> Iterator[Row]:
        """The models of a place behind `cursor`, in order, then in that of their creation.

        It leaves out only what `needed` excludes, and not everything of that.
        """
        columns, labels = [*order, ("seq", False)], _labels(needed)
        if len(labels) > 1:
            labels.sort(key=lambda label: self._models_with(place, *label))
        while True:
            sql, arguments = _statement(place, labels, needed, columns, cursor)
            rows = self._store.execute(sql, arguments)
            for name, held, display_name, base, *key in rows:
                yield Row(key, name, held, (display_name, base))
            if len(rows) < _CHUNK:
                return
            cursor = rows[-1][4:]

    def _models_with(self, place: str, key: str, value: str) -> int:
        """How many, counted to a bound: enough to find the rarest of a filter's labels."""
        sql = (
            "SELECT count(*) FROM (SELECT 1 FROM model_label "
            "WHERE place=? AND key=? AND value=? LIMIT ?)"
        )
        ((count,),) = self._store.execute(sql, (place, key, value, _COUNTED))
        return int(count)


def _statement(
    place: str,
    labels: Sequence[tuple[str, str]],
    needed: Sequence[Comparison],
    columns: Sequence[tuple[str, bool]],
    cursor: Sequence[Any] | None,
) -> tuple[str, list[Any]]:
    conditions, arguments = ["i.place=?"], [place]
    source, number = "model_index i", "i.seq"
    if labels and len(columns) == 1:
        # One label's range of the index is in the order of creation already.
        source, number = "model_label l CROSS JOIN model_index i ON i.seq=l.seq", "l.seq"
        (key, value), labels = labels[0], labels[1:]
        conditions, arguments = ["l.place=? AND l.key=? AND l.value=?"], [place, key, value]
    for key, value in labels:
        conditions.append(_LABELLED.format(number))
        arguments += [key, value]
    for column, value in _columns(place, needed):
        conditions.append(f"i.{column}=?")
        arguments.append(value)
    named = [(number if name == "seq" else f"i.{name}", down) for name, down in columns]
    if cursor is not None:
        condition, more = _behind(named, cursor)
        conditions.append(condition)
        arguments += more
    keys = ", ".join(name for name, _ in named)
    order = ", ".join(f"{name} DESC" if down else name for name, down in named)
    sql = (
        f"SELECT i.name, i.labels, i.display_name, i.base_model_name, {keys} FROM {source} "  # noqa: S608 - only names of ours
        f"WHERE {' AND '.join(conditions)} ORDER BY {order} LIMIT {_CHUNK}"
    )
    return sql, arguments


def _labels(needed: Sequence[Comparison]) -> list[tuple[str, str]]:
    """Keys and values that the index can look up."""
    found = []
    for field, key, sign, value in needed:
        if field == "labels" and not key and sign == ":":
            found.append((value, _ANY))
        elif field == "labels" and key and sign == ":" and value == _ANY:
            found.append((key, _ANY))
        elif field == "labels" and key and sign == "=" and _ANY not in value:
            found.append((key, value))
    return found


def _columns(place: str, needed: Sequence[Comparison]) -> Iterator[tuple[str, str]]:
    for field, _, sign, value in needed:
        if sign == "=" and "*" not in value:
            if field == "model":
                yield "name", f"{place}/models/{value}"
            elif field in {"display_name", "base_model_name"}:
                yield field, value


def _behind(columns: Sequence[tuple[str, bool]], cursor: Sequence[Any]) -> tuple[str, list[Any]]:
    """`a > x OR a = x AND (b > y OR ...)`, led by a bound on the first that its index can use."""
    (name, down), *rest = columns
    sign, bound = ("<", "<=") if down else (">", ">=")
    if not rest:
        return f"{name} {sign} ?", [cursor[0]]
    inner, arguments = _behind(rest, cursor[1:])
    condition = f"{name} {bound} ? AND ({name} {sign} ? OR {inner})"
    return condition, [cursor[0], cursor[0], *arguments]


def entry_of(model: Any) -> Entry:
    """The entry of a model as it is answered."""
    return Entry(
        display_name=model.display_name,
        create_time=time_key(model.create_time),
        update_time=time_key(model.update_time),
        labels=dict(model.labels),
        base_model_name=model.base_model_source.model_garden_source.public_model_name,
    )


def time_key(stamp: Any) -> str:
    """A timestamp as a text that sorts as the times do."""
    return f"{stamp.seconds:020}.{stamp.nanos:09}"


def field_of(model: Any, field: str) -> Any:
    """What a filter sees of a model as it is answered."""
    if field == "model":
        return model.name.rpartition("/")[2]
    if field == "base_model_name":
        return model.base_model_source.model_garden_source.public_model_name
    return dict(model.labels) if field == "labels" else getattr(model, field)
