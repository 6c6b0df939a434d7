"""Whatever bytes come to the HTTP port, it answers in Google's shape, soon, and goes on serving."""

from __future__ import annotations

import gzip
import json
import socket
import time

import pytest
import requests

from ml_platform.localcloud import LocalCloud
from ml_platform.localcloud.server.http import body, connection
from ml_platform.localcloud.server.http.port import HttpServer
from ml_platform.tests.localcloud.conftest import PARENT

HOST = b"Host: localhost\r\n"
UPLOAD = f"POST /v1/{PARENT}/models:upload HTTP/1.1\r\n".encode() + HOST
CHUNKED = UPLOAD + b"Transfer-Encoding: chunked\r\n\r\n"


def get(path: str, *headers: bytes, version: bytes = b"HTTP/1.1") -> bytes:
    """A whole GET."""
    lines = b"".join(header + b"\r\n" for header in headers)
    return b"GET " + path.encode() + b" " + version + b"\r\n" + HOST + lines + b"\r\n"


def talk(cloud: LocalCloud, sent: bytes, *, close: bool = True) -> list[tuple[int, bytes]]:
    """Send these bytes; the statuses and bodies of all answers until the server closes."""
    with socket.create_connection(("127.0.0.1", cloud.http_port), timeout=5) as wire:
        wire.sendall(sent)
        if close:
            wire.shutdown(socket.SHUT_WR)
        return answers(b"".join(iter(lambda: wire.recv(65536), b"")))


def answers(received: bytes) -> list[tuple[int, bytes]]:
    """Split what a server sent; an answer that is cut off fails."""
    found = []
    while received:
        head, _, received = received.partition(b"\r\n\r\n")
        first, *lines = head.split(b"\r\n")
        assert first.startswith(b"HTTP/1.1 "), first
        headers = dict(line.lower().split(b": ", 1) for line in lines)
        status, length = int(first.split()[1]), int(headers.get(b"content-length", b"0"))
        assert len(received) >= length
        found.append((status, received[:length]))
        received = received[length:]
    return found


def check_error(status: int, text: bytes) -> None:
    """Google's error object, with the status of the answer."""
    error = json.loads(text)["error"]
    assert error["code"] == status
    assert error["message"]


