"""Buckets and listings, retold from googleapis/python-storage tests/system.

From test_bucket.py and test_client.py. Left out: ACLs, lifecycle rules, websites, Autoclass, turbo
replication, dual-regions, folders, Cloud KMS keys, HMAC keys and notifications (501), versions,
retention and soft delete (test_storage_retention.py and its neighbours), and other universes.
"""

from __future__ import annotations

import pytest
from google.api_core import exceptions
from google.cloud.storage import Bucket, Client
from google.cloud.storage.constants import PUBLIC_ACCESS_PREVENTION_ENFORCED

FILES = (
    "file01.txt",
    "parent/",
    "parent/file11.txt",
    "parent/child/file21.txt",
    "parent/child/file22.txt",
    "parent/child/grand/file31.txt",
    "parent/child/other/file32.txt",
)


@pytest.fixture
def bucket(gcs: Client) -> Bucket:
    """An empty bucket."""
    return gcs.create_bucket("buckets")


@pytest.fixture
def hierarchy(bucket: Bucket) -> Bucket:
    """A bucket with folders."""
    for name in FILES:
        bucket.blob(name).upload_from_string(name.encode())
    return bucket


def test_labels_are_updated_and_cleared_by_an_update(bucket: Bucket) -> None:
    bucket.labels = {"label1": "value1"}
    bucket.patch()
    assert bucket.labels == {"label1": "value1"}
    bucket.labels = {"another-label": "another-value"}
    bucket.update()
    assert bucket.labels == {"another-label": "another-value"}
    bucket.labels = {}
    bucket.update()
    bucket.reload()
    assert bucket.labels == {}


def test_an_update_puts_back_what_it_does_not_name(bucket: Bucket) -> None:
    bucket.storage_class = "NEARLINE"
    bucket.patch()
    del bucket._properties["storageClass"]
    bucket.update()
    assert (bucket.storage_class, bucket.location) == ("STANDARD", "EUROPE-CENTRAL2")


def test_a_bucket_is_held_to_its_metageneration(bucket: Bucket) -> None:
    bucket.labels = {"a": "b"}
    with pytest.raises(exceptions.PreconditionFailed):
        bucket.patch(if_metageneration_match=9)
    bucket.patch(if_metageneration_match=bucket.metageneration)
    with pytest.raises(exceptions.PreconditionFailed):
        bucket.reload(if_etag_match="kittens")


def test_buckets_are_listed_by_prefix(gcs: Client) -> None:
    for name in ("new-1", "new-2", "old-1"):
        gcs.create_bucket(name)
    assert [made.name for made in gcs.list_buckets(prefix="new")] == ["new-1", "new-2"]
    assert len(list(gcs.list_buckets(max_results=1))) == 1


def test_the_project_has_a_service_agent(gcs: Client) -> None:
    agent = "service-123456789012@gs-project-accounts.iam.gserviceaccount.com"
    assert gcs.get_service_account_email() == agent
    with pytest.raises(exceptions.Forbidden):
        gcs.get_service_account_email(project="another")


# access


def test_conditions_of_a_policy_need_uniform_access_and_version_3(bucket: Bucket) -> None:
    assert bucket.get_iam_policy().version == 1
    condition = {"title": "always-true", "description": "", "expression": "true"}
    members = {"serviceAccount:a@b.iam.gserviceaccount.com"}
    policy = bucket.get_iam_policy(requested_policy_version=3)
    binding = {"role": "roles/storage.objectViewer", "members": members, "condition": condition}
    policy.bindings.append(binding)
    with pytest.raises(exceptions.PreconditionFailed, match="enable uniform bucket-level access"):
        bucket.set_iam_policy(policy)
    bucket.iam_configuration.uniform_bucket_level_access_enabled = True
    bucket.patch()
    with pytest.raises(exceptions.BadRequest, match="at least 3"):
        bucket.set_iam_policy(policy)
    policy.version = 3
    returned = bucket.set_iam_policy(policy)
    assert (returned.version, returned.bindings) == (3, policy.bindings)


