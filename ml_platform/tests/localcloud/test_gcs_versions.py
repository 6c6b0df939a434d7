"""Object versions and soft delete, under every way to write and delete."""

from __future__ import annotations

from datetime import timedelta

import pytest
import requests
from google.api_core import exceptions
from google.cloud.storage import Bucket, Client

from ml_platform.localcloud import LocalCloud

from .gcs_ways import BUCKET, WAYS, history, patched, post, ways

_DAY = 86_400


# versions


@pytest.mark.parametrize("way", WAYS)
def test_each_way_leaves_a_noncurrent_version(versions: Bucket, way: str) -> None:
    versions.blob("a").upload_from_string(b"old")
    old = versions.get_blob("a")
    ways(versions, "a")[way]()
    assert ("a", b"old") in history(versions)
    found = versions.get_blob("a", generation=old.generation)
    assert (found.metageneration, found.etag) == (old.metageneration, old.etag)
    assert found._properties["timeDeleted"] > found._properties["timeCreated"]


def test_only_the_live_version_counts_for_if_generation_match_zero(versions: Bucket) -> None:
    versions.blob("a").upload_from_string(b"1")
    versions.blob("a").delete()
    versions.blob("a").upload_from_string(b"2", if_generation_match=0)
    with pytest.raises(exceptions.PreconditionFailed):
        versions.blob("a").upload_from_string(b"3", if_generation_match=0)
    assert history(versions) == [("a", b"1"), ("a", b"2")]


def test_a_deletion_that_names_the_live_generation_leaves_no_version(versions: Bucket) -> None:
    for text in (b"1", b"2"):
        versions.blob("a").upload_from_string(text)
    live = versions.get_blob("a")
    versions.blob("a", generation=live.generation).delete()
    assert history(versions) == [("a", b"1")]
    assert versions.get_blob("a") is None


def test_a_noncurrent_version_is_copied_rewritten_and_composed(versions: Bucket) -> None:
    blob = versions.blob("a")
    blob.upload_from_string(b"old")
    old = blob.generation
    blob.upload_from_string(b"new")
    source = versions.blob("a", generation=old)
    source.reload()
    versions.copy_blob(source, versions, "copied", source_generation=old)
    versions.blob("rewritten").rewrite(source)
    versions.blob("a").rewrite(source)
    whole = versions.blob("whole")
    whole.compose([source, source])
    for name in ("copied", "rewritten", "a"):
        assert versions.blob(name).download_as_bytes() == b"old"
    assert whole.download_as_bytes() == b"oldold"


def test_versions_stay_when_versioning_ends_and_hold_the_bucket(
    gcs: Client, versions: Bucket
) -> None:
    versions.blob("a").upload_from_string(b"1")
    versions.blob("a").upload_from_string(b"2")
    patched(versions, versioning={"enabled": False})
    versions.blob("a").upload_from_string(b"3")
    assert history(versions) == [("a", b"1"), ("a", b"3")]
    versions.blob("a").delete()
    with pytest.raises(exceptions.Conflict, match="not empty"):
        versions.delete()
    versions.delete(force=True)
    assert not gcs.bucket(BUCKET).exists()


@pytest.mark.parametrize("size", [1, 2, 3])
def test_a_page_can_end_between_two_versions(versions: Bucket, size: int) -> None:
    expected = []
    for name in ("a", "b", "d/1", "d/2"):
        for text in (b"1", b"2", b"3"):
            versions.blob(name).upload_from_string(text)
            expected.append((name, text))
    assert history(versions, page_size=size) == expected
    assert history(versions, page_size=size, prefix="d/") == expected[6:]
    assert history(versions, page_size=size, start_offset="b", end_offset="d/") == expected[3:6]
    found = versions.list_blobs(versions=True, delimiter="/", page_size=size)
    assert [one.name for one in found] == ["a"] * 3 + ["b"] * 3
    assert found.prefixes == {"d/"}


def test_more_versions_than_a_read_takes_are_all_listed(
    cloud: LocalCloud, versions: Bucket
) -> None:
    written = [cloud.storage.write(BUCKET, "a", b"x") for _ in range(1100)]
    found = versions.list_blobs(versions=True)
    assert [one.generation for one in found] == written


def test_the_inventory_counts_the_dead_apart(cloud: LocalCloud, versions: Bucket) -> None:
    for text in (b"1", b"22"):
        versions.blob("a").upload_from_string(text)
    patched(versions, versioning={"enabled": False})
    versions.blob("a").upload_from_string(b"333")
    state = requests.get(f"{cloud.http_url}/_localcloud/state", timeout=5).json()
    counts = {"objects": 1, "bytes": 3, "noncurrent": 1, "soft_deleted": 1}
    assert state["buckets"] == [{"name": BUCKET} | counts]


# soft delete


