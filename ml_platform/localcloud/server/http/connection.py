"""One client's connection: reads requests within limits and always answers, also what is bad.

After RFC 9110 and 9112; what they leave open is refused, as it hides one request in another.
"""

from __future__ import annotations

import contextlib
import io
import re
import socket
import ssl
from collections.abc import Callable
from dataclasses import replace
from datetime import datetime
from email.utils import format_datetime
from http.server import BaseHTTPRequestHandler
from typing import Any, Protocol

from ..http_types import Broken, HttpError, Reply, Request, error_reply, target_of
from ..loopback import ADDRESS, check_request, is_google
from ..tls import relay, wants_http2
from .body import Body
from .client import Reader, Watch

_MAX_LINE = 1 << 16
_MAX_HEAD = 1 << 17
_MAX_HEADERS = 100
_HEADER = re.compile(rb"[!#$%&'*+.^_`|~0-9A-Za-z-]+:[^\x00\r\n]*\r?\n")
_BLANK = (b"\r\n", b"\n")
_VERBS = frozenset(("GET", "HEAD", "POST", "PUT", "PATCH", "DELETE"))
_LINGER = 1.0
_TLS_RECORD = b"\x16"  # the first byte of a TLS handshake


class Server(Protocol):
    """What a connection needs of its server."""

    dispatch: Callable[[Request], Reply]
    tls_port: int
    tls: ssl.SSLContext | None
    connections: set[socket.socket]
    patience: float
    url: str

    def now(self) -> datetime:
        """The cloud's time."""
        ...


