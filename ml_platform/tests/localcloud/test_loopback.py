"""The cloud answers this machine's own names only: no page bound to our address gets a token."""

from __future__ import annotations

import socket
from collections.abc import Callable, Iterator

import grpc
import pytest
import requests
from google.api_core import exceptions
from google.auth.credentials import AnonymousCredentials
from google.cloud import run_v2, storage
from google.cloud.aiplatform_v1.services.model_service import ModelServiceClient

from ml_platform.localcloud import LocalCloud
from ml_platform.localcloud.server.loopback import is_loopback
from ml_platform.tests.localcloud.conftest import PARENT

IDENTITY = "/computeMetadata/v1/instance/service-accounts/default/identity?audience=https://x/"
FLAVOR = "Metadata-Flavor: Google"
# One of each kind of thing that the HTTP port serves: reads, changes, tokens, steering.
PATHS = [
    ("GET", IDENTITY),
    ("GET", "/computeMetadata/v1/instance/service-accounts/default/token"),
    ("POST", "/token"),
    ("GET", "/oauth2/v3/certs"),
    ("GET", "/"),
    ("POST", "/console/delete"),
    ("GET", "/_localcloud/state"),
    ("POST", "/_localcloud/reset"),
    ("GET", "/storage/v1/b?project=demo-project"),
    ("POST", "/storage/v1/b?project=demo-project"),
    ("POST", "/upload/storage/v1/b/artifacts/o?uploadType=media&name=x"),
    ("POST", "/batch/storage/v1"),
    ("DELETE", "/storage/v1/b/artifacts"),
    ("HEAD", "/"),
    ("OPTIONS", "/"),
    ("GET", f"/v1/{PARENT}/models"),
    ("POST", f"/v1/{PARENT}/models:upload"),
    ("DELETE", f"/v2/{PARENT}/services/web"),
    ("GET", "/nowhere"),
]
OURS = ["localhost", "LocalHost", "demo.localhost", "127.0.0.1", "127.9.8.7", "[::1]"]
OTHERS = [
    "rebound.example",
    "localhost.example",
    "notlocalhost",
    "127.0.0.1.nip.io",
    "127.0.0.1@rebound.example",
    "0.0.0.0",  # noqa: S104
    "10.0.0.1",
    "[::]",
    "[fe80::1]",
    "cloud",
    "metadata.google.internal.example",
    "storage.googleapis.com",
    "localhost, rebound.example",
    "",
]


def ask(cloud: LocalCloud, *head: str, body: bytes = b"") -> tuple[int, str]:
    """Send exactly these lines; the status and the whole answer."""
    with socket.create_connection(("127.0.0.1", cloud.http_port), timeout=5) as wire:
        wire.sendall("\r\n".join([*head, "", ""]).encode() + body)
        wire.shutdown(socket.SHUT_WR)
        answer = b"".join(iter(lambda: wire.recv(65536), b""))
    return int(answer.split(b" ", 2)[1]), answer.decode()


@pytest.mark.parametrize("host", OURS)
def test_this_machines_own_names_are_answered_with_and_without_a_port(
    cloud: LocalCloud, host: str
) -> None:
    for port in ("", f":{cloud.http_port}"):
        status, answer = ask(cloud, f"GET {IDENTITY} HTTP/1.1", f"Host: {host}{port}", FLAVOR)
        assert (status, answer.count("\r\n\r\neyJ")) == (200, 1)


@pytest.mark.parametrize("host", OTHERS)
def test_every_other_name_is_refused_and_told_why(cloud: LocalCloud, host: str) -> None:
    for port in ("", f":{cloud.http_port}"):
        status, answer = ask(cloud, f"GET {IDENTITY} HTTP/1.1", f"Host: {host}{port}", FLAVOR)
        assert status == 403
        assert "The local cloud answers to localhost, *.localhost, 127.0.0.0/8 and ::1" in answer
        assert "eyJ" not in answer


@pytest.mark.parametrize(("verb", "path"), PATHS)
def test_nothing_is_served_under_another_name(cloud: LocalCloud, verb: str, path: str) -> None:
    cloud.storage.write("artifacts", "kept", b"x")
    calls = cloud.effects.count()
    # The body is announced and never sent: a refusal does not wait for it.
    status, _ = ask(
        cloud, f"{verb} {path} HTTP/1.1", "Host: rebound.example", FLAVOR, "Content-Length: 9"
    )
    assert status == 403
    assert cloud.effects.count() == calls
    assert cloud.storage.names("artifacts") == ["kept"]


