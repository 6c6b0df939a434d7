"""The table from Google's failures to our errors. No other module interprets them.

It uses the code that `codes` finds, never text. A code or an exception that is in no table is
unknown: a read proves nothing, and a call with an effect may have happened.
Codes: https://google.aip.dev/193 and google/rpc/code.proto. Retries: https://google.aip.dev/194.
"""

from __future__ import annotations

import logging
import re
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

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

from .codes import (
    NO_CREDENTIALS,
    NOT_SENT,
    UNCERTAIN,
    UNREADABLE,
    body_of,
    code_of,
    find_code,
    http_code,
    sentence,
)
from .methods import METHODS, plane

log = logging.getLogger("ml_platform.cloud")

_TEXT_LIMIT = 600
_LONGEST_WAIT = 3600.0
"""Seconds; a proxy may ask for years."""
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
    UNREADABLE: ErrorRule(CloudUnavailable, "{plane} gave no answer that can be used"),
    NO_CREDENTIALS: ErrorRule(
        CloudUnavailable,
        "{plane} was not called, because there are no usable credentials",
        "Attach a service account, set GOOGLE_APPLICATION_CREDENTIALS, or run `gcloud auth "
        "application-default login`. Nothing was changed by this call.",
        "no_credentials",
    ),
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


def translate(error: BaseException, method: str) -> PlatformError:
    """Return our error for what the client of Google raised in a call of `method`.

    An exception that is in no table is logged too: it may be a defect, of the client or of ours.
    """
    from google.api_core.exceptions import RetryError

    if isinstance(error, RetryError) and error.cause:
        return translate(error.cause, method)
    made = _build(method, code_of(error), _text_of(error), retry_after=_retry_after(error))
    if find_code(error) is None:
        log.warning("%s", made, exc_info=error)
    return made


@contextmanager
def reading(method: str) -> Iterator[None]:
    """Inside, an answer of `method` is read; one that cannot be read is unknown, never absent."""
    try:
        yield
    except (CloudRejected, CloudUnavailable):
        raise
    except Exception as error:
        raise translate(error, method) from error


@contextmanager
def making_client(service: str) -> Iterator[None]:
    """Inside, a client is made, which searches for credentials and reads their file.

    :raises CloudUnavailable: there are none that can be used.
    """
    from google.auth.exceptions import GoogleAuthError

    try:
        yield
    except (GoogleAuthError, OSError, ValueError) as error:
        rule = _RULES[NO_CREDENTIALS]
        what = rule.what.format(plane=plane(service))
        raise CloudUnavailable(
            f"{what}. {_short(str(error))}", code=rule.code, advice=rule.advice
        ) from error


def from_status(method: str, code: int, message: str) -> PlatformError:
    """Return our error for the google.rpc.Status that a long-running operation ended with."""
    name = _RPC_CODES[code] if 0 < code < len(_RPC_CODES) else "UNKNOWN"
    return _build(method, name, message)


def from_http(method: str, status: int, body: str) -> PlatformError:
    """Return our error for one part of a batch with the response `status`."""
    return _build(method, http_code(status, body), sentence(body) or body)


def _build(method: str, code: str, text: str, *, retry_after: float = 0.0) -> PlatformError:
    kind = METHODS[method]
    rule = _RULES.get(code, _RULES["UNKNOWN"])
    if code in UNCERTAIN and not kind.is_read:
        rule = _LOST
    if code == "ABORTED" and kind.is_read:
        # A read changes nothing that could conflict: it is to be sent again, as code.proto says.
        rule = _RULES["UNKNOWN"]
    if code == "NOT_FOUND" and not kind.names_its_subject:
        rule = _NO_PARENT
    what = rule.what.format(plane=plane(method))
    words = f"{what} ({method}: {code}). {_short(text)}".rstrip()
    if issubclass(rule.category, CloudThrottled):
        return rule.category(words, advice=rule.advice, retry_after=retry_after)
    return rule.category(words, code=rule.code, advice=rule.advice)


def _short(text: str) -> str:
    """The text on one line, at most _TEXT_LIMIT long; without a connection only the cause."""
    text = " ".join(text.split())
    for wire in _NO_CONNECTION:
        if match := wire.search(text):
            parts = match.groupdict()
            return f"{parts['why']} at {parts.get('at') or '{host}:{port}'.format(**parts)}."
    cut = text[:_TEXT_LIMIT]
    return text if cut == text else f"{cut.rpartition(' ')[0] or cut} …"


def _text_of(error: BaseException) -> str:
    """Google's message; the client of Cloud Storage has it in JSON, after the URL."""
    if found := sentence(body_of(getattr(error, "response", None))):
        return found
    if find_code(error) in (None, UNREADABLE):
        return f"The answer is missing or cannot be read: {type(error).__name__}: {error}"
    return str(getattr(error, "message", "") or error)


def _retry_after(error: BaseException) -> float:
    """Seconds to wait from RetryInfo (gRPC) or Retry-After (HTTP); 0 if neither is present."""
    from google.rpc.error_details_pb2 import RetryInfo

    details = getattr(error, "details", None)
    for detail in details if isinstance(details, list | tuple) else ():
        if isinstance(detail, RetryInfo):
            wait: float = detail.retry_delay.seconds + detail.retry_delay.nanos / 1e9
            return min(max(wait, 0.0), _LONGEST_WAIT)
    headers = getattr(getattr(error, "response", None), "headers", None) or {}
    given = str(headers.get("Retry-After", ""))
    return min(float(given), _LONGEST_WAIT) if given.isascii() and given.isdecimal() else 0.0
