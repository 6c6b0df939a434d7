"""Other people's libraries on Cloud Storage: gcsfs, smart_open, google-api-python-client.

Retold from fsspec/gcsfs gcsfs/tests/test_core.py and test_mapping.py, from smart_open's and
google-api-python-client's documentation. gcsfs through its plain class: the one that it chooses by
default first asks over TLS for a hierarchical namespace (see docs/localcloud.md). Left out of
gcsfs: signed URLs, Requester Pays, zonal and hierarchical buckets.
"""

from __future__ import annotations

import io
import json
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from gcsfs.core import GCSFileSystem
from google.cloud.storage import Client
from googleapiclient.discovery import build_from_document
from googleapiclient.discovery_cache import get_static_doc
from googleapiclient.errors import HttpError
from googleapiclient.http import MediaIoBaseDownload, MediaIoBaseUpload, build_http
from smart_open import open as smart_open

from ml_platform.localcloud import LocalCloud

B = "lake"
HALF = 512 * 1024


@pytest.fixture
def fs(cloud: LocalCloud) -> Iterator[GCSFileSystem]:
    """A file system with one empty bucket."""
    made = GCSFileSystem(
        project="demo-project",
        token="anon",
        endpoint_url=cloud.http_url,
        skip_instance_cache=True,
    )
    made.mkdir(B)
    yield made
    made.invalidate_cache()


def test_gcsfs_makes_and_removes_buckets(fs: GCSFileSystem) -> None:
    assert fs.ls("") == [f"{B}/"] or fs.ls("") == [B]
    fs.rmdir(B)
    assert not fs.exists(B)


def test_gcsfs_pipes_reads_and_knows_an_object(fs: GCSFileSystem) -> None:
    fs.pipe(f"{B}/a/b", b"hello")
    assert fs.cat(f"{B}/a/b") == b"hello"
    assert fs.cat_file(f"{B}/a/b", start=1, end=3) == b"el"
    info = fs.info(f"{B}/a/b")
    assert (info["size"], info["type"], info["name"]) == (5, "file", f"{B}/a/b")
    assert fs.info(f"{B}/a")["type"] == "directory"
    assert (fs.size(f"{B}/a/b"), fs.exists(f"{B}/nope")) == (5, False)
    with pytest.raises(FileNotFoundError):
        fs.cat(f"{B}/nope")


@pytest.mark.parametrize("size", [0, 10, HALF, 2 * HALF, 3 * HALF + 5])
def test_gcsfs_writes_in_chunks_of_one_session(
    cloud: LocalCloud, fs: GCSFileSystem, size: int
) -> None:
    data = os.urandom(size)
    with fs.open(f"{B}/big", "wb", block_size=HALF) as stream:
        for start in range(0, size, HALF):
            stream.write(data[start : start + HALF])
    assert cloud.storage.read(B, "big") == data
    assert len(cloud.effects.mutations("storage.objects.insert")) == 1