@pytest.mark.parametrize("host", ["metadata.google.internal", "169.254.169.254", "metadata:80"])
def test_the_metadata_servers_names_reach_it_alone(cloud: LocalCloud, host: str) -> None:
    asked = f"Host: {host}"
    assert ask(cloud, f"GET {IDENTITY} HTTP/1.1", asked, FLAVOR)[0] == 200
    assert ask(cloud, "GET / HTTP/1.1", asked, FLAVOR)[0] == 200
    # A page whose name was led to us cannot send the header without asking first.
    assert ask(cloud, f"GET {IDENTITY} HTTP/1.1", asked)[0] == 403
    for verb, path in PATHS:
        if path != "/" and not path.startswith("/computeMetadata/"):
            assert ask(cloud, f"{verb} {path} HTTP/1.1", asked, FLAVOR)[0] == 403


def test_the_target_of_a_request_names_a_host_too(cloud: LocalCloud) -> None:
    host = f"Host: 127.0.0.1:{cloud.http_port}"
    assert ask(cloud, f"GET http://rebound.example{IDENTITY} HTTP/1.1", host, FLAVOR)[0] == 403
    assert ask(cloud, f"GET http://localhost{IDENTITY} HTTP/1.1", host, FLAVOR)[0] == 200
    assert ask(cloud, "GET http://[::1/ HTTP/1.1", host)[0] == 400
    evil = "Host: rebound.example"
    assert ask(cloud, f"GET http://localhost{IDENTITY} HTTP/1.1", evil, FLAVOR)[0] == 403


def test_a_request_has_exactly_one_host(cloud: LocalCloud) -> None:
    ours = "Host: localhost"
    assert ask(cloud, "GET / HTTP/1.1")[0] == 400
    assert ask(cloud, "GET / HTTP/1.1", ours, ours)[0] == 400
    assert ask(cloud, "GET / HTTP/1.1", ours, "host: rebound.example")[0] == 400
    assert ask(cloud, "GET / HTTP/1.0")[0] == 200  # it knows no Host, and no browser speaks it


def test_a_refused_connection_is_closed_and_what_follows_is_not_taken_for_a_request(
    cloud: LocalCloud,
) -> None:
    cloud.storage.write("artifacts", "kept", b"x")
    hidden = b"DELETE /storage/v1/b/artifacts/o/kept HTTP/1.1\r\nHost: localhost\r\n\r\n"
    head = ("POST / HTTP/1.1", "Host: rebound.example", f"Content-Length: {len(hidden)}")
    _, answer = ask(cloud, *head, body=hidden)
    assert answer.count("HTTP/1.1 ") == 1
    assert cloud.storage.names("artifacts") == ["kept"]


@pytest.mark.parametrize(
    "headers",
    [
        {"Origin": "http://elsewhere.example"},
        {"Origin": "http://127.0.0.1:1"},
        {"Origin": "null"},
        {"Sec-Fetch-Site": "cross-site"},
        {"Sec-Fetch-Site": "same-site"},
    ],
)
def test_no_other_web_page_changes_anything(cloud: LocalCloud, headers: dict[str, str]) -> None:
    simple = "/upload/storage/v1/b/artifacts/o?uploadType=media&name=x"
    upload = f"/v1/{PARENT}/models:upload"
    for path in (
        "/storage/v1/b?project=x",
        simple,
        "/batch/storage/v1",
        upload,
        "/_localcloud/reset",
    ):
        answer = requests.post(f"{cloud.http_url}{path}", json={}, headers=headers, timeout=5)
        assert (answer.status_code, "other web page" in answer.text) == (403, True)
    assert cloud.effects.calls() == []


@pytest.mark.parametrize("mode", ["no-cors", "cors", "websocket"])
def test_no_other_web_page_includes_anything(cloud: LocalCloud, mode: str) -> None:
    headers = {"Sec-Fetch-Site": "cross-site", "Sec-Fetch-Mode": mode}
    for path in ("/", "/storage/v1/b?project=demo-project", f"/v1/{PARENT}/models"):
        answer = requests.get(f"{cloud.http_url}{path}", headers=headers, timeout=5)
        assert (answer.status_code, "other web page" in answer.text) == (403, True)
    assert cloud.effects.calls() == []


