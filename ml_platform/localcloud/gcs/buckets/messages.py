"""What the notifications of buckets have published, for a test to read: there is no Pub/Sub here.

Messages are written in the transaction of the change that they tell of, so none tells of a change
that was undone.
"""

from __future__ import annotations

import base64
import json
from typing import Any

from ...core.core import Core
from ..checks import protection
from ..tables.events import EVENTS, FINALIZE
from ..tables.store import StoredObject, stamp

FIELD = "_notifications"
"""Where a bucket has its configurations."""
KEPT = 10_000
"""How many messages stay readable: the newest."""
_SCHEMA = """
CREATE TABLE IF NOT EXISTS gcs_messages (
    seq INTEGER PRIMARY KEY AUTOINCREMENT, topic TEXT NOT NULL, published TEXT NOT NULL,
    attributes TEXT NOT NULL, resource TEXT NOT NULL);
"""


class Messages:
    """The messages of all topics, oldest first."""

    def __init__(self, core: Core) -> None:
        self._store, self._clock = core.store, core.clock
        core.store.create(_SCHEMA)

    def publish(
        self, bucket: dict[str, Any], event: str, item: StoredObject, other: int | None = None
    ) -> None:
        """Tell every configuration that asks for it; `other` is the generation that `item`
        replaced, or the one that replaced it."""
        for config in bucket.get(FIELD, ()):
            asked = config.get("event_types") or EVENTS
            if event in asked and item.name.startswith(config.get("object_name_prefix", "")):
                self._keep(bucket, config, _attributes(event, item, other), item)

    def read(
        self, topic: str = "", after: int = 0, limit: int = 1000, base_url: str = ""
    ) -> list[dict[str, Any]]:
        """Up to `limit` messages behind the one numbered `after`, each as a PubsubMessage in JSON.

        `topic` is projects/P/topics/T; '' means all.
        """
        rows = self._store.execute(
            "SELECT seq, topic, published, attributes, resource FROM gcs_messages"
            " WHERE seq>? AND ? IN ('', topic) ORDER BY seq LIMIT ?",
            (after, topic, limit),
        )
        return [_shown(base_url, *row) for row in rows]

    def _keep(
        self,
        bucket: dict[str, Any],
        config: dict[str, Any],
        attributes: dict[str, str],
        item: StoredObject,
    ) -> None:
        told = config["payload_format"] != "NONE"
        whole = {
            **config.get("custom_attributes", {}),
            **attributes,
            "notificationConfig": f"projects/_/buckets/{item.bucket}"
            f"/notificationConfigs/{config['id']}",
            "payloadFormat": config["payload_format"],
            "eventTime": stamp(self._clock.now()),
        }
        rows = self._store.execute(
            "INSERT INTO gcs_messages (topic, published, attributes, resource) VALUES (?,?,?,?)"
            " RETURNING seq",
            (
                config["topic"].removeprefix("//pubsub.googleapis.com/"),
                whole["eventTime"],
                json.dumps(whole),
                json.dumps(protection.resource_of(item, "", bucket) if told else None),
            ),
        )
        self._store.execute("DELETE FROM gcs_messages WHERE seq<=?", (rows[0][0] - KEPT,))


def _attributes(event: str, item: StoredObject, other: int | None) -> dict[str, str]:
    made = {
        "eventType": event,
        "bucketId": item.bucket,
        "objectId": item.name,
        "objectGeneration": str(item.generation),
    }
    if other is not None:
        key = "overwroteGeneration" if event == FINALIZE else "overwrittenByGeneration"
        made[key] = str(other)
    return made


def _shown(
    base_url: str, seq: int, topic: str, published: str, attributes: str, resource: str
) -> dict[str, Any]:
    told = json.loads(resource)
    if told is not None:
        # Only who reads knows the address of this cloud.
        told |= {link: base_url + told[link] for link in ("selfLink", "mediaLink")}
    data = b"" if told is None else json.dumps(told).encode()
    message = {
        "data": base64.b64encode(data).decode(),
        "attributes": json.loads(attributes),
        "messageId": str(seq),
        "publishTime": published,
    }
    return {"topic": topic, "message": message}
