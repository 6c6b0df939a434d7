"""The body of an HTTP request, within limits: by length or in chunks, gzipped or not."""

from __future__ import annotations

import io
import re
import zlib
from collections.abc import Callable
from email.message import Message

from ..http_types import HttpError

# An object in Cloud Storage comes in one piece; everything else is as large as gRPC's messages.
_MAX_UPLOAD, _MAX_BODY = 1 << 30, 64 << 20
_DIGITS = re.compile(r"[0-9]{1,16}")
_CHUNK = re.compile(rb"([0-9A-Fa-f]{1,16})[ \t]*(?:;[^\r\n]*)?\r?\n")
_LINE = 1 << 12
_RATE = 1 << 20
"""Bytes a second: a body may take as long as it needs at this rate, and the server's patience."""


class Body:
    """Reads one body; `extend(seconds)` allows it more time, `go_on()` sends 100 Continue."""

    def __init__(
        self,
        headers: Message,
        source: io.BufferedIOBase,
        extend: Callable[[float], None],
        go_on: Callable[[], None],
    ) -> None:
        self._headers, self._source, self._extend, self._go_on = headers, source, extend, go_on

    def read(self, verb: str, path: str, version: str) -> bytes:
        """All of it, unpacked. Raises HttpError; nothing may be read from the source after it."""
        # By the XML API an object is uploaded with PUT /BUCKET/OBJECT.
        is_upload = "/upload/" in path or (verb == "PUT" and not path.startswith("/storage/"))
        limit = _MAX_UPLOAD if is_upload else _MAX_BODY
        length = self._length(version)
        if length is not None and length > limit:
            raise _too_large(limit)
        self._expected(version, has_body=length != 0)
        sent = self._chunks(limit) if length is None else self._exactly(length)
        # An uploaded object is kept as it was sent.
        return sent if is_upload else self._unpacked(sent, limit)

    def _length(self, version: str) -> int | None:
        """The announced length; None for chunks."""
        codings = self._headers.get_all("Transfer-Encoding", [])
        lengths = {text.strip() for text in self._headers.get_all("Content-Length", [])}
        if codings:
            if lengths or version != "HTTP/1.1":
                raise _bad("Transfer-Encoding goes with HTTP/1.1 and without Content-Length.")
            if [coding.strip().lower() for coding in codings] != ["chunked"]:
                raise HttpError(501, "notImplemented", "The only Transfer-Encoding is chunked.")
            return None
        if len(lengths) > 1 or not all(map(_DIGITS.fullmatch, lengths)):
            raise _bad("Content-Length is not acceptable.")
        return int(lengths.pop()) if lengths else 0

    def _expected(self, version: str, *, has_body: bool) -> None:
        expect = self._headers.get("Expect", "").strip().lower()
        if expect not in ("", "100-continue"):
            raise HttpError(417, "expectationFailed", f"Unknown expectation: {expect}.")
        if expect and has_body and version == "HTTP/1.1":
            self._go_on()

    def _exactly(self, size: int) -> bytes:
        self._extend(size / _RATE)
        data = self._source.read(size)
        if len(data) < size:
            raise _bad("The body ended early.")
        return data

    def _chunks(self, limit: int) -> bytes:
        whole = bytearray()
        while size := self._chunk_size():
            if len(whole) + size > limit:
                raise _too_large(limit)
            whole += self._exactly(size)
            if self._source.readline(_LINE) not in (b"\r\n", b"\n"):
                raise _bad("A chunk is longer than its size.")
        for _ in range(_LINE):
            line = self._source.readline(_LINE)
            if line in (b"\r\n", b"\n"):
                return bytes(whole)
            if not line.endswith(b"\n"):
                break
        raise _bad("The body ended early.")

    def _chunk_size(self) -> int:
        line = self._source.readline(_LINE)
        match = _CHUNK.fullmatch(line)
        if match is None:
            raise _bad(f"{line[:20]!r} is not the size of a chunk.")
        return int(match[1], 16)

    def _unpacked(self, sent: bytes, limit: int) -> bytes:
        coding = self._headers.get("Content-Encoding", "identity").strip().lower()
        # By the XML API an upload of something gzipped begins so, with no body yet.
        if coding in ("", "identity") or not sent:
            return sent
        if coding not in ("gzip", "x-gzip"):
            raise HttpError(415, "unsupportedMediaType", f"Content-Encoding {coding} is unknown.")
        unzip = zlib.decompressobj(wbits=zlib.MAX_WBITS | 16)
        try:
            data = unzip.decompress(sent, limit + 1)
        except zlib.error as error:
            raise _bad(f"The body is not gzip: {error}.") from error
        if len(data) > limit:
            raise _too_large(limit)
        if not unzip.eof or unzip.unused_data:
            raise _bad("The body is not one whole gzip file.")
        return data


def _bad(message: str) -> HttpError:
    return HttpError(400, "badRequest", message)


def _too_large(limit: int) -> HttpError:
    message = f"Request payload size exceeds the limit: {limit} bytes."
    return HttpError(413, "uploadTooLarge", message)
