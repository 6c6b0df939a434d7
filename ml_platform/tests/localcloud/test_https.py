"""HTTP/1.1 over TLS: Google's own addresses by the HTTP port as a proxy, and that port itself."""

from __future__ import annotations

import socket
from collections.abc import Iterator
from typing import Any

import pytest
import requests

from ml_platform.localcloud import LocalCloud


@pytest.fixture(scope="module")
def https() -> Iterator[LocalCloud]:
    """A cloud with TLS."""
    with LocalCloud(tls_port=0) as cloud:
        yield cloud


def ask(cloud: LocalCloud, url: str, **more: Any) -> requests.Response:
    """By the proxy, as `https_proxy` and `REQUESTS_CA_BUNDLE` say."""
    usual = {"proxies": {"https": cloud.http_url}, "verify": str(cloud.tls_ca_file)}
    return requests.get(url, timeout=5, **(usual | more))


def test_googles_own_addresses_are_served(https: LocalCloud) -> None:
    https.storage.write("artifacts", "a", b"data")
    place = "projects/demo-project/locations/europe-central2"
    with requests.Session() as session:
        session.trust_env = False
        session.proxies, session.verify = {"https": https.http_url}, str(https.tls_ca_file)
        for _ in range(2):
            url = "https://storage.googleapis.com/storage/v1/b/artifacts/o/a?alt=media"
            assert session.get(url, timeout=5).content == b"data"
    assert ask(https, "https://storage.googleapis.com/artifacts/a").content == b"data"
    assert ask(https, f"https://run.googleapis.com/v2/{place}/services").json() == {}
    url = f"https://europe-central2-aiplatform.googleapis.com/v1/{place}/models"
    assert ask(https, url).json() == {}


def test_no_other_address_is(https: LocalCloud) -> None:
    with pytest.raises(requests.exceptions.ProxyError, match="403"):
        ask(https, "https://example.com")
    here = f"https://localhost:{https.http_port}"
    assert ask(https, f"{here}/_localcloud/state", proxies={}).status_code == 200
    for host, status in (("evil.example", 403), ("run.googleapis.com", 200)):
        got = ask(https, f"{here}/_localcloud/state", proxies={}, headers={"Host": host})
        assert got.status_code == status
    plain = requests.get(https.http_url, headers={"Host": "run.googleapis.com"}, timeout=5)
    assert plain.status_code == 403


def test_a_client_that_does_not_trust_the_cloud_or_speaks_no_tls_ends_alone(
    https: LocalCloud, capfd: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(requests.exceptions.SSLError):
        ask(https, "https://storage.googleapis.com/artifacts/a", verify=True)
    for sent in (b"\x16\x03\x01\x00\x05hello", b"\x16\x03", b"\x16\x03\x01\x02\x00" + bytes(300)):
        with socket.create_connection(("127.0.0.1", https.http_port), timeout=5) as wire:
            wire.sendall(sent)
            wire.shutdown(socket.SHUT_WR)
            answer = b""
            while data := wire.recv(99):
                answer += data
        assert answer[:1] in (b"\x15", b"")  # an alert, or the end
    assert ask(https, "https://storage.googleapis.com/artifacts/none").status_code == 404
    assert capfd.readouterr().err == ""
