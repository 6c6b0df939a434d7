"""Cloud Storage: the buckets and objects of the JSON API, and the same for the cloud's own use."""

from __future__ import annotations

import re
from typing import Any

from ..core.core import Core
from ..server.http_types import HttpError, Reply, Request, Route, json_reply
from . import rules
from .access import answer_iam
from .buckets import Buckets
from .store import ObjectTables, StoredObject, successor
from .upload import Uploads

_B = r"/b/(?P<bucket>[^/]+)"
_O = _B + r"/o/(?P<name>[^/]+)"
_TARGET = r"/b/(?P<to_bucket>[^/]+)/o/(?P<to_name>[^/]+)"
_MAX_RESULTS = 1000
_SAID_BY_OBJECT = {
    "Content-Disposition": "contentDisposition",
    "Content-Encoding": "contentEncoding",
    "Content-Language": "contentLanguage",
}
_MAX_COMPONENTS = 32


class Storage:
    """GCS on the store's tables; strongly consistent, one live generation for each name."""

    def __init__(self, core: Core) -> None:
        self.tables = ObjectTables(core)
        answer_iam(core, self.tables)
        self.thin_pages = 0
        """Above 0: a listing's first page is empty, and no other has more entries than this."""
        self._effects = core.effects
        self._buckets = Buckets(self.tables, core)
        self._uploads = Uploads(self.tables, self._buckets, core)

    # for the other services, in process and without faults

    def write(
        self, bucket: str, name: str, data: bytes, content_type: str = "application/octet-stream"
    ) -> int:
        """Write an object, making its bucket if need be; answers the generation."""
        with self.tables.transaction():
            self._buckets.ensure(bucket)
            return self.tables.put(bucket, name, data, {"contentType": content_type}).generation

    def read(self, bucket: str, name: str) -> bytes | None:
        """The bytes of an object, None when it is not there."""
        found = self.tables.get(bucket, name)
        return None if found is None else self.tables.body(found.generation)

    def names(self, bucket: str, prefix: str = "") -> list[str]:
        """The names of all objects under a prefix, in order."""
        return [item.name for item in self.tables.each(bucket, prefix)]

    def has_any(self, uri: str) -> bool:
        """Whether `gs://bucket/path` has an object ('runs/1' does not match runs/10)."""
        bucket, _, path = uri.removeprefix("gs://").partition("/")
        prefix = path.rstrip("/") + "/" if path.strip("/") else ""
        return bool(self.tables.scan(bucket, prefix, successor(prefix), 1))

    def has_bucket(self, bucket: str) -> bool:
        """Whether there is such a bucket."""
        return self.tables.bucket(bucket) is not None

    # over the wire

    def routes(self) -> list[Route]:
        """Everything under /storage/v1, /upload/storage/v1 and /download/storage/v1."""
        objects = [
            Route("GET", f"/storage/v1{_B}/o", "storage.objects.list", self._list),
            Route("GET", f"(?:/download)?/storage/v1{_O}", "storage.objects.get", self._get),
            Route("PATCH", f"/storage/v1{_O}", "storage.objects.patch", self._patch),
            Route("PUT", f"/storage/v1{_O}", "storage.objects.update", self._update),
            Route("DELETE", f"/storage/v1{_O}", "storage.objects.delete", self._delete),
            Route("POST", f"/storage/v1{_O}/compose", "storage.objects.compose", self._compose),
            Route(
                "POST",
                f"/storage/v1{_O}/rewriteTo{_TARGET}",
                "storage.objects.rewrite",
                self._rewrite,
            ),
            Route("POST", f"/storage/v1{_O}/copyTo{_TARGET}", "storage.objects.copy", self._copy),
            Route(
                "POST",
                f"/storage/v1{_O}/moveTo/o/(?P<to_name>[^/]+)",
                "storage.objects.move",
                self._move,
            ),
        ]
        return [*self._buckets.routes(), *self._uploads.routes(), *objects]

    def _found(
        self, request: Request, bucket: str, name: str, key: str = "generation"
    ) -> StoredObject:
        self._buckets.need(bucket)
        generation = request.number(key)
        found = self.tables.get(bucket, name)
        if found is None or generation not in (None, found.generation):
            raise rules.missing(bucket, name, generation)
        return found

    def _list(self, request: Request, bucket: str) -> Reply:
        self._buckets.need(bucket)
        ask = request.query.get
        limit = request.number("maxResults")
        if limit is not None and limit < 1:
            raise rules.bad("Invalid argument: maxResults.")
        wanted = rules.Listing(
            prefix=ask("prefix", ""),
            delimiter=ask("delimiter", ""),
            start=ask("startOffset", ""),
            end=ask("endOffset", ""),
            glob=ask("matchGlob", ""),
            trailing=ask("includeTrailingDelimiter") == "true",
        )
        token = ask("pageToken", "")
        if self.thin_pages and not token:
            start = max(wanted.prefix, wanted.start) or "\0"
            return json_reply(
                {"kind": "storage#objects", "nextPageToken": rules.encode_token(start)}
            )
        page = rules.page_of(
            lambda start, stop, count: self.tables.scan(bucket, start, stop, count),
            wanted,
            min(limit or _MAX_RESULTS, self.thin_pages or _MAX_RESULTS),
            token,
        )
        answer: dict[str, Any] = {"kind": "storage#objects"}
        if page.items:
            answer["items"] = [rules.resource_of(item, request.base_url) for item in page.items]
        if page.prefixes:
            answer["prefixes"] = page.prefixes
        if page.token:
            answer["nextPageToken"] = page.token
        return json_reply(answer)

    def _get(self, request: Request, bucket: str, name: str) -> Reply:
        found = self._found(request, bucket, name)
        rules.check_preconditions(request, found, read=True)
        if request.query.get("alt") == "media":
            return self._media(request, found)
        return self._answer(request, found)

    def _media(self, request: Request, found: StoredObject) -> Reply:
        hashes = [f"crc32c={found.crc32c}"] + ([f"md5={found.md5}"] if found.md5 else [])
        encoding = found.settable.get("contentEncoding", "")
        headers = {
            "Accept-Ranges": "bytes",
            "Cache-Control": found.settable.get("cacheControl", "no-cache"),
            "ETag": f'"{rules.etag_of(found)}"',
            "X-Goog-Hash": ",".join(hashes),
            "X-Goog-Generation": str(found.generation),
            "X-Goog-Metageneration": str(found.metageneration),
            "X-Goog-Storage-Class": found.settable.get("storageClass", "STANDARD"),
            "X-Goog-Stored-Content-Length": str(found.size),
            "X-Goog-Stored-Content-Encoding": encoding or "identity",
        }
        for name, key in _SAID_BY_OBJECT.items():
            if key in found.settable:
                headers[name] = found.settable[key]
        content_type = found.settable.get("contentType", "application/octet-stream")
        span = _range(request.headers.get("range", ""), found.size)
        if span is None:
            return Reply(200, self.tables.body(found.generation), content_type, headers)
        start, stop = span
        headers["Content-Range"] = f"bytes {start}-{stop - 1}/{found.size}"
        body = self.tables.body(found.generation, start, stop - start)
        return Reply(206, body, content_type, headers)

    def _patch(self, request: Request, bucket: str, name: str) -> Reply:
        return self._change(request, bucket, name, keep=True)

    def _update(self, request: Request, bucket: str, name: str) -> Reply:
        return self._change(request, bucket, name, keep=False)

    def _change(self, request: Request, bucket: str, name: str, *, keep: bool) -> Reply:
        with self.tables.transaction():
            found = self._found(request, bucket, name)
            rules.check_preconditions(request, found)
            wanted = request.json()
            fresh = rules.merged(found.settable, wanted) if keep else wanted
            changed = self.tables.patch(found, rules.settable(fresh))
        self._effects.record(f"{bucket}/{name}", detail={"generation": changed.generation})
        return self._answer(request, changed)

    def _delete(self, request: Request, bucket: str, name: str) -> Reply:
        with self.tables.transaction():
            found = self._found(request, bucket, name)
            rules.check_preconditions(request, found)
            rules.check_hold(found)
            self.tables.delete(bucket, name)
        self._effects.record(
            f"{bucket}/{name}",
            detail={"bucket": bucket, "name": name, "generation": found.generation},
        )
        return Reply(204)

    def _rewrite(
        self, request: Request, bucket: str, name: str, to_bucket: str, to_name: str
    ) -> Reply:
        made = self._duplicate(request, bucket, name, to_bucket, to_name)
        return json_reply(
            {
                "kind": "storage#rewriteResponse",
                "totalBytesRewritten": str(made.size),
                "objectSize": str(made.size),
                "done": True,
                "resource": rules.resource_of(made, request.base_url),
            }
        )

    def _copy(
        self, request: Request, bucket: str, name: str, to_bucket: str, to_name: str
    ) -> Reply:
        return self._answer(request, self._duplicate(request, bucket, name, to_bucket, to_name))

    def _move(self, request: Request, bucket: str, name: str, to_name: str) -> Reply:
        with self.tables.transaction():
            rules.check_hold(self.tables.get(bucket, name))
            made = self._duplicate(request, bucket, name, bucket, to_name)
            self.tables.delete(bucket, name)
        return self._answer(request, made)

    def _duplicate(
        self, request: Request, bucket: str, name: str, to_bucket: str, to_name: str
    ) -> StoredObject:
        rules.check_object_name(to_name)
        with self.tables.transaction():
            source = self._found(request, bucket, name, "sourceGeneration")
            rules.check_preconditions(request, source, kind="ifSource")
            self._buckets.need(to_bucket)
            there = self.tables.get(to_bucket, to_name)
            rules.check_preconditions(request, there)
            rules.check_hold(there)
            settable = rules.settable(source.settable | request.json())
            data = self.tables.body(source.generation)
            made = self.tables.put(to_bucket, to_name, data, settable, md5=bool(source.md5))
        self._effects.record(f"{to_bucket}/{to_name}", detail={"generation": made.generation})
        return made

    def _compose(self, request: Request, bucket: str, name: str) -> Reply:
        rules.check_object_name(name)
        wanted = request.json()
        parts = wanted.get("sourceObjects", [])
        if not 1 <= len(parts) <= _MAX_COMPONENTS:
            raise rules.bad(
                "The number of source components provided "
                f"({len(parts)}) must be between 1 and {_MAX_COMPONENTS}"
            )
        with self.tables.transaction():
            self._buckets.need(bucket)
            there = self.tables.get(bucket, name)
            rules.check_preconditions(request, there)
            rules.check_hold(there)
            data = b"".join(self._component(bucket, part) for part in parts)
            settable = rules.settable(wanted.get("destination", {}))
            made = self.tables.put(bucket, name, data, settable, md5=False)
        self._effects.record(f"{bucket}/{name}", detail={"generation": made.generation})
        return self._answer(request, made, componentCount=len(parts))

    def _component(self, bucket: str, part: dict[str, Any]) -> bytes:
        conditions = part.get("objectPreconditions", {})
        query = {key: str(value) for key, value in conditions.items()}
        if "generation" in part:
            query["generation"] = str(part["generation"])
        source = Request("GET", "", query)
        found = self._found(source, bucket, part.get("name", ""))
        rules.check_preconditions(source, found)
        return self.tables.body(found.generation)

    def _answer(self, request: Request, item: StoredObject, **more: object) -> Reply:
        resource = rules.resource_of(item, request.base_url) | more
        return json_reply(resource, ETag=resource["etag"])


def _range(header: str, size: int) -> tuple[int, int] | None:
    """`bytes=a-b` as (start, stop), None for the whole; HTTP 416 when it is outside the object."""
    match = re.fullmatch(r"bytes=(\d*)-(\d*)", header)
    if match is None or not (match[1] or match[2]):
        return None
    first, last = match[1], match[2]
    start = int(first) if first else max(0, size - int(last))
    stop = min(int(last) + 1, size) if first and last else size
    if start >= size or stop <= start:
        raise HttpError(
            416, "requestedRangeNotSatisfiable", "The requested range cannot be satisfied."
        )
    return start, stop
