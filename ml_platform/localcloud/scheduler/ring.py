"""One call by Cloud Scheduler: an HTTP request to the job's target, and its outcome."""

from __future__ import annotations

import http.client
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any, NamedTuple
from urllib.parse import urljoin, urlsplit

from . import rules

_REDIRECTS = (301, 302, 303, 307, 308)
_MAX_REDIRECTS = 10
_UNAVAILABLE, _DEADLINE_EXCEEDED = 14, 4


@dataclass(frozen=True, slots=True)
class Attempt:
    """One call. `http_status` is None when the target gave no answer; `code` is google.rpc's."""

    job: str
    at: datetime
    schedule_time: datetime
    retry: int
    forced: bool
    http_status: int | None
    code: int
    message: str


class _Request(NamedTuple):
    method: str
    uri: str
    body: bytes | None
    headers: Mapping[str, str]


def send(job: Any, headers: Mapping[str, str]) -> tuple[int | None, int, str]:
    """(HTTP status, google.rpc code, message) of the call.

    "For a redirected request, the response returned by the redirected request is considered"
    (target.proto).
    """
    target = job.http_target
    request = _Request(
        rules.METHODS[target.http_method], target.uri, target.body or None, dict(headers)
    )
    seconds = job.attempt_deadline.ToTimedelta().total_seconds()
    try:
        status, location = _send(request, seconds)
        for _ in range(_MAX_REDIRECTS):
            if status not in _REDIRECTS or not location:
                break
            request = _redirected(request, status, location)
            status, location = _send(request, seconds)
    except TimeoutError:
        return None, _DEADLINE_EXCEEDED, "URL_TIMEOUT-TIMEOUT_WEB"
    except (OSError, http.client.HTTPException, ValueError) as error:
        return None, _UNAVAILABLE, f"URL_UNREACHABLE-UNREACHABLE: {error}"
    return status, *rules.status_of(status)


def _send(request: _Request, seconds: float) -> tuple[int, str]:
    """(status, where it redirects to)."""
    url = urlsplit(request.uri)
    kind = http.client.HTTPSConnection if url.scheme == "https" else http.client.HTTPConnection
    connection = kind(url.hostname or "", url.port, timeout=seconds)
    path = (url.path or "/") + (f"?{url.query}" if url.query else "")
    try:
        connection.request(request.method, path, request.body, request.headers)
        answer = connection.getresponse()
        answer.read()
        return answer.status, answer.getheader("Location", "")
    finally:
        connection.close()


def _redirected(request: _Request, status: int, location: str) -> _Request:
    """The next request (RFC 9110, 15.4); another host does not get the token."""
    uri = urljoin(request.uri, location)
    same = urlsplit(uri).netloc == urlsplit(request.uri).netloc
    headers = {
        name: text
        for name, text in request.headers.items()
        if same or name.lower() != "authorization"
    }
    if status in (307, 308) or request.method in ("GET", "HEAD"):
        return _Request(request.method, uri, request.body, headers)
    return _Request("GET", uri, None, headers)
