"""What a client puts into objects and buckets is honoured, dropped as Google does, or refused."""

from __future__ import annotations

from typing import Any

import pytest
from google.cloud.storage import Bucket

from ml_platform.localcloud import LocalCloud
from ml_platform.tests.localcloud.storage_calls import B, call

BUCKETS = "/storage/v1/b?project=demo-project"
BUCKET, UPLOAD = f"/storage/v1/b/{B}", f"/upload/storage/v1/b/{B}/o?name=b&uploadType=resumable"
OBJECT = f"{BUCKET}/o/a"
GRANT = {"entity": "allUsers", "role": "READER"}
SOURCES = {"sourceObjects": [{"name": "a"}]}
KEY = "projects/p/locations/l/keyRings/r/cryptoKeys/k"


@pytest.fixture(autouse=True)
def one_object(bucket: Bucket) -> None:
    bucket.blob("a").upload_from_string(b"hello")


def test_every_way_to_set_an_acl_or_a_kms_key_is_refused(cloud: LocalCloud) -> None:
    before = call(cloud, "GET", BUCKET).json(), call(cloud, "GET", OBJECT).json()
    to = f"/b/{B}/o/b"
    rows: list[tuple[str, str, Any]] = [
        (verb, f"{parent}/{kind}{one}", None if verb == "GET" else GRANT)
        for parent, kind in ((BUCKET, "acl"), (BUCKET, "defaultObjectAcl"), (OBJECT, "acl"))
        for verb, one in (
            ("GET", ""),
            ("POST", ""),
            *((verb, "/allUsers") for verb in ("GET", "PUT", "PATCH", "DELETE")),
        )
    ]
    rows += [
        ("POST", f"{UPLOAD}&predefinedAcl=publicRead", {}),
        ("POST", f"{UPLOAD}&kmsKeyName={KEY}", {}),
        ("POST", UPLOAD, {"kmsKeyName": KEY}),
        ("POST", UPLOAD, {"acl": [GRANT]}),
        ("PATCH", OBJECT, {"acl": [GRANT]}),
        ("PUT", OBJECT, {"acl": [GRANT]}),
        ("PATCH", f"{OBJECT}?predefinedAcl=publicRead", {}),
        ("POST", f"{BUCKET}/o/b/compose?destinationPredefinedAcl=publicRead", SOURCES),
        ("POST", f"{BUCKET}/o/b/compose?kmsKeyName={KEY}", SOURCES),
        ("POST", f"{BUCKET}/o/b/compose", SOURCES | {"destination": {"acl": [GRANT]}}),
        ("POST", f"{OBJECT}/rewriteTo{to}?destinationPredefinedAcl=publicRead", {}),
        ("POST", f"{OBJECT}/rewriteTo{to}?destinationKmsKeyName={KEY}", {}),
        ("POST", f"{OBJECT}/copyTo{to}?destinationPredefinedAcl=publicRead", {}),
        ("POST", f"{OBJECT}/copyTo{to}?destinationKmsKeyName={KEY}", {}),
        ("POST", f"{OBJECT}/copyTo{to}", {"acl": [GRANT]}),
        ("POST", f"{BUCKETS}&predefinedAcl=publicRead", {"name": "other"}),
        ("POST", f"{BUCKETS}&predefinedDefaultObjectAcl=publicRead", {"name": "other"}),
        ("POST", BUCKETS, {"name": "other", "acl": [GRANT]}),
        ("POST", BUCKETS, {"name": "other", "defaultObjectAcl": [GRANT]}),
        ("POST", BUCKETS, {"name": "other", "encryption": {"defaultKmsKeyName": KEY}}),
        ("PATCH", BUCKET, {"acl": [GRANT]}),
        ("PUT", f"{BUCKET}?predefinedDefaultObjectAcl=publicRead", {}),
    ]
    for verb, path, body in rows:
        assert call(cloud, verb, path, body).status_code == 501, (verb, path, body)
    assert (call(cloud, "GET", BUCKET).json(), call(cloud, "GET", OBJECT).json()) == before
    assert call(cloud, "GET", f"{BUCKET}/o/b").status_code == 404
    assert call(cloud, "GET", "/storage/v1/b/other").status_code == 404


def test_a_field_of_an_object_has_its_type_and_is_served_or_refused(cloud: LocalCloud) -> None:
    for field, value, status in (
        ("customTime", "yesterday", 400),
        ("customTime", "2026-01-02T00:00:00", 400),
        ("temporaryHold", "yes", 400),
        ("eventBasedHold", 1, 400),
        ("contentType", 5, 400),
        ("metadata", {"a": {"b": 1}}, 400),
        ("metadata", "a", 400),
        ("storageClass", "COOL", 400),
        ("contexts", {"custom": {"k": {"value": "v"}}}, 501),
    ):
        for verb, path in (("PATCH", OBJECT), ("PUT", OBJECT), ("POST", UPLOAD)):
            answer = call(cloud, verb, path, {field: value})
            assert answer.status_code == status, (verb, field, value)
    sent = {"owner": {"entity": "x"}, "size": "9", "nonesuch": 1, "acl": []}
    assert call(cloud, "PATCH", OBJECT, sent).json()["size"] == "5"
    assert not {"owner", "nonesuch", "acl"} & set(call(cloud, "GET", OBJECT).json())
    compose = SOURCES | {"deleteSourceObjects": True}
    for verb, path, body in (
        ("POST", f"{BUCKET}/o/b/compose", compose),
        ("GET", f"{BUCKET}/o?filter=contexts.k%3Dv", None),
        ("GET", f"{OBJECT}/iam", None),
        ("GET", f"{OBJECT}/iam/testPermissions?permissions=storage.objects.get", None),
        ("POST", "/storage/v1/channels/stop", {}),
    ):
        assert call(cloud, verb, path, body).status_code == 501, path


def test_a_field_of_a_bucket_has_its_type_and_is_served_or_refused(cloud: LocalCloud) -> None:
    for field, value, status in (
        ("storageClass", "COOL", 400),
        ("versioning", True, 400),
        ("labels", ["a"], 400),
        ("labels", {"Team": "red"}, 400),
        ("labels", {"1": "red"}, 400),
        ("labels", {"team": "Red"}, 400),
        ("labels", {"team": "r" * 64}, 400),
        ("labels", {f"a{number}": "" for number in range(65)}, 400),
        ("iamConfiguration", {"bucketPolicyOnly": {"enabled": True}}, 501),
        ("defaultEventBasedHold", "no", 400),
    ):
        made = call(cloud, "POST", BUCKETS, {"name": "other", field: value})
        changed = call(cloud, "PATCH", BUCKET, {field: value})
        assert (made.status_code, changed.status_code) == (status, status), (field, value)
    for location, status in (("nam4", 501), ("eu4", 400), ("here", 400), ("us-central1", 200)):
        made = call(cloud, "POST", BUCKETS, {"name": "other", "location": location})
        assert made.status_code == status, location
    sent = {"owner": {"entity": "x"}, "nonesuch": 1, "_policy": {}, "labels": {"team": "r\xe9d-1"}}
    assert call(cloud, "PATCH", BUCKET, sent).json()["labels"] == {"team": "r\xe9d-1"}
    assert not {"owner", "nonesuch", "_policy"} & set(call(cloud, "GET", BUCKET).json())
    assert call(cloud, "PATCH", BUCKET, {"labels": {"team": None}}).json()["labels"] == {}
