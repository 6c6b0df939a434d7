"""The floor of the window: what is not Google's answer is unknown, and each call ends in time."""

from __future__ import annotations

import json
import socket
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from time import monotonic, sleep
from typing import Any

import pytest
from google.auth.exceptions import DefaultCredentialsError, RefreshError

from ml_platform.cloud import cloud_run, scheduler, storage, vertex
from ml_platform.cloud.answers import Unknown, ask
from ml_platform.cloud.transport import channels
from ml_platform.cloud.transport.methods import METHODS
from ml_platform.cloud.types import DeleteOutcome
from ml_platform.errors import CloudAbsent, CloudRejected, CloudUnavailable, OutcomeUnknown

from .test_failures import REMOTES, Remote

BUCKET = "bucket"
DOOMED = [("a", 1)]
GENERATIONS = {"live": 1, "soft": 1}
STORAGE = {
    **{name: remote for name, remote in REMOTES.items() if remote.method.startswith("storage.")},
    "storage.delete_objects": Remote(
        "storage.batch", lambda: storage.delete_objects(BUCKET, DOOMED)
    ),
    "storage.copy_generation": Remote(
        "storage.objects.copy",
        lambda: storage.copy_generation(BUCKET, "a", GENERATIONS["live"], over=GENERATIONS["live"]),
    ),
    "storage.restore_soft_deleted": Remote(
        "storage.objects.restore",
        lambda: storage.restore_soft_deleted(
            BUCKET, "a", GENERATIONS["soft"], over=GENERATIONS["live"]
        ),
    ),
}
TORN: tuple[dict[str, Any], ...] = (
    {"kind": "reset"},
    {"kind": "reset", "when": "after"},
    {"kind": "truncated"},
    {"kind": "drip", "seconds": 30},
    {"kind": "html"},
    {"kind": "html", "status": 200},
    {"kind": "html", "status": 404},
    {"kind": "html", "status": 404, "when": "after"},
    {"kind": "html", "status": 412},
    {"kind": "empty"},
    {"kind": "empty", "when": "after"},
    {"kind": "non_object"},
    {"kind": "redirect"},
    *({"kind": "status", "status": status} for status in (300, 304, 407, 418, 451, 520)),
)
SLACK = 1.0
"""Seconds of a busy machine."""


def label(order: Any) -> str:
    return " ".join(map(str, order.values())) if isinstance(order, dict) else str(order)


@contextmanager
def in_time(seconds: float) -> Iterator[None]:
    """Whatever happens inside ends soon after CALL_TIMEOUT."""
    started = monotonic()
    yield
    assert monotonic() - started < seconds + SLACK


def category(method: str) -> type[CloudUnavailable]:
    return CloudUnavailable if METHODS[method].is_read else OutcomeUnknown


@pytest.mark.parametrize("order", TORN, ids=label)
@pytest.mark.parametrize("name", STORAGE)
def test_a_torn_answer_of_cloud_storage_is_unknown_and_ends_in_time(
    cloud, limits, monkeypatch, name, order
):
    soft = cloud.storage.write(BUCKET, "a", b"before")
    generation = cloud.storage.write(BUCKET, "a", b"a")
    monkeypatch.setattr(f"{__name__}.DOOMED", [("a", generation)])
    monkeypatch.setattr(f"{__name__}.GENERATIONS", {"live": generation, "soft": soft})
    cloud.storage.write(BUCKET, "runs/1", b"a")
    channels.storage_client()
    limits(CALL_TIMEOUT=0.4, RETRY_TIMEOUT=0.0)
    remote = STORAGE[name]
    method = remote.method.replace("batch", "objects.delete")  # a part of it is enough
    fault = cloud.faults.order(method, times=None, **order)
    with in_time(0.4), pytest.raises(CloudUnavailable) as error:
        remote.send()
    assert type(error.value) is category(remote.method)
    fault.release()
    # A text that refuses a download could be a proxy's, so the object's metadata is asked for too.
    asked_twice = name == "storage.read_text" and order.get("status") in (304, 404, 412)
    assert fault.hits == 1 + asked_twice


@pytest.mark.parametrize("order", TORN, ids=label)
@pytest.mark.parametrize("name", ["vertex.get_model", "vertex.list_models", "vertex.delete_model"])
def test_a_torn_answer_of_grpc_is_never_an_absence(cloud, limits, name, order):
    cloud.models.seed("7", display_name="seven")
    limits(CALL_TIMEOUT=1.0, RETRY_TIMEOUT=0.0)
    fault = cloud.faults.order(REMOTES[name].method, times=None, **order)
    with pytest.raises((CloudUnavailable, CloudRejected)) as error:
        REMOTES[name].send()
    assert not isinstance(error.value, CloudAbsent)
    fault.release()