@pytest.mark.parametrize("name", ["127.0.0.1", "localhost"])
def test_its_own_page_is_used_under_either_name_and_linked_from_elsewhere(
    cloud: LocalCloud, name: str
) -> None:
    url = f"http://{name}:{cloud.http_port}"
    headers = {"Origin": url, "Sec-Fetch-Site": "same-origin"}
    answer = requests.post(f"{url}/_localcloud/reset", json={}, headers=headers, timeout=5)
    assert answer.status_code == 200
    linked = requests.get(url, headers={"Sec-Fetch-Site": "cross-site"}, timeout=5)
    assert linked.status_code == 200


def test_addresses_in_answers_are_the_clouds_own(cloud: LocalCloud) -> None:
    cloud.storage.write("artifacts", "a", b"x")
    headers = {"Host": "other.localhost:1"}
    for path in ("b/artifacts", "b/artifacts/o/a"):
        answer = requests.get(f"{cloud.http_url}/storage/v1/{path}", headers=headers, timeout=5)
        assert answer.json()["selfLink"].startswith(f"{cloud.http_url}/storage/v1/")
    upload = requests.post(
        f"{cloud.http_url}/upload/storage/v1/b/artifacts/o?uploadType=resumable&name=b",
        headers=headers,
        json={},
        timeout=5,
    )
    assert upload.headers["Location"].startswith(f"{cloud.http_url}/upload/")


@pytest.fixture(params=["api_endpoint", "STORAGE_EMULATOR_HOST"])
def gcs_under_a_name(
    request: pytest.FixtureRequest, cloud: LocalCloud, monkeypatch: pytest.MonkeyPatch
) -> Iterator[storage.Client]:
    """Google's storage client, told of the cloud in either of the ways there are."""
    options = {"api_endpoint": cloud.http_url}
    if request.param == "STORAGE_EMULATOR_HOST":
        monkeypatch.setenv("STORAGE_EMULATOR_HOST", f"http://localhost:{cloud.http_port}")
        options = {}
    client = storage.Client("demo-project", AnonymousCredentials(), client_options=options)
    yield client
    client.close()


def test_googles_storage_client_works_under_either_name(gcs_under_a_name: storage.Client) -> None:
    bucket = gcs_under_a_name.create_bucket("artifacts")
    blob = bucket.blob("big", chunk_size=256 * 1024)
    blob.upload_from_string(b"x" * 300_000)  # in pieces: its second address is in our answer
    assert bucket.get_blob("big").download_as_bytes() == b"x" * 300_000
    with gcs_under_a_name.batch():
        bucket.delete_blob("big")
    assert list(gcs_under_a_name.list_blobs("artifacts")) == []


@pytest.mark.parametrize("authority", ["rebound.example", "aiplatform.googleapis.com", "10.0.0.1"])
def test_a_grpc_call_to_another_host_is_refused(cloud: LocalCloud, authority: str) -> None:
    cloud.models.seed("42", display_name="ranker")
    options = (("grpc.default_authority", authority),)
    with grpc.insecure_channel(cloud.grpc_target, options=options) as channel:
        client = ModelServiceClient(
            transport=ModelServiceClient.get_transport_class("grpc")(channel=channel)
        )
        with pytest.raises(exceptions.PermissionDenied, match="answers to localhost"):
            client.delete_model(name=f"{PARENT}/models/42")
    assert cloud.effects.calls() == []


def test_a_grpc_call_to_localhost_is_served(
    cloud: LocalCloud, client_of: Callable[..., run_v2.ServicesClient]
) -> None:
    assert list(client_of(run_v2.ServicesClient).list_services(parent=PARENT)) == []
    with grpc.insecure_channel(f"localhost:{cloud.grpc_port}") as channel:
        transport = run_v2.ServicesClient.get_transport_class("grpc")(channel=channel)
        assert list(run_v2.ServicesClient(transport=transport).list_services(parent=PARENT)) == []


def test_what_is_this_machine_and_what_is_not() -> None:
    assert all(is_loopback(host) and is_loopback(f"{host}:80") for host in OURS)
    assert not any(is_loopback(host) for host in [*OTHERS, "::1", "localhost:x", "[::1", "a b"])


def test_every_port_listens_on_loopback_only() -> None:
    with LocalCloud(tls_port=0) as cloud:
        for port in (cloud.grpc_port, cloud.http_port, cloud.tls_port):
            with socket.socket() as elsewhere, pytest.raises(ConnectionRefusedError):
                elsewhere.connect(("127.0.0.2", port))
