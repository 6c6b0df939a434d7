"""Answers that no Google service gives: of a broken connection, or of a proxy on the way.

The gate notes the order; who writes HTTP answers tears the one that is about to be sent. A client
of gRPC gets the status that gRPC itself makes of it (grpc/doc/http-grpc-status-mapping.md).
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from typing import Any, Literal, get_args

import grpc

from ..errors import CloudError

Torn = Literal["reset", "truncated", "drip", "html", "empty", "non_object", "redirect", "status"]
TORN: tuple[str, ...] = get_args(Torn)
_OF_THE_ANSWER = ("truncated", "drip")
"""These send the real answer, so the call is always done."""
_STATUS: dict[str, int] = {"html": 502, "empty": 200, "non_object": 200, "redirect": 302}
"""The HTTP status unless the order says another."""
_CODES: dict[int, grpc.StatusCode] = {
    400: grpc.StatusCode.INTERNAL,
    401: grpc.StatusCode.UNAUTHENTICATED,
    403: grpc.StatusCode.PERMISSION_DENIED,
    404: grpc.StatusCode.UNIMPLEMENTED,
    **dict.fromkeys((429, 502, 503, 504), grpc.StatusCode.UNAVAILABLE),
}

_noted: ContextVar[list[Any] | None] = ContextVar("localcloud_torn", default=None)


@contextmanager
def noting() -> Iterator[list[Any]]:
    """The orders to tear the answer of this request; the parts of a batch share one answer."""
    outer = _noted.get()
    if outer is not None:
        yield []
        return
    noted: list[Any] = []
    token = _noted.set(noted)
    try:
        yield noted
    finally:
        _noted.reset(token)


def check(kind: str, status: int) -> None:
    """ValueError when an order of that kind and HTTP status makes no sense."""
    if kind == "status" and not 300 <= status <= 599:
        raise ValueError("A fault of kind status needs a status from 300 to 599.")
    if kind not in ("status", "html") and status:
        raise ValueError("Only faults of kind status and html have a status.")


def status_of(fault: Any) -> int:
    """The HTTP status of the torn answer."""
    return fault.status or _STATUS[fault.kind]


def strike(fault: Any, *, done: bool) -> str:
    """Tear the answer, unless this is before the call and the order means it done.

    Answers the outcome that the client receives, '' when the order does not strike here. Raises
    CloudError where the real answer is not needed any more.
    """
    after = fault.when == "after" or fault.kind in _OF_THE_ANSWER
    if fault.kind not in TORN or done is not after:
        return ""
    error = CloudError(_code(fault), fault.message or f"Ordered fault: {fault.kind}.")
    noted = _noted.get()
    if noted is not None:
        noted.append(fault)
    if noted is None or fault.kind not in _OF_THE_ANSWER:
        raise error
    return error.code.name


def _code(fault: Any) -> grpc.StatusCode:
    if fault.kind in ("reset", *_OF_THE_ANSWER):
        return grpc.StatusCode.UNAVAILABLE
    return _CODES.get(status_of(fault), grpc.StatusCode.UNKNOWN)