# ---- answers of anybody ------------------------------------------------------------------------


@contextmanager
def answering(*parts: bytes | float) -> Iterator[str]:
    """The address of a server that says the same to everybody; a number is a pause in seconds."""
    done = threading.Event()

    def serve() -> None:
        while True:
            try:
                connection, _ = listener.accept()
            except OSError:
                return
            with connection, suppress(OSError):
                _speak(connection, parts, done)

    with socket.create_server(("127.0.0.1", 0)) as listener:
        thread = threading.Thread(target=serve)
        thread.start()
        try:
            yield f"http://127.0.0.1:{listener.getsockname()[1]}"
        finally:
            done.set()
            listener.shutdown(socket.SHUT_RDWR)
            thread.join()


def _speak(
    connection: socket.socket, parts: tuple[bytes | float, ...], done: threading.Event
) -> None:
    connection.recv(65536)
    for part in parts:
        if isinstance(part, bytes):
            connection.sendall(part)
        elif done.wait(part):
            return


def said(body: str, kind: str = "application/json", **headers: str) -> bytes:
    lines = {"Content-Type": kind, "Content-Length": str(len(body)), "Connection": "close"}
    head = "".join(f"{name}: {value}\r\n" for name, value in (lines | headers).items())
    return f"HTTP/1.1 200 OK\r\n{head}\r\n{body}".encode()


OBJECT = {"name": "runs/1", "size": "1", "generation": "1", "updated": "2026-03-01T00:00:00Z"}


def listing(**changed: Any) -> str:
    item = {name: value for name, value in (OBJECT | changed).items() if value is not ...}
    return json.dumps({"kind": "storage#objects", "items": [item]})


WRONG: dict[str, tuple[Any, ...]] = {
    "name": (..., None, 7, []),
    "size": (..., None, "much", []),
    "generation": (..., None, "new", {}),
    "updated": (7, "yesterday", "2026-13-01T00:00:00Z"),
}
UNREADABLE = [
    *("", "{}", "[]", "null", "1", '"text"', "{", "\x00", "<html></html>", "[" * 20_000),
    '{"kind": "storage#bucket"}',
    '{"kind": null, "items": []}',
    '{"kind": "storage#objects", "items": {"name": "a"}}',
    '{"kind": "storage#objects", "items": ["a"]}',
    '{"kind": "storage#objects", "items": 7}',
    *(listing(**{field: value}) for field, values in WRONG.items() for value in values),
]


@pytest.mark.parametrize("body", UNREADABLE, ids=lambda body: body[:70])
def test_a_listing_that_cannot_be_read_is_not_an_empty_one(limits, body):
    with answering(said(body)) as url:
        limits(LOCAL_CLOUD_HTTP=url, RETRY_TIMEOUT=0.0)
        answer = ask(lambda: list(storage.list_objects(BUCKET, "runs/")))
    assert isinstance(answer, Unknown)


@pytest.mark.parametrize("name", ["metrics.json", "runs/1/metrics.json", "runs/1/pushed_model/1"])
def test_a_server_that_ignores_the_glob_is_not_believed(limits, name):
    """Otherwise an object beside the models would make a run's folder of `gs://bucket/`."""
    with answering(said(listing(name=name))) as url:
        limits(LOCAL_CLOUD_HTTP=url, RETRY_TIMEOUT=0.0)
        pages = storage.list_objects(BUCKET, "runs/", glob="runs/**/pushed_model/*/**")
        answer = ask(lambda: list(pages))
    assert isinstance(answer, Unknown)


def test_a_listing_that_says_that_it_is_empty_is_empty(limits):
    with answering(said('{"kind": "storage#objects"}')) as url:
        limits(LOCAL_CLOUD_HTTP=url)
        assert list(storage.list_objects(BUCKET, "runs/")) == [()]
        assert not storage.has_objects(BUCKET, "runs/")


@pytest.mark.parametrize("name", STORAGE)
@pytest.mark.parametrize("body", ["{}", "[]", "null", "<html></html>", '{"kind": "x"}'])
def test_the_200_of_a_captive_portal_is_unknown(limits, name, body):
    with answering(said(body)) as url:
        limits(LOCAL_CLOUD_HTTP=url, RETRY_TIMEOUT=0.0)
        with pytest.raises(CloudUnavailable) as error:
            STORAGE[name].send()
    assert type(error.value) is category(STORAGE[name].method)


def part(status: str, body: str) -> str:
    return f"--x\r\nContent-Type: application/http\r\n\r\nHTTP/1.1 {status}\r\n\r\n{body}\r\n"


