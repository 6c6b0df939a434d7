"""Retries by googleapis/python-storage's client, retold from its tests/conformance.

The scenarios of retry_strategy_test_data.json through the Retry Test API of
googleapis/storage-testbench, which the local cloud serves. Left out: the methods of ACLs (501) and
the real pauses: here the client waits no time between tries.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from types import SimpleNamespace
from typing import Any

import pytest
import requests
from google.api_core import exceptions
from google.auth.exceptions import GoogleAuthError
from google.cloud.storage import Bucket, Client
from google.cloud.storage.hmac_key import HMACKeyMetadata

from ml_platform.localcloud import LocalCloud

Call = Callable[[Client, dict[str, Any]], object]
BIG = 9 * 1024 * 1024
RETRIED = (
    ["return-503", "return-503"],
    ["return-reset-connection", "return-reset-connection"],
    ["return-reset-connection", "return-503"],
)
ONCE = (["return-503"], ["return-reset-connection"])
REFUSED = (["return-400"], ["return-401"])
MIXED = (["return-503", "return-400"], ["return-reset-connection", "return-401"])


def bucket_of(client: Client) -> Bucket:
    """The bucket of every scenario, not loaded."""
    return client.bucket("retries")


def patch(client: Client, precondition: dict[str, Any]) -> None:
    blob = bucket_of(client).blob("a")
    blob.metadata = {"k": "v"}
    blob.patch(**precondition)


def compose(client: Client, precondition: dict[str, Any]) -> None:
    bucket = bucket_of(client)
    bucket.blob("new").compose([bucket.blob("a")], **precondition)


def relabel(client: Client, precondition: dict[str, Any]) -> None:
    bucket = bucket_of(client)
    bucket.labels = {"k": "v"}
    bucket.patch(**precondition)


def key_of(client: Client) -> HMACKeyMetadata:
    """The scene's HMAC key, read without the test's header."""
    header = client._http.headers.pop("x-retry-test-id")
    (key,) = client.list_hmac_keys()
    client._http.headers["x-retry-test-id"] = header
    return HMACKeyMetadata(client, access_id=key.access_id)


def end_key(client: Client, _: dict[str, Any]) -> None:
    key = key_of(client)
    key.state = "INACTIVE"
    key.update()
    key.delete()


def disable_key(client: Client, _: dict[str, Any]) -> None:
    key = key_of(client)
    key.state = "INACTIVE"
    key.update()


ALWAYS: dict[str, Call] = {
    "storage.buckets.get": lambda client, _: client.get_bucket("retries"),
    "storage.buckets.getIamPolicy": lambda client, _: bucket_of(client).get_iam_policy(),
    "storage.buckets.insert": lambda client, _: client.create_bucket("another"),
    "storage.buckets.list": lambda client, _: list(client.list_buckets()),
    "storage.buckets.delete": lambda client, _: client.bucket("empty").delete(),
    "storage.buckets.testIamPermissions": lambda client, _: bucket_of(client).test_iam_permissions(
        ["storage.buckets.get"]
    ),
    "storage.objects.get": lambda client, _: bucket_of(client).get_blob("a"),
    "storage.objects.list": lambda client, _: list(client.list_blobs("retries")),
    "storage.hmacKey.delete": end_key,
    "storage.hmacKey.get": lambda client, _: key_of(client).reload(),
    "storage.hmacKey.list": lambda client, _: list(client.list_hmac_keys()),
    "storage.notifications.delete": lambda client, _: (
        bucket_of(client).notification(notification_id="1").delete()
    ),
    "storage.notifications.get": lambda client, _: bucket_of(client).get_notification("1"),
    "storage.notifications.list": lambda client, _: list(bucket_of(client).list_notifications()),
    "storage.serviceaccount.get": lambda client, _: client.get_service_account_email(),
}
CONDITIONAL: dict[str, tuple[Call, str]] = {
    "storage.objects.patch": (patch, "if_metageneration_match"),
    "storage.objects.compose": (compose, "if_generation_match"),
    "storage.objects.delete": (
        lambda client, only_if: bucket_of(client).blob("a").delete(**only_if),
        "if_generation_match",
    ),
    "storage.objects.copy": (
        lambda client, only_if: bucket_of(client).copy_blob(
            bucket_of(client).blob("a"), bucket_of(client), "new", **only_if
        ),
        "if_generation_match",
    ),
    "storage.objects.rewrite": (
        lambda client, only_if: (
            bucket_of(client).blob("new").rewrite(bucket_of(client).blob("a"), **only_if)
        ),
        "if_generation_match",
    ),
    "storage.buckets.patch": (relabel, "if_metageneration_match"),
}
NEVER: dict[str, Call] = {
    "storage.hmacKey.create": lambda client, _: client.create_hmac_key("a@b.c"),
    "storage.hmacKey.update": disable_key,
    "storage.notifications.insert": lambda client, _: (
        bucket_of(client).notification("changes").create()
    ),
}
NEW = ("storage.objects.compose", "storage.objects.copy", "storage.objects.rewrite")


@pytest.fixture(autouse=True)
def no_waiting(monkeypatch: pytest.MonkeyPatch) -> None:
    """The client's own retries, without its pauses."""
    clock = SimpleNamespace(sleep=lambda _: None, monotonic=time.monotonic)
    monkeypatch.setattr("google.api_core.retry.retry_unary.time", clock)


