"""What an HTTP request and its answer are inside the local cloud, and how Google writes errors."""

from __future__ import annotations

import json
import re
import socket
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, NamedTuple
from urllib.parse import parse_qsl, unquote, urlsplit

import grpc

from ..core.errors import CloudError
from ..core.faults.orders import OnGone

JSON_TYPE = "application/json; charset=UTF-8"
Broken = Callable[[socket.socket, bytes, bytes], None]
"""Sends what a client gets of a head and a body."""
_MAX_PARAMETERS = 1000
_INT64 = 1 << 63
_BAD_ESCAPE = re.compile("%(?![0-9A-Fa-f]{2})")
# Half of a pair is valid JSON, but no text: nothing could store it.
_SURROGATE = re.compile(rb"\\u[dD][89a-fA-F]")

# google.rpc.Code to HTTP, as google/rpc/code.proto lays it down, and Google's JSON `reason`.
_BY_CODE: dict[grpc.StatusCode, tuple[int, str]] = {
    grpc.StatusCode.CANCELLED: (499, "cancelled"),
    grpc.StatusCode.UNKNOWN: (500, "backendError"),
    grpc.StatusCode.INVALID_ARGUMENT: (400, "invalid"),
    grpc.StatusCode.DEADLINE_EXCEEDED: (504, "gatewayTimeout"),
    grpc.StatusCode.NOT_FOUND: (404, "notFound"),
    grpc.StatusCode.ALREADY_EXISTS: (409, "conflict"),
    grpc.StatusCode.PERMISSION_DENIED: (403, "forbidden"),
    grpc.StatusCode.UNAUTHENTICATED: (401, "required"),
    grpc.StatusCode.RESOURCE_EXHAUSTED: (429, "rateLimitExceeded"),
    grpc.StatusCode.FAILED_PRECONDITION: (400, "failedPrecondition"),
    grpc.StatusCode.ABORTED: (409, "conflict"),
    grpc.StatusCode.OUT_OF_RANGE: (400, "outOfRange"),
    grpc.StatusCode.UNIMPLEMENTED: (501, "notImplemented"),
    grpc.StatusCode.INTERNAL: (500, "internalError"),
    grpc.StatusCode.UNAVAILABLE: (503, "backendError"),
    grpc.StatusCode.DATA_LOSS: (500, "internalError"),
}
_BY_STATUS: dict[int, grpc.StatusCode] = {
    304: grpc.StatusCode.FAILED_PRECONDITION,
    400: grpc.StatusCode.INVALID_ARGUMENT,
    401: grpc.StatusCode.UNAUTHENTICATED,
    403: grpc.StatusCode.PERMISSION_DENIED,
    404: grpc.StatusCode.NOT_FOUND,
    405: grpc.StatusCode.UNIMPLEMENTED,
    408: grpc.StatusCode.DEADLINE_EXCEEDED,
    409: grpc.StatusCode.ALREADY_EXISTS,
    410: grpc.StatusCode.NOT_FOUND,
    411: grpc.StatusCode.INVALID_ARGUMENT,
    412: grpc.StatusCode.FAILED_PRECONDITION,
    413: grpc.StatusCode.INVALID_ARGUMENT,
    414: grpc.StatusCode.INVALID_ARGUMENT,
    415: grpc.StatusCode.INVALID_ARGUMENT,
    416: grpc.StatusCode.OUT_OF_RANGE,
    417: grpc.StatusCode.INVALID_ARGUMENT,
    431: grpc.StatusCode.INVALID_ARGUMENT,
    499: grpc.StatusCode.CANCELLED,
    500: grpc.StatusCode.INTERNAL,
    501: grpc.StatusCode.UNIMPLEMENTED,
    503: grpc.StatusCode.UNAVAILABLE,
    505: grpc.StatusCode.UNIMPLEMENTED,
}


class HttpError(CloudError):
    """A refusal with an HTTP status that no gRPC code expresses (304, 412, 416).

    `parameter` is the query parameter that is to blame, if one is.
    """

    def __init__(self, status: int, reason: str, message: str, parameter: str = "") -> None:
        super().__init__(_BY_STATUS.get(status, grpc.StatusCode.UNKNOWN), message)
        self.http_status = status
        self.reason = reason
        self.parameter = parameter


