"""The table from Google's failures to our errors. No other module interprets them.

It uses class and code, never text. A failure that is not in the table propagates unchanged.
Codes: https://google.aip.dev/193 and google/rpc/code.proto. Retries: https://google.aip.dev/194.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

from ml_platform.errors import (
    CloudAbsent,
    CloudConflict,
    CloudDenied,
    CloudExists,
    CloudRejected,
    CloudThrottled,
    CloudUnavailable,
    OutcomeUnknown,
    PlatformError,
)

from .methods import METHODS, plane

NOT_SENT = "NOT_SENT"
"""Our addition to the codes of gRPC: no connection was made, so the call had no effect."""

_TEXT_LIMIT = 600
# How gRPC and HTTP report that there was no connection; used for the message only.
_NO_CONNECTION = (
    re.compile(r"ipv[46]:(?P<at>\S+): (?:[\w ]+: )*(?P<why>[A-Z][a-z ]+)(?: \(\d+\))?$"),
    re.compile(r"host='(?P<host>[^']+)', port=(?P<port>\d+).*\[Errno -?\d+\] (?P<why>[\w ]+)"),
)


@dataclass(frozen=True, slots=True)
class ErrorRule:
    """The error class of a failure, its message and its advice ('' for that of the class)."""

    category: type[PlatformError]
    what: str
    advice: str = ""
    code: str = ""


_NO_PARENT = ErrorRule(
    CloudRejected,
    "{plane} does not know the project, location or parent of the request",
    "Check PROJECT_ID, LOCATION, BUCKET and the name of the parent. It is unknown what is in it.",
    "parent_not_found",
)
_LOST = ErrorRule(OutcomeUnknown, "{plane} did not confirm the call")
# A lost answer is UNAVAILABLE too. With these codes a call with an effect may have happened.
_UNCERTAIN = ("UNAVAILABLE", "DEADLINE_EXCEEDED", "CANCELLED", "UNKNOWN", "INTERNAL", "DATA_LOSS")
_RULES: dict[str, ErrorRule] = {
    "NOT_FOUND": ErrorRule(CloudAbsent, "{plane} has no such resource"),
    "ALREADY_EXISTS": ErrorRule(CloudExists, "{plane} has a resource of that name already"),
    "RESOURCE_EXHAUSTED": ErrorRule(CloudThrottled, "{plane} refused because a quota is used up"),
    "DEADLINE_EXCEEDED": ErrorRule(CloudUnavailable, "{plane} did not answer in time"),
    **dict.fromkeys(
        ("ABORTED", "FAILED_PRECONDITION"),
        ErrorRule(
            CloudConflict,
            "{plane} refused because the resource has changed or is in the wrong state",
        ),
    ),
    **dict.fromkeys(
        ("INVALID_ARGUMENT", "OUT_OF_RANGE", "UNIMPLEMENTED"),
        ErrorRule(CloudRejected, "{plane} refused the request as wrong"),
    ),
    **dict.fromkeys(
        ("PERMISSION_DENIED", "UNAUTHENTICATED"), ErrorRule(CloudDenied, "{plane} refused access")
    ),
    **dict.fromkeys(
        (NOT_SENT, "UNAVAILABLE"), ErrorRule(CloudUnavailable, "{plane} could not be reached")
    ),
    **dict.fromkeys(
        ("CANCELLED", "UNKNOWN", "INTERNAL", "DATA_LOSS"),
        ErrorRule(CloudUnavailable, "{plane} failed"),
    ),
}

# Statuses of the JSON APIs (Cloud Storage), https://cloud.google.com/storage/docs/json_api/v1/status-codes
_HTTP = {
    304: "FAILED_PRECONDITION",
    400: "INVALID_ARGUMENT",
    401: "UNAUTHENTICATED",
    403: "PERMISSION_DENIED",
    404: "NOT_FOUND",
    405: "UNIMPLEMENTED",
    408: "DEADLINE_EXCEEDED",
    409: "ABORTED",
    410: "ABORTED",
    411: "INVALID_ARGUMENT",
    412: "FAILED_PRECONDITION",
    413: "INVALID_ARGUMENT",
    416: "OUT_OF_RANGE",
    429: "RESOURCE_EXHAUSTED",
    499: "CANCELLED",
    500: "INTERNAL",
    501: "UNIMPLEMENTED",
    502: "UNKNOWN",
    503: "UNAVAILABLE",
    504: "DEADLINE_EXCEEDED",
}

# google/rpc/code.proto, in the order of its numbers
_RPC_CODES = (
    "OK",
    "CANCELLED",
    "UNKNOWN",
    "INVALID_ARGUMENT",
    "DEADLINE_EXCEEDED",
    "NOT_FOUND",
    "ALREADY_EXISTS",
    "PERMISSION_DENIED",
    "RESOURCE_EXHAUSTED",
    "FAILED_PRECONDITION",
    "ABORTED",
    "OUT_OF_RANGE",
    "UNIMPLEMENTED",
    "INTERNAL",
    "UNAVAILABLE",
    "DATA_LOSS",
    "UNAUTHENTICATED",
)


def translate(error: Exception, method: str) -> PlatformError | None:
    """Return our error for what a call of `method` raised; None if it is not in the table."""
    from google.api_core.exceptions import RetryError

    if isinstance(error, RetryError):
        return translate(error.cause, method)
    code = code_of(error)
    if code is None:
        return None
    return _build(method, code, _text_of(error), retry_after=_retry_after(error))


def from_status(method: str, code: int, message: str) -> PlatformError:
    """Return our error for the google.rpc.Status that a long-running operation ended with."""
    name = _RPC_CODES[code] if 0 < code < len(_RPC_CODES) else "UNKNOWN"
    return _build(method, name, message)


def from_http(method: str, status: int, message: str) -> PlatformError:
    """Return our error for one part of a batch with the response `status`."""
    return _build(method, _HTTP.get(status, "UNKNOWN"), _sentence(message) or message)


def code_of(error: Exception) -> str | None:
    """Return the gRPC code of an exception, or NOT_SENT; None if it is not in the table."""
    for kind, code in _classes():
        if isinstance(error, kind):
            return code if isinstance(code, str) else code(error)
    return None


def failures() -> tuple[type[Exception], ...]:
    """Return the classes in the table, for an `except` clause."""
    return tuple(kind for kind, _ in _classes())


def _build(method: str, code: str, text: str, *, retry_after: float = 0.0) -> PlatformError:
    kind = METHODS[method]
    rule = _LOST if code in _UNCERTAIN and not kind.is_read else _RULES[code]
    if code == "NOT_FOUND" and not kind.names_its_subject:
        rule = _NO_PARENT
    what = rule.what.format(plane=plane(method))
    sentence = f"{what} ({method}: {code}). {_short(text)}".rstrip()
    if issubclass(rule.category, CloudThrottled):
        return rule.category(sentence, advice=rule.advice, retry_after=retry_after)
    return rule.category(sentence, code=rule.code, advice=rule.advice)


def _short(text: str) -> str:
    """The text on one line, at most _TEXT_LIMIT long; without a connection only the cause."""
    text = " ".join(text.split())
    for wire in _NO_CONNECTION:
        if match := wire.search(text):
            parts = match.groupdict()
            return f"{parts['why']} at {parts.get('at') or '{host}:{port}'.format(**parts)}."
    cut = text[:_TEXT_LIMIT]
    return text if cut == text else f"{cut.rpartition(' ')[0] or cut} …"


@lru_cache(maxsize=1)
def _classes() -> tuple[tuple[type[Exception], str | Callable[[Any], str | None]], ...]:
    """The first match is used, so subclasses come before their bases.

    Imported here, because starting the process needs none of these libraries.
    """
    import grpc
    import requests.exceptions as http
    import urllib3.exceptions as wire
    from google.api_core import exceptions as api
    from google.auth import exceptions as auth
    from google.cloud.storage import exceptions as storage

    return (
        (api.RetryError, lambda error: code_of(error.cause)),
        (api.GoogleAPICallError, _api_code),
        (auth.TransportError, NOT_SENT),  # the token could not be fetched, so the call was not sent
        (auth.TimeoutError, NOT_SENT),
        (auth.GoogleAuthError, "UNAUTHENTICATED"),
        (storage.DataCorruption, "DATA_LOSS"),
        (storage.InvalidResponse, lambda error: _HTTP.get(error.response.status_code)),
        (http.ConnectTimeout, NOT_SENT),
        (http.ConnectionError, _connection_code),
        (http.Timeout, "DEADLINE_EXCEEDED"),
        (http.ChunkedEncodingError, "UNAVAILABLE"),
        (http.ContentDecodingError, "UNKNOWN"),
        (http.JSONDecodeError, "UNKNOWN"),
        (wire.NewConnectionError, NOT_SENT),
        (wire.ConnectTimeoutError, NOT_SENT),
        (wire.TimeoutError, "DEADLINE_EXCEEDED"),
        (wire.ProtocolError, "UNAVAILABLE"),
        (grpc.FutureTimeoutError, "DEADLINE_EXCEEDED"),
        (grpc.RpcError, _grpc_code),
        (ConnectionRefusedError, NOT_SENT),
        (ConnectionError, "UNAVAILABLE"),
        (TimeoutError, "DEADLINE_EXCEEDED"),  # concurrent.futures' is the same class
    )


def _api_code(error: Any) -> str | None:
    if error.grpc_status_code is not None:
        return str(error.grpc_status_code.name)
    return _HTTP.get(error.code)


def _grpc_code(error: Any) -> str | None:
    code = getattr(error, "code", None)
    return str(code().name) if callable(code) else None


def _connection_code(error: Any) -> str:
    import urllib3.exceptions as wire

    cause = error.args[0] if error.args else None
    reason = getattr(cause, "reason", cause)
    return NOT_SENT if isinstance(reason, wire.NewConnectionError) else "UNAVAILABLE"


def _text_of(error: Exception) -> str:
    """Google's message; the client of Cloud Storage has it in JSON, after the URL."""
    answer = getattr(getattr(error, "response", None), "text", "")
    return _sentence(answer) or str(getattr(error, "message", "") or error)


def _sentence(answer: str) -> str:
    """The message in the JSON of an error response; '' if it is something else."""
    with suppress(AttributeError, KeyError, TypeError, ValueError):
        return str(json.loads(answer)["error"]["message"])
    return ""


def _retry_after(error: Exception) -> float:
    """Seconds to wait from RetryInfo (gRPC) or Retry-After (HTTP); 0 if neither is present."""
    from google.rpc.error_details_pb2 import RetryInfo

    for detail in getattr(error, "details", None) or ():
        if isinstance(detail, RetryInfo):
            return float(detail.retry_delay.ToTimedelta().total_seconds())
    headers = getattr(getattr(error, "response", None), "headers", None) or {}
    given = str(headers.get("Retry-After", ""))
    return float(given) if given.isdigit() else 0.0
