"""HTTP for Cloud Storage: a call ends at its deadline, however slowly the answer comes.

requests' `timeout` limits each read, so an answer of many small parts takes as long as it likes.
Here each read waits only for the time that is left, in the caller's thread.
"""

from __future__ import annotations

import io
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from functools import lru_cache
from http.client import HTTPResponse
from time import monotonic
from typing import Any

_end: ContextVar[float | None] = ContextVar("end", default=None)


@contextmanager
def ends_in(seconds: float) -> Iterator[None]:
    """Have the HTTP requests inside end after so many seconds in all."""
    token = _end.set(monotonic() + seconds)
    try:
        yield
    finally:
        _end.reset(token)


def mount(session: Any, *, connections: int, headers: Callable[[], dict[str, str]] = dict) -> None:
    """Have a session of requests keep the deadline, send `headers` and follow no redirect.

    The JSON API redirects nobody; a captive portal does.
    """
    session.max_redirects = 0
    for scheme in ("https://", "http://"):
        session.mount(scheme, _adapter_class()(connections, headers))


def _seconds_left() -> float | None:
    end = _end.get()
    if end is None:
        return None
    left = end - monotonic()
    if left <= 0:
        raise TimeoutError("The answer did not come in time.")
    return left


class _TimedReader(io.RawIOBase):
    """Reads from a socket until the deadline."""

    def __init__(self, sock: Any, raw: Any) -> None:
        self._sock, self._raw = sock, raw

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Any) -> Any:
        if (left := _seconds_left()) is not None:
            self._sock.settimeout(left)
        return self._raw.readinto(buffer)

    def close(self) -> None:
        self._raw.close()
        super().close()


class _TimedResponse(HTTPResponse):
    """Its status line, its headers and its body are read until the deadline."""

    def __init__(self, sock: Any, *given: Any, **named: Any) -> None:
        super().__init__(sock, *given, **named)
        self.fp = io.BufferedReader(_TimedReader(sock, self.fp.detach()))


@lru_cache(maxsize=1)
def _adapter_class() -> Any:
    """Made at first use, because starting the process does not need these libraries."""
    from requests.adapters import HTTPAdapter
    from urllib3.connection import HTTPConnection, HTTPSConnection
    from urllib3.connectionpool import HTTPConnectionPool, HTTPSConnectionPool

    class Connection(HTTPConnection):
        response_class = _TimedResponse

    class SecureConnection(HTTPSConnection):
        response_class = _TimedResponse

    class Pool(HTTPConnectionPool):
        ConnectionCls = Connection

    class SecurePool(HTTPSConnectionPool):
        ConnectionCls = SecureConnection

    class Adapter(HTTPAdapter):
        def __init__(self, connections: int, headers: Callable[[], dict[str, str]]) -> None:
            self._extra = headers
            super().__init__(pool_maxsize=connections)

        def init_poolmanager(self, *given: Any, **named: Any) -> None:
            super().init_poolmanager(*given, **named)
            self._keep_deadlines(self.poolmanager)

        def proxy_manager_for(self, *given: Any, **named: Any) -> Any:
            return self._keep_deadlines(super().proxy_manager_for(*given, **named))

        def _keep_deadlines(self, manager: Any) -> Any:
            manager.pool_classes_by_scheme = {"http": Pool, "https": SecurePool}
            return manager

        def add_headers(self, request: Any, **_: Any) -> None:
            request.headers.update(self._extra())

        def send(self, request: Any, *given: Any, **named: Any) -> Any:
            if (left := _seconds_left()) is not None:
                named["timeout"] = left
            return super().send(request, *given, **named)

    return Adapter
