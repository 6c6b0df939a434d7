"""The storage of the local cloud's buckets and objects: five tables in the store's file."""

from __future__ import annotations

import base64
import hashlib
import json
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from typing import Any

import google_crc32c

from ...core.access.permissions import OVERWRITE, object_name
from ...core.core import Core
from .events import DELETE, FINALIZE, UPDATE

_SCHEMA = """
CREATE TABLE IF NOT EXISTS gcs_buckets (name TEXT PRIMARY KEY, resource TEXT NOT NULL);
CREATE TABLE IF NOT EXISTS gcs_bodies (
    -- AUTOINCREMENT remembers the highest generation ever given: none is used twice.
    generation INTEGER PRIMARY KEY AUTOINCREMENT, data BLOB NOT NULL);
CREATE TABLE IF NOT EXISTS gcs_objects (
    bucket TEXT NOT NULL, name TEXT NOT NULL, generation INTEGER NOT NULL,
    metageneration INTEGER NOT NULL, size INTEGER NOT NULL, created TEXT NOT NULL,
    updated TEXT NOT NULL, md5 TEXT NOT NULL, crc32c TEXT NOT NULL, settable TEXT NOT NULL,
    PRIMARY KEY (bucket, name)) WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS gcs_uploads (id TEXT PRIMARY KEY, plan TEXT NOT NULL);
CREATE TABLE IF NOT EXISTS gcs_chunks (
    upload TEXT NOT NULL, start INTEGER NOT NULL, data BLOB NOT NULL,
    PRIMARY KEY (upload, start));
"""
_EVER = (1 << 63) - 1
# SQLite sorts every text before every blob: an end behind all names.
LAST = b""
COLUMNS = "bucket,name,generation,metageneration,size,created,updated,md5,crc32c,settable"
_SELECT = f"SELECT {COLUMNS} FROM gcs_objects"  # noqa: S608 - our own names


@dataclass(frozen=True, slots=True)
class StoredObject:
    """One generation of an object, without its bytes; `settable` is what clients may patch.

    The last three are times, '' while they do not apply: see versions.py.
    """

    bucket: str
    name: str
    generation: int
    metageneration: int
    size: int
    created: str
    updated: str
    md5: str
    crc32c: str
    settable: dict[str, Any]
    noncurrent_since: str = ""
    soft_deleted: str = ""
    hard_delete: str = ""


def stamp(when: datetime) -> str:
    """RFC 3339 in UTC with milliseconds, as the JSON API writes times."""
    return when.astimezone(UTC).strftime("%Y-%m-%dT%H:%M:%S.%f")[:-3] + "Z"


def successor(prefix: str) -> str:
    """The smallest string after every string that starts with `prefix` ('' = no such string)."""
    while prefix:
        point = ord(prefix[-1]) + 1
        if point <= 0x10FFFF:
            # Surrogates are not encodable: the next valid code point follows their block.
            return prefix[:-1] + chr(0xE000 if 0xD800 <= point <= 0xDFFF else point)
        prefix = prefix[:-1]
    return ""


