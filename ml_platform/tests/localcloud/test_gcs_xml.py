"""The XML API: signed URLs, plain requests, and what it refuses, over the wire."""

from __future__ import annotations

import hashlib
import hmac
import re
from datetime import UTC, datetime, timedelta
from typing import Any
from urllib.parse import quote, urlencode, urlsplit

import pytest
import requests
from google.cloud.storage import Bucket, Client
from google.oauth2 import service_account

from ml_platform.localcloud import LocalCloud
from ml_platform.localcloud.core.access.callers import access_token
from ml_platform.tests.localcloud.conftest import ROBOT

EMAIL = f"serviceAccount:{ROBOT}"
BY_ROBOT = {"Authorization": f"Bearer {access_token(ROBOT)}"}


def ask(cloud: LocalCloud, verb: str, path: str, **more: Any) -> requests.Response:
    return requests.request(verb, cloud.http_url + path, timeout=5, **more)


def code_of(reply: requests.Response) -> str:
    found = re.search("<Code>(.*)</Code>", reply.text)
    return found[1] if found else ""


def by_hmac(
    cloud: LocalCloud,
    access_id: str,
    secret: str,
    path: str,
    verb: str = "GET",
    *,
    seconds: object = 60,
    signed: str = "host",
) -> str:
    """A V4 signed URL (cloud.google.com/storage/docs/authentication/signatures)."""
    now = datetime.now(UTC)
    scope = f"{now:%Y%m%d}/auto/storage/goog4_request"
    query = {
        "X-Goog-Algorithm": "GOOG4-HMAC-SHA256",
        "X-Goog-Credential": f"{access_id}/{scope}",
        "X-Goog-Date": f"{now:%Y%m%dT%H%M%SZ}",
        "X-Goog-Expires": str(seconds),
        "X-Goog-SignedHeaders": signed,
    }
    asked = urlencode(query, quote_via=quote)
    host = urlsplit(cloud.http_url).netloc
    canonical = "\n".join([verb, path, asked, f"host:{host}\n", "host", "UNSIGNED-PAYLOAD"])
    digest = hashlib.sha256(canonical.encode()).hexdigest()
    text = "\n".join(["GOOG4-HMAC-SHA256", query["X-Goog-Date"], scope, digest])
    key = f"GOOG4{secret}".encode()
    for part in scope.split("/"):
        key = hmac.digest(key, part.encode(), "sha256")
    return f"{path}?{asked}&X-Goog-Signature={hmac.digest(key, text.encode(), 'sha256').hex()}"


def test_a_key_signs_for_its_account_while_it_is_active(
    cloud: LocalCloud, gcs: Client, bucket: Bucket
) -> None:
    bucket.blob("a/b").upload_from_string(b"data")
    path = f"/{bucket.name}/a/b"
    key, secret = gcs.create_hmac_key(service_account_email=ROBOT)
    good = by_hmac(cloud, key.access_id, secret, path)
    assert ask(cloud, "GET", good).content == b"data"
    assert cloud.effects.calls("storage.objects.get")[-1].caller == ROBOT
    for verb, url, status, code in (
        ("PUT", good, 403, "SignatureDoesNotMatch"),
        ("GET", by_hmac(cloud, key.access_id, "x", path), 403, "SignatureDoesNotMatch"),
        ("GET", by_hmac(cloud, "GOOG1EX", secret, path), 403, "InvalidSecurity"),
        ("GET", good + "0", 400, "MalformedSecurityHeader"),
        ("GET", good.replace("/b?", "/c?"), 403, "SignatureDoesNotMatch"),
        (
            "GET",
            by_hmac(cloud, key.access_id, secret, path, seconds=604801),
            400,
            "InvalidArgument",
        ),
        ("GET", by_hmac(cloud, key.access_id, secret, path, seconds="x"), 400, "InvalidArgument"),
        (
            "GET",
            by_hmac(cloud, key.access_id, secret, path, signed="host;x-goog-meta-k"),
            400,
            "MalformedSecurityHeader",
        ),
        ("GET", good.replace("GOOG4-HMAC-SHA256", "MD5"), 400, "InvalidArgument"),
        ("GET", good.partition("&X-Goog-Signature")[0], 400, "InvalidArgument"),
    ):
        got = ask(cloud, verb, url)
        assert (got.status_code, code_of(got)) == (status, code), url

    cloud.iam.restrict(EMAIL)
    assert code_of(ask(cloud, "GET", good)) == "AccessDenied"
    cloud.iam.release(EMAIL)
    key.state = "INACTIVE"
    key.update()
    assert code_of(ask(cloud, "GET", good)) == "InvalidSecurity"


