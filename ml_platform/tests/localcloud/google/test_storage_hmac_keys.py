"""HMAC keys, retold from googleapis/python-storage tests/system/test_hmac_key_metadata.py and
googleapis/storage-testbench tests/test_project.py.

Left out: the testbench's own access IDs (`email:key-id`) and that it forgets a deleted key. What a
key signs is tested in test_gcs_xml.py.
"""

from __future__ import annotations

from typing import Any

import pytest
from google.api_core import exceptions
from google.cloud.storage import Client
from google.cloud.storage.hmac_key import HMACKeyMetadata

from ml_platform.localcloud import LocalCloud
from ml_platform.tests.localcloud.conftest import ROBOT
from ml_platform.tests.localcloud.storage_calls import call, item

KEYS = "/storage/v1/projects/demo-project/hmacKeys"


def access_ids(client: Client, **only: Any) -> list[str]:
    """What a listing of the client has."""
    return [key.access_id for key in client.list_hmac_keys(**only)]


def test_a_key_is_created_read_listed_and_deleted(gcs: Client) -> None:
    metadata, secret = gcs.create_hmac_key(ROBOT)
    assert (len(secret), len(metadata.access_id)) == (40, 61)
    assert (metadata.state, metadata.service_account_email) == ("ACTIVE", ROBOT)
    assert metadata.id == f"demo-project/{metadata.access_id}"
    assert metadata in list(gcs.list_hmac_keys())
    assert not HMACKeyMetadata(gcs, access_id="nonesuch").exists()
    another = HMACKeyMetadata(gcs, access_id=metadata.access_id)
    assert another.exists()
    another.reload()
    assert another._properties == metadata._properties
    metadata.state = HMACKeyMetadata.INACTIVE_STATE
    metadata.update()
    metadata.delete()
    assert access_ids(gcs) == []
    assert access_ids(gcs, show_deleted_keys=True) == [metadata.access_id]
    another.reload()
    assert another.state == "DELETED"


def test_only_an_inactive_key_is_deleted_and_a_deleted_one_stays_so(gcs: Client) -> None:
    key, _ = gcs.create_hmac_key(ROBOT)
    with pytest.raises(exceptions.BadRequest, match="Cannot delete keys in 'ACTIVE' state"):
        key.delete()
    for state in ("INACTIVE", "ACTIVE", "INACTIVE"):
        key.state = state
        key.update()
    key.delete()
    key.state = "ACTIVE"
    with pytest.raises(exceptions.BadRequest, match="Cannot update keys in 'DELETED' state"):
        key.update()
    with pytest.raises(exceptions.BadRequest, match="Cannot delete keys in 'DELETED' state"):
        key.delete()


def test_keys_are_listed_by_account_in_pages(gcs: Client) -> None:
    mine = [gcs.create_hmac_key(ROBOT)[0].access_id for _ in range(3)]
    other = gcs.create_hmac_key("other@demo-project.iam.gserviceaccount.com")[0].access_id
    assert access_ids(gcs) == [*mine, other]
    assert access_ids(gcs, service_account_email=ROBOT) == mine
    pages = gcs.list_hmac_keys(service_account_email=ROBOT)
    pages.extra_params["maxResults"] = 2
    assert [[key.access_id for key in page] for page in pages.pages] == [mine[:2], mine[2:]]


def test_a_changed_key_has_another_etag_and_the_old_one_is_refused(cloud: LocalCloud) -> None:
    path = f"{KEYS}?serviceAccountEmail={ROBOT}"
    key = call(cloud, "POST", path).json()["metadata"]
    one = f"{KEYS}/{key['accessId']}"
    wanted = {"state": "INACTIVE", "etag": key["etag"]}
    changed = call(cloud, "PUT", one, wanted).json()
    assert changed["etag"] != key["etag"]
    for refused in (
        call(cloud, "PUT", one, wanted),
        call(cloud, "PUT", one, {"state": "ACTIVE"}, headers={"If-Match": key["etag"]}),
    ):
        assert (refused.status_code, item(refused)["reason"]) == (412, "conditionNotMet")
    assert call(cloud, "GET", one).json() == changed


@pytest.mark.parametrize(
    ("verb", "path", "body", "status"),
    [
        ("POST", KEYS, None, 400),
        ("POST", f"{KEYS}?serviceAccountEmail=robot", None, 400),
        ("POST", "/storage/v1/projects/nowhere/hmacKeys?serviceAccountEmail=a@b.c", None, 403),
        ("GET", f"{KEYS}?maxResults=0", None, 400),
        ("GET", f"{KEYS}?pageToken=x", None, 400),
        ("GET", f"{KEYS}/GOOG1E", None, 404),
        ("PUT", f"{KEYS}/GOOG1E", {"state": "INACTIVE"}, 404),
        ("PUT", f"{KEYS}/ID", {}, 400),
        ("PUT", f"{KEYS}/ID", {"state": "DELETED"}, 400),
        ("DELETE", f"{KEYS}/GOOG1E", None, 404),
    ],
)
def test_what_does_not_fit_is_refused(
    cloud: LocalCloud, gcs: Client, verb: str, path: str, body: object, status: int
) -> None:
    key, _ = gcs.create_hmac_key(ROBOT)
    answer = call(cloud, verb, path.replace("/ID", f"/{key.access_id}"), body)
    assert (answer.status_code, len(cloud.effects.mutations("storage.hmacKey.*"))) == (status, 1)


def test_a_key_belongs_to_its_project_and_needs_its_roles(
    cloud: LocalCloud, gcs: Client, robot_gcs: Client
) -> None:
    cloud.declare({"other-project": 42})
    key, _ = gcs.create_hmac_key(ROBOT)
    assert access_ids(gcs, project_id="other-project") == []
    assert access_ids(gcs, project_id=str(cloud.project_number)) == [key.access_id]
    member = f"serviceAccount:{ROBOT}"
    cloud.iam.grant(member, "roles/storage.admin")
    with pytest.raises(exceptions.Forbidden, match=r"storage\.hmacKeys\.list"):
        access_ids(robot_gcs)
    cloud.iam.grant(member, "roles/storage.hmacKeyAdmin")
    assert access_ids(robot_gcs) == [key.access_id]


def test_an_account_has_ten_keys_and_deleted_ones_do_not_count(gcs: Client) -> None:
    keys = [gcs.create_hmac_key(ROBOT)[0] for _ in range(10)]
    with pytest.raises(exceptions.Forbidden, match="Service account HMAC key limit reached"):
        gcs.create_hmac_key(ROBOT)
    assert gcs.create_hmac_key("other@demo-project.iam.gserviceaccount.com")
    keys[0].state = "INACTIVE"
    keys[0].update()
    with pytest.raises(exceptions.Forbidden):
        gcs.create_hmac_key(ROBOT)
    keys[0].delete()
    assert gcs.create_hmac_key(ROBOT)
