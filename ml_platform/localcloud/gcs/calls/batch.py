"""POST /batch/storage/v1: many calls in one request, each with its own answer.

After cloud.google.com/storage/docs/batch; each part passes the gate on its own.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from email import policy
from email.message import Message
from email.parser import BytesParser
from http import HTTPStatus
from urllib.parse import parse_qsl, urlsplit

from ...server.http_types import Reply, Request, Route
from ..checks.rules import bad

_BOUNDARY = "batch_localcloud"
_FIRST_LINE = re.compile(r"(GET|POST|PUT|PATCH|DELETE) (\S+)(?: HTTP/1\.[01])?\r?")


class Batch:
    """`limit` is what Google's Python client allows; the documentation allows at most 100."""

    def __init__(self, dispatch: Callable[[Request], Reply]) -> None:
        self._dispatch = dispatch
        self.limit = 1000

    def routes(self) -> list[Route]:
        """The batch endpoint; ungated, as its parts are gated."""
        return [Route("POST", "/batch(?:/storage/v1)?", "", self._post)]

    def _post(self, request: Request) -> Reply:
        head = f"Content-Type: {request.headers.get('content-type', '')}\r\n\r\n".encode()
        whole = BytesParser(policy=policy.compat32).parsebytes(head + request.body)
        parts = whole.get_payload()
        if not isinstance(parts, list) or not parts:
            raise bad("Failed to parse batch request: multipart/mixed with parts was expected.")
        if len(parts) > self.limit:
            raise bad(
                f"The batch request has {len(parts)} calls; at most {self.limit} are allowed.",
                "badRequest",
            )
        answers = [self._part(request, part) for part in parts if isinstance(part, Message)]
        body = b"".join(answers) + f"--{_BOUNDARY}--\r\n".encode()
        return Reply(200, body, f"multipart/mixed; boundary={_BOUNDARY}")

    def _part(self, outer: Request, part: Message) -> bytes:
        reply = self._dispatch(_inner(outer, str(part.get_payload())))
        content_id = part.get("Content-ID", "")
        answered = content_id.replace("<", "<response-", 1) if content_id else ""
        lines = [
            f"--{_BOUNDARY}",
            "Content-Type: application/http",
            *([f"Content-ID: {answered}"] if answered else []),
            "",
            f"HTTP/1.1 {reply.status} {_phrase(reply.status)}",
            *(f"{name}: {text}" for name, text in reply.headers.items()),
            f"Content-Type: {reply.content_type}",
            f"Content-Length: {len(reply.body)}",
            "",
            "",
        ]
        return "\r\n".join(lines).encode() + reply.body + b"\r\n"


def _inner(outer: Request, text: str) -> Request:
    first, _, rest = text.lstrip().partition("\n")
    match = _FIRST_LINE.fullmatch(first)
    if match is None:
        raise bad(f"Failed to parse batch request: {first!r} is not a request line.")
    head, _, body = rest.replace("\r\n", "\n").partition("\n\n")
    named = (line.partition(":") for line in head.splitlines() if ":" in line)
    headers = {name.strip().lower(): value.strip() for name, _, value in named}
    inherited = {k: v for k, v in outer.headers.items() if not k.startswith("content-")}
    url = urlsplit(match[2])
    return Request(
        match[1],
        url.path,
        dict(parse_qsl(url.query, keep_blank_values=True)),
        inherited | headers,
        body.strip().encode(),
        outer.base_url,
        outer.on_gone,
    )


def _phrase(status: int) -> str:
    return HTTPStatus(status).phrase if status in HTTPStatus._value2member_map_ else "Error"
