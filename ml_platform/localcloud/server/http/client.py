"""What a connection asks of its client's socket: bytes until a deadline, and whether it is gone."""

from __future__ import annotations

import io
import select
import socket
import threading
import time
from collections.abc import Callable
from typing import Any


class Reader(io.RawIOBase):
    """The bytes of a client until a deadline, after which a read raises TimeoutError."""

    def __init__(self, connection: socket.socket) -> None:
        self._connection = connection
        self._until: float | None = None

    def allow(self, seconds: float | None) -> None:
        """The deadline from now on; None for none."""
        self._until = None if seconds is None else time.monotonic() + seconds

    def extend(self, seconds: float) -> None:
        """Put the deadline off."""
        if self._until is not None:
            self._until += seconds

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Any) -> int:
        left = None if self._until is None else self._until - time.monotonic()
        if left is not None and left <= 0:
            raise TimeoutError
        self._connection.settimeout(left)
        return self._connection.recv_into(buffer)


class Watch:
    """Checks, when it is called, whether the client of a socket has closed the connection."""

    def __init__(self, connection: socket.socket) -> None:
        self._connection = connection
        self._over = threading.Event()

    def on_gone(self, fn: Callable[[], None]) -> None:
        """Have `fn` called when the client goes away while its call is being served."""
        threading.Thread(target=self._look, args=(fn,), daemon=True).start()

    def _look(self, fn: Callable[[], None]) -> None:
        while not self._over.wait(0.02):
            if self._closed():
                fn()
                return

    def _closed(self) -> bool:
        try:
            readable, _, _ = select.select([self._connection], [], [], 0)
            # Past TLS, which cannot look ahead.
            peek = socket.socket.recv
            return bool(readable) and not peek(self._connection, 1, socket.MSG_PEEK)
        except (OSError, ValueError):
            # The socket itself is closed, so the client is gone.
            return True

    def __enter__(self) -> Watch:
        return self

    def __exit__(self, *_: object) -> None:
        self._over.set()
