"""The HTTP port: finds who answers a path, leads API calls through the gate, writes the answer."""

from __future__ import annotations

import re
import select
import socket
import struct
import sys
import threading
import time
from collections.abc import Callable, Iterable
from datetime import datetime
from email.utils import format_datetime
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import parse_qsl, unquote, urlsplit

from ..core.clock import Clock
from ..core.errors import CloudError, PortBusy
from ..core.interceptor import Gate
from .http_types import HttpError, Reply, Request, Route, Trouble, error_reply
from .loopback import ADDRESS, check_request
from .tls import relay

_REASON = "x-goog-request-reason"
_MAX_BODY = 1 << 30
_TLS_RECORD = b"\x16"  # the first byte of a TLS handshake


class Router:
    """The table of paths; `dispatch` never raises, an error is an answer too."""

    def __init__(self, gate: Gate) -> None:
        self._gate = gate
        self._routes: list[tuple[Route, re.Pattern[str]]] = []

    def add(self, routes: Iterable[Route]) -> None:
        """Serve these paths as well."""
        for route in routes:
            self._routes.append((route, re.compile(route.pattern)))
            if route.call:
                self._gate.faults.know(route.call)

    def dispatch(self, request: Request) -> Reply:
        """Answer one request."""
        try:
            route, groups = self._find(request)
            return self._serve(route, groups, request)
        except CloudError as error:
            return error_reply(error, plain=request.query.get("alt") == "media")

    def _find(self, request: Request) -> tuple[Route, dict[str, str]]:
        verb = "GET" if request.verb == "HEAD" else request.verb
        known = False
        for route, pattern in self._routes:
            if (match := pattern.fullmatch(request.path)) is not None:
                if route.verb == verb:
                    return route, {key: unquote(text) for key, text in match.groupdict().items()}
                known = True
        if known:
            raise HttpError(405, "methodNotAllowed", f"{verb} is not allowed here.")
        raise HttpError(404, "notFound", f"Nothing is served at {request.path}.")

    def _serve(self, route: Route, groups: dict[str, str], request: Request) -> Reply:
        if not route.call:
            return route.handler(request, **groups)
        return self._gate(
            route.call,
            request,
            lambda: route.handler(request, **groups),
            resource="/".join(groups.values()),
            reason=request.headers.get(_REASON, ""),
            on_gone=request.on_gone,
        )


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    # Without these two a call takes 48 ms: small writes meet Nagle and the delayed ACK.
    wbufsize = 1 << 16
    disable_nagle_algorithm = True
    server: HttpServer

    def handle(self) -> None:
        """Serve a connection; one over TLS (a client's gRPC on this address) goes to its port."""
        if self.connection.recv(1, socket.MSG_PEEK) != _TLS_RECORD:
            super().handle()
        elif self.server.tls_port:
            relay(self.connection, (ADDRESS, self.server.tls_port))

    def parse_request(self) -> bool:
        """Read the head; a forbidden request is answered here, before its body is read."""
        if not super().parse_request():
            return False
        if self.command == "CONNECT":
            return True  # its target and its Host are the API's name, which `do_CONNECT` judges
        try:
            check_request(
                verb=self.command,
                target=self.path,
                version=self.request_version,
                headers=self.headers,
            )
        except HttpError as error:
            self.close_connection = True
            self._write(error_reply(error))
            return False
        return True

    def _answer(self) -> None:
        url = urlsplit(self.path)
        body = self._body()
        if body is None:
            return
        with _Watch(self.connection) as watch:
            reply = self.server.dispatch(
                Request(
                    self.command,
                    url.path,
                    dict(parse_qsl(url.query, keep_blank_values=True)),
                    {name.lower(): text for name, text in self.headers.items()},
                    body,
                    self.server.url,
                    watch.on_gone,
                )
            )
        self._write(reply)

    do_GET = do_HEAD = do_POST = do_PUT = do_PATCH = do_DELETE = _answer

    def do_CONNECT(self) -> None:
        """As a proxy (grpc_proxy): a connection to a Google API over TLS goes to our TLS port."""
        self.close_connection = True
        host, _, port = self.path.partition(":")
        if self.server.tls_port == 0 or not host.endswith(".googleapis.com") or port != "443":
            self._write(error_reply(HttpError(403, "forbidden", f"No tunnel to {self.path}.")))
            return
        self.send_response(200)
        self.end_headers()
        self.wfile.flush()
        relay(self.connection, (ADDRESS, self.server.tls_port))

    def _body(self) -> bytes | None:
        if "chunked" in self.headers.get("Transfer-Encoding", "").lower():
            return b"".join(iter(self._chunk, b""))
        length = self.headers.get("Content-Length", "0")
        if not length.isdigit() or int(length) > _MAX_BODY:
            self.close_connection = True
            self._write(error_reply(HttpError(400, "invalid", "Content-Length is not acceptable.")))
            return None
        return self.rfile.read(int(length))

    def _chunk(self) -> bytes:
        size = int(self.rfile.readline().split(b";")[0] or b"0", 16)
        data = self.rfile.read(size)
        self.rfile.readline()
        return data

    def _write(self, reply: Reply) -> None:
        trouble = reply.trouble
        if trouble is not None and trouble.after is None:
            self._befall(trouble)
        self.send_response(reply.status)
        flavor = self.headers.get("Metadata-Flavor")
        # google-auth first requests "/" to check whether this is a metadata server.
        headers = reply.headers | ({"Metadata-Flavor": flavor} if flavor == "Google" else {})
        for name, text in headers.items():
            self.send_header(name, _line(text))
        if reply.status not in (204, 304):
            self.send_header("Content-Type", _line(reply.content_type))
            self.send_header("Content-Length", str(len(reply.body)))
        self.end_headers()
        if self.command == "HEAD" or reply.status in (204, 304):
            return
        sent = 0
        if trouble is not None and trouble.after is not None:
            sent = trouble.after
            self.wfile.write(reply.body[:sent])
            self._befall(trouble)
        self.wfile.write(reply.body[sent:])

    def _befall(self, trouble: Trouble) -> None:
        """Stall, or reset the connection (then nothing more can be sent: raises)."""
        self.wfile.flush()
        if trouble.stall_seconds is not None:
            time.sleep(trouble.stall_seconds)
            return
        # Lingering for no time makes the close a reset; it happens when the last file is closed.
        self.connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        for part in (self.rfile, self.wfile, self.connection):
            part.close()
        raise ConnectionResetError("The connection was reset as ordered.")

    def date_time_string(self, timestamp: float | None = None) -> str:
        """The Date header has the cloud's time: clients measure ages by it."""
        del timestamp
        return format_datetime(self.server.now(), usegmt=True)

    def log_message(self, format: str, *args: Any) -> None:
        """Log nothing: the list of calls has the requests of clients."""

    def version_string(self) -> str:
        return "localcloud"


