"""What the notifications of a bucket publish, as a subscriber would get it.

After cloud.google.com/storage/docs/pubsub-notifications.
"""

from __future__ import annotations

import base64
import json
from typing import Any

import pytest
from google.api_core import exceptions
from google.cloud.storage import Bucket

from ml_platform.localcloud import LocalCloud
from ml_platform.localcloud.gcs.buckets import messages
from ml_platform.tests.localcloud.gcs_ways import BUCKET
from ml_platform.tests.localcloud.storage_calls import call

TOPIC = "projects/demo-project/topics/changes"
FINALIZE, UPDATE = "OBJECT_FINALIZE", "OBJECT_METADATA_UPDATE"
DELETE, ARCHIVE = "OBJECT_DELETE", "OBJECT_ARCHIVE"


def notify(bucket: Bucket, topic: str = "changes", **options: Any) -> str:
    """A configuration; its id."""
    made = bucket.notification(topic, **options)
    made.create()
    return str(made.notification_id)


def heard(cloud: LocalCloud, topic: str = TOPIC) -> list[dict[str, str]]:
    """The attributes of the messages of a topic."""
    return [one["message"]["attributes"] for one in cloud.storage.messages.read(topic)]


def events(cloud: LocalCloud) -> list[tuple[str, str]]:
    """(event, object's name) of all messages of TOPIC."""
    return [(one["eventType"], one["objectId"]) for one in heard(cloud)]


def test_each_change_of_an_object_is_told_with_its_attributes(
    cloud: LocalCloud, bucket: Bucket
) -> None:
    key = notify(bucket, custom_attributes={"team": "red"}, payload_format="JSON_API_V1")
    blob = bucket.blob("a")
    blob.upload_from_string(b"hello")
    first = heard(cloud)
    assert [one.pop("eventTime") for one in first] == [first_time(cloud)]
    assert first == [
        {
            "team": "red",
            "eventType": FINALIZE,
            "bucketId": BUCKET,
            "objectId": "a",
            "objectGeneration": str(blob.generation),
            "payloadFormat": "JSON_API_V1",
            "notificationConfig": f"projects/_/buckets/{BUCKET}/notificationConfigs/{key}",
        }
    ]
    blob.metadata = {"k": "v"}
    blob.patch()
    blob.delete()
    assert [event for event, _ in events(cloud)] == [FINALIZE, UPDATE, DELETE]


def first_time(cloud: LocalCloud) -> str:
    """When the first message was published."""
    time: str = cloud.storage.messages.read()[0]["message"]["publishTime"]
    return time


def test_the_payload_is_the_object_as_it_was(cloud: LocalCloud, bucket: Bucket) -> None:
    notify(bucket, payload_format="JSON_API_V1")
    notify(bucket, "silent", payload_format="NONE")
    bucket.blob("a").upload_from_string(b"hello")
    whole = call(cloud, "GET", f"/storage/v1/b/{BUCKET}/o/a").json()
    bucket.delete_blob("a")
    told, silent = (
        call(cloud, "GET", f"/_localcloud/messages?topic=projects/demo-project/topics/{topic}")
        for topic in ("changes", "silent")
    )
    first = told.json()["messages"][0]["message"]
    assert json.loads(base64.b64decode(first["data"])) == whole
    assert [one["message"]["data"] for one in silent.json()["messages"]] == ["", ""]
    after = f"/_localcloud/messages?after={first['messageId']}&limit=1"
    (second,) = call(cloud, "GET", after).json()["messages"]
    assert second["topic"] == "projects/demo-project/topics/silent"


@pytest.mark.parametrize(("versioning", "ended"), [(False, DELETE), (True, ARCHIVE)])
def test_an_overwrite_names_both_generations(
    cloud: LocalCloud, bucket: Bucket, versioning: bool, ended: str
) -> None:
    bucket.versioning_enabled = versioning
    bucket.patch()
    notify(bucket)
    blob = bucket.blob("a")
    generations = []
    for data in (b"1", b"2"):
        blob.upload_from_string(data)
        generations.append(str(blob.generation))
    old, new = generations
    _, gone, fresh = heard(cloud)
    assert (gone["eventType"], gone["objectGeneration"]) == (ended, old)
    assert gone["overwrittenByGeneration"] == new
    assert (fresh["eventType"], fresh["objectGeneration"]) == (FINALIZE, new)
    assert fresh["overwroteGeneration"] == old


