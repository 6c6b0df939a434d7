"""The buckets of the JSON API, with their IAM policy."""

from __future__ import annotations

import base64
from typing import Any

from ...core.core import Core
from ...core.names import Location
from ...server.http_types import HttpError, Reply, Request, Route, json_reply
from ..checks import bodies, rules, unserved
from ..checks.conditions import check_etag
from ..places import place_of
from ..tables.store import stamp
from ..tables.versions import VersionedTables, bucket_key
from . import lifecycle, policies

_ONE = r"/storage/v1/b/(?P<bucket>[^/]+)"
_MAX_RESULTS = 1000
# Fields of a bucket that only the service sets, besides those with an underscore.
_OURS = (
    "kind",
    "id",
    "name",
    "projectNumber",
    "metageneration",
    "timeCreated",
    "updated",
    "generation",
    "objectRetention",
    "location",
    "locationType",
)


class Buckets:
    """Any bucket may be created, by default in the cloud's location; names are global."""

    def __init__(self, tables: VersionedTables, core: Core) -> None:
        self._tables = tables
        self._clock = core.clock
        self._effects = core.effects
        self._names = core.names
        self.lifecycle = lifecycle.Lifecycle(tables, core)

    def routes(self) -> list[Route]:
        """Everything under /storage/v1/b, but the objects."""
        return [
            Route("GET", "/storage/v1/b", "storage.buckets.list", self._list),
            Route("POST", "/storage/v1/b", "storage.buckets.insert", self._insert),
            Route("GET", _ONE, "storage.buckets.get", self._get),
            Route("PATCH", _ONE, "storage.buckets.patch", self._patch),
            Route("PUT", _ONE, "storage.buckets.update", self._update),
            Route("DELETE", _ONE, "storage.buckets.delete", self._delete),
            Route(
                "POST",
                f"{_ONE}/lockRetentionPolicy",
                "storage.buckets.lockRetentionPolicy",
                self._lock,
            ),
            Route("POST", f"{_ONE}/restore", "storage.buckets.restore", self._restore),
        ]

    def need(self, name: str) -> dict[str, Any]:
        """The bucket, or HTTP 404."""
        found = self._tables.bucket(name)
        if found is None:
            raise HttpError(404, "notFound", "The specified bucket does not exist.")
        return found

    def ensure(self, name: str) -> None:
        """Make the bucket unless it is there."""
        if self._tables.bucket(name) is None:
            rules.check_bucket_name(name)
            self._tables.put_bucket(self._fresh({"name": name}))

    def _fresh(self, wanted: dict[str, Any]) -> dict[str, Any]:
        now = stamp(self._clock.now())
        generation = self._tables.next_bucket_generation(wanted["name"])
        location = bodies.location_of(wanted, self._names.location)
        defaults: dict[str, Any] = {
            "storageClass": "STANDARD",
            "iamConfiguration": {
                "uniformBucketLevelAccess": {"enabled": False},
                "publicAccessPrevention": "inherited",
            },
        }
        ours = {
            "kind": "storage#bucket",
            "id": wanted["name"],
            "name": wanted["name"],
            "projectNumber": str(self._names.number),
            "generation": str(generation),
            "metageneration": "1",
            "timeCreated": now,
            "updated": now,
            "location": location,
            "locationType": "multi-region" if location in ("EU", "US", "ASIA") else "region",
        }
        return policies.settled(
            {},
            rules.merged(defaults, bodies.fitting(wanted, bodies.BUCKET)) | ours,
            self._clock.now(),
        )

    def _place(self, request: Request) -> Location:
        project = request.query.get("project", "")
        if not project:
            raise rules.bad("Required parameter: project", "required")
        return place_of(self._names, project)

    def _insert(self, request: Request) -> Reply:
        place = self._place(request)
        wanted = request.json()
        name = str(wanted.get("name", ""))
        rules.check_bucket_name(name)
        unserved.check_bucket(wanted)
        unserved.check_write(request, wanted, wanted)
        with self._names.at(place), self._tables.transaction():
            self._refuse_taken(self._tables.bucket(name))
            made = self._fresh(wanted)
            if request.flag("enableObjectRetention"):
                made["objectRetention"] = {"mode": "Enabled"}
            self._tables.put_bucket(made)
            self.lifecycle.arm(made)
        self._effects.record(name)
        return _answer(request, made)

    def _refuse_taken(self, found: dict[str, Any] | None) -> None:
        if found is None:
            return
        message = (
            "Your previous request to create the named bucket succeeded and you already own it."
            if found["projectNumber"] == str(self._names.number)
            else "The requested bucket name is not available. The bucket namespace is shared by "
            "all users of the system. Please select a different name and try again."
        )
        raise HttpError(409, "conflict", message)

    def _list(self, request: Request) -> Reply:
        number = str(self._names.projects[self._place(request).project])
        limit = min(request.number("maxResults") or _MAX_RESULTS, _MAX_RESULTS)
        start = rules.decode_token(request.query.get("pageToken", ""))
        soft = request.flag("softDeleted")
        listed = self._tables.soft_deleted_buckets if soft else self._tables.buckets
        found = listed(request.query.get("prefix", ""), start, limit + 1, number)
        page, rest = found[:limit], found[limit:]
        answer: dict[str, Any] = {
            "kind": "storage#buckets",
            "items": [_shown(request, bucket) for bucket in page],
        }
        if rest:
            after = bucket_key(rest[0]) if soft else rest[0]["name"]
            answer["nextPageToken"] = rules.encode_token(after)
        return json_reply(answer)

    def _get(self, request: Request, bucket: str) -> Reply:
        soft = request.flag("softDeleted")
        found = self._soft_deleted(request, bucket) if soft else self.need(bucket)
        _check_metageneration(request, found, read=True)
        return _answer(request, found)

    def _patch(self, request: Request, bucket: str) -> Reply:
        return self._change(request, bucket, keep=True)

    def _update(self, request: Request, bucket: str) -> Reply:
        return self._change(request, bucket, keep=False)

    def _change(self, request: Request, bucket: str, *, keep: bool) -> Reply:
        """A patch keeps what it does not name; an update puts it back to its default."""
        with self._tables.transaction():
            found = self.need(bucket)
            _check_metageneration(request, found)
            sent = request.json()
            unserved.check_write(request, found, sent)
            wanted = bodies.fitting(sent, bodies.BUCKET)
            unserved.check_bucket(wanted)
            ours = {key: found[key] for key in found if key in _OURS or key.startswith("_")}
            before = found if keep else self._fresh({"name": bucket})
            fresh = rules.merged(before, wanted) | ours
            changed = self.store(policies.settled(found, fresh, self._clock.now()))
        self._effects.record(bucket)
        return _answer(request, changed)

    def _delete(self, request: Request, bucket: str) -> Reply:
        with self._tables.transaction():
            _check_metageneration(request, self.need(bucket))
            if self._tables.scan_versions(bucket, "", "", 1):
                raise HttpError(409, "conflict", "The bucket you tried to delete is not empty.")
            self._tables.drop_bucket(bucket)
        self._effects.record(bucket)
        return Reply(204)

    def _lock(self, request: Request, bucket: str) -> Reply:
        if request.number("ifMetagenerationMatch") is None:
            raise rules.bad("Required parameter: ifMetagenerationMatch", "required")
        with self._tables.transaction():
            found = self.need(bucket)
            _check_metageneration(request, found)
            changed = self.store(policies.locked(found))
        self._effects.record(bucket)
        return _answer(request, changed)

    def _restore(self, request: Request, bucket: str) -> Reply:
        with self._tables.transaction():
            found = self._soft_deleted(request, bucket)
            if self._tables.bucket(bucket) is not None:
                raise HttpError(409, "conflict", f"A live bucket named '{bucket}' exists.")
            live = self._tables.restore_bucket(found)
            self.lifecycle.arm(live)
        self._effects.record(bucket)
        return _answer(request, live)

    def _soft_deleted(self, request: Request, name: str) -> dict[str, Any]:
        generation = request.number("generation")
        if generation is None:
            raise rules.bad("Required parameter: generation", "required")
        found = self._tables.soft_deleted_bucket(name, generation)
        if found is None:
            raise HttpError(404, "notFound", "The specified bucket does not exist.")
        return found

    def store(self, changed: dict[str, Any]) -> dict[str, Any]:
        """Write a bucket that was changed, with its next metageneration."""
        stored = changed | {
            "updated": stamp(self._clock.now()),
            "metageneration": str(int(changed["metageneration"]) + 1),
        }
        self._tables.put_bucket(stored)
        self.lifecycle.arm(stored)
        return stored


def _shown(request: Request, bucket: dict[str, Any]) -> dict[str, Any]:
    shown = {key: value for key, value in bucket.items() if not key.startswith("_")}
    return shown | {
        "selfLink": f"{request.base_url}/storage/v1/b/{bucket['name']}",
        "etag": _etag(bucket),
    }


def _etag(bucket: dict[str, Any]) -> str:
    return base64.b64encode(bucket["metageneration"].encode()).decode()


def _answer(request: Request, bucket: dict[str, Any]) -> Reply:
    return json_reply(_shown(request, bucket))


def _check_metageneration(request: Request, bucket: dict[str, Any], *, read: bool = False) -> None:
    actual = int(bucket["metageneration"])
    if request.number("ifMetagenerationMatch") not in (None, actual):
        raise HttpError(412, "conditionNotMet", "The bucket's metageneration does not match.")
    if request.number("ifMetagenerationNotMatch") == actual:
        raise HttpError(304 if read else 412, "conditionNotMet", "The metageneration matches.")
    check_etag(request, _etag(bucket), read=read)
