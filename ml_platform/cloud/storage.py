"""Cloud Storage: listings, small texts, and deletions of one generation of an object."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from io import BytesIO
from typing import Any

from ml_platform.cloud.transport.errors import from_http
from ml_platform.conf import get_settings
from ml_platform.errors import CloudDenied, CloudRejected, OutcomeUnknown, PlatformError

from .raw import read_utf8
from .transport import channels
from .types import DeletedObject, DeleteOutcome, RemoteBucket, RemoteObject

BATCH = 100
"""Deletions in one request, as https://cloud.google.com/storage/docs/batch allows."""

_SURROGATE = re.compile("[\ud800-\udfff]")
_UNSENDABLE = "Its name is not valid Unicode, so no request can contain it."
_OUTCOMES = {404: DeleteOutcome.GONE, 412: DeleteOutcome.CHANGED}


def list_objects(
    bucket: str, prefix: str, *, glob: str = "", after: str = "", page_size: int = 1000
) -> Iterator[tuple[RemoteObject, ...]]:
    """Yield the objects below `prefix` whose names sort behind `after`, page by page.

    A page that cannot be read raises.
    """
    for page in _pages(
        bucket,
        prefix=prefix,
        match_glob=glob or None,
        start_offset=after or None,
        page_size=page_size,
        fields="items(name,size,crc32c,generation,updated),nextPageToken",
    ):
        yield tuple(_read_object(blob) for blob in page if blob.name > after)


def list_children(bucket: str, prefix: str) -> Iterator[tuple[str, ...]]:
    """Yield the objects and "folders" (with their closing slash) directly below `prefix`."""
    fields = "prefixes,items(name),nextPageToken"
    for page in _pages(bucket, prefix=prefix, delimiter="/", page_size=1000, fields=fields):
        yield (*page.prefixes, *(blob.name for blob in page))


def has_objects(bucket: str, prefix: str) -> bool:
    """Whether there is an object below `prefix`; reads one."""
    return any(list_objects(bucket, prefix, page_size=1))


def read_text(bucket: str, key: str, *, limit_bytes: int) -> str:
    """Return an object's content as UTF-8 text, without a byte order mark.

    :raises CloudAbsent: the object does not exist.
    :raises CloudRejected: it is longer than `limit_bytes`, not UTF-8, or has NUL characters.
    """
    blob = _blob(bucket, key)

    def download() -> bytes:
        content = _Bounded(limit_bytes)
        blob.download_to_file(content, timeout=_timeout(), retry=None)
        return content.getvalue()

    content = channels.call("storage.objects.get", download)
    try:
        return read_utf8(content)
    except ValueError as error:
        raise CloudRejected(f"gs://{bucket}/{key} is not UTF-8 text.", code="not_text") from error


def write_text(
    bucket: str,
    key: str,
    text: str,
    *,
    content_type: str = "text/plain; charset=utf-8",
    generation: int | None = None,
) -> RemoteObject:
    """Write an object; with `generation` only if the object has it; 0 means that it must not exist.

    :raises CloudConflict: the object has another generation.
    """
    blob = _blob(bucket, key)
    channels.call(
        "storage.objects.insert",
        lambda: blob.upload_from_string(
            text.encode(),
            content_type=content_type,
            if_generation_match=generation,
            timeout=_timeout(),
            retry=None,
        ),
    )
    return _read_object(blob)


def is_sendable(name: str) -> bool:
    """Whether a request can carry the name: one with a lone surrogate is not Unicode text."""
    return not _SURROGATE.search(name)


def delete_objects(bucket: str, objects: Iterable[tuple[str, int]]) -> list[DeletedObject]:
    """Delete objects given as (name, generation), a hundred in one request.

    Each has its own outcome: one object that cannot be deleted does not stop the others (law 14).
    An object that was overwritten since is not deleted, nor is one whose name cannot be sent.

    :raises PlatformError: a whole request failed; some objects may be deleted, so list again.
    """
    given = list(objects)
    wanted = [pair for pair in given if is_sendable(pair[0])]
    outcomes = [
        DeletedObject(name=name, outcome=DeleteOutcome.REFUSED, reason=_UNSENDABLE)
        for name, _ in given
        if not is_sendable(name)
    ]
    for start in range(0, len(wanted), BATCH):
        outcomes += _delete_batch(bucket, wanted[start : start + BATCH])
    return outcomes


def get_bucket(bucket: str) -> RemoteBucket:
    """Return the bucket.

    :raises CloudAbsent: Cloud Storage answered 404 for exactly that bucket.
    """
    client = channels.storage_client()
    found = channels.call(
        "storage.buckets.get", lambda: client.get_bucket(bucket, timeout=_timeout(), retry=None)
    )
    return RemoteBucket(name=found.name, location=(found.location or "").lower())


class _Bounded(BytesIO):
    """Receives a download and stops it when it is too long."""

    def __init__(self, limit: int) -> None:
        super().__init__()
        self._limit = limit

    def write(self, data: Any) -> int:
        if self.tell() + len(data) > self._limit:
            raise CloudRejected(
                f"The object is longer than {self._limit} bytes.", code="object_too_long"
            )
        return super().write(data)


def _delete_batch(bucket: str, objects: list[tuple[str, int]]) -> list[DeletedObject]:
    client = channels.storage_client()

    def send() -> list[Any]:
        with client.batch(raise_exception=False) as batch:
            holder = client.bucket(bucket)
            for name, generation in objects:
                holder.delete_blob(
                    name, if_generation_match=generation, timeout=_timeout(), retry=None
                )
        return list(batch._responses)  # noqa: SLF001 (as Google's own batch sample reads them)

    try:
        responses = channels.call("storage.batch", send)
    except ValueError as error:
        raise OutcomeUnknown(
            f"Cloud Storage answered a batch of deletions in a form that cannot be read: {error}",
            advice="Some may be deleted: list the folder again.",
        ) from error
    return [
        _read_part(name, response) for (name, _), response in zip(objects, responses, strict=True)
    ]


def _read_part(name: str, response: Any) -> DeletedObject:
    status = int(response.status_code)
    if 200 <= status < 300:
        return DeletedObject(name=name, outcome=DeleteOutcome.DELETED)
    error: PlatformError = from_http("storage.batch", status, response.text)
    final = isinstance(error, CloudDenied | CloudRejected)
    outcome = _OUTCOMES.get(status, DeleteOutcome.REFUSED if final else DeleteOutcome.FAILED)
    return DeletedObject(name=name, outcome=outcome, reason=str(error))


def _pages(bucket: str, **options: Any) -> Iterator[Any]:
    """Request each page with a new iterator, so that a repeated request cannot skip a page."""
    client = channels.storage_client()
    token: str | None = None
    while True:

        def send(token: str | None = token) -> tuple[Any, str | None]:
            listing = client.list_blobs(
                bucket, page_token=token, timeout=_timeout(), retry=None, **options
            )
            return next(listing.pages), listing.next_page_token

        page, token = channels.call("storage.objects.list", send)
        yield page
        if not token:
            return


def _blob(bucket: str, key: str) -> Any:
    return channels.storage_client().bucket(bucket).blob(key)


def _timeout() -> float:
    return get_settings().CALL_TIMEOUT


def _read_object(blob: Any) -> RemoteObject:
    return RemoteObject(
        name=blob.name,
        size=int(blob.size or 0),
        crc32c=blob.crc32c or "",
        generation=int(blob.generation),
        updated=blob.updated,
    )
