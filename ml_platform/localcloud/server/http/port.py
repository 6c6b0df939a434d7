"""The HTTP port: finds who answers a path and leads API calls through the gate."""

from __future__ import annotations

import re
import socket
import ssl
import sys
import threading
import traceback
from collections.abc import Callable, Iterable
from datetime import datetime
from http.server import ThreadingHTTPServer
from typing import Any
from urllib.parse import unquote

from ...core.clock import Clock
from ...core.errors import CloudError, PortBusy
from ...core.faults.torn import noting
from ...core.interceptor import Gate
from ..http_types import HttpError, Reply, Request, Route, error_reply
from ..loopback import ADDRESS
from ..rest.service import Rest
from .connection import Connection
from .torn import torn

_REASON = "x-goog-request-reason"


class Router:
    """The table of paths; `dispatch` never raises, an error is an answer too."""

    def __init__(self, gate: Gate, rest: Rest) -> None:
        self._gate = gate
        self._rest = rest
        self._routes: list[tuple[Route, re.Pattern[str]]] = []
        self.otherwise: Callable[[Request], Reply] = _nothing
        """Answers the paths that nothing else serves."""

    def add(self, routes: Iterable[Route]) -> None:
        """Serve these paths as well."""
        for route in routes:
            self._routes.append((route, re.compile(route.pattern)))
            if route.call:
                self._gate.faults.know(route.call)

    def dispatch(self, request: Request) -> Reply:
        """Answer one request."""
        with noting() as faults:
            reply = self._answer(request)
        for fault in faults:
            reply = torn(fault, reply, request)
        return reply

    def _answer(self, request: Request) -> Reply:
        try:
            found = self._find(request)
            return self._serve(*found, request) if found else self._unrouted(request)
        except CloudError as error:
            return error_reply(error, plain=request.query.get("alt") == "media")
        except Exception:  # noqa: BLE001
            # Our own fault: shown here, and the client gets an answer as Google's servers give.
            traceback.print_exc()
            return error_reply(HttpError(500, "internalError", "Internal error encountered."))

    def _find(self, request: Request) -> tuple[Route, dict[str, str]] | None:
        """The route of a path; None for one of the services that REST serves, or of no service."""
        verb = "GET" if request.verb == "HEAD" else request.verb
        known = False
        for route, pattern in self._routes:
            if (match := pattern.fullmatch(request.path)) is not None:
                if route.verb == verb:
                    return route, {key: unquote(text) for key, text in match.groupdict().items()}
                known = True
        if known:
            raise HttpError(405, "methodNotAllowed", f"{verb} is not allowed here.")
        return None

    def _unrouted(self, request: Request) -> Reply:
        serve = self._rest.answer if self._rest.serves(request.path) else self.otherwise
        return serve(request)

    def _serve(self, route: Route, groups: dict[str, str], request: Request) -> Reply:
        if not route.call:
            return route.handler(request, **groups)
        return self._gate(
            route.call,
            request,
            lambda: route.handler(request, **groups),
            resource="/".join(groups.values()),
            reason=request.headers.get(_REASON, ""),
            headers=request.headers,
            parts={**request.query, **groups},
            on_gone=request.on_gone,
        )


def _nothing(request: Request) -> Reply:
    raise HttpError(404, "notFound", f"Nothing is served at {request.path}.")


class HttpServer(ThreadingHTTPServer):
    """One thread for each connection; PortBusy when the port is taken."""

    daemon_threads = True
    request_queue_size = 128
    tls_port = 0  # where HTTP/2 over TLS leads
    tls: ssl.SSLContext | None = None  # without it there is no TLS at all
    patience = 30.0  # seconds of real time in which a request must come, once it has begun

    def __init__(self, port: int, dispatch: Callable[[Request], Reply], clock: Clock) -> None:
        self.dispatch = dispatch
        self._clock = clock
        self.connections: set[socket.socket] = set()
        try:
            super().__init__((ADDRESS, port), Connection)
        except OSError as error:
            raise PortBusy(
                f"HTTP port {port} on {ADDRESS} is busy or not ours: {error}."
            ) from error

    @property
    def port(self) -> int:
        """The port that is really listened on."""
        return int(self.server_address[1])

    @property
    def url(self) -> str:
        """The base URL in answers: never the Host header of a request."""
        return f"http://{ADDRESS}:{self.port}"

    def now(self) -> datetime:
        """The cloud's time."""
        return self._clock.now()

    def begin(self) -> None:
        """Serve in a separate thread."""
        serve = threading.Thread(target=self.serve_forever, args=(0.05,), daemon=True)
        serve.start()

    def end(self) -> None:
        """Stop listening and close all connections; calls after this are refused."""
        self.shutdown()
        self.server_close()
        for connection in tuple(self.connections):
            self.shutdown_request(connection)

    def process_request(self, request: Any, client_address: Any) -> None:
        self.connections.add(request)
        super().process_request(request, client_address)

    def shutdown_request(self, request: Any) -> None:
        self.connections.discard(request)
        super().shutdown_request(request)

    def handle_error(self, request: Any, client_address: Any) -> None:
        """A client that closes the connection early is not our error; all others are shown."""
        if not isinstance(sys.exc_info()[1], ConnectionError | TimeoutError):
            super().handle_error(request, client_address)
