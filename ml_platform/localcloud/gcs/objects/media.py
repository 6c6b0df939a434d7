"""The bytes of an object as an answer: headers, ranges, and gzip undone for who cannot read it.

After cloud.google.com/storage/docs/transcoding and .../json_api/v1/objects/get.
"""

from __future__ import annotations

import re
import zlib
from collections.abc import Callable

from ...server.http_types import HttpError, Reply, Request
from ..checks.rules import etag_of
from ..tables.store import StoredObject

_SAID_BY_OBJECT = {
    "Content-Disposition": "contentDisposition",
    "Content-Encoding": "contentEncoding",
    "Content-Language": "contentLanguage",
}


def media_reply(request: Request, found: StoredObject, body: Callable[[int, int], bytes]) -> Reply:
    """The whole object or the range asked for; `body(start, length)` reads its bytes.

    Raises HttpError 416 for a range outside the object.
    """
    headers = _headers(found)
    content_type = found.settable.get("contentType", "application/octet-stream")
    if _is_undone(request, found):
        data = zlib.decompressobj(zlib.MAX_WBITS | 16).decompress(body(0, found.size))
        del headers["Content-Encoding"]
        headers["Warning"] = "214 UploadServer gunzipped"
        return Reply(200, data, content_type, headers)
    span = _range(request.headers.get("range", ""), found.size)
    if span is None:
        return Reply(200, body(0, found.size), content_type, headers)
    start, stop = span
    headers["Content-Range"] = f"bytes {start}-{stop - 1}/{found.size}"
    return Reply(206, body(start, stop - start), content_type, headers)


def _is_undone(request: Request, found: StoredObject) -> bool:
    """Whether gzip is undone: it is for who does not accept it, unless the object forbids it."""
    said = found.settable
    return (
        said.get("contentEncoding") == "gzip"
        and "gzip" not in request.headers.get("accept-encoding", "")
        and "no-transform" not in said.get("cacheControl", "")
    )


def _headers(found: StoredObject) -> dict[str, str]:
    said = found.settable
    hashes = [f"crc32c={found.crc32c}"] + ([f"md5={found.md5}"] if found.md5 else [])
    headers = {
        "Accept-Ranges": "bytes",
        "Cache-Control": said.get("cacheControl", "no-cache"),
        "ETag": etag_of(found),
        "X-Goog-Hash": ",".join(hashes),
        "X-Goog-Generation": str(found.generation),
        "X-Goog-Metageneration": str(found.metageneration),
        "X-Goog-Storage-Class": said.get("storageClass", "STANDARD"),
        "X-Goog-Stored-Content-Length": str(found.size),
        "X-Goog-Stored-Content-Encoding": said.get("contentEncoding") or "identity",
    }
    return headers | {name: said[key] for name, key in _SAID_BY_OBJECT.items() if key in said}


def _range(header: str, size: int) -> tuple[int, int] | None:
    """`bytes=a-b` as (start, stop), None for the whole; HTTP 416 when it is outside the object."""
    match = re.fullmatch(r"bytes=(\d*)-(\d*)", header)
    if match is None or not (match[1] or match[2]):
        return None
    first, last = match[1], match[2]
    start = int(first) if first else max(0, size - int(last))
    stop = min(int(last) + 1, size) if first and last else size
    if start >= size or stop <= start:
        raise HttpError(
            416, "requestedRangeNotSatisfiable", "The requested range cannot be satisfied."
        )
    return start, stop