def test_a_key_file_made_elsewhere_is_believed_unless_the_account_has_one_of_ours(
    cloud: LocalCloud, bucket: Bucket
) -> None:
    bucket.blob("a").upload_from_string(b"data")
    elsewhere = cloud.key_file(ROBOT)
    cloud.store.delete("cloud.account_keys", ROBOT)
    key = service_account.Credentials.from_service_account_info(elsewhere)
    for version in ("v2", "v4"):
        url = bucket.blob("a").generate_signed_url(
            timedelta(minutes=1), cloud.http_url, version=version, credentials=key
        )
        assert requests.get(url, timeout=5).content == b"data"
        made = ask(cloud, "POST", "/_localcloud/keys", json={"account": ROBOT}).json()
        assert made["token_uri"] == f"{cloud.http_url}/token"
        assert code_of(requests.get(url, timeout=5)) == "SignatureDoesNotMatch"
        cloud.store.delete("cloud.account_keys", ROBOT)
    assert ask(cloud, "POST", "/_localcloud/keys", json={}).status_code == 400


def test_an_object_is_written_read_and_deleted_with_its_metadata(
    cloud: LocalCloud, bucket: Bucket
) -> None:
    path = f"/{bucket.name}/a%20b/c"
    about = {
        "Content-Type": "text/plain",
        "Content-Encoding": "gzip",
        "Cache-Control": "no-store",
        "x-goog-meta-team": "red",
        "x-goog-storage-class": "NEARLINE",
    }
    none = {"x-goog-if-generation-match": "0"}
    sent = b"kept as it was sent"
    made = ask(cloud, "PUT", path, data=sent, headers=about | none | BY_ROBOT)
    assert (made.status_code, made.content) == (200, b"")
    again = ask(cloud, "PUT", path, data=b"", headers=none)
    assert (again.status_code, code_of(again)) == (412, "PreconditionFailed")
    blob = bucket.get_blob("a b/c")
    assert blob is not None
    assert (blob.storage_class, blob.metadata) == ("NEARLINE", {"team": "red"})
    assert made.headers["x-goog-generation"] == str(blob.generation)
    assert cloud.effects.calls("storage.objects.insert")[-2].caller == ROBOT

    asked = f"{path}?generation={blob.generation}&response-content-type=a/b"
    asked += "&response-content-disposition=inline"
    got = ask(cloud, "GET", asked, headers={"Accept-Encoding": "gzip"}, stream=True)
    assert got.raw.read() == sent
    said = [got.headers[name] for name in ("Content-Type", "Content-Disposition", "Cache-Control")]
    assert said == ["a/b", "inline", "no-store"]
    head = ask(cloud, "HEAD", path, headers={"Accept-Encoding": "gzip"})
    assert (head.content, head.headers["Content-Length"]) == (b"", str(len(sent)))
    assert head.headers["x-goog-meta-team"] == "red"
    part = ask(cloud, "GET", path, headers={"Accept-Encoding": "gzip", "Range": "bytes=99-"})
    assert (part.status_code, code_of(part)) == (416, "InvalidRange")

    assert ask(cloud, "DELETE", path).status_code == 204
    gone = ask(cloud, "GET", path)
    assert (gone.status_code, code_of(gone)) == (404, "NoSuchKey")
    assert gone.headers["Content-Type"].startswith("application/xml")


def test_a_body_is_held_to_what_its_signer_allows(cloud: LocalCloud, bucket: Bucket) -> None:
    path = f"/{bucket.name}/a"
    for name, text, status in (
        ("x-goog-content-length-range", "1,4", 200),
        ("x-goog-content-length-range", "5,9", 400),
        ("x-goog-content-length-range", "1,3", 400),
        ("x-goog-content-length-range", "4", 400),
        ("x-goog-content-sha256", hashlib.sha256(b"data").hexdigest(), 200),
        ("x-goog-content-sha256", hashlib.sha256(b"other").hexdigest(), 400),
        ("Content-MD5", "XrY7u+Ae7tCTyyK7j1rNww==", 400),
    ):
        made = ask(cloud, "PUT", path, data=b"data", headers={name: text})
        assert made.status_code == status, (name, text, made.text)


