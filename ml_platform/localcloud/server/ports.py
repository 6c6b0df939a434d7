"""The ports that the gRPC server listens on."""

from __future__ import annotations

import socket

import grpc

from ..core.errors import PortBusy, Unusable
from .loopback import ADDRESS


def check_ports(**ports: int) -> None:
    """Raise Unusable for a number that is no port; 0 stands for a free one."""
    for what, port in ports.items():
        if not 0 <= port <= 65535:
            raise Unusable(f"{port} is not a port for {what}: the highest is 65535.")


def bind_port(
    server: grpc.Server, port: int, credentials: grpc.ServerCredentials | None = None
) -> int:
    """The port on which the server will listen, by TLS with credentials. Raises PortBusy."""
    address = f"{ADDRESS}:{port}"
    # Checked first, because gRPC also reports a busy port on stderr.
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((ADDRESS, port))
        except OSError as error:
            raise PortBusy(f"Cannot listen on {address}: {error.strerror}.") from None
    if credentials is None:
        return server.add_insecure_port(address)
    return server.add_secure_port(address, credentials)
