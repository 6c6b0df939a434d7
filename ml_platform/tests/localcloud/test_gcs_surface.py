"""What every call of Cloud Storage's JSON API honours, and what is refused with 501."""

from __future__ import annotations

import socket
import ssl

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


# etags

ETAG_CALLS = [
    ("GET", f"/storage/v1/b/{B}/o/a", None),
    ("GET", f"/storage/v1/b/{B}/o/a?alt=media", None),
    ("GET", f"/storage/v1/b/{B}", None),
    ("PATCH", f"/storage/v1/b/{B}/o/a", {"metadata": {"k": "v"}}),
    ("PUT", f"/storage/v1/b/{B}/o/a", {}),
    ("PATCH", f"/storage/v1/b/{B}", {}),
    ("PUT", f"/storage/v1/b/{B}", {}),
    ("POST", f"/upload/storage/v1/b/{B}/o?uploadType=media&name=a", {}),
    ("POST", f"/upload/storage/v1/b/{B}/o?uploadType=resumable&name=a", {}),
    ("POST", f"/storage/v1/b/{B}/o/a/compose", {"sourceObjects": [{"name": "a"}]}),
    ("POST", f"/storage/v1/b/{B}/o/a/rewriteTo/b/{B}/o/a", {}),
    ("DELETE", f"/storage/v1/b/{B}/o/a", None),
    ("DELETE", f"/storage/v1/b/{B}", None),
]


@pytest.mark.parametrize(("verb", "path", "body"), ETAG_CALLS)
def test_a_wrong_etag_stops_every_call(
    cloud: LocalCloud, bucket: Bucket, verb: str, path: str, body: object
) -> None:
    before = bucket.get_blob("a").metageneration
    answer = call(cloud, verb, path, body, headers={"If-Match": '"bad"'})
    assert answer.status_code == 412
    if "alt=media" not in path:
        assert (item(answer)["reason"], item(answer)["location"]) == ("conditionNotMet", "If-Match")
    assert bucket.get_blob("a").metageneration == before
    assert call(cloud, verb, path, body, headers={"If-None-Match": "*"}).status_code == (
        304 if verb == "GET" else 412
    )


def test_an_etag_may_be_quoted_weak_or_one_of_several(cloud: LocalCloud, bucket: Bucket) -> None:
    path = f"/storage/v1/b/{B}/o/a"
    etag = call(cloud, "GET", path).json()["etag"]
    for header in (etag, f'"{etag}"', f'W/"{etag}"', f'"x", "{etag}"', "*"):
        assert call(cloud, "GET", path, headers={"If-Match": header}).status_code == 200
    assert call(cloud, "GET", path).headers["ETag"] == etag
    assert call(cloud, "GET", f"{path}?alt=media").headers["ETag"] == etag


def test_a_resumable_upload_is_held_to_its_first_etag(cloud: LocalCloud, bucket: Bucket) -> None:
    etag = bucket.get_blob("a").etag
    path = f"/upload/storage/v1/b/{B}/o?uploadType=resumable&name=a"
    begun = call(cloud, "POST", path, {}, headers={"If-Match": etag})
    bucket.blob("a").upload_from_string(b"faster")
    assert requests.put(begun.headers["Location"], data=b"x", timeout=5).status_code == 412
    assert bucket.blob("a").download_as_bytes() == b"faster"


# fields


@pytest.mark.parametrize(
    ("path", "fields", "blamed"),
    [
        (f"/storage/v1/b/{B}/o/a", "nope", "nope"),
        (f"/storage/v1/b/{B}/o", "name", "name"),
        (f"/storage/v1/b/{B}/o", "items/nope", "nope"),
        (f"/storage/v1/b/{B}/o", "items/name/x", "name"),
        (f"/storage/v1/b/{B}/o", "items(name", "items(name"),
        (f"/storage/v1/b/{B}", "name,", "name,"),
        (f"/storage/v1/b/{B}", "a" + "/a" * 3000, "a" + "/a" * 3000),
    ],
)
def test_a_field_that_does_not_exist_is_refused(
    cloud: LocalCloud, bucket: Bucket, path: str, fields: str, blamed: str
) -> None:
    answer = call(cloud, "GET", path, params={"fields": fields})
    assert answer.status_code == 400
    assert item(answer) == {
        "message": f"Invalid field selection {blamed}",
        "domain": "global",
        "reason": "invalidParameter",
        "locationType": "parameter",
        "location": "fields",
    }


