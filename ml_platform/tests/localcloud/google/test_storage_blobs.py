"""Objects, retold from googleapis/python-storage tests/system/test_blob.py.

Left out: ACLs and owners, Cloud KMS keys and signed URLs (501: the local cloud has none), versions
and retention (test_storage_versions.py, test_storage_retention.py), the variants with
`user_project` (no caller is billed here) and with the suite's own data files.
"""

from __future__ import annotations

import base64
import gzip
import io
from datetime import UTC, datetime
from pathlib import Path

import google_crc32c
import pytest
from google.api_core import exceptions
from google.cloud.storage import Blob, Bucket, Client

KEY = b"b23ff11bba187db8c37077e6af3b25b8"
OTHER_KEY = b"a" * 32


@pytest.fixture
def bucket(gcs: Client) -> Bucket:
    """An empty bucket."""
    return gcs.create_bucket("blobs")


@pytest.fixture
def blob(bucket: Bucket) -> Blob:
    """An object that was just written."""
    made = bucket.blob("SmallFile")
    made.upload_from_string(b"DEADBEEF")
    return made


def test_a_client_sends_the_checksum_of_what_it_sends(bucket: Bucket, tmp_path: Path) -> None:
    path = tmp_path / "small"
    path.write_bytes(b"DEADBEEF" * 1000)
    for checksum in ("crc32c", "md5", "auto", None):
        bucket.blob("SmallFile").upload_from_filename(path, checksum=checksum)
    assert bucket.blob("SmallFile").download_as_bytes() == path.read_bytes()


@pytest.mark.parametrize("size", [8, 9 * 1024 * 1024])
def test_a_checksum_that_the_user_names_is_checked(bucket: Bucket, size: int) -> None:
    data = b"x" * size
    right = base64.b64encode(google_crc32c.Checksum(data).digest()).decode()
    bucket.blob("right").upload_from_file(io.BytesIO(data), crc32c_checksum_value=right)
    with pytest.raises(exceptions.BadRequest, match="Provided CRC32C"):
        bucket.blob("wrong").upload_from_file(io.BytesIO(data), crc32c_checksum_value="A0tD7w==")
    assert not bucket.blob("wrong").exists()


def test_an_etag_is_a_precondition(bucket: Bucket, blob: Blob) -> None:
    etag = blob.etag
    fresh = bucket.blob("SmallFile")
    for read in (fresh.exists, fresh.reload, fresh.download_as_bytes):
        with pytest.raises(exceptions.PreconditionFailed):
            read(if_etag_match="kittens")
        with pytest.raises(exceptions.NotModified):
            read(if_etag_not_match=etag)
        read(if_etag_match=etag)
        read(if_etag_not_match="kittens")
    assert fresh.etag == etag


def test_a_download_knows_the_etag_and_the_generation(bucket: Bucket, blob: Blob) -> None:
    fresh = bucket.blob("SmallFile")
    assert fresh.etag is None
    assert fresh.download_as_bytes() == b"DEADBEEF"
    assert (fresh.etag, fresh.generation) == (blob.etag, blob.generation)


def test_metadata_is_patched_and_removed_key_by_key(bucket: Bucket, blob: Blob) -> None:
    blob.metadata = {"foo": "Foo", "bar": "Bar"}
    blob.patch()
    blob.reload()
    assert blob.metadata == {"foo": "Foo", "bar": "Bar"}
    blob.metadata = {"foo": "Foo", "bar": None}
    blob.patch()
    blob.reload()
    assert blob.metadata == {"foo": "Foo"}
    blob.metadata = None
    blob.patch()
    blob.reload()
    assert blob.metadata is None


def test_crud_of_names_that_are_not_ascii(bucket: Bucket) -> None:
    for name, text in (("Caf\u00e9", b"NFC"), ("Cafe\u0301", b"NFD"), ("/~a%20b#c?d", b"odd")):
        bucket.blob(name).upload_from_string(text)
        assert bucket.get_blob(name).name == name
        assert bucket.blob(name).download_as_bytes() == text


def test_gzip_is_undone_for_who_does_not_want_it_raw(bucket: Bucket) -> None:
    payload = b"DEADBEEF" * 1000
    zipped = gzip.compress(payload)
    blob = bucket.blob("test_gzipped.gz")
    blob.content_encoding = "gzip"
    blob.upload_from_string(zipped)
    assert blob.download_as_bytes() == payload
    assert blob.download_as_bytes(raw_download=True) == zipped
    without = blob.client._http.get(
        f"{blob.client._connection.API_BASE_URL}/download/storage/v1/b/blobs/o/{blob.name}",
        params={"alt": "media"},
        headers={"Accept-Encoding": "identity"},
        timeout=5,
    )
    assert (without.content, "Content-Encoding" in without.headers) == (payload, False)


