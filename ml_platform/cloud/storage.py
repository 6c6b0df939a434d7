"""Cloud Storage: listings, small texts, and deletions of one generation of an object."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Iterator
from io import BytesIO
from typing import Any, TypeVar

from ml_platform.conf import get_settings
from ml_platform.errors import CloudDenied, CloudRejected, PlatformError

from .raw import read_utf8
from .transport import channels
from .transport.codes import UNREADABLE, Unreadable, code_of
from .transport.errors import from_http
from .types import DeletedObject, DeleteOutcome, RemoteBucket, RemoteObject

T = TypeVar("T")

BATCH = 100
"""Deletions in one request, as https://cloud.google.com/storage/docs/batch allows."""

_SURROGATE = re.compile("[\ud800-\udfff]")
_UNSENDABLE = "Its name is not valid Unicode, so no request can contain it."
_OUTCOMES = {404: DeleteOutcome.GONE, 412: DeleteOutcome.CHANGED}


def list_objects(
    bucket: str,
    prefix: str,
    *,
    glob: str = "",
    after: str = "",
    page_size: int = 1000,
    versions: bool = False,
    soft_deleted: bool = False,
) -> Iterator[tuple[RemoteObject, ...]]:
    """Yield the objects below `prefix` whose names sort behind `after`, page by page; with
    `versions` noncurrent versions too, with `soft_deleted` only soft-deleted objects.

    In `glob`, `*` stays within a folder and `**` does not. A page that cannot be read raises, and
    so does one with an object that does not match: a server that does not know `matchGlob` would
    list them all.
    """
    asked = _pattern_of(glob) if glob else None
    return _pages(
        bucket,
        lambda page: tuple(
            found for found in (_read_object(blob, asked) for blob in page) if found.name > after
        ),
        fields="items(name,size,crc32c,generation,updated)",
        prefix=prefix,
        match_glob=glob or None,
        start_offset=after or None,
        page_size=page_size,
        versions=versions or None,
        soft_deleted=soft_deleted or None,
    )


def list_children(bucket: str, prefix: str) -> Iterator[tuple[str, ...]]:
    """Yield the objects and "folders" (with their closing slash) directly below `prefix`."""
    return _pages(
        bucket,
        lambda page: tuple(map(_text, (*page.prefixes, *(blob.name for blob in page)))),
        fields="prefixes,items(name)",
        prefix=prefix,
        delimiter="/",
        page_size=1000,
    )


def has_objects(bucket: str, prefix: str) -> bool:
    """Whether there is an object below `prefix`; reads one."""
    return any(list_objects(bucket, prefix, page_size=1))


def read_text(bucket: str, key: str, *, limit_bytes: int) -> str:
    """Return an object's content as UTF-8 text, without a byte order mark.

    :raises CloudAbsent: the object does not exist.
    :raises CloudRejected: it is longer than `limit_bytes`, not UTF-8, or has NUL characters.
    """
    blob = _blob(bucket, key)

    content = channels.call("storage.objects.get", lambda: _download(blob, limit_bytes))
    try:
        return read_utf8(content)
    except ValueError as error:
        raise CloudRejected(f"gs://{bucket}/{key} is not UTF-8 text.", code="not_text") from error


def read_generation(bucket: str, key: str, *, limit_bytes: int) -> tuple[str, int]:
    """Return an object's content as UTF-8 text, and the generation that has it.

    Errors as with `read_text`.

    :raises CloudConflict: the object was replaced between the two requests.
    """
    blob = _blob(bucket, key)

    def read() -> tuple[bytes, int]:
        blob.reload(timeout=_timeout(), retry=None)
        _require_kind("storage#object", blob._properties)  # noqa: SLF001
        generation = int(blob.generation)
        return _download(blob, limit_bytes, if_generation_match=generation), generation

    content, generation = channels.call("storage.objects.get", read)
    try:
        return read_utf8(content), generation
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
    blob, content = _blob(bucket, key), text.encode()

    def upload() -> RemoteObject:
        blob.upload_from_string(
            content,
            content_type=content_type,
            if_generation_match=generation,
            timeout=_timeout(),
            retry=None,
        )
        _require_kind("storage#object", blob._properties)  # noqa: SLF001
        return _read_object(blob)

    return channels.call("storage.objects.insert", upload)


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


def copy_generation(bucket: str, key: str, generation: int, *, over: int) -> None:
    """Make a noncurrent version of an object the live one, with its metadata.

    :raises CloudConflict: the live object has another generation than `over`; 0 is none.
    :raises CloudAbsent: there is no such generation.
    """
    holder = channels.storage_client().bucket(bucket)

    def copy() -> None:
        made = holder.copy_blob(
            holder.blob(key),
            holder,
            source_generation=generation,
            if_generation_match=over,
            timeout=_timeout(),
            retry=None,
        )
        _require_kind("storage#object", made._properties)  # noqa: SLF001

    channels.call("storage.objects.copy", copy)


