"""Where the local cloud remembers: serialized resources in one sqlite database."""

from __future__ import annotations

import contextlib
import json
import sqlite3
import threading
from collections.abc import Callable, Iterator, Sequence
from datetime import datetime
from pathlib import Path
from typing import Any

from .errors import Unusable

_TABLES = """
CREATE TABLE IF NOT EXISTS resource (
    seq INTEGER PRIMARY KEY AUTOINCREMENT, kind TEXT NOT NULL, name TEXT NOT NULL,
    blob BLOB NOT NULL, born REAL NOT NULL, UNIQUE (kind, name));
CREATE INDEX IF NOT EXISTS resource_order ON resource (kind, seq);
CREATE TABLE IF NOT EXISTS counter (kind TEXT PRIMARY KEY, last INTEGER NOT NULL);
"""
_CHUNK = 500
_FORM = 2
"""Of the rows in a file. What one release wrote in another form, another cannot read."""


class Store:
    """Rows of (kind, name, blob), in memory or in a file that survives a restart; thread-safe.

    Each place of the cloud has rows of its own: `place` is called for it. Only the rows of a kind
    that begins with `cloud.` are the same everywhere, and `next_id` counts for all places.
    `horizon` is called on every read: rows created after it are left out (ordered stale reads).
    Raises Unusable for a file in another form.
    """

    def __init__(
        self,
        path: Path | None,
        now: Callable[[], datetime],
        horizon: Callable[[], float | None],
        place: Callable[[], object],
    ) -> None:
        self._now, self._horizon, self._place = now, horizon, place
        self._lock = threading.RLock()
        target = ":memory:" if path is None else str(path)
        self._db = sqlite3.connect(target, check_same_thread=False, isolation_level=None)
        self._check_form(target)
        if path is not None:
            self._db.execute("PRAGMA journal_mode=WAL")
            self._db.execute("PRAGMA synchronous=NORMAL")
        self.create(_TABLES)

    def _check_form(self, target: str) -> None:
        ((form,),) = self.execute("PRAGMA user_version")
        if form != _FORM and self.execute("SELECT 1 FROM sqlite_master LIMIT 1"):
            self._db.close()
            raise Unusable(
                f"{target} is no state file of this release. Give the name of a new one."
            )
        self.execute(f"PRAGMA user_version={_FORM}")

    def create(self, statements: str) -> None:
        """Make further tables (`CREATE TABLE IF NOT EXISTS ...`); `reset` empties them too."""
        with self._lock:
            self._db.executescript(statements)

    def execute(self, sql: str, args: Sequence[Any] = ()) -> list[tuple[Any, ...]]:
        """One SQL statement on the tables made by `create`; all its rows."""
        with self._lock:
            return self._db.execute(sql, args).fetchall()

    @contextlib.contextmanager
    def transaction(self) -> Iterator[None]:
        """Run the statements inside as one transaction with the store's lock. May be nested."""
        with self._lock:
            if self._db.in_transaction:
                yield
                return
            self._db.execute("BEGIN IMMEDIATE")
            try:
                yield
            except BaseException:
                self._db.execute("ROLLBACK")
                raise
            self._db.execute("COMMIT")

    def get(self, kind: str, name: str) -> bytes | None:
        """The blob, or None if the row does not exist."""
        horizon = self._horizon()
        sql = "SELECT blob, born FROM resource WHERE kind=? AND name=?"
        rows = self.execute(sql, (self.kind_here(kind), name))
        if not rows or (horizon is not None and rows[0][1] > horizon):
            return None
        return bytes(rows[0][0])

    def get_many(self, kind: str, names: Sequence[str]) -> dict[str, bytes]:
        """The blobs of those rows that exist, by name."""
        horizon = self._horizon()
        rows = self.execute(
            "SELECT name, blob, born FROM resource "
            "WHERE kind=? AND name IN (SELECT value FROM json_each(?))",
            (self.kind_here(kind), json.dumps(names)),
        )
        return {
            str(name): bytes(blob)
            for name, blob, born in rows
            if horizon is None or born <= horizon
        }

    def put(self, kind: str, name: str, blob: bytes) -> None:
        """Write a row; one that exists keeps its place in the listing order."""
        self.execute(
            "INSERT INTO resource (kind, name, blob, born) VALUES (?, ?, ?, ?) "
            "ON CONFLICT (kind, name) DO UPDATE SET blob=excluded.blob",
            (self.kind_here(kind), name, blob, self._now().timestamp()),
        )

    def delete(self, kind: str, name: str) -> bool:
        """Remove a row; False when there was none."""
        sql = "DELETE FROM resource WHERE kind=? AND name=? RETURNING seq"
        return bool(self.execute(sql, (self.kind_here(kind), name)))

    def list(self, kind: str, prefix: str = "") -> Iterator[tuple[str, bytes]]:
        """(name, blob) of a kind in order of insertion."""
        for _, name, blob in self.rows(kind, prefix):
            yield name, blob

    def rows(self, kind: str, prefix: str = "", after: int = 0) -> Iterator[tuple[int, str, bytes]]:
        """As `list`, from behind the row numbered `after`: (number, name, blob)."""
        horizon, kind = self._horizon(), self.kind_here(kind)
        while True:
            chunk = self._chunk(kind, prefix, after)
            for seq, name, blob, born in chunk:
                if horizon is None or born <= horizon:
                    yield int(seq), str(name), bytes(blob)
            if len(chunk) < _CHUNK:
                return
            after = chunk[-1][0]

    def _chunk(self, kind: str, prefix: str, after: int) -> Sequence[tuple[Any, ...]]:
        if not prefix:
            return self.execute(
                "SELECT seq, name, blob, born FROM resource WHERE kind=? AND seq>? "
                "ORDER BY seq LIMIT ?",
                (kind, after, _CHUNK),
            )
        # The plus makes SQLite use the index of names: few rows share a prefix, many a kind.
        return self.execute(
            "SELECT seq, name, blob, born FROM resource WHERE kind=? AND name>=? AND name<? "
            "AND +seq>? ORDER BY +seq LIMIT ?",
            (kind, prefix, prefix + chr(0x10FFFF), after, _CHUNK),
        )

    def count(self, kind: str) -> int:
        """How many rows of a kind there are."""
        sql = "SELECT count(*) FROM resource WHERE kind=?"
        return int(self.execute(sql, (self.kind_here(kind),))[0][0])

    def kind_here(self, kind: str) -> str:
        """The kind as its rows have it, with the place of this call."""
        return kind if kind.startswith("cloud.") else f"{self._place()}/{kind}"

    def next_id(self, kind: str) -> int:
        """1, 2, 3 ... for each kind; never the same number twice between two resets."""
        sql = (
            "INSERT INTO counter (kind, last) VALUES (?, 1) "
            "ON CONFLICT (kind) DO UPDATE SET last=last+1 RETURNING last"
        )
        return int(self.execute(sql, (kind,))[0][0])

    def reset(self) -> None:
        """Empty every table; numbers that grow (the generations of objects) begin anew."""
        with self.transaction():
            sql = "SELECT name FROM sqlite_master WHERE type='table' AND name NOT LIKE 'sqlite_%'"
            for (table,) in self.execute(sql):
                self.execute(f'DELETE FROM "{table}"')  # noqa: S608 - one of our own names
            self.execute("DELETE FROM sqlite_sequence")

    def close(self) -> None:
        """Let go of the file."""
        with self._lock:
            self._db.close()