def test_a_custom_time_and_a_storage_class_are_kept(bucket: Bucket) -> None:
    blob = bucket.blob("a")
    blob.custom_time = datetime(2026, 1, 2, tzinfo=UTC)
    blob.upload_from_string(b"1")
    blob.reload()
    assert (blob.custom_time, blob.storage_class) == (datetime(2026, 1, 2, tzinfo=UTC), "STANDARD")
    blob.update_storage_class("NEARLINE")
    blob.reload()
    assert (blob.storage_class, blob.download_as_bytes()) == ("NEARLINE", b"1")


def test_a_new_object_has_its_buckets_storage_class(gcs: Client) -> None:
    cold = gcs.bucket("cold")
    cold.storage_class = "COLDLINE"
    gcs.create_bucket(cold)
    cold.blob("a").upload_from_string(b"1")
    assert cold.get_blob("a").storage_class == "COLDLINE"


# compose


def test_compose_makes_a_new_object_of_sources_that_are_not_loaded(bucket: Bucket) -> None:
    bucket.blob("one").upload_from_string(b"AAA\n")
    bucket.blob("two").upload_from_string(b"BBB\n")
    whole = bucket.blob("whole")
    whole.content_type = "text/plain"
    whole.compose([bucket.blob("one"), bucket.blob("two")])
    assert whole.download_as_bytes() == b"AAA\nBBB\n"
    found = bucket.get_blob("whole")
    assert (found.component_count, found.content_type, found.md5_hash) == (2, "text/plain", None)


def test_compose_appends_to_an_existing_object(bucket: Bucket) -> None:
    original = bucket.blob("original")
    original.upload_from_string(b"AAA\n")
    more = bucket.blob("more")
    more.upload_from_string(b"BBB\n")
    original.compose([original, more])
    original.compose([original, more])
    original.metadata = {"k": "v"}
    original.patch()
    assert original.download_as_bytes() == b"AAA\nBBB\nBBB\n"
    assert bucket.get_blob("original").component_count == 3


def test_compose_holds_each_source_to_its_generation(bucket: Bucket) -> None:
    one, two = bucket.blob("one"), bucket.blob("two")
    one.upload_from_string(b"AAA\n")
    two.upload_from_string(b"BBB\n")
    for wrong in ({"if_source_generation_match": [6, 7]}, {"if_generation_match": 7}):
        with pytest.raises(exceptions.PreconditionFailed):
            one.compose([one, two], **wrong)
    one.compose(
        [one, two],
        if_source_generation_match=[one.generation, two.generation],
        if_generation_match=one.generation,
    )
    assert one.download_as_bytes() == b"AAA\nBBB\n"


# customer-supplied keys


def test_an_object_with_a_customers_key_is_read_with_it_only(bucket: Bucket) -> None:
    locked = bucket.blob("LargeFile", encryption_key=KEY)
    locked.upload_from_file(io.BytesIO(b"x" * 600_000), size=600_000)
    assert locked.download_as_bytes() == b"x" * 600_000
    for wrong in (bucket.blob("LargeFile"), bucket.blob("LargeFile", encryption_key=OTHER_KEY)):
        with pytest.raises(exceptions.BadRequest):
            wrong.download_as_bytes()
    without = bucket.get_blob("LargeFile")
    assert (without.md5_hash, without.crc32c, without.size) == (None, None, 600_000)
    assert bucket.get_blob("LargeFile", encryption_key=KEY).md5_hash == locked.md5_hash


def test_a_rewrite_adds_changes_and_removes_a_customers_key(bucket: Bucket) -> None:
    source = bucket.blob("source")
    source.upload_from_string(b"1")
    locked = bucket.blob("locked", encryption_key=KEY)
    assert locked.rewrite(source)[0] is None
    assert locked.download_as_bytes() == b"1"
    rotated = bucket.blob("locked", encryption_key=OTHER_KEY)
    with pytest.raises(exceptions.BadRequest):
        rotated.rewrite(bucket.blob("locked"))
    token, rewritten, total = rotated.rewrite(locked)
    assert (token, rewritten, total) == (None, 1, 1)
    assert rotated.download_as_bytes() == b"1"
    bucket.blob("open").rewrite(rotated)
    assert bucket.blob("open").download_as_bytes() == b"1"


def test_a_key_for_an_object_that_has_none_is_refused(bucket: Bucket, blob: Blob) -> None:
    with pytest.raises(exceptions.BadRequest):
        bucket.blob(blob.name, encryption_key=KEY).download_as_bytes()


def test_a_rewrite_holds_its_source_to_its_generation(bucket: Bucket, blob: Blob) -> None:
    copy = bucket.blob("copy")
    with pytest.raises(exceptions.PreconditionFailed):
        copy.rewrite(blob, if_source_generation_match=blob.generation + 1)
    copy.rewrite(blob, if_source_generation_match=blob.generation)
    assert copy.download_as_bytes() == b"DEADBEEF"
