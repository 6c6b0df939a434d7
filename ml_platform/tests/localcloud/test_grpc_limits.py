"""Whatever comes to the gRPC port, there is a status, soon, and it goes on serving.

What cannot be parsed is INTERNAL (grpc/grpc: doc/statuscodes.md, "Error parsing request proto").
"""

from __future__ import annotations

import socket
from typing import Any

import grpc
import pytest

from ml_platform.localcloud import LocalCloud
from ml_platform.tests.localcloud.conftest import PARENT

LIST = "/google.cloud.aiplatform.v1.ModelService/ListModels"
PING = "/google.longrunning.Operations/ListOperations"


def ask(channel: grpc.Channel, path: str, sent: bytes, **options: Any) -> str:
    """The name of the status."""
    call: Any = channel.unary_unary(path)
    try:
        call(sent, timeout=10, **options)
    except grpc.RpcError as error:
        return str(error.code().name)
    return "OK"


@pytest.mark.parametrize(
    ("path", "sent", "status"),
    [
        (LIST, b"\xff\xff\xff", "INTERNAL"),
        (LIST, b"\x0a\x02\xff\xfe", "INTERNAL"),
        (LIST, b"\x0a" * 100_000, "INTERNAL"),
        (LIST, bytes(65 << 20), "RESOURCE_EXHAUSTED"),
        ("/google.cloud.aiplatform.v1.ModelService/Nope", b"", "UNIMPLEMENTED"),
        ("/google.cloud.aiplatform.v1.NopeService/ListModels", b"", "UNIMPLEMENTED"),
        (
            "/google.cloud.aiplatform.v1.ModelService/ListModelEvaluationSlices",
            b"",
            "UNIMPLEMENTED",
        ),
    ],
    ids=["garbage", "not UTF-8", "long", "too large", "method", "service", "unserved"],
)
def test_a_bad_call_has_a_status(
    cloud: LocalCloud, channel: grpc.Channel, path: str, sent: bytes, status: str
) -> None:
    assert ask(channel, path, sent) == status
    assert ask(channel, PING, b"") == "OK"


def test_metadata_above_its_limit_is_refused(cloud: LocalCloud, channel: grpc.Channel) -> None:
    many = [("x-much", "x" * 100_000)]
    assert ask(channel, PING, b"", metadata=many) == "RESOURCE_EXHAUSTED"
    assert ask(channel, PING, b"") == "OK"


@pytest.mark.parametrize("sent", [b"\x00" * 100, b"GET / HTTP/1.1\r\n\r\n", b"PRI * HTTP/2.0\r\n"])
def test_bytes_that_are_not_grpc_end_their_connection_alone(
    cloud: LocalCloud, channel: grpc.Channel, sent: bytes
) -> None:
    with socket.create_connection(("127.0.0.1", cloud.grpc_port), timeout=10) as wire:
        wire.sendall(sent)
        wire.shutdown(socket.SHUT_WR)
        while wire.recv(65536):
            pass
    assert ask(channel, PING, b"") == "OK"


def test_our_own_fault_is_internal_and_is_shown(
    cloud: LocalCloud,
    channel: grpc.Channel,
    monkeypatch: pytest.MonkeyPatch,
    capfd: pytest.CaptureFixture[str],
) -> None:
    def fail(*_: object) -> None:
        raise ZeroDivisionError("not a client's fault")

    monkeypatch.setattr(cloud.faults, "take", fail)
    asked = b"\x0a" + bytes([len(PARENT)]) + PARENT.encode()
    assert ask(channel, LIST, asked) == "INTERNAL"
    assert "not a client's fault" in capfd.readouterr().err
