"""Every way to overwrite or delete an object, and other helpers for tests of Cloud Storage."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import requests
from google.cloud.storage import Bucket

from ml_platform.localcloud import LocalCloud

BUCKET = "artifacts"


def patched(bucket: Bucket, **settings: Any) -> Bucket:
    """The bucket with other settings, by the names of the API."""
    for name, value in settings.items():
        bucket._patch_property(name, value)
    bucket.patch()
    return bucket


def post(cloud: LocalCloud, path: str, **query: object) -> requests.Response:
    """A POST below the bucket."""
    url = f"{cloud.http_url}/storage/v1/b/{BUCKET}{path}"
    return requests.post(url, params={k: str(v) for k, v in query.items()}, timeout=5)


def history(bucket: Bucket, **options: Any) -> list[tuple[str, bytes]]:
    """(name, content) of all versions in their order."""
    found = bucket.list_blobs(versions=True, **options)
    return [
        (one.name, bucket.blob(one.name, generation=one.generation).download_as_bytes())
        for one in found
    ]


def ways(bucket: Bucket, name: str) -> dict[str, Callable[[], object]]:
    """Every way to overwrite an object or to delete it without its generation."""
    other = bucket.blob("other")
    other.upload_from_string(b"other")
    blob = bucket.blob(name)

    def resumable() -> None:
        chunked = bucket.blob(name, chunk_size=256 * 1024)
        chunked.upload_from_string(b"resumable")

    def batch() -> None:
        with bucket.client.batch():
            bucket.blob(name).delete()

    return {
        "upload": lambda: blob.upload_from_string(b"upload"),
        "resumable": resumable,
        "rewrite": lambda: bucket.blob(name).rewrite(other),
        "copy": lambda: bucket.copy_blob(other, bucket, name),
        "compose": lambda: bucket.blob(name).compose([other, other]),
        "move onto": lambda: bucket.move_blob(other, name),
        "delete": lambda: bucket.blob(name).delete(),
        "batch": batch,
        "move away": lambda: bucket.move_blob(blob, "elsewhere"),
    }


WAYS = [
    "upload",
    "resumable",
    "rewrite",
    "copy",
    "compose",
    "move onto",
    "delete",
    "batch",
    "move away",
]