def _line(text: str) -> str:
    """A header's value: what clients store in objects must not break out of its line."""
    return " ".join(text.splitlines()).encode("latin-1", "replace").decode("latin-1")


class _Watch:
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
            return bool(readable) and not self._connection.recv(1, socket.MSG_PEEK)
        except (OSError, ValueError):
            # The socket itself is closed, so the client is gone.
            return True

    def __enter__(self) -> _Watch:
        return self

    def __exit__(self, *_: object) -> None:
        self._over.set()


class HttpServer(ThreadingHTTPServer):
    """One thread for each connection; PortBusy when the port is taken."""

    daemon_threads = True
    request_queue_size = 128
    tls_port = 0  # where tunnels lead; 0 for nowhere

    def __init__(self, port: int, dispatch: Callable[[Request], Reply], clock: Clock) -> None:
        self.dispatch = dispatch
        self._clock = clock
        self._open: set[socket.socket] = set()
        try:
            super().__init__((ADDRESS, port), _Handler)
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
        for connection in tuple(self._open):
            self.shutdown_request(connection)

    def process_request(self, request: Any, client_address: Any) -> None:
        self._open.add(request)
        super().process_request(request, client_address)

    def shutdown_request(self, request: Any) -> None:
        self._open.discard(request)
        super().shutdown_request(request)

    def handle_error(self, request: Any, client_address: Any) -> None:
        """A client that closes the connection early is not our error; all others are shown."""
        if not isinstance(sys.exc_info()[1], ConnectionError | TimeoutError):
            super().handle_error(request, client_address)