class ObjectTables:
    """Plain reads and writes of what is live."""

    def __init__(self, core: Core) -> None:
        self._store = core.store
        self._clock, self._iam = core.clock, core.iam
        self._horizon = core.horizon
        self.transaction = core.store.transaction
        self.told: Callable[[dict[str, Any], str, StoredObject, int | None], None] = lambda *_: None
        """Called in the transaction of a change: its bucket, event, object, and the generation that
        was replaced by it or replaces it."""
        core.store.create(_SCHEMA)

    # buckets

    def bucket(self, name: str) -> dict[str, Any] | None:
        rows = self._store.execute("SELECT resource FROM gcs_buckets WHERE name=?", (name,))
        return json.loads(rows[0][0]) if rows else None

    def buckets(
        self, prefix: str, start: str, limit: int, number: str = ""
    ) -> list[dict[str, Any]]:
        """In order of their names; with a project's number only its own."""
        rows = self._store.execute(
            "SELECT resource FROM gcs_buckets WHERE name>=? AND substr(name,1,?)=?"
            " AND ? IN ('', json_extract(resource, '$.projectNumber')) ORDER BY name LIMIT ?",
            (max(prefix, start), len(prefix), prefix, number, limit),
        )
        return [json.loads(row[0]) for row in rows]

    def put_bucket(self, resource: dict[str, Any]) -> None:
        self._store.execute(
            "INSERT OR REPLACE INTO gcs_buckets VALUES(?,?)",
            (resource["name"], json.dumps(resource)),
        )

    def drop_bucket(self, name: str) -> None:
        self._store.execute("DELETE FROM gcs_buckets WHERE name=?", (name,))

    # objects

    def get(self, bucket: str, name: str) -> StoredObject | None:
        rows = self._store.execute(
            f"{_SELECT} WHERE bucket=? AND name=? AND generation<=?",
            (bucket, name, self._newest()),
        )
        return row_of(rows[0]) if rows else None

    def scan(self, bucket: str, start: str, stop: str, limit: int) -> list[StoredObject]:
        """Up to `limit` objects with start <= name < stop, in UTF-8 order; stop '' = to the end."""
        rows = self._store.execute(
            f"{_SELECT} WHERE bucket=? AND name>=? AND name<? AND generation<=?"
            " ORDER BY name LIMIT ?",
            (bucket, start, stop or LAST, self._newest(), limit),
        )
        return [row_of(row) for row in rows]

    def each(self, bucket: str, prefix: str = "") -> Iterator[StoredObject]:
        """Every object under a prefix, read in pages."""
        start, stop = prefix, successor(prefix)
        while rows := self.scan(bucket, start, stop, 500):
            yield from rows
            start = rows[-1].name + "\0"

    def totals(self) -> dict[str, tuple[int, int]]:
        """Bucket name to (objects, bytes)."""
        rows = self._store.execute(
            "SELECT bucket, count(*), sum(size) FROM gcs_objects GROUP BY bucket"
        )
        return {bucket: (count, size) for bucket, count, size in rows}

    def body(self, generation: int, start: int = 0, length: int | None = None) -> bytes:
        rows = self._store.execute(
            "SELECT substr(data, ?, ?) FROM gcs_bodies WHERE generation=?",
            (start + 1, 1 << 30 if length is None else length, generation),
        )
        return bytes(rows[0][0] or b"") if rows else b""  # SQLite: substr of an empty blob is NULL

    def put(
        self, bucket: str, name: str, data: bytes, settable: dict[str, Any], *, md5: bool = True
    ) -> StoredObject:
        """Write a new generation in place of the live one, if any."""
        now = self._clock.now()
        with self.transaction():
            old = self.get(bucket, name)
            if old is not None:
                self._iam.require(OVERWRITE, object_name(bucket, name))
            micros = int(now.timestamp() * 1_000_000)
            rows = self._store.execute(
                "INSERT INTO gcs_bodies VALUES(max(?, 1 + coalesce("
                "(SELECT seq FROM sqlite_sequence WHERE name='gcs_bodies'), 0)), ?)"
                " RETURNING generation",
                (micros, data),
            )
            self.delete(bucket, name, by=rows[0][0])
            fresh = StoredObject(
                bucket,
                name,
                rows[0][0],
                1,
                len(data),
                stamp(now),
                stamp(now),
                md5_of(data) if md5 else "",
                crc32c_of(data),
                settable,
            )
            self._write(fresh)
            self._tell(FINALIZE, fresh, old.generation if old else None)
        return fresh

    def patch(self, found: StoredObject, settable: dict[str, Any]) -> StoredObject:
        """The same generation with other metadata: the metageneration grows."""
        fresh = replace(
            found,
            metageneration=found.metageneration + 1,
            updated=stamp(self._clock.now()),
            settable=settable,
        )
        with self.transaction():
            self._write(fresh)
            self._tell(UPDATE, fresh)
        return fresh

    def delete(self, bucket: str, name: str, *, by: int | None = None) -> None:
        """End what is live under a name; `by` is the generation that replaces it."""
        with self.transaction():
            for item in self._take(bucket, name):
                self._drop_body(item.generation)
                self._tell(DELETE, item, by)

    def _take(self, bucket: str, name: str) -> list[StoredObject]:
        rows = self._store.execute(
            f"DELETE FROM gcs_objects WHERE bucket=? AND name=? RETURNING {COLUMNS}",  # noqa: S608 - our own names
            (bucket, name),
        )
        return [row_of(row) for row in rows]

    def _drop_body(self, generation: int) -> None:
        self._store.execute("DELETE FROM gcs_bodies WHERE generation=?", (generation,))

    def _tell(self, event: str, item: StoredObject, other: int | None = None) -> None:
        self.told(self.bucket(item.bucket) or {}, event, item, other)

    def _newest(self) -> int:
        """Generations are microseconds: a stale read ends at its horizon."""
        horizon = self._horizon()
        return _EVER if horizon is None else int(horizon * 1_000_000)

    def _write(self, item: StoredObject) -> None:
        self._store.execute(
            "INSERT OR REPLACE INTO gcs_objects VALUES(?,?,?,?,?,?,?,?,?,?)",
            (
                item.bucket,
                item.name,
                item.generation,
                item.metageneration,
                item.size,
                item.created,
                item.updated,
                item.md5,
                item.crc32c,
                json.dumps(item.settable),
            ),
        )

    # resumable uploads

    def put_upload(self, key: str, plan: dict[str, Any]) -> None:
        self._store.execute(
            "INSERT OR REPLACE INTO gcs_uploads VALUES(?,?)", (key, json.dumps(plan))
        )

    def upload(self, key: str) -> dict[str, Any] | None:
        rows = self._store.execute("SELECT plan FROM gcs_uploads WHERE id=?", (key,))
        return json.loads(rows[0][0]) if rows else None

    def put_chunk(self, key: str, start: int, data: bytes) -> None:
        self._store.execute("INSERT INTO gcs_chunks VALUES(?,?,?)", (key, start, data))

    def received(self, key: str) -> int:
        """How many bytes of an upload have arrived."""
        rows = self._store.execute(
            "SELECT coalesce(max(start + length(data)), 0) FROM gcs_chunks WHERE upload=?", (key,)
        )
        return int(rows[0][0])

    def chunks(self, key: str) -> bytes:
        rows = self._store.execute(
            "SELECT data FROM gcs_chunks WHERE upload=? ORDER BY start", (key,)
        )
        return b"".join(bytes(row[0]) for row in rows)

    def drop_chunks(self, key: str) -> None:
        self._store.execute("DELETE FROM gcs_chunks WHERE upload=?", (key,))


def md5_of(data: bytes) -> str:
    """Base64 of the MD5 digest, as `md5Hash` has it."""
    return base64.b64encode(hashlib.md5(data, usedforsecurity=False).digest()).decode()


def crc32c_of(data: bytes) -> str:
    """Base64 of the big-endian CRC32C, as `crc32c` has it."""
    return base64.b64encode(google_crc32c.value(data).to_bytes(4, "big")).decode()


def row_of(row: tuple[Any, ...]) -> StoredObject:
    """The object of a row that begins with COLUMNS."""
    return StoredObject(*(*row[:9], json.loads(row[9]), *row[10:]))