@pytest.mark.parametrize("status", ["404 Not Found", "412 Precondition Failed", "403 Forbidden"])
def test_a_part_of_a_batch_that_is_not_googles_is_no_outcome(limits, status):
    answer = said(f"{part(status, '<html></html>')}--x--\r\n", 'multipart/mixed; boundary="x"')
    with answering(answer) as url:
        limits(LOCAL_CLOUD_HTTP=url)
        (found,) = storage.delete_objects(BUCKET, [("a", 1)])
    assert found.outcome == DeleteOutcome.FAILED


@pytest.mark.parametrize("parts", ["", part("204 No Content", "") * 2, "--x\r\n\r\nno status\r\n"])
def test_a_batch_with_other_parts_than_were_sent_is_unknown(limits, parts):
    with answering(said(f"{parts}--x--\r\n", 'multipart/mixed; boundary="x"')) as url:
        limits(LOCAL_CLOUD_HTTP=url)
        with pytest.raises(OutcomeUnknown):
            storage.delete_objects(BUCKET, [("a", 1)])


# ---- time ----------------------------------------------------------------------------------------

HEAD = b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nX-Goog-Hash: crc32c=AAAAAA==\r\n"
DRIPS: dict[str, tuple[bytes | float, ...]] = {
    "status": tuple(piece for letter in b"HTTP/1.1" * 50 for piece in (bytes([letter]), 0.05)),
    "headers": (b"HTTP/1.1 200 OK\r\nX-A: ", *(b"a", 0.05) * 200),
    "continue": (b"HTTP/1.1 100 Continue\r\n\r\n", 0.05) * 200,
    "body": (HEAD + b"Content-Length: 100000\r\n\r\n", *(b" ", 0.05) * 200),
    "chunks": (
        HEAD + b"Transfer-Encoding: chunked\r\n\r\n",
        *(b"1\r\n \r\n", 0.05) * 200,
    ),
    "nothing": (30.0,),
}


@pytest.mark.parametrize("name", STORAGE)
@pytest.mark.parametrize("drip", DRIPS)
def test_an_answer_that_drips_ends_with_the_time_of_its_call(limits, name, drip):
    with answering(*DRIPS[drip]) as url:
        limits(LOCAL_CLOUD_HTTP=url, CALL_TIMEOUT=0.4, RETRY_TIMEOUT=30.0)
        channels.storage_client()
        threads = threading.active_count()
        with in_time(0.4), pytest.raises(CloudUnavailable) as error:
            STORAGE[name].send()
        assert threading.active_count() == threads
    assert type(error.value) is category(STORAGE[name].method)
    assert "DEADLINE_EXCEEDED" in str(error.value)


def test_the_time_of_a_call_is_not_taken_from_the_next(cloud, limits):
    cloud.storage.write(BUCKET, "a", b"a")
    limits(CALL_TIMEOUT=0.5)
    for _ in range(3):
        sleep(0.3)
        assert storage.read_text(BUCKET, "a", limit_bytes=1) == "a"


# ---- credentials ---------------------------------------------------------------------------------

READS: dict[str, Callable[[], Any]] = {
    "vertex": lambda: list(vertex.list_models()),
    "storage": lambda: list(storage.list_objects(BUCKET, "")),
    "cloud_run": lambda: cloud_run.get_service("s"),
    "scheduler": lambda: scheduler.get_job("j"),
    "upload": REMOTES["vertex.upload_model"].send,
    "delete": STORAGE["storage.delete_objects"].send,
}


@pytest.fixture
def credentials(monkeypatch, limits):
    """`credentials(error)`: real clients are made, and searching for credentials raises it."""

    def refuse(error: Exception) -> None:
        def default(*_: Any, **__: Any) -> Any:
            raise error

        monkeypatch.setattr("google.auth.default", default)

    for cache in (channels._make_client, channels._make_storage_client):
        cache.cache_clear()
    limits(LOCAL_CLOUD="", LOCAL_CLOUD_HTTP="", RETRY_TIMEOUT=0.0)
    yield refuse
    for cache in (channels._make_client, channels._make_storage_client):
        cache.cache_clear()


@pytest.mark.parametrize("name", READS)
@pytest.mark.parametrize(
    "error",
    [
        DefaultCredentialsError("none"),
        RefreshError("revoked"),
        ValueError("no key in the file"),
        PermissionError(13, "Permission denied"),
    ],
    ids=lambda error: type(error).__name__,
)
def test_without_credentials_everything_is_unknown_and_nothing_was_sent(credentials, name, error):
    credentials(error)
    with pytest.raises(CloudUnavailable) as raised:
        READS[name]()
    assert (type(raised.value), raised.value.code) == (CloudUnavailable, "no_credentials")
    assert "GOOGLE_APPLICATION_CREDENTIALS" in raised.value.advice


def test_a_client_that_cannot_be_made_for_another_reason_is_a_defect(credentials):
    credentials(TypeError("ours"))
    with pytest.raises(TypeError, match="ours"):
        READS["vertex"]()