BAD = {
    "no length": (UPLOAD + b"Content-Length: x\r\n\r\n", 400),
    "negative length": (UPLOAD + b"Content-Length: -1\r\n\r\n", 400),
    "length in other digits": (UPLOAD + "Content-Length: ²\r\n\r\n".encode("latin-1"), 400),
    "length with a sign": (UPLOAD + b"Content-Length: +2\r\n\r\n{}", 400),
    "endless length": (UPLOAD + b"Content-Length: " + b"9" * 99 + b"\r\n\r\n", 400),
    "two lengths": (UPLOAD + b"Content-Length: 2\r\nContent-Length: 3\r\n\r\n{}", 400),
    "huge length": (UPLOAD + b"Content-Length: 99999999999\r\n\r\n", 413),
    "body cut off": (UPLOAD + b"Content-Length: 5\r\n\r\n{}", 400),
    "length and chunks": (
        UPLOAD + b"Content-Length: 2\r\nTransfer-Encoding: chunked\r\n\r\n2\r\n{}\r\n0\r\n\r\n",
        400,
    ),
    "other coding": (UPLOAD + b"Transfer-Encoding: gzip, chunked\r\n\r\n", 501),
    "two codings": (UPLOAD + b"Transfer-Encoding: chunked\r\n" * 2 + b"\r\n", 501),
    "chunks in 1.0": (CHUNKED.replace(b"1.1", b"1.0") + b"0\r\n\r\n", 400),
    "negative chunk": (CHUNKED + b"-2\r\n{}\r\n0\r\n\r\n", 400),
    "garbage chunk": (CHUNKED + b"zz\r\n{}\r\n0\r\n\r\n", 400),
    "no chunk": (CHUNKED, 400),
    "huge chunk": (CHUNKED + b"ffffffffffff\r\n", 413),
    "long chunk": (CHUNKED + b"1\r\n{}\r\n0\r\n\r\n", 400),
    "chunk cut off": (CHUNKED + b"5\r\n{}", 400),
    "no last chunk": (CHUNKED + b"2\r\n{}\r\n", 400),
    "trailers cut off": (CHUNKED + b"2\r\n{}\r\n0\r\nX: y", 400),
    "long line": (get("/" + "a" * 70_000), 414),
    "long header": (get("/", b"X: " + b"a" * 70_000), 431),
    "long headers": (get("/", *(b"X: " + b"a" * 60_000 for _ in range(3))), 431),
    "many headers": (get("/", *(b"X: y" for _ in range(101))), 431),
    "header without a colon": (get("/", b"nonsense"), 400),
    "space before the colon": (get("/", b"Content-Length : 5"), 400),
    "folded header": (get("/", b"X: y", b" z"), 400),
    "NUL in a header": (get("/", b"X: \x00"), 400),
    "head cut off": (b"DELETE /storage/v1/b/artifacts HTTP/1.1\r\n" + HOST, 400),
    "no version": (b"GET /\r\n\r\n", 400),
    "one word": (b"HELLO\r\n\r\n", 400),
    "TLS": (b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03\n\n", 400),
    "HTTP/2": (b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", 505),
    "bad version": (get("/", version=b"HTTP/x"), 400),
    "unknown method": (b"BREW / HTTP/1.1\r\n" + HOST + b"\r\n", 501),
    "small letters": (b"get / HTTP/1.1\r\n" + HOST + b"\r\n", 501),
    "unknown expectation": (UPLOAD + b"Expect: tea\r\nContent-Length: 2\r\n\r\n{}", 417),
    "bad escape": (get("/storage/v1/b/a%zz"), 400),
    "half an escape": (get("/storage/v1/b/a%4"), 400),
    "escape that is not UTF-8": (get("/storage/v1/b/a%ff"), 400),
    "escape in the query that is not UTF-8": (get("/storage/v1/b?project=%ff"), 400),
    "too many parameters": (get("/storage/v1/b?" + "a=1&" * 1001), 400),
    "body that is not UTF-8": (UPLOAD + b"Content-Length: 2\r\n\r\n\xff\xfe", 400),
    "form that is not UTF-8": (
        b"POST /console/delete HTTP/1.1\r\n" + HOST + b"Content-Length: 6\r\n\r\nname=\xff",
        400,
    ),
    "token request that is not UTF-8": (
        b"POST /token HTTP/1.1\r\n" + HOST + b"Content-Length: 1\r\n\r\n\xff",
        400,
    ),
    "deep JSON": (
        b"POST /storage/v1/b?project=demo-project HTTP/1.1\r\n"
        + HOST
        + b"Content-Length: 200000\r\n\r\n"
        + b"[" * 200_000,
        400,
    ),
    "half a surrogate": (
        b"POST /storage/v1/b?project=demo-project HTTP/1.1\r\n"
        + HOST
        + b'Content-Length: 17\r\n\r\n{"name":"\\ud800"}',
        400,
    ),
    "not gzip": (UPLOAD + b"Content-Encoding: gzip\r\nContent-Length: 2\r\n\r\n{}", 400),
    "other encoding": (UPLOAD + b"Content-Encoding: br\r\nContent-Length: 2\r\n\r\n{}", 415),
    "unknown override": (UPLOAD + b"X-HTTP-Method-Override: BREW\r\n\r\n", 501),
}


@pytest.mark.parametrize("case", BAD)
def test_what_is_bad_is_refused_and_the_connection_closed(cloud: LocalCloud, case: str) -> None:
    cloud.storage.write("artifacts", "kept", b"x")
    sent, wanted = BAD[case]
    ((status, text),) = talk(cloud, sent)
    assert status == wanted
    check_error(status, text)
    assert cloud.effects.mutations() == []
    assert talk(cloud, get("/storage/v1/b/artifacts"))[0][0] == 200


def test_the_answer_arrives_though_the_client_is_still_sending(cloud: LocalCloud) -> None:
    sent = UPLOAD + b"Content-Length: 99999999999\r\n\r\n" + b"x" * 30_000_000
    ((status, text),) = talk(cloud, sent, close=False)
    assert status == 413
    check_error(status, text)


@pytest.mark.parametrize(
    "sent",
    [b"GET / HT", UPLOAD, UPLOAD + b"Content-Length: 5\r\n\r\n{", CHUNKED + b"2\r\n{"],
    ids=["line", "head", "body", "chunk"],
)
def test_a_request_that_does_not_come_is_not_waited_for(
    cloud: LocalCloud, monkeypatch: pytest.MonkeyPatch, sent: bytes
) -> None:
    monkeypatch.setattr(HttpServer, "patience", 0.1)
    monkeypatch.setattr(connection, "_LINGER", 0.1)
    ((status, text),) = talk(cloud, sent, close=False)
    assert status == 408
    check_error(status, text)


def test_a_request_that_drips_is_not_waited_for_either(
    cloud: LocalCloud, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(HttpServer, "patience", 0.1)
    begun = time.monotonic()
    with socket.create_connection(("127.0.0.1", cloud.http_port), timeout=5) as wire:
        wire.sendall(UPLOAD + b"Content-Length: 1000\r\n\r\n")
        wire.settimeout(0.02)
        received = b""
        while not received and time.monotonic() - begun < 5:
            wire.sendall(b" ")
            try:
                received = wire.recv(65536)
            except TimeoutError:
                continue
    assert received.startswith(b"HTTP/1.1 408 ")


def test_a_connection_between_two_requests_may_stay(
    cloud: LocalCloud, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(HttpServer, "patience", 0.05)
    with socket.create_connection(("127.0.0.1", cloud.http_port), timeout=5) as wire:
        for _ in range(2):
            wire.sendall(get("/storage/v1/b?project=demo-project"))
            assert wire.recv(65536).startswith(b"HTTP/1.1 200 ")
            wire.settimeout(0.15)
            with pytest.raises(TimeoutError):
                wire.recv(1)
            wire.settimeout(5)


def test_pipelined_requests_are_answered_in_order(cloud: LocalCloud) -> None:
    upload = UPLOAD + b"Content-Length: 2\r\n\r\n{}"
    sent = get("/nowhere") + b"\r\n" + upload + get("/storage/v1/b?project=demo-project")
    assert [status for status, _ in talk(cloud, sent)] == [404, 400, 200]


def test_http_1_0_is_answered_and_closed(cloud: LocalCloud) -> None:
    sent = get("/storage/v1/b?project=demo-project", version=b"HTTP/1.0")
    assert [status for status, _ in talk(cloud, sent + sent, close=False)] == [200]


def test_a_head_has_no_body(cloud: LocalCloud) -> None:
    for path in ("/nowhere", "/v1/nowhere", "/a%zz"):
        answer = requests.head(f"{cloud.http_url}{path}", timeout=5)
        assert (answer.status_code >= 400, answer.content) == (True, b"")


def test_a_client_that_expects_100_gets_it_before_it_sends_its_body(cloud: LocalCloud) -> None:
    head = UPLOAD + b"Expect: 100-continue\r\nContent-Length: 2\r\n\r\n"
    with socket.create_connection(("127.0.0.1", cloud.http_port), timeout=5) as wire:
        wire.sendall(head)
        assert wire.recv(65536) == b"HTTP/1.1 100 Continue\r\n\r\n"
        wire.sendall(b"{}")
        assert wire.recv(65536).startswith(b"HTTP/1.1 400 ")


def test_a_client_that_expects_100_is_refused_before_it_sends_its_body(cloud: LocalCloud) -> None:
    expecting = UPLOAD + b"Expect: 100-continue\r\nContent-Length: 9999999999\r\n\r\n"
    foreign = expecting.replace(b"localhost", b"rebound.example")
    assert [status for status, _ in talk(cloud, expecting)] == [413]
    assert [status for status, _ in talk(cloud, foreign)] == [403]


def test_bodies_come_in_chunks_and_gzipped(cloud: LocalCloud) -> None:
    upload = f"{cloud.http_url}/v1/{PARENT}/models:upload"
    asked = json.dumps({"modelId": "ranker", "model": {"displayName": "ranker"}}).encode()
    packed = {"Content-Encoding": "gzip"}
    answer = requests.post(upload, data=iter([asked[:9], asked[9:]]), timeout=5)
    assert answer.status_code == 200
    again = requests.post(upload, data=gzip.compress(asked), headers=packed, timeout=5)
    assert again.json()["error"]["status"] == "ALREADY_EXISTS"
    cut = requests.post(upload, data=gzip.compress(asked)[:-4], headers=packed, timeout=5)
    assert cut.status_code == 400


def test_a_gzipped_body_may_not_grow_beyond_the_limit(
    cloud: LocalCloud, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(body, "_MAX_BODY", 1 << 16)
    packed = gzip.compress(b" " * (1 << 20))
    answer = requests.post(
        f"{cloud.http_url}/v1/{PARENT}/models:upload",
        data=packed,
        headers={"Content-Encoding": "gzip"},
        timeout=5,
    )
    assert answer.status_code == 413
    assert answer.json()["error"]["message"] == (
        "Request payload size exceeds the limit: 65536 bytes."
    )


def test_chunks_count_together(cloud: LocalCloud, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(body, "_MAX_BODY", 10)
    ((status, _),) = talk(cloud, CHUNKED + b"6\r\n      \r\n" * 2)
    assert status == 413


def test_our_own_fault_is_an_answer_too_and_is_shown(
    cloud: LocalCloud, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    def fail(_: object) -> None:
        raise ZeroDivisionError("not a client's fault")

    monkeypatch.setattr(cloud.rest, "answer", fail)
    ((status, text),) = talk(cloud, get("/v1/anything"))
    assert status == 500
    check_error(status, text)
    assert "not a client's fault" in capfd.readouterr().err
