"""A body without a length is refused, wherever it comes: half of the servers would lose it."""

from __future__ import annotations

import io
import json
import socket
from collections.abc import Iterator
from threading import Thread
from typing import Any
from wsgiref.simple_server import WSGIRequestHandler, WSGIServer, make_server

import pytest
from django.core.wsgi import get_wsgi_application
from django.test import Client, RequestFactory

from ml_platform.models import Operation, RegisteredModel
from ml_platform.pages.lazy import page

from .api_tools import keeps_contract
from .test_strict import PATHS, ana, model, project, refused, url_of

__all__ = ["ana", "model", "project"]  # fixtures

pytestmark = [pytest.mark.django_db, pytest.mark.any_database]


class Silent(WSGIRequestHandler):
    def log_message(self, format: str, *args: Any) -> None: ...


@pytest.fixture
def server() -> Iterator[WSGIServer]:
    """A server that leaves chunks as they are, as Django's own does."""
    with make_server("127.0.0.1", 0, get_wsgi_application(), handler_class=Silent) as made:
        thread = Thread(target=made.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        yield made
        made.shutdown()
        thread.join()


def ask(server: WSGIServer, *lines: str, body: bytes = b"") -> tuple[int, bytes]:
    with socket.create_connection(("127.0.0.1", server.server_port), timeout=10) as line:
        head = "\r\n".join([*lines, "Host: localhost", "Connection: close", "", ""])
        line.sendall(head.encode() + body)
        line.shutdown(socket.SHUT_WR)
        answer = b"".join(iter(lambda: line.recv(65536), b""))
    return int(answer.split(b" ", 2)[1]), answer.partition(b"\r\n\r\n")[2]


CHUNKED = b'11\r\n{"versions": [1]}\r\n0\r\n\r\n'


def test_a_body_in_chunks_is_refused_on_every_path(server: WSGIServer):
    for path, method in PATHS:
        status, body = ask(
            server,
            f"{method.upper()} {url_of(path)} HTTP/1.1",
            "Content-Type: application/json",
            "Transfer-Encoding: chunked",
            body=CHUNKED,
        )
        assert (status, json.loads(body)["code"]) == (411, "length_required"), path


def ended(body: bytes) -> dict[str, Any]:
    """A body as a server hands it on that ends it itself."""
    return {"wsgi.input": io.BytesIO(body), "wsgi.input_terminated": True}


def test_a_deletion_in_chunks_deletes_nothing(ana: Client, model: RegisteredModel):
    """As gunicorn hands it on: taken apart, without a length."""
    path = f"/api/models/{model.pk}/delete/"
    for header in ({"HTTP_TRANSFER_ENCODING": "chunked"}, {}):
        environ: dict[str, Any] = {**header, **ended(b'{"versions": [1]}')}
        answer = ana.generic("POST", path, content_type="application/json", **environ)
        refused(answer, 411, "length_required")
        keeps_contract(answer, "/api/models/{model_id}/delete/", "post")
    assert not Operation.objects.exists()


def test_a_post_without_a_body_needs_no_length(ana: Client):
    answer = ana.generic("POST", url_of("/api/operations/{operation_id}/cancel/"), **ended(b""))
    assert answer["Content-Type"] == "application/problem+json"
    assert answer.status_code == 404


@pytest.mark.parametrize("length", ["-1", "+17", "1_7", "x", "1" * 5000, "\uff11\uff17"])
def test_a_length_that_is_none_loses_no_body(ana: Client, model: RegisteredModel, length: str):
    path = f"/api/models/{model.pk}/delete/"
    answer = ana.generic(
        "POST", path, b'{"versions": [1]}', "application/json", CONTENT_LENGTH=length
    )
    refused(answer, 400, "unreadable_request")


def test_a_body_that_ends_early_is_refused(server: WSGIServer, model: RegisteredModel):
    status, body = ask(
        server,
        f"POST /api/models/{model.pk}/delete/ HTTP/1.1",
        "Content-Type: application/json",
        "Content-Length: 99",
        body=b'{"versions": "all"}',
    )
    assert (status, json.loads(body)["code"]) == (400, "unreadable_request")


@pytest.mark.parametrize("url", ["/", "/registry-health/check/", "/do/cancel-run/1/"])
def test_a_form_in_chunks_is_refused_by_a_page_that_asks_no_database(url: str):
    request = RequestFactory().post(url, HTTP_TRANSFER_ENCODING="chunked")
    answer = page("actions.do")(request)  # behind a host's middleware, which needs a token
    assert answer.status_code == 411
    assert "length_required" in answer.content.decode()
