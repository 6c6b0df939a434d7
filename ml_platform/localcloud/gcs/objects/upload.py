"""The three ways of the JSON API to write an object: simple, multipart and resumable.

After cloud.google.com/storage/docs/uploads-downloads and .../performing-resumable-uploads.
"""

from __future__ import annotations

import re
import secrets
from collections.abc import Mapping
from email import policy
from email.parser import BytesParser
from typing import Any
from urllib.parse import urlencode

from ...server.http_types import HttpError, Reply, Request, Route, json_reply
from ..buckets.buckets import Buckets
from ..checks import conditions, rules, unserved
from ..tables.store import ObjectTables, crc32c_of, md5_of
from .generations import Generations

_PATH = r"(?:/resumable)?/upload/storage/v1/b/(?P<bucket>[^/]+)/o"
_CHUNK = 256 * 1024
_RANGE = re.compile(r"bytes (?:(\d+)-(\d+)|\*)/(\d+|\*)")
_PLAN_QUERY = re.compile(r"if\w+Match")


class Uploads:
    """Sessions are stored, so a resumable upload continues after a restart."""

    def __init__(self, tables: ObjectTables, buckets: Buckets, generations: Generations) -> None:
        self._tables = tables
        self._buckets = buckets
        self._generations = generations

    def routes(self) -> list[Route]:
        """Everything under /upload/storage/v1."""
        return [
            Route("POST", _PATH, "storage.objects.insert", self._post),
            Route("PUT", _PATH, "storage.objects.insert", self._put),
            Route("DELETE", _PATH, "storage.objects.insert", self._cancel),
        ]

    def _post(self, request: Request, bucket: str) -> Reply:
        if "upload_id" in request.query:
            return self._put(request, bucket)
        self._buckets.need(bucket)
        kinds = {"media": self._simple, "multipart": self._multipart, "resumable": self._begin}
        kind = kinds.get(request.query.get("uploadType", ""))
        if kind is None:
            raise rules.bad("Unknown uploadType: media, multipart or resumable was expected.")
        return kind(request, bucket)

    def _simple(self, request: Request, bucket: str) -> Reply:
        content_type = request.headers.get("content-type", "application/octet-stream")
        wanted = {
            "contentType": content_type,
            "contentEncoding": request.query.get("contentEncoding"),
        }
        return self._insert(request, bucket, wanted, request.body)

    def _multipart(self, request: Request, bucket: str) -> Reply:
        wanted, media_type, data = split_related(
            request.headers.get("content-type", ""), request.body
        )
        return self._insert(request, bucket, {"contentType": media_type} | wanted, data)

    def _insert(self, request: Request, bucket: str, wanted: dict[str, Any], data: bytes) -> Reply:
        name = str(wanted.get("name") or request.query.get("name", ""))
        rules.check_object_name(name)
        _check_hashes(wanted, request.headers, data)
        made = self._generations.replace(request, bucket, name, wanted, data)
        resource = self._generations.shown(request, made)
        return json_reply(resource, ETag=resource["etag"])

    # resumable: POST opens a session, PUTs bring chunks, the last one makes the object

    def _begin(self, request: Request, bucket: str) -> Reply:
        wanted = request.json()
        name = str(wanted.get("name") or request.query.get("name", ""))
        rules.check_object_name(name)
        rules.check_preconditions(request, self._tables.get(bucket, name))
        unserved.check_write(request, self._buckets.need(bucket), wanted)
        rules.settable(wanted)  # refused now rather than at the end
        content_type = request.headers.get("x-upload-content-type", "application/octet-stream")
        key = secrets.token_urlsafe(32)
        plan = {
            "bucket": bucket,
            "wanted": {"contentType": content_type} | wanted | {"name": name},
            "query": {k: v for k, v in request.query.items() if _PLAN_QUERY.fullmatch(k)},
            "headers": {k: request.headers[k] for k in conditions.HEADERS if k in request.headers},
        }
        self._tables.put_upload(key, plan)
        # As Google's, the session's address repeats the query: `fields` is for the last answer.
        query = urlencode({**request.query, "uploadType": "resumable", "upload_id": key})
        location = f"{request.base_url}/upload/storage/v1/b/{bucket}/o?{query}"
        return Reply(200, headers={"Location": location, "X-GUploader-UploadID": key})

    def _session(self, request: Request) -> tuple[str, dict[str, Any]]:
        key = request.query.get("upload_id", "")
        plan = self._tables.upload(key)
        if plan is None:
            raise HttpError(404, "notFound", "Not Found: no such upload session.")
        if plan.get("cancelled"):
            raise HttpError(499, "cancelled", "Client Closed Request: the upload was cancelled.")
        return key, plan

    def _cancel(self, request: Request, bucket: str) -> Reply:
        del bucket
        with self._tables.transaction():
            key, plan = self._session(request)
            self._tables.put_upload(key, plan | {"cancelled": True})
            self._tables.drop_chunks(key)
        return Reply(499)

    def _put(self, request: Request, bucket: str) -> Reply:
        with self._tables.transaction():
            key, plan = self._session(request)
            if "made" in plan:
                return json_reply(plan["made"])
            total = self._receive(key, request)
            have = self._tables.received(key)
            if total is None or have < total:
                received = {"Range": f"bytes=0-{have - 1}"} if have else {}
                return Reply(308, headers=received | {"X-GUploader-UploadID": key})
            reply, made = self._finish(request, bucket, plan, self._tables.chunks(key))
            self._tables.put_upload(key, plan | {"made": made})
            self._tables.drop_chunks(key)
        return reply

    def _finish(
        self, request: Request, bucket: str, plan: dict[str, Any], data: bytes
    ) -> tuple[Reply, dict[str, Any]]:
        # Each chunk's own Content-MD5 was checked when it came.
        sent = {k: v for k, v in request.headers.items() if k != "content-md5"}
        headers = sent | plan["headers"]
        late = Request("POST", request.path, plan["query"], headers, data, request.base_url)
        reply = self._insert(late, bucket, plan["wanted"], data)
        return reply, Request("", "", body=reply.body).json()

    def _receive(self, key: str, request: Request) -> int | None:
        """Store a chunk; returns the total size when the client has sent it."""
        _check_hashes({"md5Hash": request.headers.get("content-md5")}, {}, request.body)
        header = request.headers.get("content-range", "")
        if not header:
            self._tables.drop_chunks(key)
            self._tables.put_chunk(key, 0, request.body)
            return len(request.body)
        match = _RANGE.fullmatch(header)
        if match is None:
            raise rules.bad(f"Failed to parse Content-Range header: {header}")
        total = None if match[3] == "*" else int(match[3])
        if match[1] is not None:
            self._take(key, request.body, int(match[1]), int(match[2]), total)
        elif total == 0:
            self._tables.put_chunk(key, 0, b"")
        return total

    def _take(self, key: str, data: bytes, first: int, last: int, total: int | None) -> None:
        have = self._tables.received(key)
        end = first + len(data)
        if len(data) != last - first + 1 or (total is not None and end > total):
            raise rules.bad("Invalid request: the Content-Range does not fit the body.")
        if first > have:
            raise HttpError(
                503, "backendError", f"Invalid request: {have} bytes are here, not {first}."
            )
        if end != total and end % _CHUNK:
            raise rules.bad("Invalid request: a chunk must be a multiple of 262144 bytes.")
        fresh = data[have - first :]
        if fresh:
            self._tables.put_chunk(key, have, fresh)