class Connection(BaseHTTPRequestHandler):
    """Requests one after the other, pipelined ones too, until either side closes."""

    protocol_version = "HTTP/1.1"
    default_request_version = "HTTP/1.0"  # so that a request without any version gets a status
    # Without these two a call takes 48 ms: small writes meet Nagle and the delayed ACK.
    wbufsize = 1 << 16
    disable_nagle_algorithm = True
    over_tls = False
    server: Server  # type: ignore[assignment]

    def setup(self) -> None:
        """Read through a deadline instead of socketserver's plain file."""
        super().setup()
        self.rfile.close()
        self._reader = Reader(self.connection)
        self.rfile = self._bytes = io.BufferedReader(self._reader, 1 << 16)

    def handle(self) -> None:
        """Serve requests, over TLS too where the cloud has a TLS port."""
        if self.server.tls and self.connection.recv(1, socket.MSG_PEEK) == _TLS_RECORD:
            self._serve_tls(self.server.tls)
        else:
            super().handle()

    def _serve_tls(self, context: ssl.SSLContext) -> None:
        """HTTP/2 (a client's gRPC) goes to the TLS port, HTTP/1.1 is served here."""
        self.connection.settimeout(self.server.patience)
        with contextlib.suppress(OSError):  # a client that does not trust us, or is gone
            if wants_http2(self.connection):
                self.connection.settimeout(None)
                relay(self.connection, (ADDRESS, self.server.tls_port))
                return
            with context.wrap_socket(self.connection, server_side=True) as secure:
                self.server.connections.add(secure)
                try:
                    SecureConnection(secure, self.client_address, self.server)  # type: ignore[arg-type]
                finally:
                    self.server.connections.discard(secure)

    def handle_one_request(self) -> None:
        """Answer the next request; whatever is wrong with it, there is an answer."""
        self.close_connection = True
        self.command = self.requestline = ""
        self.request_version = self.default_request_version
        self.headers = self.MessageClass()
        self._reader.allow(None)  # an idle connection may stay
        if not self._bytes.peek(1):
            return
        self._reader.allow(self.server.patience)
        try:
            if self._read_head():
                self._answer()
                self.wfile.flush()
        except HttpError as error:
            self._refuse(error)
        except TimeoutError:
            self._refuse(HttpError(408, "timeout", "The request did not come in time."))

    def _read_head(self) -> bool:
        """False at the end of the connection. Raises HttpError."""
        if self._bytes.peek(1)[:1] == _TLS_RECORD:
            raise HttpError(400, "badRequest", "This port has no TLS.")  # there may be no line end
        line = self._line()
        while line in _BLANK:
            line = self._line()
        if not line:
            return False
        if len(line) > _MAX_LINE:
            raise HttpError(414, "uriTooLong", "The request's line is too long.")
        if len(line.split()) < 3:
            raise HttpError(400, "badRequest", "A request begins with a verb, a path and HTTP/1.1.")
        self.raw_requestline = line
        self.rfile = io.BytesIO(self._header_lines())
        try:
            parsed = self.parse_request()
        finally:
            self.rfile = self._bytes
        return parsed

    def _line(self) -> bytes:
        return self._bytes.readline(_MAX_LINE + 1)

    def _header_lines(self) -> bytes:
        head: list[bytes] = []
        while (line := self._line()) not in _BLANK:
            head.append(line)
            too_long = len(line) > _MAX_LINE or sum(map(len, head)) > _MAX_HEAD
            if too_long or len(head) > _MAX_HEADERS:
                raise HttpError(431, "headersTooLarge", "The request has too many headers.")
            if _HEADER.fullmatch(line) is None:
                raise HttpError(400, "badRequest", f"{line[:40]!r} is not a header.")
        return b"".join((*head, line))

    def send_error(self, code: int, message: str | None = None, explain: str | None = None) -> None:
        """How BaseHTTPRequestHandler refuses a head; here in Google's form."""
        del explain
        raise HttpError(code, "badRequest", f"{message or 'Bad request'}.")

    def handle_expect_100(self) -> bool:
        """Continue only when the body is read: a refusal comes first."""
        return True

    def _answer(self) -> None:
        if self.command == "CONNECT":
            self._tunnel()  # its target and its Host are the API's name
            return
        check_request(
            verb=self.command,
            target=self.path,
            version=self.request_version,
            headers=self.headers,
            over_tls=self.over_tls,
        )
        if self.command not in _VERBS:
            raise HttpError(501, "notImplemented", f"{self.command} is not a method here.")
        request = self._request()
        with Watch(self.connection) as watch:
            reply = self.server.dispatch(replace(request, on_gone=watch.on_gone))
        self._write(reply)

    def _request(self) -> Request:
        path, pairs = target_of(self.path)
        body = Body(self.headers, self._bytes, self._reader.extend, self._continue)
        sent = body.read(self.command, path, self.request_version)
        headers = {name.lower(): text.strip() for name, text in self.headers.items()}
        request = Request(
            self.command, path, dict(pairs), headers, sent, self.server.url, pairs=pairs
        )
        return _overridden(request)

    def _continue(self) -> None:
        self.send_response_only(100)
        self.end_headers()
        self.wfile.flush()

    def _tunnel(self) -> None:
        """As a proxy (grpc_proxy, https_proxy): a connection to a Google API over TLS ends here."""
        self.close_connection = True
        port = self.path.partition(":")[2]
        if self.server.tls is None or not is_google(self.path) or port != "443":
            raise HttpError(403, "forbidden", f"No tunnel to {self.path}.")
        self.send_response(200)
        self.end_headers()
        self.wfile.flush()
        self._serve_tls(self.server.tls)

    def _refuse(self, error: HttpError) -> None:
        self.close_connection = True
        self._write(error_reply(error))
        self.wfile.flush()
        # To close with bytes unread would reset the connection before the client has the answer.
        self._reader.allow(_LINGER)
        with contextlib.suppress(OSError):
            self.connection.shutdown(socket.SHUT_WR)
            while self._bytes.read1(1 << 16):
                pass

    def _write(self, reply: Reply) -> None:
        self.connection.settimeout(self.server.patience)
        self.send_response(reply.status)
        if self.close_connection:
            self.send_header("Connection", "close")
        flavor = self.headers.get("Metadata-Flavor")
        # google-auth first requests "/" to check whether this is a metadata server.
        headers = reply.headers | ({"Metadata-Flavor": flavor} if flavor == "Google" else {})
        for name, text in headers.items():
            self.send_header(name, _safe(text))
        if reply.status not in (204, 304):
            self.send_header("Content-Type", _safe(reply.content_type))
            self.send_header("Content-Length", str(len(reply.body)))
        body = b"" if self.command == "HEAD" or reply.status in (204, 304) else reply.body
        if reply.broken is not None:
            self._break(reply.broken, body)
            return
        self.end_headers()
        self.wfile.write(body)

    def _break(self, broken: Broken, body: bytes) -> None:
        self.close_connection = True
        wire, head = self.wfile, io.BytesIO()
        self.wfile = head
        self.end_headers()
        self.wfile = wire
        broken(self.connection, head.getvalue(), body)

    def date_time_string(self, timestamp: float | None = None) -> str:
        """The Date header has the cloud's time: clients measure ages by it."""
        del timestamp
        return format_datetime(self.server.now(), usegmt=True)

    def log_message(self, format: str, *args: Any) -> None:
        """Log nothing: the list of calls has the requests of clients."""

    def version_string(self) -> str:
        return "localcloud"


class SecureConnection(Connection):
    """The same over TLS."""

    over_tls = True

    def handle(self) -> None:
        """Serve requests."""
        BaseHTTPRequestHandler.handle(self)


def _safe(text: str) -> str:
    """A header's value: what clients store in objects must not break out of its line."""
    return " ".join(text.splitlines()).encode("latin-1", "replace").decode("latin-1")


def _overridden(request: Request) -> Request:
    """A GET whose URL would be too long comes as a POST with its query as a form."""
    verb = request.headers.get("x-http-method-override", "")
    if request.verb != "POST" or not verb:
        return request
    if verb not in _VERBS:
        raise HttpError(501, "notImplemented", f"{verb} is not a method here.")
    kind = request.headers.get("content-type", "")
    if verb != "GET" or not kind.startswith("application/x-www-form-urlencoded"):
        return replace(request, verb=verb)
    pairs = request.pairs + request.form()
    return replace(request, verb=verb, query=dict(pairs), pairs=pairs, body=b"")
