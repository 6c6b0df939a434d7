"""A certificate authority of this process alone, for clients that insist on TLS."""

from __future__ import annotations

import ipaddress
import select
import socket
import ssl
import time
from datetime import UTC, datetime, timedelta
from pathlib import Path

import grpc
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

_HEAD = 5  # of a TLS record: its type, its version, and the length of what follows
_PATIENCE = 1.0  # seconds for the rest of a client's first message


def make_certificate() -> tuple[bytes, bytes]:
    """(key, self-signed certificate) as PEM, valid a year for this machine and *.googleapis.com.

    The certificate is its own root: a client trusts it through GRPC_DEFAULT_SSL_ROOTS_FILE_PATH.
    """
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "ml_platform local cloud")])
    hosts = [
        x509.DNSName("localhost"),
        x509.DNSName("*.googleapis.com"),
        x509.IPAddress(ipaddress.ip_address("127.0.0.1")),
    ]
    now = datetime.now(UTC)
    certificate = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - timedelta(days=1))
        .not_valid_after(now + timedelta(days=365))
        .add_extension(x509.SubjectAlternativeName(hosts), critical=False)
        .add_extension(x509.BasicConstraints(ca=True, path_length=0), critical=True)
        .sign(key, hashes.SHA256())
    )
    pem = key.private_bytes(
        serialization.Encoding.PEM,
        serialization.PrivateFormat.PKCS8,
        serialization.NoEncryption(),
    )
    return pem, certificate.public_bytes(serialization.Encoding.PEM)


def server_credentials(key: bytes, certificate: bytes) -> grpc.ServerCredentials:
    """The credentials for `add_secure_port`."""
    return grpc.ssl_server_credentials([(key, certificate)])


def http_context(key: bytes, certificate: bytes, directory: Path) -> ssl.SSLContext:
    """What HTTP/1.1 over TLS is served with; the key is read from a file in that directory."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    chain = directory / "http.pem"
    chain.write_bytes(key + certificate)
    context.load_cert_chain(chain)
    chain.unlink()
    return context


def wants_http2(client: socket.socket) -> bool:
    """Whether the first TLS message of a client offers HTTP/2, as every gRPC client's does.

    The message is read but left for who answers it. Raises OSError for a client that is gone.
    """
    until = time.monotonic() + _PATIENCE
    while True:
        hello = client.recv(1 << 14, socket.MSG_PEEK)
        whole = len(hello) >= _HEAD + int.from_bytes(hello[3:_HEAD], "big") > _HEAD
        if whole or time.monotonic() > until:
            return b"\x02h2" in hello
        time.sleep(0.01)


def relay(client: socket.socket, target: tuple[str, int]) -> None:
    """Copy bytes between a client that requested a tunnel and `target`, until either closes."""
    with socket.create_connection(target) as server:
        other = {client: server, server: client}
        while True:
            readable, _, _ = select.select([client, server], [], [])
            for end in readable:
                try:
                    data = end.recv(1 << 16)
                    other[end].sendall(data)
                except ConnectionError:
                    return
                if not data:
                    return
