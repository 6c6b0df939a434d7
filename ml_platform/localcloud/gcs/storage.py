"""Cloud Storage: the buckets and objects of the JSON API, and the same for the cloud's own use."""

from __future__ import annotations

from typing import Any

from ..core.core import Core
from ..server.http_types import Reply, Request, Route, json_reply
from .access import answer_iam
from .buckets.bucket_policies import BucketPolicies
from .buckets.buckets import Buckets
from .buckets.messages import Messages
from .buckets.notifications import Notifications
from .calls.retry_tests import RetryTests
from .calls.surface import surfaced
from .checks import customer_keys, protection, rules, unserved
from .hmac_keys import HmacKeys
from .objects.generations import Generations
from .objects.media import media_reply
from .objects.upload import Uploads
from .places import Places
from .tables.store import StoredObject, successor
from .tables.versions import VersionedTables

_B = r"/b/(?P<bucket>[^/]+)"
_O = _B + r"/o/(?P<name>[^/]+)"
_TARGET = r"/b/(?P<to_bucket>[^/]+)/o/(?P<to_name>[^/]+)"
_MAX_RESULTS = 1000
_MAX_COMPONENTS = 32


class Storage:
    """GCS on the store's tables; strongly consistent."""

    def __init__(self, core: Core) -> None:
        self.tables = VersionedTables(core)
        answer_iam(core, self.tables)
        self.messages = Messages(core)
        """What the notifications of buckets have published."""
        self.tables.told = self.messages.publish
        self.thin_pages = 0
        """Above 0: a listing's first page is empty, and no other has more entries than this."""
        self.retry_tests = RetryTests()
        self.hmac_keys = HmacKeys(core)
        self._effects = core.effects
        self._buckets = Buckets(self.tables, core)
        self._generations = Generations(self.tables, self._buckets, core)
        self._parts = (
            self._buckets,
            BucketPolicies(self.tables, self._buckets.need, core),
            Places(core.names, self._buckets.need),
            Notifications(self.tables, self._buckets, core),
            self.hmac_keys,
            Uploads(self.tables, self._buckets, self._generations),
            self._generations,
        )

    # for the other services, in process and without faults

    def write(
        self, bucket: str, name: str, data: bytes, content_type: str = "application/octet-stream"
    ) -> int:
        """Write an object, making its bucket if need be; answers the generation."""
        with self.tables.transaction():
            self._buckets.ensure(bucket)
            return self.tables.put(bucket, name, data, {"contentType": content_type}).generation

    def make_bucket(self, bucket: str) -> None:
        """Make a bucket, unless it is there."""
        with self.tables.transaction():
            self._buckets.ensure(bucket)

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

    def rearm(self) -> None:
        """Set the timer of the lifecycle rules in a state file."""
        self._buckets.lifecycle.rearm()

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
        api = [*(route for part in self._parts for route in part.routes()), *objects]
        return [*surfaced(api, self.retry_tests), *unserved.routes(self._buckets.need)]

    def reset(self) -> None:
        """No retry tests, no thin pages."""
        self.thin_pages = 0
        self.retry_tests.reset()

    def _found(
        self, request: Request, bucket: str, name: str, key: str = "generation"
    ) -> StoredObject:
        return self._generations.live(request, bucket, name, key)

    def _list(self, request: Request, bucket: str) -> Reply:
        settings = self._buckets.need(bucket)
        unserved.check_list(request)
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
            trailing=request.flag("includeTrailingDelimiter"),
        )
        token = ask("pageToken", "")
        if self.thin_pages and not token:
            start = max(wanted.prefix, wanted.start) or "\0"
            return json_reply(
                {"kind": "storage#objects", "nextPageToken": rules.encode_token(start)}
            )
        scan, key = self._generations.listing(request)
        page = rules.page_of(
            lambda start, stop, count: scan(bucket, start, stop, count),
            wanted,
            min(limit or _MAX_RESULTS, self.thin_pages or _MAX_RESULTS),
            token,
            key,
        )
        answer: dict[str, Any] = {"kind": "storage#objects"}
        if page.items:
            answer["items"] = [
                protection.resource_of(item, request.base_url, settings) for item in page.items
            ]
        if page.prefixes:
            answer["prefixes"] = page.prefixes
        if page.token:
            answer["nextPageToken"] = page.token
        return json_reply(answer)

    def _get(self, request: Request, bucket: str, name: str) -> Reply:
        if request.flag("softDeleted"):
            return self._answer(request, self._generations.soft_deleted(request, bucket, name))
        found = self._found(request, bucket, name)
        rules.check_preconditions(request, found, read=True)
        if request.query.get("alt") == "media":
            return self._media(request, found)
        return self._answer(request, found)

    def _media(self, request: Request, found: StoredObject) -> Reply:
        customer_keys.check_key(found, customer_keys.key_of(request))
        return media_reply(
            request, found, lambda start, size: self.tables.body(found.generation, start, size)
        )

    def _patch(self, request: Request, bucket: str, name: str) -> Reply:
        return self._change(request, bucket, name, keep=True)

    def _update(self, request: Request, bucket: str, name: str) -> Reply:
        return self._change(request, bucket, name, keep=False)

    def _change(self, request: Request, bucket: str, name: str, *, keep: bool) -> Reply:
        with self.tables.transaction():
            found = self._found(request, bucket, name)
            rules.check_preconditions(request, found)
            wanted = request.json()
            unserved.check_write(request, self._buckets.need(bucket), wanted)
            fresh = rules.merged(found.settable, wanted) if keep else wanted
            changed = self._generations.change(request, found, fresh)
        self._effects.record(f"{bucket}/{name}", detail={"generation": changed.generation})
        return self._answer(request, changed)

    def _delete(self, request: Request, bucket: str, name: str) -> Reply:
        with self.tables.transaction():
            found = self._found(request, bucket, name)
            rules.check_preconditions(request, found)
            self._generations.delete(found, named="generation" in request.query)
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
                "resource": self._generations.shown(request, made),
            }
        )

    def _copy(
        self, request: Request, bucket: str, name: str, to_bucket: str, to_name: str
    ) -> Reply:
        return self._answer(request, self._duplicate(request, bucket, name, to_bucket, to_name))

    def _move(self, request: Request, bucket: str, name: str, to_name: str) -> Reply:
        with self.tables.transaction():
            self._generations.check_replaceable(bucket, self.tables.get(bucket, name))
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
            customer_keys.check_key(source, customer_keys.key_of(request, source=True))
            wanted = protection.copied(source.settable) | request.json()
            data = self.tables.body(source.generation)
            return self._generations.replace(
                request, to_bucket, to_name, wanted, data, md5=bool(source.md5)
            )

    def _compose(self, request: Request, bucket: str, name: str) -> Reply:
        rules.check_object_name(name)
        wanted = request.json()
        unserved.check_compose(wanted)
        parts = _parts(wanted)
        with self.tables.transaction():
            key = customer_keys.key_of(request)
            sources = [self._component(bucket, part, key) for part in parts]
            data = b"".join(self.tables.body(source.generation) for source in sources)
            count = sum(source.settable.get("componentCount", 1) for source in sources)
            made = self._generations.replace(
                request,
                bucket,
                name,
                wanted.get("destination") or {},
                data,
                md5=False,
                fixed={"componentCount": count},
            )
        return self._answer(request, made)

    def _component(self, bucket: str, part: dict[str, Any], key: str) -> StoredObject:
        """A source of a compose; its numbers may be strings, and null is as good as absent."""
        wanted = {"generation": part.get("generation")} | (part.get("objectPreconditions") or {})
        query = {name: str(value) for name, value in wanted.items() if value is not None}
        source = Request("GET", "", query)
        found = self._found(source, bucket, str(part.get("name") or ""))
        rules.check_preconditions(source, found)
        customer_keys.check_key(found, key)
        return found

    def _answer(self, request: Request, item: StoredObject) -> Reply:
        resource = self._generations.shown(request, item)
        return json_reply(resource, ETag=resource["etag"])


def _parts(wanted: dict[str, Any]) -> list[dict[str, Any]]:
    parts = wanted.get("sourceObjects") or []
    if not isinstance(parts, list) or not all(isinstance(part, dict) for part in parts):
        raise rules.bad("Invalid value for: sourceObjects is not a list of objects.")
    if not parts:
        raise rules.bad("You must provide at least one source component.", "required")
    if len(parts) > _MAX_COMPONENTS:
        raise rules.bad(
            f"The number of source components provided ({len(parts)}) exceeds the maximum "
            f"({_MAX_COMPONENTS})"
        )
    return parts
