"""The three ways to write an object, and what becomes of an upload that is cut off."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
import requests
from google.api_core import exceptions
from google.cloud import storage

from ml_platform.localcloud import LocalCloud

BUCKET = "artifacts"
QUARTER = 256 * 1024
Headers = dict[str, str]


@pytest.fixture
def bucket(gcs: storage.Client) -> storage.Bucket:
    """A bucket with nothing in it."""
    return gcs.create_bucket(BUCKET)


def begin(cloud: LocalCloud, name: str = "big", **query: str) -> str:
    """Open a resumable session; answers its URL."""
    url = f"{cloud.http_url}/upload/storage/v1/b/{BUCKET}/o"
    answer = requests.post(url, params={"uploadType": "resumable", "name": name} | query, timeout=5)
    assert answer.status_code == 200
    return answer.headers["Location"]


def put(url: str, data: bytes, content_range: str) -> requests.Response:
    """Send a chunk."""
    return requests.put(url, data=data, headers={"Content-Range": content_range}, timeout=5)


def test_a_large_object_goes_up_in_chunks_and_comes_back_whole(bucket: storage.Bucket) -> None:
    data = os.urandom(3 * QUARTER + 17)
    bucket.blob("big", chunk_size=QUARTER).upload_from_string(data)
    assert bucket.blob("big").download_as_bytes() == data


@pytest.mark.parametrize("size", [0, 1, QUARTER, QUARTER + 1])
def test_a_stream_of_any_length_is_written(bucket: storage.Bucket, size: int) -> None:
    data = os.urandom(size)
    with bucket.blob("stream", chunk_size=QUARTER).open("wb") as stream:
        stream.write(data)
    assert bucket.blob("stream").download_as_bytes() == data


def test_a_file_goes_up_whole(bucket: storage.Bucket, tmp_path: Path) -> None:
    path = tmp_path / "metrics.json"
    path.write_text('{"recall": 0.4}')
    bucket.blob("metrics.json").upload_from_filename(path, checksum="md5")
    found = bucket.get_blob("metrics.json")
    assert (found.content_type, found.download_as_text()) == (
        "application/json",
        '{"recall": 0.4}',
    )


def test_a_media_upload_takes_its_type_from_the_header(
    cloud: LocalCloud, bucket: storage.Bucket
) -> None:
    url = f"{cloud.http_url}/upload/storage/v1/b/{BUCKET}/o?uploadType=media&name=a%2Fb"
    answer = requests.post(url, data=b"x", headers={"Content-Type": "text/plain"}, timeout=5)
    assert (answer.json()["name"], answer.json()["contentType"]) == ("a/b", "text/plain")


def test_a_body_in_chunked_encoding_is_read(cloud: LocalCloud, bucket: storage.Bucket) -> None:
    url = f"{cloud.http_url}/upload/storage/v1/b/{BUCKET}/o?uploadType=media&name=a"
    requests.post(url, data=iter([b"one", b"two"]), timeout=5).raise_for_status()
    assert cloud.storage.read(BUCKET, "a") == b"onetwo"


def test_an_upload_that_was_cut_off_tells_how_far_it_came_and_goes_on(
    cloud: LocalCloud, bucket: storage.Bucket
) -> None:
    data = os.urandom(2 * QUARTER + 5)
    url = begin(cloud)
    assert "Range" not in put(url, b"", "bytes */*").headers
    first = put(url, data[:QUARTER], f"bytes 0-{QUARTER - 1}/*")
    assert (first.status_code, first.headers["Range"]) == (308, f"bytes=0-{QUARTER - 1}")
    asked = put(url, b"", f"bytes */{len(data)}")
    assert (asked.status_code, asked.headers["Range"]) == (308, f"bytes=0-{QUARTER - 1}")
    # The client sends some of it again: what is here already is not taken twice.
    again = data[QUARTER // 2 :]
    last = put(url, again, f"bytes {QUARTER // 2}-{len(data) - 1}/{len(data)}")
    assert (last.status_code, last.json()["size"]) == (200, str(len(data)))
    assert cloud.storage.read(BUCKET, "big") == data
    assert len(cloud.effects.mutations("storage.objects.insert")) == 1


def test_a_finished_upload_says_so_again_and_writes_nothing_more(
    cloud: LocalCloud, bucket: storage.Bucket
) -> None:
    url = begin(cloud)
    made = put(url, b"abc", "bytes 0-2/3").json()
    assert put(url, b"", "bytes */3").json()["generation"] == made["generation"]
    assert len(cloud.effects.mutations("storage.objects.insert")) == 1


def test_an_upload_goes_on_after_a_restart(tmp_path: Path) -> None:
    state = tmp_path / "cloud.sqlite"
    with LocalCloud(state=state) as first:
        first.storage.write(BUCKET, "other", b"")
        url = begin(first)
        put(url, b"a" * QUARTER, f"bytes 0-{QUARTER - 1}/*")
        query = url.partition("?")[2]
    with LocalCloud(state=state) as second:
        moved = f"{second.http_url}/upload/storage/v1/b/{BUCKET}/o?{query}"
        answer = put(moved, b"b", f"bytes {QUARTER}-{QUARTER}/{QUARTER + 1}")
        assert answer.status_code == 200
        assert second.storage.read(BUCKET, "big") == b"a" * QUARTER + b"b"


def test_chunks_that_do_not_fit_are_refused(cloud: LocalCloud, bucket: storage.Bucket) -> None:
    url = begin(cloud)
    assert put(url, b"abc", "bytes 0-2/*").status_code == 400
    assert put(url, b"abc", "bytes 0-9/10").status_code == 400
    assert put(url, b"abc", "bytes nonsense").status_code == 400
    assert put(url, b"abc", f"bytes {QUARTER}-{QUARTER + 2}/{QUARTER + 3}").status_code == 503
    assert cloud.storage.read(BUCKET, "big") is None


def test_a_cancelled_upload_is_over(cloud: LocalCloud, bucket: storage.Bucket) -> None:
    url = begin(cloud)
    assert requests.delete(url, timeout=5).status_code == 499
    assert put(url, b"abc", "bytes 0-2/3").status_code == 499
    assert put(f"{url}x", b"abc", "bytes 0-2/3").status_code == 404


def test_a_resumable_upload_meets_its_precondition_at_the_end_too(
    cloud: LocalCloud, bucket: storage.Bucket
) -> None:
    url = begin(cloud, ifGenerationMatch="0")
    cloud.storage.write(BUCKET, "big", b"somebody was faster")
    assert put(url, b"abc", "bytes 0-2/3").status_code == 412
    assert cloud.storage.read(BUCKET, "big") == b"somebody was faster"


def test_bytes_that_do_not_match_their_checksum_are_refused(
    cloud: LocalCloud, bucket: storage.Bucket
) -> None:
    blob = bucket.blob("a")
    blob.md5_hash = "AAAAAAAAAAAAAAAAAAAAAA=="
    with pytest.raises(exceptions.BadRequest, match="MD5 hash"):
        blob.upload_from_string(b"1")
    assert cloud.storage.names(BUCKET) == []


@pytest.mark.parametrize("name", ["", "..", "a\nb", "x" * 1025])
def test_an_object_name_google_refuses_is_refused(
    cloud: LocalCloud, bucket: storage.Bucket, name: str
) -> None:
    url = f"{cloud.http_url}/upload/storage/v1/b/{BUCKET}/o"
    query = {"uploadType": "media", "name": name}
    assert requests.post(url, params=query, data=b"x", timeout=5).status_code == 400


@pytest.mark.parametrize(
    ("content_type", "body"),
    [
        ("multipart/related", b"--x\r\n\r\n{}\r\n--x--"),
        ("multipart/related; boundary=x", b"--x\r\n\r\n{}\r\n--x--"),
        ("multipart/related; boundary=x", b"--x\r\n\r\n{\r\n--x\r\n\r\ndata\r\n--x--"),
        ("multipart/related; boundary=x", b"--x\r\n{}\r\n--x\r\ndata\r\n--x--"),
    ],
)
def test_a_broken_multipart_upload_is_refused(
    cloud: LocalCloud, bucket: storage.Bucket, content_type: str, body: bytes
) -> None:
    url = f"{cloud.http_url}/upload/storage/v1/b/{BUCKET}/o?uploadType=multipart&name=a"
    answer = requests.post(url, data=body, headers={"Content-Type": content_type}, timeout=5)
    assert (answer.status_code, cloud.storage.names(BUCKET)) == (400, [])


def test_media_keeps_line_ends_and_what_looks_like_a_boundary(
    cloud: LocalCloud, bucket: storage.Bucket
) -> None:
    data = b"\r\n--almost\r\n\r\n--\n\r\n"
    bucket.blob("a").upload_from_string(data)
    assert cloud.storage.read(BUCKET, "a") == data
