"""Writes the answers of broken connections and of proxies, as they were ordered."""

from __future__ import annotations

import os
import socket
import struct
from collections.abc import Callable

from ..core.faults import Fault
from ..core.torn import status_of
from .http_types import Reply, Request

_PAGE = b"<html><head><title>%d</title></head><body><h1>Proxy error</h1></body></html>"
_HTML = "text/html; charset=UTF-8"
_RESET = struct.pack("ii", 1, 0)
"""SO_LINGER of zero seconds: a close sends RST."""


def torn(fault: Fault, reply: Reply, request: Request) -> Reply:
    """The answer to send instead of `reply`."""
    if fault.kind in ("reset", "truncated", "drip"):
        reply.fault = fault
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


def reset(connection: socket.socket) -> None:
    """Close the connection so that the client's next read fails."""
    connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _RESET)
    os.close(connection.detach())


def send(fault: Fault, head: bytes, body: bytes, write: Callable[[bytes], object]) -> None:
    """Send a part of the answer, or all of it a byte at a time, `fault.seconds` apart.

    Cleared faults let the rest go at once.
    """
    if fault.kind == "truncated":
        write(head + body[: len(body) // 2] if body else head[: len(head) // 2])
        return
    write(head)
    for at in range(len(body)):
        fault.pause()
        write(body[at : at + 1])
