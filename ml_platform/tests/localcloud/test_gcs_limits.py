"""The limits of Cloud Storage in Google's words: names, sizes, checksums, shapes of bodies."""

from __future__ import annotations

from typing import Any
from urllib.parse import quote

import pytest
import requests
from google.cloud.storage import Bucket, Client

from ml_platform.localcloud import LocalCloud
from ml_platform.tests.localcloud.storage_calls import B, call, item


@pytest.fixture
def bucket(gcs: Client) -> Bucket:
    """A bucket with one object, `a`."""
    made = gcs.create_bucket(B)
    made.blob("a").upload_from_string(b"hello")
    return made


@pytest.mark.parametrize(
    "name", ["a" * 64, "goog-models", "my-google-models", "my-g00gle", "1.2.3.4", "a..b", "a-.b"]
)
def test_a_bucket_name_of_google_or_too_long_is_refused(cloud: LocalCloud, name: str) -> None:
    answer = call(cloud, "POST", "/storage/v1/b?project=demo-project", {"name": name})
    assert (answer.status_code, item(answer)["message"]) == (400, f"Invalid bucket name: '{name}'")
    longest = ".".join(["a" * 63, "b" * 63])
    made = call(cloud, "POST", "/storage/v1/b?project=demo-project", {"name": longest})
    assert made.status_code == 200


@pytest.mark.parametrize(
    ("name", "words"),
    [
        ("a\rb", "Disallowed unicode characters present in object name."),
        ("a\nb", "Disallowed unicode characters present in object name."),
        ("ą" * 513, "The maximum object length is 1024 characters, but got a name with 1026"),
        (".well-known/acme-challenge/x", "Invalid object name"),
    ],
)
def test_an_object_name_is_refused_on_every_way_to_write(
    cloud: LocalCloud, bucket: Bucket, name: str, words: str
) -> None:
    quoted = quote(name, safe="")
    upload = f"/upload/storage/v1/b/{B}/o?uploadType="
    one = f"/storage/v1/b/{B}/o/"
    for answer in (
        call(cloud, "POST", f"{upload}media&name={quoted}", {}),
        call(cloud, "POST", f"{upload}resumable", {"name": name}),
        call(cloud, "POST", f"{one}{quoted}/compose", {"sourceObjects": [{"name": "a"}]}),
        call(cloud, "POST", f"{one}a/rewriteTo/b/{B}/o/{quoted}", {}),
    ):
        assert (answer.status_code, words in item(answer)["message"]) == (400, True)
    assert cloud.storage.names(B) == ["a"]


def test_metadata_and_compose_have_limits(cloud: LocalCloud, bucket: Bucket) -> None:
    path = f"/storage/v1/b/{B}/o/a"
    for size, status in ((8191, 200), (8192, 400)):
        answer = call(cloud, "PATCH", path, {"metadata": {"k": "v" * size}})
        assert answer.status_code == status
    for count, words in (
        (0, "You must provide at least one source component."),
        (33, "The number of source components provided (33) exceeds the maximum (32)"),
    ):
        body = {"sourceObjects": [{"name": "a"}] * count}
        assert item(call(cloud, "POST", f"{path}/compose", body))["message"] == words


@pytest.mark.parametrize(
    "source",
    [
        {"generation": None, "objectPreconditions": None},
        {"objectPreconditions": {"ifGenerationMatch": None}},
        {"generation": "G", "objectPreconditions": {"ifGenerationMatch": "G"}},
        {"generation": 0},
    ],
)
def test_numbers_in_a_compose_may_be_null_or_strings(
    cloud: LocalCloud, bucket: Bucket, source: dict[str, Any]
) -> None:
    generation = str(bucket.get_blob("a").generation)
    if source.get("generation") == "G":
        source = {
            "generation": generation,
            "objectPreconditions": {"ifGenerationMatch": generation},
        }
    body = {"sourceObjects": [{"name": "a"} | source], "destination": None}
    answer = call(cloud, "POST", f"/storage/v1/b/{B}/o/b/compose", body)
    assert answer.status_code == (404 if source.get("generation") == 0 else 200)


@pytest.mark.parametrize("body", [{"metadata": [1]}, {"metadata": "x"}])
def test_a_body_of_another_shape_is_refused(
    cloud: LocalCloud, bucket: Bucket, body: object
) -> None:
    assert call(cloud, "PATCH", f"/storage/v1/b/{B}/o/a", body).status_code == 400
    bad = {"sourceObjects": "a"}
    assert call(cloud, "POST", f"/storage/v1/b/{B}/o/b/compose", bad).status_code == 400


@pytest.mark.parametrize(
    ("header", "metadata"),
    [
        ({"X-Goog-Hash": "crc32c=AAAAAA=="}, {}),
        ({"X-Goog-Hash": "crc32c=mnG7TA==,md5=AAAAAAAAAAAAAAAAAAAAAA=="}, {}),
        ({"Content-MD5": "AAAAAAAAAAAAAAAAAAAAAA=="}, {}),
        # A right header does not heal wrong metadata.
        ({"X-Goog-Hash": "crc32c=mnG7TA=="}, {"crc32c": "AAAAAA=="}),
        ({}, {"md5Hash": "AAAAAAAAAAAAAAAAAAAAAA=="}),
    ],
)
def test_every_checksum_that_comes_is_checked(
    cloud: LocalCloud, bucket: Bucket, header: dict[str, str], metadata: dict[str, str]
) -> None:
    path = f"/upload/storage/v1/b/{B}/o?uploadType=resumable&name=b"
    begun = call(cloud, "POST", path, metadata)
    put = requests.put(begun.headers["Location"], data=b"hello", headers=header, timeout=5)
    assert (put.status_code, put.json()["error"]["errors"][0]["reason"]) == (400, "invalid")
    assert "doesn't match calculated" in put.json()["error"]["message"]
    assert cloud.storage.names(B) == ["a"]


def test_a_session_is_continued_by_post_and_ended_by_delete(
    cloud: LocalCloud, bucket: Bucket
) -> None:
    quarter = 256 * 1024
    path = f"/upload/storage/v1/b/{B}/o?uploadType=resumable&name=b"
    url = call(cloud, "POST", path, {}).headers["Location"]
    first = {"Content-Range": f"bytes 0-{quarter - 1}/*"}
    assert requests.post(url, data=b"x" * quarter, headers=first, timeout=5).status_code == 308
    asked = requests.post(url, headers={"Content-Range": "bytes */*"}, timeout=5)
    assert (asked.status_code, asked.headers["Range"]) == (308, f"bytes=0-{quarter - 1}")
    last = {"Content-Range": f"bytes {quarter}-{quarter}/{quarter + 1}"}
    assert requests.post(url, data=b"y", headers=last, timeout=5).json()["size"] == str(quarter + 1)
    other = call(cloud, "POST", path, {}).headers["Location"]
    assert requests.delete(other, timeout=5).status_code == 499
