"""File objects and many objects at once, retold from googleapis/python-storage tests/system.

From test_fileio.py and test_transfer_manager.py. Left out: `upload_chunks_concurrently`, which
speaks the XML API (it is not served), and worker processes: threads make the same calls.
"""

from __future__ import annotations

import io
import os
from pathlib import Path

import pytest
from google.cloud.storage import Blob, Bucket, Client, transfer_manager

QUARTER = 256 * 1024
THREADS = transfer_manager.THREAD


@pytest.fixture
def bucket(gcs: Client) -> Bucket:
    """An empty bucket."""
    return gcs.create_bucket("files")


def written(bucket: Bucket, name: str, data: bytes) -> Blob:
    """An object with these bytes."""
    blob = bucket.blob(name)
    blob.upload_from_string(data)
    return blob


def test_a_binary_file_is_written_in_chunks_and_read_with_seeks(bucket: Bucket) -> None:
    data = os.urandom(5 * QUARTER + 7)
    with bucket.blob("binary", chunk_size=QUARTER).open("wb") as stream:
        assert stream.write(data) == len(data)
    with bucket.blob("binary", chunk_size=QUARTER).open("rb") as stream:
        assert stream.read(10) == data[:10]
        stream.seek(QUARTER * 2)
        assert stream.read(QUARTER + 5) == data[QUARTER * 2 : QUARTER * 3 + 5]
        stream.seek(-5, io.SEEK_END)
        assert stream.read() == data[-5:]


def test_a_text_file_is_written_and_read_by_lines(bucket: Bucket) -> None:
    text = "Héllo wörld\n" * 30_000
    with bucket.blob("text", chunk_size=QUARTER).open("wt") as stream:
        stream.write(text)
    with bucket.blob("text").open("rt") as stream:
        assert "".join(stream) == text
    with bucket.blob("text").open("rt") as stream:
        stream.seek(0)
        assert stream.readline() == "Héllo wörld\n"


def test_many_are_uploaded_and_the_existing_ones_are_skipped(
    bucket: Bucket, tmp_path: Path
) -> None:
    pairs = []
    for number in range(5):
        (tmp_path / f"{number}").write_bytes(os.urandom(1000))
        pairs.append((str(tmp_path / f"{number}"), bucket.blob(f"runs/{number}")))
    first = transfer_manager.upload_many(pairs, worker_type=THREADS, raise_exception=True)
    assert first == [None] * 5
    again = transfer_manager.upload_many(pairs, worker_type=THREADS, skip_if_exists=True)
    assert {type(result).__name__ for result in again} == {"PreconditionFailed"}


def test_many_are_downloaded(bucket: Bucket, tmp_path: Path) -> None:
    data = {f"runs/{number}": os.urandom(2000) for number in range(5)}
    for name, text in data.items():
        written(bucket, name, text)
    done = transfer_manager.download_many_to_path(
        bucket, list(data), destination_directory=tmp_path, worker_type=THREADS
    )
    assert done == [None] * 5
    assert {name: (tmp_path / name).read_bytes() for name in data} == data


def test_one_object_is_downloaded_in_parts(bucket: Bucket, tmp_path: Path) -> None:
    data = os.urandom(5 * QUARTER + 11)
    blob = written(bucket, "big", data)
    for crc32c in (True, False):
        transfer_manager.download_chunks_concurrently(
            blob,
            str(tmp_path / "big"),
            chunk_size=QUARTER,
            worker_type=THREADS,
            crc32c_checksum=crc32c,
        )
        assert (tmp_path / "big").read_bytes() == data


def test_a_folder_is_uploaded_by_its_names(bucket: Bucket, tmp_path: Path) -> None:
    names = ["a.txt", "b.txt"]
    for name in names:
        (tmp_path / name).write_text(name)
    transfer_manager.upload_many_from_filenames(
        bucket, names, source_directory=str(tmp_path), blob_name_prefix="in/", worker_type=THREADS
    )
    assert [blob.name for blob in bucket.list_blobs()] == ["in/a.txt", "in/b.txt"]
