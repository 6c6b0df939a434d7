"""What is no longer live: noncurrent versions, soft-deleted objects and soft-deleted buckets.

They have tables of their own, so a listing of live objects never reads past them. A soft-deleted
row is removed by the first change or read of the past after its hard delete time: no timer is
needed, and a state file of any age is right. After cloud.google.com/storage/docs/object-versioning
and /soft-delete.
"""

from __future__ import annotations

import json
import re
from dataclasses import replace
from datetime import timedelta
from typing import Any

from ...core.core import Core
from .events import ARCHIVE, DELETE
from .store import COLUMNS, LAST, ObjectTables, StoredObject, row_of, stamp

_SCHEMA = """
CREATE TABLE IF NOT EXISTS gcs_past (
    bucket TEXT NOT NULL, name TEXT NOT NULL, generation INTEGER NOT NULL,
    metageneration INTEGER NOT NULL, size INTEGER NOT NULL, created TEXT NOT NULL,
    updated TEXT NOT NULL, md5 TEXT NOT NULL, crc32c TEXT NOT NULL, settable TEXT NOT NULL,
    noncurrent_since TEXT NOT NULL, soft_deleted TEXT NOT NULL, hard_delete TEXT NOT NULL,
    soft INTEGER NOT NULL, PRIMARY KEY (bucket, soft, name, generation)) WITHOUT ROWID;
CREATE INDEX IF NOT EXISTS gcs_past_end ON gcs_past (hard_delete) WHERE soft=1;
CREATE TABLE IF NOT EXISTS gcs_past_buckets (
    name TEXT NOT NULL, generation INTEGER NOT NULL, resource TEXT NOT NULL,
    hard_delete TEXT NOT NULL, PRIMARY KEY (name, generation));
"""
_PAST = f"{COLUMNS},noncurrent_since,soft_deleted,hard_delete"
_RANGE = "bucket=? AND (name,generation)>=(?,?) AND name<? AND generation<=?"
_ALL_VERSIONS = (
    f"SELECT {COLUMNS},'','','' FROM gcs_objects WHERE {_RANGE}"  # noqa: S608 - our own names
    f" UNION ALL SELECT {_PAST} FROM gcs_past WHERE soft=0 AND {_RANGE}"
    " ORDER BY name, generation LIMIT ?"
)
_SOFT = f"SELECT {_PAST} FROM gcs_past WHERE soft=1 AND {_RANGE} ORDER BY name, generation LIMIT ?"  # noqa: S608 - our own names
# soft, noncurrent_since, soft_deleted, hard_delete
Mark = tuple[int, str, str, str]
_KEY = re.compile(r"(.*)\0(\d{20})(\0?)", re.DOTALL)


def version_key(item: StoredObject) -> str:
    """Where a listing of versions continues: the names' order, then the generations'."""
    return f"{item.name}\0{item.generation:020}"


def bucket_key(bucket: dict[str, Any]) -> str:
    """Where a listing of soft-deleted buckets continues."""
    return f"{bucket['name']}\0{int(bucket['generation']):020}"


def versioned(bucket: dict[str, Any]) -> bool:
    """Whether what leaves the live place of this bucket becomes noncurrent."""
    return bool(bucket.get("versioning", {}).get("enabled"))


def soft_delete_seconds(bucket: dict[str, Any]) -> int:
    """How long a bucket keeps what was deleted; 0 = soft delete is off."""
    return int(bucket.get("softDeletePolicy", {}).get("retentionDurationSeconds", 0))