def test_fields_are_honoured_by_every_answer(cloud: LocalCloud, bucket: Bucket) -> None:
    ask = {"fields": "name"}
    upload = f"/upload/storage/v1/b/{B}/o?uploadType="
    answers = [
        call(cloud, "GET", f"/storage/v1/b/{B}", params=ask),
        call(cloud, "PATCH", f"/storage/v1/b/{B}", {}, params=ask),
        call(cloud, "GET", f"/storage/v1/b/{B}/o/a", params=ask),
        call(cloud, "PATCH", f"/storage/v1/b/{B}/o/a", {}, params=ask),
        call(cloud, "POST", f"{upload}media&name=b", {}, params=ask),
    ]
    begun = call(cloud, "POST", f"{upload}resumable&name=c", {}, params=ask)
    answers.append(requests.put(begun.headers["Location"], data=b"1", timeout=5))
    assert [answer.json() for answer in answers] == [{"name": name} for name in (B, B, *"aabc")]
    refused = call(cloud, "POST", f"{upload}media&name=d", {}, params={"fields": "nope"})
    assert (refused.status_code, cloud.storage.names(B)) == (400, ["a", "b", "c"])
    media = call(cloud, "GET", f"/storage/v1/b/{B}/o/a?alt=media", params=ask)
    assert media.content == b"hello"


# layout, and what is not served


def test_a_bucket_says_that_it_has_no_hierarchy(cloud: LocalCloud, bucket: Bucket) -> None:
    assert call(cloud, "GET", f"/storage/v1/b/{B}/storageLayout").json() == {
        "kind": "storage#storageLayout",
        "bucket": B,
        "location": "EUROPE-CENTRAL2",
        "locationType": "region",
        "hierarchicalNamespace": {"enabled": False},
    }


def test_tls_on_the_http_port_leads_to_the_tls_port() -> None:
    with LocalCloud(tls_port=0) as cloud:
        context = ssl.create_default_context(cafile=str(cloud.tls_ca_file))
        with (
            socket.create_connection(("127.0.0.1", cloud.http_port), timeout=5) as plain,
            context.wrap_socket(plain, server_hostname="localhost") as secure,
        ):
            assert secure.version() in ("TLSv1.2", "TLSv1.3")
    with (
        LocalCloud() as cloud,
        socket.create_connection(("127.0.0.1", cloud.http_port), timeout=5) as plain,
    ):
        plain.sendall(b"\x16\x03\x01")
        with plain.makefile("rb") as answer:
            assert answer.read().startswith(b"HTTP/1.1 400 "), "it waits for a request's first line"


@pytest.mark.parametrize(
    ("verb", "path", "body"),
    [
        ("GET", f"/storage/v1/b/{B}/acl", None),
        ("POST", f"/storage/v1/b/{B}/o/a/acl", {"entity": "allUsers", "role": "READER"}),
        ("PATCH", f"/storage/v1/b/{B}/o/a", {"acl": [{"entity": "allUsers"}]}),
        ("PATCH", f"/storage/v1/b/{B}/o/a?predefinedAcl=publicRead", {}),
        ("POST", f"/upload/storage/v1/b/{B}/o?uploadType=media&name=b&kmsKeyName=k", {}),
        ("PATCH", f"/storage/v1/b/{B}", {"encryption": {"defaultKmsKeyName": "k"}}),
        ("PATCH", f"/storage/v1/b/{B}", {"cors": [{"origin": ["*"]}]}),
        ("PATCH", f"/storage/v1/b/{B}", {"autoclass": {"enabled": True}}),
        ("POST", f"/storage/v1/b/{B}/folders", {"name": "x/"}),
    ],
)
def test_what_is_not_served_is_refused_and_not_stored(
    cloud: LocalCloud, bucket: Bucket, verb: str, path: str, body: object
) -> None:
    before = call(cloud, "GET", f"/storage/v1/b/{B}").json()
    answer = call(cloud, verb, path, body)
    assert (answer.status_code, item(answer)["reason"]) == (501, "notImplemented")
    assert item(answer)["message"].startswith("The local cloud does not serve ")
    assert call(cloud, "GET", f"/storage/v1/b/{B}").json() == before
    assert cloud.storage.names(B) == ["a"]


def test_the_private_predefined_acls_change_nothing_and_are_taken(cloud: LocalCloud) -> None:
    path = "/storage/v1/b?project=demo-project&predefinedAcl=projectPrivate"
    path += "&predefinedDefaultObjectAcl=bucketOwnerFullControl"
    assert call(cloud, "POST", path, {"name": B}).status_code == 200
