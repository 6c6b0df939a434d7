"""Retells python-storage's tests/system/test__signing.py: what a signed URL allows.

Left out: signing by the IAM Credentials API (the SDK asks https://iamcredentials.googleapis.com)
and POST policies, which the local cloud refuses.
"""

from __future__ import annotations

import base64
import hashlib
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
import requests
from google.cloud import storage
from google.oauth2 import service_account

from ml_platform.localcloud import LocalCloud
from ml_platform.tests.localcloud.conftest import ROBOT

VERSIONS = pytest.mark.parametrize("version", ["v2", "v4"])
NAME, DATA = "Caf\xe9 ~(1).txt", b"This time for sure"
Sign = Callable[..., str]


@pytest.fixture
def sign(cloud: LocalCloud, bucket: storage.Bucket) -> Sign:
    """`sign(name, "GET", version=...)`: a URL for an object, or for the bucket without a name."""
    bucket.blob(NAME).upload_from_string(DATA)
    key = service_account.Credentials.from_service_account_info(cloud.key_file(ROBOT))

    def sign(name: str, method: str = "GET", **more: Any) -> str:
        target = bucket.blob(name) if name else bucket
        options = {"expiration": timedelta(seconds=10), "version": "v4"} | more
        return str(
            target.generate_signed_url(
                method=method, credentials=key, api_access_endpoint=cloud.http_url, **options
            )
        )

    return sign


def ask(method: str, url: str, **more: Any) -> requests.Response:
    return requests.request(method, url, timeout=5, **more)


@VERSIONS
@pytest.mark.parametrize(
    "expiration",
    [timedelta(seconds=10), lambda: datetime.now(UTC) + timedelta(seconds=10)],
    ids=["a while", "a time"],
)
def test_an_object_is_read(sign: Sign, version: str, expiration: Any) -> None:
    until = expiration() if callable(expiration) else expiration
    for method in ("GET", "get"):
        got = ask("GET", sign(NAME, method, version=version, expiration=until))
        assert (got.status_code, got.content) == (200, DATA)


@VERSIONS
def test_a_bucket_is_listed(sign: Sign, version: str) -> None:
    got = ask("GET", sign("", version=version))
    assert got.status_code == 200
    assert f"<Key>{NAME}</Key>" in got.text


@VERSIONS
def test_an_object_with_a_customers_key_is_read(
    cloud: LocalCloud, bucket: storage.Bucket, version: str
) -> None:
    key = b"k" * 32
    blob = bucket.blob("csek", encryption_key=key)
    blob.upload_from_string(DATA)
    robot = service_account.Credentials.from_service_account_info(cloud.key_file(ROBOT))
    url = blob.generate_signed_url(
        timedelta(seconds=10), cloud.http_url, version=version, credentials=robot
    )
    headers = {
        "x-goog-encryption-algorithm": "AES256",
        "x-goog-encryption-key": base64.b64encode(key).decode(),
        "x-goog-encryption-key-sha256": base64.b64encode(hashlib.sha256(key).digest()).decode(),
    }
    assert ask("GET", url, headers=headers).content == DATA


@VERSIONS
def test_an_object_is_deleted(sign: Sign, bucket: storage.Bucket, version: str) -> None:
    gone = ask("DELETE", sign(NAME, "DELETE", version=version))
    assert (gone.status_code, gone.content) == (204, b"")
    assert not bucket.blob(NAME).exists()


@VERSIONS
def test_an_upload_is_begun_and_continued_without_a_signature(
    sign: Sign, bucket: storage.Bucket, version: str
) -> None:
    begun = ask(
        "POST",
        sign("cruddy", "RESUMABLE", version=version),
        headers={"x-goog-resumable": "start"},
    )
    assert begun.status_code == 201
    assert ask("PUT", begun.headers["Location"], data=b"DEADBEEF").status_code == 200
    assert ask("GET", sign("cruddy", version=version)).content == b"DEADBEEF"


@VERSIONS
def test_a_url_expires_by_the_clock(cloud: LocalCloud, sign: Sign, version: str) -> None:
    url = sign(NAME, version=version, expiration=datetime.now(UTC) + timedelta(hours=1))
    assert ask("GET", url).status_code == 200
    cloud.clock.advance(3601)
    late = ask("GET", url)
    assert (late.status_code, "<Code>ExpiredToken</Code>" in late.text) == (400, True)


def test_a_policy_for_a_form_is_refused_as_not_implemented(
    gcs: storage.Client, cloud: LocalCloud, bucket: storage.Bucket
) -> None:
    robot = service_account.Credentials.from_service_account_info(cloud.key_file(ROBOT))
    policy = gcs.generate_signed_post_policy_v4(
        bucket.name, "form", timedelta(hours=1), credentials=robot, scheme="http"
    )
    url = f"{cloud.http_url}/{bucket.name}/"
    form = ask("POST", url, data=policy["fields"], files={"file": b"DEADBEEF"})
    assert (form.status_code, "<Code>NotImplemented</Code>" in form.text) == (501, True)
    assert list(bucket.list_blobs()) == []