@pytest.mark.parametrize("way", WAYS)
def test_each_way_soft_deletes_and_the_clock_ends_it(
    cloud: LocalCloud, bucket: Bucket, way: str
) -> None:
    bucket.blob("a").upload_from_string(b"old")
    generation = bucket.get_blob("a").generation
    ways(bucket, "a")[way]()
    gone = bucket.get_blob("a", generation=generation, soft_deleted=True)
    assert gone.hard_delete_time - gone.soft_delete_time == timedelta(days=7)
    assert bucket.get_blob("a", generation=generation) is None
    cloud.clock.advance(7 * _DAY + 1)
    assert bucket.get_blob("a", generation=generation, soft_deleted=True) is None
    assert list(bucket.list_blobs(soft_deleted=True)) == []
    bodies = cloud.store.execute("SELECT 1 FROM gcs_bodies WHERE generation=?", (generation,))
    assert bodies == []


def test_a_restored_object_is_a_copy_and_replaces_what_is_live(bucket: Bucket) -> None:
    blob = bucket.blob("a")
    blob.metadata = {"run": "7"}
    blob.upload_from_string(b"old", content_type="text/x-model")
    old = blob.generation
    bucket.blob("a").upload_from_string(b"new")
    live = bucket.get_blob("a").generation
    with pytest.raises(exceptions.PreconditionFailed):
        bucket.restore_blob("a", generation=old, if_generation_match=0)
    restored = bucket.restore_blob("a", generation=old)
    assert restored.generation > live
    assert (restored.metageneration, restored.metadata) == (1, {"run": "7"})
    assert restored.content_type == "text/x-model"
    assert bucket.blob("a").download_as_bytes() == b"old"
    found = bucket.list_blobs(soft_deleted=True)
    assert [one.generation for one in found] == [old, live]


def test_a_noncurrent_version_is_soft_deleted_too(versions: Bucket) -> None:
    versions.blob("a").upload_from_string(b"1")
    old = versions.get_blob("a").generation
    versions.blob("a").delete()
    versions.blob("a", generation=old).delete()
    assert history(versions) == []
    assert versions.restore_blob("a", generation=old).download_as_bytes() == b"1"


@pytest.mark.parametrize("way", WAYS)
def test_without_soft_delete_nothing_is_kept(cloud: LocalCloud, bucket: Bucket, way: str) -> None:
    patched(bucket, softDeletePolicy={"retentionDurationSeconds": 0})
    bucket.blob("a").upload_from_string(b"old")
    generation = bucket.get_blob("a").generation
    ways(bucket, "a")[way]()
    assert list(bucket.list_blobs(soft_deleted=True)) == []
    bodies = cloud.store.execute("SELECT 1 FROM gcs_bodies WHERE generation=?", (generation,))
    assert bodies == []


@pytest.mark.parametrize("days", [1, 6.99, 90.01, -1])
def test_a_duration_outside_seven_to_ninety_days_is_refused(bucket: Bucket, days: float) -> None:
    seconds = int(days * _DAY)
    with pytest.raises(exceptions.BadRequest):
        patched(bucket, softDeletePolicy={"retentionDurationSeconds": seconds})
    bucket.reload()
    assert bucket.soft_delete_policy.retention_duration_seconds == 7 * _DAY


def test_a_deleted_bucket_keeps_its_deleted_objects_apart_from_its_successor(
    cloud: LocalCloud, gcs: Client, bucket: Bucket
) -> None:
    bucket.blob("a").upload_from_string(b"1")
    old = bucket.get_blob("a").generation
    bucket.blob("a").delete()
    bucket.delete()
    successor = gcs.create_bucket(BUCKET)
    assert list(successor.list_blobs(soft_deleted=True)) == []
    assert [one.generation for one in gcs.list_buckets(soft_deleted=True)] == [bucket.generation]
    with pytest.raises(exceptions.Conflict):
        gcs.restore_bucket(BUCKET, generation=bucket.generation)
    successor.delete()
    assert len(list(gcs.list_buckets(soft_deleted=True, page_size=1))) == 2
    gcs.restore_bucket(BUCKET, generation=bucket.generation)
    assert bucket.restore_blob("a", generation=old).download_as_bytes() == b"1"
    cloud.clock.advance(7 * _DAY + 1)
    assert list(gcs.list_buckets(soft_deleted=True)) == []


def test_what_soft_delete_does_not_have_is_refused(cloud: LocalCloud, bucket: Bucket) -> None:
    url = f"{cloud.http_url}/storage/v1/b/{BUCKET}"
    assert post(cloud, "/o/bulkRestore").status_code == 501
    assert post(cloud, "/o/a/restore", generation=1, copySourceAcl="true").status_code == 501
    assert post(cloud, "/o/a/restore", generation=1, restoreToken="t").status_code == 501
    assert post(cloud, "/o/a/restore").status_code == 400
    assert post(cloud, "/o/a/restore", generation=1).status_code == 404
    for path in ("?softDeleted=true", "/o/a?softDeleted=true"):
        assert requests.get(url + path, timeout=5).status_code == 400
    both = requests.get(f"{url}/o?softDeleted=true&versions=true", timeout=5)
    assert both.status_code == 400
    bucket.blob("a").upload_from_string(b"1")
    generation = bucket.get_blob("a").generation
    bucket.blob("a").delete()
    media = f"{url}/o/a?softDeleted=true&generation={generation}&alt=media"
    assert requests.get(media, timeout=5).status_code == 400