def test_gcsfs_seeks_and_reads_blocks(fs: GCSFileSystem) -> None:
    data = os.urandom(HALF + HALF // 2)
    fs.pipe(f"{B}/big", data)
    with fs.open(f"{B}/big", "rb", block_size=HALF // 4) as stream:
        stream.seek(100)
        assert stream.read(HALF) == data[100 : 100 + HALF]
        stream.seek(-10, os.SEEK_END)
        assert stream.read() == data[-10:]


def test_gcsfs_abandons_a_write(cloud: LocalCloud, fs: GCSFileSystem) -> None:
    stream = fs.open(f"{B}/big", "wb", block_size=HALF)
    stream.write(os.urandom(2 * HALF))
    stream.flush()
    stream.discard()
    assert cloud.storage.names(B) == []


def test_gcsfs_lists_globs_and_walks(fs: GCSFileSystem) -> None:
    for name in ("a.csv", "b.csv", "d/c.csv", "d/e/f.txt"):
        fs.pipe(f"{B}/{name}", b"1")
    assert fs.ls(B) == [f"{B}/a.csv", f"{B}/b.csv", f"{B}/d"]
    assert fs.glob(f"{B}/*.csv") == [f"{B}/a.csv", f"{B}/b.csv"]
    assert fs.find(f"{B}/d") == [f"{B}/d/c.csv", f"{B}/d/e/f.txt"]
    assert [folder for folder, _, _ in fs.walk(B)] == [B, f"{B}/d", f"{B}/d/e"]
    assert fs.du(B) == 4


def test_gcsfs_copies_moves_and_removes(cloud: LocalCloud, fs: GCSFileSystem) -> None:
    fs.pipe(f"{B}/a/one", b"1")
    fs.pipe(f"{B}/a/two", b"2")
    fs.cp(f"{B}/a", f"{B}/copy", recursive=True)
    fs.mv(f"{B}/a/one", f"{B}/moved")
    assert cloud.storage.names(B) == ["a/two", "copy/one", "copy/two", "moved"]
    fs.rm(f"{B}/copy", recursive=True)
    fs.rm([f"{B}/moved", f"{B}/a/two"])
    assert cloud.storage.names(B) == []


def test_gcsfs_merges_and_keeps_attributes(fs: GCSFileSystem) -> None:
    fs.pipe(f"{B}/a", b"1")
    fs.pipe(f"{B}/b", b"2")
    fs.merge(f"{B}/both", [f"{B}/a", f"{B}/b"])
    assert fs.cat(f"{B}/both") == b"12"
    fs.setxattrs(f"{B}/a", content_type="text/plain", foo="bar")
    fs.invalidate_cache()
    assert fs.getxattr(f"{B}/a", "foo") == "bar"
    assert fs.info(f"{B}/a")["contentType"] == "text/plain"
    fs.setxattrs(f"{B}/a", foo=None)
    fs.invalidate_cache()
    with pytest.raises(KeyError):
        fs.getxattr(f"{B}/a", "foo")


def test_gcsfs_puts_and_gets_folders(fs: GCSFileSystem, tmp_path: Path) -> None:
    (tmp_path / "in" / "deep").mkdir(parents=True)
    (tmp_path / "in" / "deep" / "one").write_bytes(os.urandom(1000))
    fs.put(str(tmp_path / "in"), f"{B}/in", recursive=True)
    fs.get(f"{B}/in", str(tmp_path / "out"), recursive=True)
    sent, got = (tmp_path / way / "deep" / "one" for way in ("in", "out"))
    assert got.read_bytes() == sent.read_bytes()


def test_gcsfs_is_a_mapping(fs: GCSFileSystem) -> None:
    mapping = fs.get_mapper(f"{B}/zarr")
    mapping["x"], mapping["y/z"] = b"000", b"111"
    assert dict(mapping) == {"x": b"000", "y/z": b"111"}
    del mapping["x"]
    assert list(mapping) == ["y/z"]


def test_smart_open_writes_streams_and_reads_them(gcs: Client) -> None:
    gcs.create_bucket(B)
    data = os.urandom(600_000)
    ways = {"client": gcs, "min_part_size": 256 * 1024}
    with smart_open(f"gs://{B}/big", "wb", transport_params=ways) as stream:
        stream.write(data)
    with smart_open(f"gs://{B}/big", "rb", transport_params={"client": gcs}) as stream:
        stream.seek(100)
        assert stream.read(200) == data[100:300]
        assert stream.read() == data[300:]
    with smart_open(f"gs://{B}/t.txt.gz", "w", transport_params={"client": gcs}) as stream:
        stream.write("one\ntwo\n")
    with smart_open(f"gs://{B}/t.txt.gz", transport_params={"client": gcs}) as stream:
        assert list(stream) == ["one\n", "two\n"]


@pytest.fixture
def discovered(cloud: LocalCloud) -> Any:
    """google-api-python-client's storage v1, from the discovery document that it brings."""
    document = json.loads(get_static_doc("storage", "v1"))
    # Uploads go to the document's root, whatever the client's endpoint is.
    document["rootUrl"] = f"{cloud.http_url}/"
    http = build_http()
    http.proxy_info = None  # of the environment's proxies none is meant
    with build_from_document(document, http=http) as service:
        service.buckets().insert(project="demo-project", body={"name": B}).execute()
        yield service


def test_the_discovered_client_uploads_in_chunks_and_downloads(discovered: Any) -> None:
    data = os.urandom(700_000)
    for resumable in (True, False):
        media = MediaIoBaseUpload(
            io.BytesIO(data), "application/x-model", chunksize=256 * 1024, resumable=resumable
        )
        asked = discovered.objects().insert(
            bucket=B, name="big", media_body=media, fields="name,size"
        )
        assert asked.execute() == {"name": "big", "size": "700000"}
    got = io.BytesIO()
    loader = MediaIoBaseDownload(
        got, discovered.objects().get_media(bucket=B, object="big"), chunksize=256 * 1024
    )
    while not loader.next_chunk()[1]:
        pass
    assert got.getvalue() == data


def test_the_discovered_client_pages_composes_and_sees_errors(discovered: Any) -> None:
    objects = discovered.objects()
    for name in ("a", "b", "c"):
        media = MediaIoBaseUpload(io.BytesIO(name.encode()), "text/plain")
        objects.insert(bucket=B, name=name, media_body=media).execute()
    names, asked = [], objects.list(bucket=B, maxResults=2)
    while asked is not None:
        page = asked.execute()
        names += [item["name"] for item in page["items"]]
        asked = objects.list_next(asked, page)
    assert names == ["a", "b", "c"]
    body = {"sourceObjects": [{"name": "a", "generation": None}, {"name": "b"}]}
    objects.compose(destinationBucket=B, destinationObject="ab", body=body).execute()
    assert objects.get_media(bucket=B, object="ab").execute() == b"ab"
    with pytest.raises(HttpError) as refused:
        objects.get(bucket=B, object="never").execute()
    assert (refused.value.status_code, refused.value.reason) == (404, f"No such object: {B}/never")
