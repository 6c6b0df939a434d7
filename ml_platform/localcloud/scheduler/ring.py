"""One call by Cloud Scheduler: an HTTP request to the job's target, and its outcome."""

from __future__ import annotations

import http.client
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any
from urllib.parse import urlsplit

from . import rules

_METHODS = ("POST", "POST", "GET", "HEAD", "PUT", "DELETE", "PATCH", "OPTIONS")
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


def send(job: Any, headers: Mapping[str, str]) -> tuple[int | None, int, str]:
    """(HTTP status, google.rpc code, message). Redirects are not followed: they are failures."""
    target = job.http_target
    url = urlsplit(target.uri)
    kind = http.client.HTTPSConnection if url.scheme == "https" else http.client.HTTPConnection
    timeout = job.attempt_deadline.ToTimedelta().total_seconds()
    connection = kind(url.hostname or "", url.port, timeout=timeout)
    path = (url.path or "/") + (f"?{url.query}" if url.query else "")
    try:
        connection.request(_METHODS[target.http_method], path, target.body, dict(headers))
        answer = connection.getresponse()
        answer.read()
    except TimeoutError:
        return None, _DEADLINE_EXCEEDED, "URL_TIMEOUT-TIMEOUT_WEB"
    except (OSError, http.client.HTTPException) as error:
        return None, _UNAVAILABLE, f"URL_UNREACHABLE-UNREACHABLE: {error}"
    finally:
        connection.close()
    return answer.status, *rules.status_of(answer.status)
