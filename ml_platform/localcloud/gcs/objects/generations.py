"""How the generations of an object follow each other: writes, deletes, changes and restores.

Every way to change an object comes through here, so each meets the same holds and retention.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from types import MappingProxyType
from typing import Any

from ...core.core import Core
from ...server.http_types import Reply, Request, Route, json_reply
from ..buckets.buckets import Buckets
from ..checks import customer_keys, protection, rules, unserved
from ..tables.store import StoredObject
from ..tables.versions import VersionedTables, version_key

_O = r"/storage/v1/b/(?P<bucket>[^/]+)/o"
Scan = Callable[[str, str, str, int], list[StoredObject]]


class Generations:
    """The rules of versions.py's tables for the calls of clients."""

    def __init__(self, tables: VersionedTables, buckets: Buckets, core: Core) -> None:
        self._tables = tables
        self._buckets = buckets
        self._now = core.clock.now
        self._effects = core.effects

    def routes(self) -> list[Route]:
        """The calls on soft-deleted objects."""
        return [
            Route("POST", f"{_O}/bulkRestore", "storage.objects.bulkRestore", self._bulk_restore),
            Route(
                "POST",
                rf"{_O}/(?P<name>[^/]+)/restore",
                "storage.objects.restore",
                self._restore,
            ),
        ]

    def live(self, request: Request, bucket: str, name: str, key: str) -> StoredObject:
        """The live version, or the one that the parameter `key` names. Raises HTTP 404."""
        self._buckets.need(bucket)
        generation = request.number(key)
        found = self._tables.find(bucket, name, generation)
        if found is None:
            raise rules.missing(bucket, name, generation)
        return found

    def soft_deleted(self, request: Request, bucket: str, name: str) -> StoredObject:
        """The soft-deleted object of a request. Raises HTTP 400 without a generation, and 404."""
        self._buckets.need(bucket)
        generation = request.number("generation")
        if generation is None:
            raise rules.bad("Required parameter: generation", "required")
        if "restoreToken" in request.query:
            raise unserved.refused("restoreToken, of folders")
        if request.query.get("alt") == "media":
            raise rules.bad("A soft-deleted object cannot be read before it is restored.")
        found = self._tables.soft_deleted(bucket, name, generation)
        if found is None:
            raise rules.missing(bucket, name, generation)
        return found

    def listing(self, request: Request) -> tuple[Scan, Callable[[StoredObject], str]]:
        """What a listing reads, and where it finds an entry again. Raises HTTP 400."""
        versions, soft = request.flag("versions"), request.flag("softDeleted")
        if versions and soft:
            raise rules.bad("Invalid argument: versions and softDeleted cannot both be true.")
        if versions:
            return self._tables.scan_versions, version_key
        return (
            (self._tables.scan_soft_deleted, version_key)
            if soft
            else (self._tables.scan, lambda item: item.name)
        )

    def replace(
        self,
        request: Request,
        bucket: str,
        name: str,
        wanted: dict[str, Any],
        data: bytes,
        *,
        md5: bool = True,
        fixed: Mapping[str, Any] = MappingProxyType({}),
    ) -> StoredObject:
        """Write a new live generation; `fixed` is what only the service sets of it.

        Raises HTTP 404, 501, 412, 403 and 400, in this order.
        """
        key = customer_keys.key_of(request)
        with self._tables.transaction():
            settings = self._buckets.need(bucket)
            unserved.check_write(request, settings, wanted)
            there = self._tables.get(bucket, name)
            rules.check_preconditions(request, there)
            self.check_replaceable(bucket, there)
            wanted = {"storageClass": settings.get("storageClass")} | wanted
            settable = protection.of_new(wanted, settings, self._now())
            settable |= customer_keys.field_of(key) | dict(fixed)
            made = self._tables.put(bucket, name, data, settable, md5=md5)
        self._effects.record(f"{bucket}/{name}", detail={"generation": made.generation})
        return made

    def check_replaceable(self, bucket: str, found: StoredObject | None) -> None:
        """Raise HTTP 403 where what is live must stay."""
        protection.check_replaceable(found, self._buckets.need(bucket), self._now())

    def delete(self, found: StoredObject, *, named: bool) -> None:
        """End a version for good where the request named its generation. Raises HTTP 403."""
        if named:
            settings = self._buckets.need(found.bucket)
            protection.check_deletable(found, settings, self._now())
            self._tables.remove(found)
        else:
            self.check_replaceable(found.bucket, found)
            self._tables.delete(found.bucket, found.name)

    def change(self, request: Request, found: StoredObject, wanted: dict[str, Any]) -> StoredObject:
        """Give a version other metadata. Raises HTTP 400, or 403 for a weaker retention."""
        settable = protection.of_changed(
            found.settable,
            wanted,
            self._buckets.need(found.bucket),
            self._now(),
            override=request.flag("overrideUnlockedRetention"),
        )
        return self._tables.patch(found, settable | rules.kept(found))

    def shown(self, request: Request, item: StoredObject) -> dict[str, Any]:
        """The JSON of a version."""
        bucket = self._buckets.need(item.bucket)
        key = customer_keys.key_of(request)
        return protection.resource_of(item, request.base_url, bucket, key)

    def _restore(self, request: Request, bucket: str, name: str) -> Reply:
        if request.flag("copySourceAcl"):
            raise unserved.refused("copySourceAcl")
        with self._tables.transaction():
            source = self.soft_deleted(request, bucket, name)
            data = self._tables.body(source.generation)
            wanted = protection.copied(source.settable)
            if "storageClass" in source.settable:
                wanted["storageClass"] = source.settable["storageClass"]
            fixed, md5 = rules.kept(source), bool(source.md5)
            made = self.replace(request, bucket, name, wanted, data, md5=md5, fixed=fixed)
        resource = self.shown(request, made)
        return json_reply(resource, ETag=resource["etag"])

    def _bulk_restore(self, request: Request, bucket: str) -> Reply:
        del request, bucket
        raise unserved.refused("bulkRestore")