def restore_soft_deleted(bucket: str, key: str, generation: int, *, over: int) -> None:
    """Make a soft-deleted object the live one.

    Errors as with `copy_generation`.
    """
    holder = channels.storage_client().bucket(bucket)

    def restore() -> None:
        made = holder.restore_blob(
            key, generation=generation, if_generation_match=over, timeout=_timeout(), retry=None
        )
        _require_kind("storage#object", made._properties)  # noqa: SLF001

    channels.call("storage.objects.restore", restore)


def get_bucket(bucket: str) -> RemoteBucket:
    """Return the bucket.

    :raises CloudAbsent: Cloud Storage answered 404 for exactly that bucket.
    """
    client = channels.storage_client()

    def read() -> RemoteBucket:
        found = client.get_bucket(bucket, timeout=_timeout(), retry=None)
        _require_kind("storage#bucket", found._properties)  # noqa: SLF001
        return RemoteBucket(
            name=found.name,
            location=_text(found.location).lower(),
            versioning=bool(found.versioning_enabled),
            soft_delete_seconds=int(found.soft_delete_policy.retention_duration_seconds or 0),
        )

    return channels.call("storage.buckets.get", read)


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


def _download(blob: Any, limit: int, **conditions: Any) -> bytes:
    """The content of an object.

    Cloud Storage says with a text that there is none, as any proxy could; about the object's
    metadata it says so in JSON.
    """
    from google.api_core.exceptions import GoogleAPICallError

    content = _Bounded(limit)
    try:
        blob.download_to_file(content, timeout=_timeout(), retry=None, **conditions)
    except GoogleAPICallError as error:
        if code_of(error) == UNREADABLE:
            blob.reload(timeout=_timeout(), retry=None)
        raise
    return content.getvalue()


def _delete_batch(bucket: str, objects: list[tuple[str, int]]) -> list[DeletedObject]:
    client = channels.storage_client()

    def send() -> list[DeletedObject]:
        with client.batch(raise_exception=False) as batch:
            holder = client.bucket(bucket)
            for name, generation in objects:
                holder.delete_blob(
                    name, if_generation_match=generation, timeout=_timeout(), retry=None
                )
        parts = batch._responses  # noqa: SLF001 (as Google's own batch sample reads them)
        return [_read_part(name, part) for (name, _), part in zip(objects, parts, strict=True)]

    return channels.call("storage.batch", send)


def _read_part(name: str, response: Any) -> DeletedObject:
    status = int(response.status_code)
    if 200 <= status < 300:
        return DeletedObject(name=name, outcome=DeleteOutcome.DELETED)
    error: PlatformError = from_http("storage.batch", status, response.text)
    outcome = DeleteOutcome.FAILED
    if isinstance(error, CloudDenied | CloudRejected):
        outcome = _OUTCOMES.get(status, DeleteOutcome.REFUSED)
    return DeletedObject(name=name, outcome=outcome, reason=str(error))


def _pages(
    bucket: str, read: Callable[[Any], tuple[T, ...]], *, fields: str, **options: Any
) -> Iterator[tuple[T, ...]]:
    """Yield what `read` makes of each page.

    Each is requested with a new iterator, so that a repeated request cannot skip a page. `kind`
    distinguishes an empty page from the `{}` of anybody else.
    """
    client = channels.storage_client()
    options["fields"] = f"kind,{fields},nextPageToken"
    token: str | None = None
    while True:

        def send(token: str | None = token) -> tuple[tuple[T, ...], str | None]:
            listing = client.list_blobs(
                bucket, page_token=token, timeout=_timeout(), retry=None, **options
            )
            page = next(listing.pages)
            _require_kind("storage#objects", page.raw_page)
            return read(page), listing.next_page_token

        page, token = channels.call("storage.objects.list", send)
        yield page
        if not token:
            return


def _blob(bucket: str, key: str) -> Any:
    return channels.storage_client().bucket(bucket).blob(key)


def _timeout() -> float:
    return get_settings().CALL_TIMEOUT


def _require_kind(kind: str, answer: Any) -> None:
    """Every resource and list of the JSON API says its kind:
    https://cloud.google.com/storage/docs/json_api/v1/objects"""
    if answer.get("kind") != kind:
        raise Unreadable(f"it is no {kind}")


def _text(value: Any) -> str:
    if not isinstance(value, str):
        raise Unreadable(f"{value!r} is no text")
    return value


def _pattern_of(glob: str) -> re.Pattern[str]:
    """What a glob matches, with `*` and `**` only:
    https://cloud.google.com/storage/docs/json_api/v1/objects/list#list-objects-and-prefixes-using-glob"""
    regex = re.escape(glob)
    for wild, means in ((r"\*\*/", "(?:.*/)?"), (r"\*\*", ".*"), (r"\*", "[^/]*")):
        regex = regex.replace(wild, means)
    return re.compile(regex, re.DOTALL)


def _read_object(blob: Any, asked: re.Pattern[str] | None = None) -> RemoteObject:
    name = _text(blob.name)
    if asked and not asked.fullmatch(name):
        raise Unreadable(f"it lists {name!r}, which does not match")
    return RemoteObject(
        name=name,
        size=int(blob.size),
        crc32c=blob.crc32c or "",
        generation=int(blob.generation),
        updated=blob.updated,
    )
