"""Retention and holds, retold from googleapis/python-storage tests/system.

From test_bucket.py and test_blob.py. The suite
sleeps until a retention has passed; here the Clock moves.
"""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest
from google.api_core import exceptions
from google.cloud.storage import Bucket, Client

from ml_platform.localcloud import LocalCloud


@pytest.fixture
def bucket(gcs: Client) -> Bucket:
    """A bucket as Google makes it."""
    return gcs.create_bucket("kept")


def test_a_retention_period_is_set_and_removed(gcs: Client, bucket: Bucket) -> None:
    bucket.retention_period = 3
    bucket.default_event_based_hold = False
    bucket.patch()
    bucket.reload()
    assert bucket.retention_period == 3
    assert isinstance(bucket.retention_policy_effective_time, datetime)
    assert not bucket.default_event_based_hold
    assert not bucket.retention_policy_locked
    bucket.retention_period = None
    bucket.patch()
    freed = gcs.get_bucket("kept")
    assert freed.retention_period is None
    assert freed.retention_policy_effective_time is None
    assert not freed.retention_policy_locked


def test_an_object_is_deleted_only_after_the_retention_period(
    cloud: LocalCloud, gcs: Client
) -> None:
    wanted = gcs.bucket("for-twelve-seconds")
    wanted.retention_period = 12
    bucket = gcs.create_bucket(wanted)
    blob = bucket.blob("object")
    blob.upload_from_string(b"DEADBEEF")
    blob.reload()
    assert isinstance(blob.retention_expiration_time, datetime)
    assert not blob.event_based_hold
    assert not blob.temporary_hold
    with pytest.raises(exceptions.Forbidden):
        blob.delete()
    cloud.clock.advance(12)
    blob.delete()


def test_a_default_event_based_hold_is_on_new_objects(gcs: Client, bucket: Bucket) -> None:
    bucket.default_event_based_hold = True
    bucket.patch()
    assert bucket.default_event_based_hold
    assert bucket.retention_period is None
    assert not bucket.retention_policy_locked
    bucket.blob("held").upload_from_string(b"DEADBEEF")
    held = bucket.get_blob("held")
    assert held.event_based_hold
    assert not held.temporary_hold
    assert held.retention_expiration_time is None
    with pytest.raises(exceptions.Forbidden):
        held.delete()
    held.event_based_hold = False
    held.patch()
    held.delete()
    bucket.default_event_based_hold = False
    bucket.patch()
    blob = bucket.blob("held")
    blob.upload_from_string(b"DEADBEEF")
    assert not blob.event_based_hold
    assert blob.retention_expiration_time is None
    blob.delete()


def test_a_temporary_hold_forbids_the_deletion(bucket: Bucket) -> None:
    bucket.blob("held").upload_from_string(b"DEADBEEF")
    held = bucket.get_blob("held")
    held.temporary_hold = True
    held.patch()
    assert held.temporary_hold
    assert not held.event_based_hold
    assert held.retention_expiration_time is None
    with pytest.raises(exceptions.Forbidden):
        held.delete()
    held.temporary_hold = False
    held.patch()
    held.delete()


def test_a_locked_retention_policy_is_not_removed(bucket: Bucket) -> None:
    bucket.retention_period = 10
    bucket.patch()
    assert bucket.retention_period == 10
    assert not bucket.retention_policy_locked
    bucket.lock_retention_policy()
    bucket.reload()
    assert bucket.retention_policy_locked
    bucket.retention_period = None
    with pytest.raises(exceptions.Forbidden):
        bucket.patch()


def test_an_object_has_a_retention_of_its_own(cloud: LocalCloud, gcs: Client) -> None:
    bucket = gcs.create_bucket("object-retention", enable_object_retention=True)
    assert bucket.object_retention_mode == "Enabled"
    blob = bucket.blob("object-retention-lock")
    blob.retention.mode = "Unlocked"
    blob.retention.retain_until_time = datetime.now(UTC) + timedelta(seconds=10)
    blob.upload_from_string(b"Hello World")
    blob.reload()
    assert blob.retention.mode == "Unlocked"
    blob.retention.mode = None
    blob.retention.retain_until_time = None
    blob.patch(override_unlocked_retention=True)
    assert blob.retention.mode is None
