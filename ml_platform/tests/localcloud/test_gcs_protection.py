"""Retention and holds, under every way to write and delete."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

import pytest
from google.api_core import exceptions
from google.cloud.storage import Bucket, Client

from ml_platform.localcloud import LocalCloud

from .gcs_ways import BUCKET, WAYS, history, patched, post, ways

_DAY = 86_400


@pytest.mark.parametrize("way", WAYS)
def test_no_way_ends_a_retained_object_early(cloud: LocalCloud, bucket: Bucket, way: str) -> None:
    blob = bucket.blob("a")
    blob.upload_from_string(b"kept")
    deed = ways(bucket, "a")[way]
    patched(bucket, retentionPolicy={"retentionPeriod": 3600})
    until = bucket.get_blob("a")._properties["retentionExpirationTime"]
    changes = len(cloud.effects.mutations())
    words = (
        f"Object '{BUCKET}/(a|other)' is subject to bucket's retention policy or object retention "
        "and cannot be deleted or overwritten until "
    )
    with pytest.raises(exceptions.Forbidden, match=words) as refused:
        deed()
    if way == "delete":
        assert refused.value.errors[0]["reason"] == "retentionPolicyNotMet"
        assert refused.value.message.endswith(until)
    assert blob.download_as_bytes() == b"kept"
    assert len(cloud.effects.mutations()) == changes
    blob.metadata = {"why": "an audit"}
    blob.patch()
    cloud.clock.advance(3600)
    deed()


@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize("hold", ["temporary_hold", "event_based_hold"])
def test_no_way_ends_a_held_object_with_or_without_versioning(
    bucket: Bucket, hold: str, way: str
) -> None:
    blob = bucket.blob("a")
    blob.upload_from_string(b"kept")
    setattr(blob, hold, True)
    blob.patch()
    deed = ways(bucket, "a")[way]
    for enabled in (False, True):
        patched(bucket, versioning={"enabled": enabled})
        with pytest.raises(exceptions.Forbidden, match="hold and cannot be deleted"):
            deed()
    with pytest.raises(exceptions.Forbidden, match="hold and cannot be deleted"):
        bucket.blob("a", generation=blob.generation).delete()
    assert bucket.blob("a").download_as_bytes() == b"kept"


def test_a_retained_object_becomes_noncurrent_but_does_not_go(
    cloud: LocalCloud, versions: Bucket
) -> None:
    patched(versions, retentionPolicy={"retentionPeriod": 3600})
    versions.blob("a").upload_from_string(b"1")
    versions.blob("a").upload_from_string(b"2")
    versions.blob("a").delete()
    old = next(iter(versions.list_blobs(versions=True)))
    with pytest.raises(exceptions.Forbidden, match="retention policy"):
        old.delete()
    assert history(versions) == [("a", b"1"), ("a", b"2")]
    cloud.clock.advance(3600)
    old.delete()
    assert history(versions) == [("a", b"2")]


def test_the_end_of_an_event_based_hold_begins_the_retention(
    cloud: LocalCloud, bucket: Bucket
) -> None:
    cloud.clock.freeze()
    patched(bucket, retentionPolicy={"retentionPeriod": 3600}, defaultEventBasedHold=True)
    bucket.blob("a").upload_from_string(b"1")
    blob = bucket.get_blob("a")
    assert (blob.event_based_hold, blob.retention_expiration_time) == (True, None)
    cloud.clock.advance(7200)
    blob.event_based_hold = False
    blob.patch()
    assert blob.retention_expiration_time - blob.updated == timedelta(hours=1)
    with pytest.raises(exceptions.Forbidden, match="retention policy"):
        blob.delete()
    blob.temporary_hold = True
    blob.patch()
    cloud.clock.advance(3600)
    with pytest.raises(exceptions.Forbidden, match="Temporary hold"):
        blob.delete()
    blob.temporary_hold = False
    blob.patch()
    blob.delete()


def test_a_lock_allows_only_a_longer_retention(cloud: LocalCloud, bucket: Bucket) -> None:
    patched(bucket, retentionPolicy={"retentionPeriod": 3600})
    assert post(cloud, "/lockRetentionPolicy").status_code == 400
    assert post(cloud, "/lockRetentionPolicy", ifMetagenerationMatch=9).status_code == 412
    bucket.lock_retention_policy()
    for weaker, words in (
        (None, f"Bucket '{BUCKET}' has a locked Retention Policy which cannot be removed"),
        ({"retentionPeriod": 3599}, "Cannot reduce retention duration of a locked"),
    ):
        with pytest.raises(exceptions.Forbidden, match=words):
            patched(bucket, retentionPolicy=weaker)
    patched(bucket, retentionPolicy={"retentionPeriod": 3601, "isLocked": False})
    assert (bucket.retention_period, bucket.retention_policy_locked) == (3601, True)


def test_a_bucket_without_a_retention_policy_is_not_locked(
    cloud: LocalCloud, bucket: Bucket
) -> None:
    query = {"ifMetagenerationMatch": bucket.metageneration}
    assert post(cloud, "/lockRetentionPolicy", **query).status_code == 400


def test_an_objects_own_retention_grows_and_is_weakened_only_on_purpose(
    cloud: LocalCloud, gcs: Client
) -> None:
    bucket = gcs.create_bucket("own-retention", enable_object_retention=True)
    bucket.blob("a").upload_from_string(b"1")
    blob = bucket.get_blob("a")
    hour, now = timedelta(hours=1), cloud.clock.now()

    def retain(mode: str | None, until: object, **options: Any) -> None:
        blob.retention.mode, blob.retention.retain_until_time = mode, until
        blob.patch(**options)

    retain("Unlocked", now + hour)
    retain("Unlocked", now + 2 * hour)
    assert blob.retention_expiration_time == blob.retention.retain_until_time
    for mode, until in (("Unlocked", now + hour), ("Locked", now + 2 * hour), (None, None)):
        with pytest.raises(exceptions.Forbidden, match="overrideUnlockedRetention"):
            retain(mode, until)
    with pytest.raises(exceptions.Forbidden, match="object retention"):
        bucket.blob("a").delete()
    retain("Locked", now + hour, override_unlocked_retention=True)
    with pytest.raises(exceptions.Forbidden, match="Locked retention"):
        retain(None, None, override_unlocked_retention=True)
    retain("Locked", now + 2 * hour)
    cloud.clock.advance(7201)
    bucket.blob("a").delete()


def test_a_retention_that_cannot_be_is_refused(cloud: LocalCloud, gcs: Client) -> None:
    now, hour = cloud.clock.now(), timedelta(hours=1)
    plain = gcs.create_bucket("plain").blob("a")
    able = gcs.create_bucket("able", enable_object_retention=True)
    for blob, mode, until in (
        (plain, "Unlocked", now + hour),
        (able.blob("past"), "Unlocked", now - hour),
        (able.blob("far"), "Locked", now + timedelta(days=36_600)),
        (able.blob("mode"), "Firm", now + hour),
    ):
        blob.retention.mode, blob.retention.retain_until_time = mode, until
        with pytest.raises(exceptions.BadRequest, match="etention"):
            blob.upload_from_string(b"1")
        assert not blob.exists()
    held = able.blob("held")
    held.upload_from_string(b"1")
    held.event_based_hold = True
    held.patch()
    held.retention.mode, held.retention.retain_until_time = "Unlocked", now + hour
    with pytest.raises(exceptions.BadRequest, match="event-based hold"):
        held.patch()


def test_a_copy_has_neither_holds_nor_retention(gcs: Client, bucket: Bucket) -> None:
    blob = bucket.blob("a")
    blob.upload_from_string(b"1")
    blob.temporary_hold, blob.event_based_hold = True, True
    blob.patch()
    copy = bucket.copy_blob(blob, bucket, "b")
    assert not copy.temporary_hold
    assert not copy.event_based_hold
    copy.delete()
