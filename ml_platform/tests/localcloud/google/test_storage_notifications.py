"""Pub/Sub notifications of buckets, retold from googleapis/python-storage
tests/system/test_notification.py.

Left out: the topic and its policy, which the suite makes with Pub/Sub's client: the local cloud has
no Pub/Sub. What arrives at a topic is in test_gcs_messages.py.
"""

from __future__ import annotations

from typing import Any

import pytest
from google.api_core import exceptions
from google.cloud.storage import Bucket, Client
from google.cloud.storage.notification import (
    JSON_API_V1_PAYLOAD_FORMAT,
    OBJECT_DELETE_EVENT_TYPE,
    OBJECT_FINALIZE_EVENT_TYPE,
)

from ml_platform.localcloud import LocalCloud
from ml_platform.tests.localcloud.conftest import ROBOT
from ml_platform.tests.localcloud.storage_calls import B, call, item

CONFIGS = f"/storage/v1/b/{B}/notificationConfigs"
TOPIC = "//pubsub.googleapis.com/projects/demo-project/topics/changes"


def test_a_minimal_notification_exists_and_is_listed(bucket: Bucket) -> None:
    assert list(bucket.list_notifications()) == []
    made = bucket.notification("changes")
    made.create()
    assert made.exists()
    assert made.notification_id is not None
    assert [one.topic_name for one in bucket.list_notifications()] == ["changes"]
    made.delete()
    assert not made.exists()
    assert list(bucket.list_notifications()) == []


def test_a_notification_keeps_what_was_asked_for(bucket: Bucket) -> None:
    wanted: dict[str, Any] = {
        "custom_attributes": {"attr1": "value1", "attr2": "value2"},
        "event_types": [OBJECT_FINALIZE_EVENT_TYPE, OBJECT_DELETE_EVENT_TYPE],
        "blob_name_prefix": "blob-name-prefix/",
        "payload_format": JSON_API_V1_PAYLOAD_FORMAT,
    }
    made = bucket.notification("changes", **wanted)
    made.create()
    fetched = bucket.get_notification(made.notification_id)
    for name, value in wanted.items():
        assert getattr(made, name) == getattr(fetched, name) == value
    assert fetched.path == made.path
    assert fetched.topic_project == "demo-project"


def test_a_notification_without_a_topic_is_refused(bucket: Bucket) -> None:
    words = "Invalid Google Cloud Pub/Sub topic. It should look like"
    with pytest.raises(exceptions.BadRequest, match=words):
        bucket.notification(topic_name=None).create()
    assert list(bucket.list_notifications()) == []


@pytest.mark.parametrize(
    ("more", "status"),
    [
        ({"topic": "projects/demo-project/topics/changes"}, 400),
        ({"topic": TOPIC.replace("changes", "it")}, 400),
        ({"topic": TOPIC.replace("changes", "google-x")}, 400),
        ({"topic": TOPIC.replace("changes", "1st")}, 400),
        ({"topic": TOPIC.replace("demo-project", "nowhere")}, 403),
        ({"topic": ["x"]}, 400),
        ({"payload_format": "XML"}, 400),
        ({"event_types": ["OBJECT_READ"]}, 400),
        ({"event_types": "OBJECT_DELETE"}, 400),
        ({"event_types": [{}]}, 400),
        ({"custom_attributes": {"k": "v" * 1025}}, 400),
        ({"custom_attributes": {str(k): "v" for k in range(11)}}, 400),
        ({"object_name_prefix": 1}, 400),
    ],
)
def test_what_does_not_fit_is_refused(
    cloud: LocalCloud, bucket: Bucket, more: dict[str, Any], status: int
) -> None:
    assert call(cloud, "POST", CONFIGS, {"topic": TOPIC} | more).status_code == status
    assert "items" not in call(cloud, "GET", CONFIGS).json()


def test_what_is_not_there_is_not_found(cloud: LocalCloud, bucket: Bucket) -> None:
    for verb in ("GET", "DELETE"):
        assert call(cloud, verb, f"{CONFIGS}/1").status_code == 404
    for verb in ("GET", "POST"):
        assert call(cloud, verb, CONFIGS.replace(B, "nowhere")).status_code == 404


def test_they_leave_the_metageneration_and_outlive_the_buckets_changes(
    cloud: LocalCloud, bucket: Bucket
) -> None:
    before = bucket.metageneration
    made = bucket.notification("changes")
    made.create()
    bucket.labels = {"k": "v"}
    bucket.update(if_metageneration_match=before)
    assert made.exists()
    assert "notifications" not in str(call(cloud, "GET", f"/storage/v1/b/{B}").json()).lower()


def test_an_event_has_ten_configurations(cloud: LocalCloud, bucket: Bucket) -> None:
    for number in range(10):
        wanted = {"topic": f"{TOPIC}{number}", "event_types": [OBJECT_DELETE_EVENT_TYPE]}
        assert call(cloud, "POST", CONFIGS, wanted).status_code == 200
    full = call(cloud, "POST", CONFIGS, {"topic": TOPIC})
    assert (full.status_code, item(full)["reason"]) == (400, "invalid")
    other = {"topic": TOPIC, "event_types": [OBJECT_FINALIZE_EVENT_TYPE]}
    assert call(cloud, "POST", CONFIGS, other).status_code == 200


def test_they_need_the_rights_on_the_bucket(
    cloud: LocalCloud, bucket: Bucket, robot_gcs: Client
) -> None:
    cloud.iam.grant(f"serviceAccount:{ROBOT}", "roles/viewer")
    mine = robot_gcs.bucket(B)
    assert list(mine.list_notifications()) == []
    with pytest.raises(exceptions.Forbidden, match=r"storage\.buckets\.update"):
        mine.notification("changes").create()