@dataclass(frozen=True, slots=True)
class Request:
    """One HTTP request: header names in lower case, the path still percent-encoded."""

    verb: str
    path: str
    query: Mapping[str, str] = field(default_factory=dict)
    headers: Mapping[str, str] = field(default_factory=dict)
    body: bytes = b""
    base_url: str = ""
    on_gone: OnGone | None = None
    pairs: tuple[tuple[str, str], ...] = ()
    """The query in its order, with names that are given more than once; see `query`."""

    def json(self) -> dict[str, Any]:
        """The body as a JSON object ({} when empty). Raises HttpError 400."""
        if not self.body:
            return {}
        try:
            value = json.loads(self.body)
            if _SURROGATE.search(self.body):
                json.dumps(value, ensure_ascii=False).encode()
        except (ValueError, RecursionError) as error:
            raise HttpError(400, "parseError", f"Parse Error: {error}") from error
        if not isinstance(value, dict):
            raise HttpError(400, "parseError", "Parse Error: a JSON object was expected.")
        return value

    def form(self) -> tuple[tuple[str, str], ...]:
        """The body as a form. Raises HttpError 400."""
        try:
            return tuple(
                parse_qsl(self.body.decode(), max_num_fields=_MAX_PARAMETERS, errors="strict")
            )
        except ValueError as error:
            raise HttpError(400, "parseError", f"The body is not a form: {error}.") from error

    def number(self, key: str) -> int | None:
        """A query parameter as an integer, None when it is not given. Raises HttpError 400."""
        text = self.query.get(key)
        if text is None:
            return None
        try:
            number = int(text)
        except ValueError:
            number = _INT64
        if not -_INT64 <= number < _INT64:
            message = f"Invalid value at '{key}': \"{text}\""
            raise HttpError(400, "invalidParameter", message, key)
        return number

    def flag(self, key: str) -> bool:
        """A query parameter as a boolean: Google takes `true` and Python's `True` alike."""
        return self.query.get(key, "").lower() == "true"


@dataclass(slots=True)
class Reply:
    """One HTTP answer."""

    status: int = 200
    body: bytes = b""
    content_type: str = JSON_TYPE
    headers: dict[str, str] = field(default_factory=dict)
    broken: Broken | None = None
    """How it is sent over a connection that breaks or stalls."""


class Route(NamedTuple):
    """A path (a regular expression over the encoded path) and who answers it.

    `call` is the method's name at the gate; '' means that the call is not one of the cloud's API
    (certificates, console, control) and passes ungated.
    """

    verb: str
    pattern: str
    call: str
    handler: Callable[..., Reply]


def target_of(target: str) -> tuple[str, tuple[tuple[str, str], ...]]:
    """The path, still encoded, and the query of a request's target. Raises HttpError 400."""
    try:
        url = urlsplit(target.encode("latin-1").decode())
        unquote(url.path, errors="strict")
        pairs = parse_qsl(
            url.query, keep_blank_values=True, max_num_fields=_MAX_PARAMETERS, errors="strict"
        )
    except ValueError as error:
        message = f"The request's target is not acceptable: {error}."
        raise HttpError(400, "badRequest", message) from error
    if _BAD_ESCAPE.search(url.path + url.query):
        message = "A percent sign in the request's target needs two hexadecimal digits after it."
        raise HttpError(400, "badRequest", message)
    return url.path, tuple(pairs)


def http_status(code: grpc.StatusCode) -> int:
    """The HTTP status of a gRPC code, as google/rpc/code.proto lays it down."""
    return _BY_CODE.get(code, (500, ""))[0]


def json_reply(value: object, status: int = 200, **headers: str) -> Reply:
    """An answer in JSON; underscores in header names become hyphens."""
    named = {name.replace("_", "-"): text for name, text in headers.items()}
    return Reply(status, json.dumps(value).encode(), JSON_TYPE, named)


def error_reply(error: CloudError, *, plain: bool = False) -> Reply:
    """Google's JSON error object; media downloads answer in plain text, as GCS does."""
    status, reason = _BY_CODE.get(error.code, (500, "internalError"))
    parameter = ""
    if isinstance(error, HttpError):
        status, reason, parameter = error.http_status, error.reason, error.parameter
    if status == 304:
        return Reply(status)
    if plain:
        return Reply(status, error.message.encode(), "text/html; charset=UTF-8")
    item = {"message": error.message, "domain": "global", "reason": reason}
    if status == 412:
        item |= {"locationType": "header", "location": "If-Match"}
    if parameter:
        item |= {"locationType": "parameter", "location": parameter}
    return json_reply(
        {"error": {"code": status, "message": error.message, "errors": [item]}}, status
    )
