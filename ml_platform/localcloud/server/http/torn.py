"""Writes the answers of broken or slow connections and of proxies, as they were ordered."""

from __future__ import annotations

import os
import socket
import struct
import time
from collections.abc import Callable
from functools import partial

from ...core.faults.orders import Fault
from ...core.faults.torn import status_of
from ..http_types import Broken, Reply, Request

_PAGE = b"<html><head><title>%d</title></head><body><h1>Proxy error</h1></body></html>"
_HTML = "text/html; charset=UTF-8"
_RESET = struct.pack("ii", 1, 0)
"""SO_LINGER of zero seconds: a close sends RST."""


def torn(fault: Fault, reply: Reply, request: Request) -> Reply:
    """The answer to send instead of `reply`."""
    broken = _BROKEN.get(fault.kind)
    if broken is not None:
        reply.broken = broken(fault)
        return reply
    status = status_of(fault)
    if fault.kind == "empty":
        return Reply(status)
    if fault.kind == "non_object":
        return Reply(status, b"[]")
    if fault.kind == "redirect":
        return Reply(status, b"", _HTML, {"Location": request.base_url + request.path})
    return Reply(status, _PAGE % status, _HTML, _DEMANDS.get(status, {}))


_DEMANDS = {407: {"Proxy-Authenticate": 'Basic realm="proxy"'}}


def reset(connection: socket.socket, head: bytes, body: bytes) -> None:
    """Send nothing: the client's next read fails."""
    del head, body
    connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _RESET)
    os.close(connection.detach())


def reset_after(size: int, connection: socket.socket, head: bytes, body: bytes) -> None:
    """As `reset`, after so many bytes of the body."""
    connection.sendall(head + body[:size])
    reset(connection, head, body)


def truncate(connection: socket.socket, head: bytes, body: bytes) -> None:
    """Send half of the answer."""
    connection.sendall(head + body[: len(body) // 2] if body else head[: len(head) // 2])


def drip(fault: Fault, connection: socket.socket, head: bytes, body: bytes) -> None:
    """Send a byte at a time, `fault.seconds` apart; a cleared fault lets the rest go at once."""
    connection.sendall(head)
    for at in range(len(body)):
        fault.pause()
        connection.sendall(body[at : at + 1])


def stall(
    seconds: float, size: int | None, connection: socket.socket, head: bytes, body: bytes
) -> None:
    """Pause after so many bytes of the body, or before the head for None; then send the rest."""
    whole, at = head + body, 0 if size is None else len(head) + size
    connection.sendall(whole[:at])
    time.sleep(seconds)
    connection.sendall(whole[at:])


_BROKEN: dict[str, Callable[[Fault], Broken]] = {
    "reset": lambda fault: reset,
    "truncated": lambda fault: truncate,
    "drip": lambda fault: partial(drip, fault),
}
