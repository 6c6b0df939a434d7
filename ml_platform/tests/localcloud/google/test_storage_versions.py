"""Object versioning, retold from googleapis/python-storage tests/system.

From test_bucket.py and test_blob.py. Their `user_project` variants assert the same and are
left out: no caller is billed here.
"""

from __future__ import annotations

import pytest
from google.api_core import exceptions
from google.cloud.storage import Blob, Bucket, Client


@pytest.fixture
def bucket(gcs: Client) -> Bucket:
    """A bucket with versioning."""
    made = gcs.bucket("versions")
    made.versioning_enabled = True
    return gcs.create_bucket(made)


@pytest.fixture
def generations(bucket: Bucket) -> tuple[Blob, Blob]:
    """The noncurrent and the live version of one object."""
    blob = bucket.blob("SmallFile")
    found = []
    for text in (b"gen0", b"gen1"):
        blob.upload_from_string(text)
        found.append(bucket.blob("SmallFile", generation=blob.generation))
    return found[0], found[1]


def test_each_generation_is_read_by_its_number(
    bucket: Bucket, generations: tuple[Blob, Blob]
) -> None:
    old, new = generations
    assert bucket.get_blob("SmallFile").generation == new.generation
    assert bucket.get_blob("SmallFile", generation=old.generation).generation == old.generation
    assert (old.download_as_bytes(), new.download_as_bytes()) == (b"gen0", b"gen1")
    assert old.etag != new.etag


def test_each_generation_has_its_own_metadata(generations: tuple[Blob, Blob]) -> None:
    old, new = generations
    old.content_language = "en"
    old.patch(if_generation_match=old.generation)
    new.reload()
    assert (old.content_language, new.content_language) == ("en", None)
    old.metadata = {"foo": "Foo", "bar": "Bar"}
    old.update(if_generation_match=old.generation)
    new.reload()
    assert (old.metadata, new.metadata) == ({"foo": "Foo", "bar": "Bar"}, None)


def test_a_listing_of_versions_has_them_until_each_is_deleted(
    gcs: Client, bucket: Bucket, generations: tuple[Blob, Blob]
) -> None:
    def left() -> list[int]:
        found = gcs.list_blobs(bucket, prefix="SmallFile", versions=True)
        return [blob.generation for blob in found]

    old, new = generations
    assert left() == [old.generation, new.generation]
    with pytest.raises(exceptions.PreconditionFailed):
        old.delete(if_metageneration_match=9)
    old.delete(if_generation_match=old.generation)
    assert left() == [new.generation]
    new.delete(if_metageneration_not_match=9)
    assert left() == []


def test_preconditions_of_the_live_object_count_the_live_generation(
    bucket: Bucket, generations: tuple[Blob, Blob]
) -> None:
    old, new = generations
    blob = bucket.blob("SmallFile")
    with pytest.raises(exceptions.PreconditionFailed):
        blob.exists(if_generation_match=6)
    assert blob.exists(if_generation_match=new.generation)
    assert old.download_as_bytes(if_generation_match=old.generation) == b"gen0"
    assert new.download_as_bytes(if_generation_not_match=old.generation) == b"gen1"


@pytest.mark.parametrize(("versioning", "count"), [(False, 1), (True, 2)])
def test_a_forced_deletion_of_a_bucket_takes_the_versions_too(
    gcs: Client, versioning: bool, count: int
) -> None:
    made = gcs.bucket("forced")
    made.versioning_enabled = versioning
    bucket = gcs.create_bucket(made)
    for text in ("abcd", "efgh"):
        bucket.blob("my_object").upload_from_string(text)
    assert [blob.name for blob in bucket.list_blobs(versions=True)] == ["my_object"] * count
    bucket.delete(force=True)
    assert not bucket.exists()