def split_related(content_type: str, body: bytes) -> tuple[dict[str, Any], str, bytes]:
    """A multipart/related upload: (metadata, media type, media). Raises HTTP 400."""
    match = re.search(r'boundary="?([^";]+)"?', content_type)
    if match is None:
        raise rules.bad("Missing or invalid multipart boundary.")
    mark = b"--" + match[1].encode()
    first = body.find(mark)
    second = body.find(mark, first + len(mark))
    last = body.rfind(mark)
    if not 0 <= first < second < last:
        raise rules.bad("A multipart upload has two parts: metadata and media.")
    _, metadata = _split_part(body[first + len(mark) : second])
    head, media = _split_part(body[second + len(mark) : last])
    return Request("", "", body=metadata).json(), _media_type(head), media


def _media_type(head: bytes) -> str:
    parsed = BytesParser(policy=policy.HTTP).parsebytes(head + b"\r\n\r\n", headersonly=True)
    return str(parsed.get("content-type", "application/octet-stream"))


def _split_part(part: bytes) -> tuple[bytes, bytes]:
    """(headers, body) of a part between two boundaries with their line ends."""
    at = re.search(rb"\r?\n\r?\n", part)
    if at is None:
        raise rules.bad("A part of the multipart upload has no body.")
    body = part[at.end() :]
    end = 2 if body.endswith(b"\r\n") else int(body.endswith(b"\n"))
    return part[: at.start()].strip(), body[: len(body) - end]


def _check_hashes(wanted: dict[str, Any], headers: Mapping[str, str], data: bytes) -> None:
    """Check bytes against each checksum that came: in the metadata, X-Goog-Hash or Content-MD5.

    The words of the refusal after googleapis/python-storage#1541.
    """
    items = (item.strip().partition("=") for item in headers.get("x-goog-hash", "").split(","))
    sent: list[tuple[str, Any]] = [(kind, value) for kind, _, value in items]
    sent += [("md5", wanted.get("md5Hash")), ("crc32c", wanted.get("crc32c"))]
    sent += [("md5", headers.get("content-md5"))]
    for kind, what, compute in (("md5", "MD5 hash", md5_of), ("crc32c", "CRC32C", crc32c_of)):
        for value in {value for named, value in sent if named == kind and value}:
            if value != (actual := compute(data)):
                raise rules.bad(
                    f'Provided {what} "{value}" doesn\'t match calculated {what} "{actual}".'
                )