@pytest.fixture
def scene(cloud: LocalCloud, gcs: Client) -> Client:
    """A bucket with one object and a notification, an empty bucket, and an HMAC key."""
    populate(cloud, gcs)
    return gcs


def populate(cloud: LocalCloud, client: Client) -> None:
    cloud.storage.write("retries", "a", b"hello world")
    client.create_bucket("empty")
    bucket_of(client).notification("changes").create()
    client.create_hmac_key("a@b.c")


def run(
    cloud: LocalCloud, client: Client, method: str, instructions: list[str], deed: Call, **only: int
) -> tuple[bool, bool]:
    """Whether the client succeeded under the instructions, and whether it used them all up."""
    url = f"{cloud.http_url}/retry_test"
    body = {"instructions": {method: instructions}}
    key = requests.post(url, json=body, timeout=5).json()["id"]
    client._http.headers["x-retry-test-id"] = key
    try:
        deed(client, only)
    except (exceptions.GoogleAPIError, GoogleAuthError, requests.RequestException):
        succeeded = False
    else:
        succeeded = True
    finally:
        del client._http.headers["x-retry-test-id"]
    return succeeded, requests.get(f"{url}/{key}", timeout=5).json()["completed"]


def condition(client: Client, method: str) -> dict[str, int]:
    """The precondition that makes a call of `method` safe to repeat."""
    name = CONDITIONAL[method][1]
    if method in NEW:
        return {name: 0}
    found = bucket_of(client).get_blob("a")
    return {name: 1 if "meta" in name else found.generation}


@pytest.mark.parametrize("method", ALWAYS)
def test_what_is_always_idempotent_is_retried(
    cloud: LocalCloud, scene: Client, method: str
) -> None:
    for number, instructions in enumerate(RETRIED):
        if number and method.endswith((".insert", ".delete")):
            cloud.reset()
            populate(cloud, scene)
        ended = run(cloud, scene, method, instructions, ALWAYS[method])
        assert ended == (True, True), instructions


@pytest.mark.parametrize("method", CONDITIONAL)
def test_what_has_a_precondition_is_retried(cloud: LocalCloud, scene: Client, method: str) -> None:
    for instructions in RETRIED:
        cloud.reset()
        cloud.storage.write("retries", "a", b"hello world")
        only = condition(scene, method)
        ended = run(cloud, scene, method, instructions, CONDITIONAL[method][0], **only)
        assert ended == (True, True), instructions


@pytest.mark.parametrize("method", [*NEW, "storage.buckets.patch"])
def test_what_has_no_precondition_is_not_retried(
    cloud: LocalCloud, scene: Client, method: str
) -> None:
    for instructions in ONCE:
        ended = run(cloud, scene, method, instructions, CONDITIONAL[method][0])
        assert ended == (False, True), instructions


@pytest.mark.parametrize("method", NEVER)
def test_what_is_not_idempotent_is_never_retried(
    cloud: LocalCloud, scene: Client, method: str
) -> None:
    for instructions in ONCE:
        assert run(cloud, scene, method, instructions, NEVER[method]) == (False, True)


@pytest.mark.parametrize("method", ALWAYS)
def test_what_is_not_retryable_ends_the_call(cloud: LocalCloud, scene: Client, method: str) -> None:
    for instructions in (*REFUSED, *MIXED):
        assert run(cloud, scene, method, instructions, ALWAYS[method]) == (False, True)


@pytest.mark.parametrize(
    "instructions",
    [
        ["return-reset-connection", "return-503"],
        ["return-408"],
        ["return-503-after-256K"],
        ["return-503-after-8192K", "return-408"],
    ],
)
def test_a_resumable_upload_goes_on_where_it_was_broken(
    cloud: LocalCloud, scene: Client, instructions: list[str]
) -> None:
    data = bytes(range(256)) * (BIG // 256)

    def upload(client: Client, only: dict[str, Any]) -> None:
        blob = bucket_of(client).blob("big", chunk_size=2 * 1024 * 1024)
        blob.upload_from_string(data, **only)

    ended = run(cloud, scene, "storage.objects.insert", instructions, upload, if_generation_match=0)
    assert ended == (True, True)
    assert cloud.storage.read("retries", "big") == data


@pytest.mark.parametrize(
    "instructions",
    [["return-broken-stream", "return-broken-stream"], ["return-broken-stream-after-256K"]],
)
def test_a_download_goes_on_where_it_was_broken(
    cloud: LocalCloud, scene: Client, instructions: list[str]
) -> None:
    data = bytes(range(256)) * 4096
    cloud.storage.write("retries", "big", data)
    got: list[bytes] = []

    def download(client: Client, _: dict[str, Any]) -> None:
        got.append(bucket_of(client).blob("big").download_as_bytes())

    ended = run(cloud, scene, "storage.objects.get", instructions, download)
    assert (ended, got) == ((True, True), [data])
