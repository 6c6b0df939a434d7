"""Soft delete, retold from googleapis/python-storage tests/system (test_bucket.py, test_client.py).

Restoring in a bucket with a hierarchical namespace is left out: such buckets answer 501.
"""

from __future__ import annotations

from datetime import datetime

import pytest
from google.cloud.storage import Bucket, Client
from google.cloud.storage.bucket import SoftDeletePolicy

_DAY = 86_400


@pytest.fixture
def bucket(gcs: Client) -> Bucket:
    """A bucket that keeps what was deleted for seven days."""
    wanted = gcs.bucket("w-soft-delete")
    wanted.soft_delete_policy.retention_duration_seconds = 7 * _DAY
    return gcs.create_bucket(wanted)


def test_the_policy_is_on_the_bucket_and_can_be_changed(bucket: Bucket) -> None:
    policy = bucket.soft_delete_policy
    assert isinstance(policy, SoftDeletePolicy)
    assert policy.retention_duration_seconds == 7 * _DAY
    assert isinstance(policy.effective_time, datetime)
    policy.retention_duration_seconds = 10 * _DAY
    bucket.patch()
    assert bucket.soft_delete_policy.retention_duration_seconds == 10 * _DAY


def test_a_deleted_object_is_listed_read_and_restored(bucket: Bucket) -> None:
    bucket.blob("soft").upload_from_string(b"DEADBEEF")
    blob = bucket.get_blob("soft")
    generation = blob.generation
    assert (blob.soft_delete_time, blob.hard_delete_time) == (None, None)
    blob.delete()
    assert list(bucket.list_blobs()) == []
    assert [found.name for found in bucket.list_blobs(soft_deleted=True)] == ["soft"]
    gone = bucket.get_blob("soft", generation=generation, soft_deleted=True)
    assert gone.soft_delete_time is not None
    assert gone.hard_delete_time is not None
    restored = bucket.restore_blob("soft", generation=generation)
    assert restored.exists()
    assert restored.generation != generation
    assert restored.download_as_bytes() == b"DEADBEEF"


def test_a_deleted_bucket_is_read_and_restored(gcs: Client, bucket: Bucket) -> None:
    name, generation = bucket.name, bucket.generation
    assert generation is not None
    bucket.delete()
    gone = gcs.get_bucket(name, generation=generation, soft_deleted=True)
    assert (gone.name, gone.generation) == (name, generation)
    assert gone.soft_delete_time is not None
    assert gone.hard_delete_time is not None
    restored = gcs.restore_bucket(name, generation=generation)
    assert (restored.name, restored.generation) == (name, generation)
    assert (restored.soft_delete_time, restored.hard_delete_time) == (None, None)