class VersionedTables(ObjectTables):
    """The tables of what is live, and what becomes of that when it is deleted or overwritten."""

    def __init__(self, core: Core) -> None:
        super().__init__(core)
        core.store.create(_SCHEMA)

    # objects

    def find(self, bucket: str, name: str, generation: int | None) -> StoredObject | None:
        """The live or the noncurrent version of that generation; None means the live one."""
        live = self.get(bucket, name)
        if generation is None or (live is not None and live.generation == generation):
            return live
        return self._past(bucket, name, generation, soft=0)

    def soft_deleted(self, bucket: str, name: str, generation: int) -> StoredObject | None:
        """A soft-deleted object that can still be restored."""
        self._expire()
        return self._past(bucket, name, generation, soft=1)

    def scan_versions(self, bucket: str, start: str, stop: str, limit: int) -> list[StoredObject]:
        """As `scan`, with the noncurrent versions; `start` is a name or a `version_key`."""
        span = (bucket, *_after(start), stop or LAST, self._newest())
        rows = self._store.execute(_ALL_VERSIONS, (*span, *span, limit))
        return [row_of(row) for row in rows]

    def scan_soft_deleted(
        self, bucket: str, start: str, stop: str, limit: int
    ) -> list[StoredObject]:
        """As `scan_versions`, of the soft-deleted objects."""
        self._expire()
        span = (bucket, *_after(start), stop or LAST, self._newest())
        return [row_of(row) for row in self._store.execute(_SOFT, (*span, limit))]

    def delete(self, bucket: str, name: str, *, by: int | None = None) -> None:
        """End what is live under a name: noncurrent under versioning, else as `remove`."""
        settings = self.bucket(bucket) or {}
        noncurrent = (0, stamp(self._clock.now()), "", "")
        mark = noncurrent if versioned(settings) else self._soft(settings)
        self._retire(bucket, name, mark, by)

    def remove(self, item: StoredObject) -> None:
        """End one version, as a delete that names its generation: only soft delete keeps it."""
        mark = self._soft(self.bucket(item.bucket) or {})
        if not item.noncurrent_since:
            self._retire(item.bucket, item.name, mark)
            return
        key = (item.bucket, item.name, item.generation)
        with self.transaction():
            self._expire()
            self._tell(DELETE, item)
            if mark is None:
                self._drop("soft=0 AND bucket=? AND name=? AND generation=?", key)
                return
            self._store.execute(
                "UPDATE gcs_past SET soft=1, soft_deleted=?, hard_delete=?"
                " WHERE soft=0 AND bucket=? AND name=? AND generation=?",
                (*mark[2:], *key),
            )

    def past_totals(self) -> dict[str, tuple[int, int]]:
        """Bucket name to (noncurrent versions, soft-deleted objects)."""
        self._expire()
        rows = self._store.execute(
            "SELECT bucket, sum(soft=0), sum(soft=1) FROM gcs_past GROUP BY bucket"
        )
        return {bucket: (noncurrent, soft) for bucket, noncurrent, soft in rows}

    # buckets

    def soft_deleted_bucket(self, name: str, generation: int) -> dict[str, Any] | None:
        """A soft-deleted bucket that can still be restored."""
        self._expire()
        rows = self._store.execute(
            "SELECT resource FROM gcs_past_buckets WHERE name=? AND generation=?",
            (name, generation),
        )
        return json.loads(rows[0][0]) if rows else None

    def known_bucket(self, name: str) -> dict[str, Any] | None:
        """The live bucket of that name, else the last one that can be restored."""
        rows = self._store.execute(
            "SELECT resource FROM gcs_past_buckets WHERE name=? AND hard_delete>?"
            " ORDER BY generation DESC LIMIT 1",
            (name, stamp(self._clock.now())),
        )
        return self.bucket(name) or (json.loads(rows[0][0]) if rows else None)

    def soft_deleted_buckets(
        self, prefix: str, start: str, limit: int, number: str = ""
    ) -> list[dict[str, Any]]:
        """As `buckets`, in the order of (name, generation); `start` may be a `bucket_key`."""
        self._expire()
        rows = self._store.execute(
            "SELECT resource FROM gcs_past_buckets WHERE (name,generation)>=(?,?)"
            " AND substr(name,1,?)=? AND ? IN ('', json_extract(resource, '$.projectNumber'))"
            " ORDER BY name, generation LIMIT ?",
            (*_after(max(prefix, start)), len(prefix), prefix, number, limit),
        )
        return [json.loads(row[0]) for row in rows]

    def drop_bucket(self, name: str) -> None:
        """Soft-delete a bucket with what was soft-deleted in it, or end both."""
        settings = self.bucket(name) or {}
        mark = self._soft(settings)
        with self.transaction():
            super().drop_bucket(name)
            if mark is None:
                self._drop("bucket=?", (name,))
                return
            rows = self._store.execute(
                "SELECT max(hard_delete) FROM gcs_past WHERE soft=1 AND bucket=?", (name,)
            )
            end = max(mark[3], rows[0][0] or "")
            kept = settings | {"softDeleteTime": mark[2], "hardDeleteTime": end}
            generation = int(settings["generation"])
            self._store.execute(
                "INSERT INTO gcs_past_buckets VALUES(?,?,?,?)",
                (name, generation, json.dumps(kept), end),
            )
            self._rename(name, _parked(name, generation))

    def restore_bucket(self, kept: dict[str, Any]) -> dict[str, Any]:
        """Make a soft-deleted bucket live again; its objects stay soft-deleted."""
        name, generation = kept["name"], int(kept["generation"])
        times = ("softDeleteTime", "hardDeleteTime")
        live = {key: value for key, value in kept.items() if key not in times}
        with self.transaction():
            self._store.execute(
                "DELETE FROM gcs_past_buckets WHERE name=? AND generation=?", (name, generation)
            )
            self._rename(_parked(name, generation), name)
            self.put_bucket(live)
        return live

    def next_bucket_generation(self, name: str) -> int:
        """Microseconds, and above every generation of the name that can be restored."""
        rows = self._store.execute(
            "SELECT max(generation) FROM gcs_past_buckets WHERE name=?", (name,)
        )
        return max(int(self._clock.now().timestamp() * 1_000_000), (rows[0][0] or 0) + 1)

    # how

    def _past(self, bucket: str, name: str, generation: int, *, soft: int) -> StoredObject | None:
        rows = self._store.execute(
            f"SELECT {_PAST} FROM gcs_past WHERE bucket=? AND soft=? AND name=? AND generation=?"  # noqa: S608 - our own names
            " AND generation<=?",
            (bucket, soft, name, generation, self._newest()),
        )
        return row_of(rows[0]) if rows else None

    def _soft(self, settings: dict[str, Any]) -> Mark | None:
        seconds, now = soft_delete_seconds(settings), self._clock.now()
        return (1, "", stamp(now), stamp(now + timedelta(seconds=seconds))) if seconds else None

    def _retire(self, bucket: str, name: str, mark: Mark | None, by: int | None = None) -> None:
        with self.transaction():
            self._expire()
            if mark is None:
                super().delete(bucket, name, by=by)
                return
            self._store.execute(
                f"INSERT INTO gcs_past ({COLUMNS},soft,noncurrent_since,soft_deleted,hard_delete)"  # noqa: S608 - our own names
                f" SELECT {COLUMNS},?,?,?,? FROM gcs_objects WHERE bucket=? AND name=?",
                (*mark, bucket, name),
            )
            for item in self._take(bucket, name):
                soft, since, deleted, end = mark
                ended = replace(item, noncurrent_since=since, soft_deleted=deleted, hard_delete=end)
                self._tell(DELETE if soft else ARCHIVE, ended, by)

    def _write(self, item: StoredObject) -> None:
        if not item.noncurrent_since:
            super()._write(item)
            return
        self._store.execute(
            "UPDATE gcs_past SET metageneration=?, updated=?, settable=?"
            " WHERE bucket=? AND soft=0 AND name=? AND generation=?",
            (
                item.metageneration,
                item.updated,
                json.dumps(item.settable),
                item.bucket,
                item.name,
                item.generation,
            ),
        )

    def _rename(self, old: str, new: str) -> None:
        self._store.execute("UPDATE gcs_past SET bucket=? WHERE bucket=?", (new, old))

    def _expire(self) -> None:
        now = stamp(self._clock.now())
        self._drop("soft=1 AND hard_delete<=?", (now,))
        self._store.execute("DELETE FROM gcs_past_buckets WHERE hard_delete<=?", (now,))

    def _drop(self, where: str, args: tuple[str | int, ...]) -> None:
        rows = self._store.execute(f"DELETE FROM gcs_past WHERE {where} RETURNING generation", args)  # noqa: S608 - our own names
        for row in rows:
            self._drop_body(*row)


def _after(start: str) -> tuple[str, int]:
    """The first (name, generation) of a listing; a NUL behind a `version_key` means after it."""
    found = _KEY.fullmatch(start)
    return (found[1], int(found[2]) + len(found[3])) if found else (start, 0)


def _parked(name: str, generation: int) -> str:
    """Where a soft-deleted bucket's objects are: a name that no bucket can have."""
    return f"{name}#{generation}"
