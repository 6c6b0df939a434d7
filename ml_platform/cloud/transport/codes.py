"""From a failure of Google's clients, or an HTTP answer, to one code: gRPC's, or one of ours.

It uses class, status and the form of the body, never its text. What is not in a table is UNKNOWN.
Codes: google/rpc/code.proto.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from contextlib import suppress
from functools import lru_cache
from typing import Any

NOT_SENT = "NOT_SENT"
"""No connection was made, so the call had no effect."""
NO_CREDENTIALS = "NO_CREDENTIALS"
"""There is no token, so the call had no effect."""
UNREADABLE = "UNREADABLE"
"""There was an answer, but it is not Google's, or not complete."""
UNCERTAIN = (
    "UNAVAILABLE",
    "DEADLINE_EXCEEDED",
    "CANCELLED",
    "UNKNOWN",
    "INTERNAL",
    "DATA_LOSS",
    UNREADABLE,
)
"""With these a call with an effect may have happened; a lost answer is UNAVAILABLE too."""
_WITHOUT_PROOF = ("PERMISSION_DENIED", "UNAUTHENTICATED", "RESOURCE_EXHAUSTED")


class Unreadable(ValueError):
    """The answer lacks what every answer of that method has."""


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


def code_of(error: BaseException) -> str:
    """Return the code of an exception that a client of Google raised."""
    return find_code(error) or "UNKNOWN"


def find_code(error: BaseException) -> str | None:
    """Return the code of an exception; None when its class is not in the table."""
    for kind, code in _classes():
        if isinstance(error, kind):
            return code if isinstance(code, str) else code(error)
    return None


def http_code(status: int, body: str, *, is_download: bool = False) -> str:
    """Return the code of an HTTP error.

    One that is conclusive must be Google's JSON: the page of a proxy or of a captive portal proves
    nothing. A download's error is a text of Google, too; it may refuse access or ask to wait.
    """
    code = _HTTP.get(status, "UNKNOWN")
    if code in UNCERTAIN or (is_download and code in _WITHOUT_PROOF):
        return code
    return UNREADABLE if sentence(body) is None else code


def sentence(body: str) -> str | None:
    """Return the message in Google's JSON error; None if the body is something else."""
    with suppress(AttributeError, KeyError, TypeError, ValueError, RecursionError):
        return str(json.loads(body)["error"]["message"])
    return None


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
        (api.RetryError, lambda error: find_code(error.cause)),
        (api.GoogleAPICallError, _api_code),
        (auth.TransportError, NOT_SENT),  # the token could not be fetched, so the call was not sent
        (auth.TimeoutError, NOT_SENT),
        (auth.GoogleAuthError, NO_CREDENTIALS),
        (storage.DataCorruption, "DATA_LOSS"),
        (storage.InvalidResponse, lambda error: _response_code(error.response)),
        (http.ConnectTimeout, NOT_SENT),
        (http.ConnectionError, _connection_code),
        (http.Timeout, "DEADLINE_EXCEEDED"),
        (http.ChunkedEncodingError, "UNAVAILABLE"),
        (http.ContentDecodingError, UNREADABLE),
        (http.JSONDecodeError, UNREADABLE),
        (http.TooManyRedirects, UNREADABLE),
        (Unreadable, UNREADABLE),
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
    if hasattr(error.response, "status_code"):  # of HTTP; gRPC's is another exception
        return _response_code(error.response)
    if error.grpc_status_code is not None:
        return str(error.grpc_status_code.name)
    return _HTTP.get(error.code)


def _response_code(response: Any) -> str:
    """Cloud Storage answers a download with a text when it fails, all others with JSON."""
    url = str(getattr(response.request, "url", ""))
    return http_code(response.status_code, body_of(response), is_download=is_download(url))


def is_download(url: str) -> bool:
    """Whether the request is for the content of an object."""
    return "alt=media" in url


def body_of(response: object) -> str:
    """Return the body of an HTTP response; '' if there is none, or it can no longer be read."""
    with suppress(Exception):
        return str(getattr(response, "text", ""))
    return ""


def _grpc_code(error: Any) -> str | None:
    code = getattr(error, "code", None)
    return getattr(code(), "name", None) if callable(code) else None


def _connection_code(error: Any) -> str:
    import urllib3.exceptions as wire

    cause = error.args[0] if error.args else None
    reason = getattr(cause, "reason", cause)
    if isinstance(reason, wire.NewConnectionError):
        return NOT_SENT
    slow = isinstance(reason, wire.ReadTimeoutError)
    return "DEADLINE_EXCEEDED" if slow else "UNAVAILABLE"