def test_a_bucket_is_listed_in_pages(cloud: LocalCloud, bucket: Bucket) -> None:
    for name in ("a", "b/1", "b/2", "c&d", "e"):
        bucket.blob(name).upload_from_string(b"")
    cloud.storage.thin_pages = 2
    for first, following in (
        ("", ("NextMarker", "marker")),
        ("&list-type=2", ("NextContinuationToken", "continuation-token")),
    ):
        found, more = [], ""
        while True:
            page = ask(cloud, "GET", f"/{bucket.name}?delimiter=/{first}{more}").text
            found += re.findall("<(?:Key|CommonPrefixes><Prefix)>(.*?)<", page)
            if "<IsTruncated>false" in page:
                break
            told = re.search(f"<{following[0]}>(.*?)<", page)
            assert told is not None
            more = f"&{following[1]}={quote(told[1].replace('&amp;', '&'))}"
        assert sorted(found) == ["a", "b/", "c&amp;d", "e"]
    cloud.storage.thin_pages = 0
    after = ask(cloud, "GET", f"/{bucket.name}?list-type=2&start-after=c&max-keys=1").text
    assert re.findall("<Key>(.*?)<", after) == ["c&amp;d"]
    assert ask(cloud, "HEAD", f"/{bucket.name}").status_code == 200
    assert code_of(ask(cloud, "GET", f"/{bucket.name}?max-keys=0")) == "InvalidArgument"


def test_what_is_not_served_is_not_implemented(cloud: LocalCloud, bucket: Bucket) -> None:
    path = f"/{bucket.name}/a"
    bucket.blob("a").upload_from_string(b"data")
    for verb, url, headers in (
        ("GET", f"{path}?acl", {}),
        ("GET", f"{path}?tagging", {}),
        ("POST", f"{path}?uploads", {}),
        ("PUT", f"{path}?partNumber=1&uploadId=x", {}),
        ("POST", path, {}),
        ("POST", f"/{bucket.name}", {}),
        ("PUT", f"/{bucket.name}", {}),
        ("DELETE", f"/{bucket.name}", {}),
        ("GET", f"/{bucket.name}?versions", {}),
        ("GET", f"/{bucket.name}?list-type=3", {}),
        ("PUT", path, {"x-goog-copy-source": "b/o"}),
        ("PUT", path, {"x-goog-acl": "public-read"}),
        ("PUT", path, {"x-goog-encryption-kms-key-name": "k"}),
        ("PUT", path, {"x-amz-meta-a": "b"}),
        ("POST", path, {"x-goog-resumable": "start", "x-goog-content-length-range": "1,2"}),
        ("GET", path, {"Authorization": "AWS4-HMAC-SHA256 Credential=a"}),
    ):
        got = ask(cloud, verb, url, headers=headers)
        assert (got.status_code, code_of(got)) == (501, "NotImplemented"), (verb, url, headers)
    blob = bucket.get_blob("a")
    assert blob is not None
    assert blob.metageneration == 1
    assert ask(cloud, "PUT", path, headers={"x-goog-acl": "project-private"}).status_code == 200


def test_a_path_of_no_bucket_is_no_call(cloud: LocalCloud) -> None:
    for none in ("/no-such-bucket/a", "/favicon.ico"):
        assert code_of(ask(cloud, "GET", none)) == "NoSuchBucket"
    assert cloud.effects.count() == 0


def test_the_host_may_name_the_bucket(cloud: LocalCloud, bucket: Bucket) -> None:
    bucket.blob("A/b").upload_from_string(b"data")
    port = urlsplit(cloud.http_url).port
    host = {"Host": f"{bucket.name}.localhost:{port}"}
    assert ask(cloud, "GET", "/A/b", headers=host).content == b"data"
    for path in ("/storage/v1/none", "/v1beta1/none", "/A/b"):
        assert ask(cloud, "GET", path).json()["error"]["code"] == 404


def test_a_fault_of_the_json_call_is_one_of_the_xml_api(cloud: LocalCloud, bucket: Bucket) -> None:
    cloud.faults.order("storage.objects.get", "error", "UNAVAILABLE")
    assert code_of(ask(cloud, "GET", f"/{bucket.name}/a")) == "ServiceUnavailable"
    cloud.faults.order("storage.objects.insert", "reset")
    with pytest.raises(requests.ConnectionError):
        ask(cloud, "PUT", f"/{bucket.name}/a", data=b"x")