def test_uniform_access_leaves_no_acls(gcs: Client) -> None:
    bucket = gcs.bucket("uniform")
    bucket.iam_configuration.uniform_bucket_level_access_enabled = True
    gcs.create_bucket(bucket)
    blob = bucket.blob("a")
    blob.upload_from_string(b"DEADBEEF")
    assert bucket.get_blob("a").download_as_bytes() == b"DEADBEEF"
    for acl in (bucket.acl, blob.acl):
        with pytest.raises(exceptions.BadRequest):
            acl.reload()
        acl.loaded = True
        acl.group("readers@example.com").grant_read()
        with pytest.raises(exceptions.BadRequest, match="legacy ACL"):
            acl.save()
    with pytest.raises(exceptions.BadRequest, match="legacy ACL"):
        bucket.blob("b").upload_from_string(b"1", predefined_acl="private")


def test_public_access_is_prevented(bucket: Bucket) -> None:
    bucket.iam_configuration.public_access_prevention = PUBLIC_ACCESS_PREVENTION_ENFORCED
    bucket.patch()
    policy = bucket.get_iam_policy()
    policy.bindings.append({"role": "roles/storage.objectViewer", "members": {"allUsers"}})
    with pytest.raises(exceptions.PreconditionFailed, match="public access prevention"):
        bucket.set_iam_policy(policy)
    with pytest.raises(exceptions.PreconditionFailed):
        bucket.blob("a").upload_from_string(b"1", predefined_acl="publicRead")
    bucket.iam_configuration.public_access_prevention = "unexpected value"
    with pytest.raises(exceptions.BadRequest):
        bucket.patch()


# listings


def test_a_listing_has_the_first_level_of_a_hierarchy(hierarchy: Bucket) -> None:
    found = hierarchy.list_blobs(delimiter="/")
    assert [blob.name for blob in found] == ["file01.txt"]
    assert found.prefixes == {"parent/"}


def test_a_listing_has_the_second_and_third_level(hierarchy: Bucket) -> None:
    second = hierarchy.list_blobs(delimiter="/", prefix="parent/")
    assert [blob.name for blob in second] == ["parent/", "parent/file11.txt"]
    assert second.prefixes == {"parent/child/"}
    third = hierarchy.list_blobs(delimiter="/", prefix="parent/child/")
    assert [blob.name for blob in third] == ["parent/child/file21.txt", "parent/child/file22.txt"]
    assert third.prefixes == {"parent/child/grand/", "parent/child/other/"}


def test_a_trailing_delimiter_is_listed_as_object_and_as_prefix(hierarchy: Bucket) -> None:
    found = hierarchy.list_blobs(delimiter="/", include_trailing_delimiter=True)
    assert [blob.name for blob in found] == ["file01.txt", "parent/"]
    assert found.prefixes == {"parent/"}


def test_a_listing_is_bounded_and_paged(hierarchy: Bucket) -> None:
    names = [blob.name for blob in hierarchy.list_blobs()]
    assert names == sorted(FILES)
    start, end = names[2], names[5]
    bounded = hierarchy.list_blobs(start_offset=start, end_offset=end)
    assert [blob.name for blob in bounded] == names[2:5]
    pages = hierarchy.list_blobs(max_results=5, page_size=2).pages
    assert [len(list(page)) for page in pages] == [2, 2, 1]


def test_a_listing_has_only_the_fields_asked_for(hierarchy: Bucket) -> None:
    fields = "items(name,size),nextPageToken"
    blobs = list(hierarchy.list_blobs(page_size=3, fields=fields))
    assert [blob.name for blob in blobs] == sorted(FILES)
    assert all(blob.size and blob.generation is None and blob.etag is None for blob in blobs)
    # Without the token in `fields`, the listing ends after its first page, as at Google.
    assert len(list(hierarchy.list_blobs(page_size=3, fields="items/name"))) == 3


def test_objects_are_deleted_together_past_missing_ones(hierarchy: Bucket) -> None:
    missing: list[str] = []
    hierarchy.delete_blobs(["file01.txt", "never"], on_error=missing.append)
    assert missing == ["never"]
    with pytest.raises(exceptions.NotFound):
        hierarchy.delete_blobs(["never"])
    hierarchy.delete(force=True)
    assert not hierarchy.exists()