def test_a_noncurrent_version_is_archived_and_later_deleted(
    cloud: LocalCloud, versions: Bucket
) -> None:
    notify(versions)
    blob = versions.blob("a")
    blob.upload_from_string(b"1")
    versions.delete_blob("a")
    versions.blob("a", generation=blob.generation).delete()
    assert [event for event, _ in events(cloud)] == [FINALIZE, ARCHIVE, DELETE]
    assert len({one["objectGeneration"] for one in heard(cloud)}) == 1


def test_every_way_to_make_an_object_is_told(cloud: LocalCloud, bucket: Bucket) -> None:
    notify(bucket)
    a = bucket.blob("a")
    a.upload_from_string(b"1")
    bucket.copy_blob(a, bucket, "copied")
    bucket.blob("composed").compose([a])
    bucket.blob("rewritten").rewrite(a)
    bucket.move_blob(bucket.blob("rewritten"), "moved")
    generation = a.generation
    a.delete()
    bucket.restore_blob("a", generation=generation)
    cloud.storage.write(BUCKET, "within", b"by a pipeline")
    assert events(cloud) == [
        (FINALIZE, "a"),
        (FINALIZE, "copied"),
        (FINALIZE, "composed"),
        (FINALIZE, "rewritten"),
        (FINALIZE, "moved"),
        (DELETE, "rewritten"),
        (DELETE, "a"),
        (FINALIZE, "a"),
        (FINALIZE, "within"),
    ]


def test_a_lifecycle_rule_tells_too(cloud: LocalCloud, bucket: Bucket) -> None:
    notify(bucket, event_types=[DELETE])
    bucket.add_lifecycle_delete_rule(age=1)
    bucket.patch()
    bucket.blob("a").upload_from_string(b"1")
    cloud.clock.advance(3 * 86_400)
    assert events(cloud) == [(DELETE, "a")]


def test_a_configuration_hears_its_events_and_prefix_only(
    cloud: LocalCloud, bucket: Bucket
) -> None:
    notify(bucket, event_types=[DELETE], blob_name_prefix="runs/")
    for name in ("runs/1", "other/1"):
        bucket.blob(name).upload_from_string(b"1")
        bucket.delete_blob(name)
    assert events(cloud) == [(DELETE, "runs/1")]


def write_and_fail(cloud: LocalCloud) -> None:
    """A change whose transaction is rolled back."""
    with cloud.storage.tables.transaction():
        cloud.storage.write(BUCKET, "a", b"1")
        cloud.storage.write(BUCKET, "b", bytes(1 // 0))


def test_a_change_that_is_refused_or_undone_is_not_told(cloud: LocalCloud, bucket: Bucket) -> None:
    notify(bucket)
    with pytest.raises(exceptions.PreconditionFailed):
        bucket.blob("a").upload_from_string(b"1", if_generation_match=7)
    parts = {"sourceObjects": [{"name": "nothing"}]}
    path = f"/storage/v1/b/{BUCKET}/o/a/compose"
    assert call(cloud, "POST", path, parts).status_code == 404
    with pytest.raises(ZeroDivisionError):
        write_and_fail(cloud)
    assert heard(cloud) == []


def test_a_deleted_configuration_hears_nothing_and_a_reset_forgets_all(
    cloud: LocalCloud, bucket: Bucket
) -> None:
    key = notify(bucket)
    bucket.blob("a").upload_from_string(b"1")
    bucket.get_notification(key).delete()
    bucket.blob("b").upload_from_string(b"1")
    assert events(cloud) == [(FINALIZE, "a")]
    cloud.reset()
    assert cloud.storage.messages.read() == []


def test_the_newest_messages_are_kept(
    cloud: LocalCloud, bucket: Bucket, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(messages, "KEPT", 2)
    notify(bucket)
    for name in "abc":
        bucket.blob(name).upload_from_string(b"1")
    assert events(cloud) == [(FINALIZE, "b"), (FINALIZE, "c")]
