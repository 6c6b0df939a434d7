"""Pub/Sub notifications of buckets, after cloud.google.com/storage/docs/pubsub-notifications.

The local cloud has no Pub/Sub: a topic exists as soon as a configuration names it, and what is
published to it is kept in messages.py for a test to read.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Any

from ...core.core import Core
from ...server.http_types import HttpError, Reply, Request, Route, json_reply
from ..checks import rules
from ..places import place_of
from ..tables.events import EVENTS
from ..tables.store import ObjectTables
from .buckets import Buckets
from .messages import FIELD

_CONFIGS = r"/storage/v1/b/(?P<bucket>[^/]+)/notificationConfigs"
_ONE = _CONFIGS + r"/(?P<key>[^/]+)"
_MAX, _MAX_OF_EVENT = 100, 10
_MAX_ATTRIBUTES, _MAX_KEY, _MAX_VALUE = 10, 256, 1024
# The names of topics after cloud.google.com/pubsub/docs/pubsub-basics#resource_names.
_TOPIC = re.compile(
    r"//pubsub\.googleapis\.com/projects/(?P<project>[^/]+)"
    r"/topics/(?!goog)[A-Za-z][A-Za-z0-9._~+%-]{2,254}"
)
# As in googleapis/python-storage#617.
_NO_TOPIC = (
    "Invalid Google Cloud Pub/Sub topic. "
    "It should look like '//pubsub.googleapis.com/projects/*/topics/*'."
)


class Notifications:
    """The configurations are kept with their bucket, whose metageneration they do not change.

    Google's retry conformance tests rely on that (python-storage, tests/conformance).
    """

    def __init__(self, tables: ObjectTables, buckets: Buckets, core: Core) -> None:
        self._tables, self._buckets = tables, buckets
        self._store, self._names, self._effects = core.store, core.names, core.effects

    def routes(self) -> list[Route]:
        """Everything under /storage/v1/b/.../notificationConfigs."""
        return [
            Route("POST", _CONFIGS, "storage.notifications.insert", self._insert),
            Route("GET", _CONFIGS, "storage.notifications.list", self._list),
            Route("GET", _ONE, "storage.notifications.get", self._get),
            Route("DELETE", _ONE, "storage.notifications.delete", self._delete),
        ]

    def _insert(self, request: Request, bucket: str) -> Reply:
        with self._tables.transaction():
            found = self._buckets.need(bucket)
            wanted = _checked(request.json())
            topic = _TOPIC.fullmatch(wanted["topic"])
            place_of(self._names, topic["project"] if topic else "")
            there = _configs(found)
            _check_room(there, wanted)
            key = str(self._store.next_id("gcs.notification"))
            made = wanted | {"kind": "storage#notification", "id": key, "etag": key}
            self._tables.put_bucket(found | {FIELD: [*there, made]})
        self._effects.record(f"{bucket}/notificationConfigs/{key}")
        return json_reply(_shown(request, bucket, made))

    def _list(self, request: Request, bucket: str) -> Reply:
        found = [_shown(request, bucket, one) for one in _configs(self._buckets.need(bucket))]
        return json_reply({"kind": "storage#notifications"} | ({"items": found} if found else {}))

    def _get(self, request: Request, bucket: str, key: str) -> Reply:
        one, _ = _split(self._buckets.need(bucket), key)
        return json_reply(_shown(request, bucket, one))

    def _delete(self, request: Request, bucket: str, key: str) -> Reply:
        del request
        with self._tables.transaction():
            found = self._buckets.need(bucket)
            _, others = _split(found, key)
            self._tables.put_bucket(found | {FIELD: others})
        self._effects.record(f"{bucket}/notificationConfigs/{key}")
        return Reply(204)


def _configs(bucket: dict[str, Any]) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = bucket.get(FIELD, [])
    return found


def _split(bucket: dict[str, Any], key: str) -> tuple[dict[str, Any], list[dict[str, Any]]]:
    """The configuration with that id, and the others. Raises HTTP 404."""
    there = _configs(bucket)
    for one in there:
        if one["id"] == key:
            return one, [other for other in there if other is not one]
    raise HttpError(404, "notFound", f"Notification {key} of bucket {bucket['name']} not found.")


def _shown(request: Request, bucket: str, one: dict[str, Any]) -> dict[str, Any]:
    path = f"/storage/v1/b/{bucket}/notificationConfigs/{one['id']}"
    return one | {"selfLink": request.base_url + path}


def _is_topic(value: object) -> bool:
    return isinstance(value, str) and bool(_TOPIC.fullmatch(value))


def _are_events(value: object) -> bool:
    return isinstance(value, list) and all(one in EVENTS for one in value)


def _are_attributes(value: object) -> bool:
    return (
        isinstance(value, dict)
        and len(value) <= _MAX_ATTRIBUTES
        and all(isinstance(text, str) and len(text) <= _MAX_VALUE for text in value.values())
        and all(0 < len(key) <= _MAX_KEY for key in value)
    )


# A field, whether a value is one of its own, the error's words, and what it is when not given.
_FIELDS: tuple[tuple[str, Callable[[object], bool], str, object], ...] = (
    ("topic", _is_topic, _NO_TOPIC, ""),
    (
        "payload_format",
        lambda value: value in ("JSON_API_V1", "NONE"),
        "Invalid argument: payload_format must be one of JSON_API_V1, NONE.",
        "JSON_API_V1",
    ),
    (
        "event_types",
        _are_events,
        f"Invalid argument: event_types must be among {', '.join(EVENTS)}.",
        [],
    ),
    (
        "custom_attributes",
        _are_attributes,
        f"Invalid argument: custom_attributes are at most {_MAX_ATTRIBUTES}, with keys of up to "
        f"{_MAX_KEY} and values of up to {_MAX_VALUE} characters.",
        {},
    ),
    (
        "object_name_prefix",
        lambda value: isinstance(value, str),
        "Invalid argument: object_name_prefix must be a string.",
        "",
    ),
)


def _checked(wanted: dict[str, Any]) -> dict[str, Any]:
    """The fields that a client sets, without the empty ones. Raises HTTP 400."""
    made = {}
    for field, fits, words, default in _FIELDS:
        value = wanted.get(field)
        value = default if value is None else value
        if not fits(value):
            raise rules.bad(words)
        if value:
            made[field] = value
    return made


def _check_room(there: list[dict[str, Any]], wanted: dict[str, Any]) -> None:
    """At most 100 configurations, and 10 of one event (those without events are of all)."""
    if len(there) >= _MAX:
        raise rules.bad(f"A bucket has at most {_MAX} notification configurations.")
    for event in wanted.get("event_types") or EVENTS:
        same = [one for one in there if event in (one.get("event_types") or EVENTS)]
        if len(same) >= _MAX_OF_EVENT:
            raise rules.bad(
                f"A bucket has at most {_MAX_OF_EVENT} notification configurations for {event}."
            )
