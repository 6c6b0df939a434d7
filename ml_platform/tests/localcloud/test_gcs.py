"""Cloud Storage through Google's own client: objects, listings, preconditions, batches."""

from __future__ import annotations

from pathlib import Path

import pytest
import requests
from google.api_core import exceptions
from google.cloud.storage import Bucket, Client

from ml_platform.localcloud import LocalCloud
from ml_platform.localcloud.gcs.checks.globs import Glob
from ml_platform.localcloud.gcs.tables.store import successor

BUCKET = "artifacts"


@pytest.fixture
def bucket(gcs: Client) -> Bucket:
    """A bucket with nothing in it."""
    return gcs.create_bucket(BUCKET)


def fill(cloud: LocalCloud, *names: str) -> None:
    """Write small objects past the wire."""
    for name in names:
        cloud.storage.write(BUCKET, name, name.encode())


def listed(gcs: Client, **options: object) -> list[str]:
    """The names a listing gives."""
    return [blob.name for blob in gcs.list_blobs(BUCKET, **options)]


# buckets


def test_a_bucket_is_made_once_and_lies_in_the_clouds_location(gcs: Client) -> None:
    made = gcs.create_bucket(BUCKET)
    assert (made.location, made.location_type) == ("EUROPE-CENTRAL2", "region")
    with pytest.raises(exceptions.Conflict):
        gcs.create_bucket(BUCKET)
    assert [bucket.name for bucket in gcs.list_buckets()] == [BUCKET]


@pytest.mark.parametrize("name", ["ab", "Upper", "-first", "last-", "sp ace"])
def test_a_bucket_name_google_refuses_is_refused(cloud: LocalCloud, name: str) -> None:
    url = f"{cloud.http_url}/storage/v1/b?project=demo-project"
    assert requests.post(url, json={"name": name}, timeout=5).status_code == 400


def test_a_bucket_with_objects_is_not_deleted(
    cloud: LocalCloud, gcs: Client, bucket: Bucket
) -> None:
    fill(cloud, "kept")
    with pytest.raises(exceptions.Conflict, match="not empty"):
        bucket.delete()
    bucket.delete(force=True)
    assert not gcs.bucket(BUCKET).exists()


def test_another_project_has_no_buckets_here(cloud: LocalCloud) -> None:
    url = f"{cloud.http_url}/storage/v1/b?project=other"
    answer = requests.get(url, timeout=5)
    assert (answer.status_code, answer.json()["error"]["errors"][0]["reason"]) == (403, "forbidden")


def test_bucket_labels_are_patched_and_removed_by_null(bucket: Bucket) -> None:
    bucket.labels = {"team": "ml", "tier": "hot"}
    bucket.patch()
    bucket.labels = {"team": "ml"}
    bucket.patch()
    bucket.reload()
    assert (bucket.labels, bucket.metageneration) == ({"team": "ml"}, 3)


def test_an_iam_policy_is_written_under_its_etag(bucket: Bucket) -> None:
    policy, stale = bucket.get_iam_policy(), bucket.get_iam_policy()
    policy.bindings.append({"role": "roles/storage.objectViewer", "members": {"user:a@b.c"}})
    assert len(bucket.set_iam_policy(policy).bindings) == 1
    with pytest.raises(exceptions.PreconditionFailed):
        bucket.set_iam_policy(stale)


# objects


def test_an_object_comes_back_with_its_checksums_and_metadata(bucket: Bucket) -> None:
    blob = bucket.blob("runs/1/zażółć model.bin")
    blob.metadata, blob.cache_control = {"run": "1"}, "no-store"
    blob.upload_from_string(b"weights", content_type="application/x-model")
    found = bucket.get_blob(blob.name)
    assert found.download_as_bytes(checksum="md5") == b"weights"
    assert found.download_as_bytes(checksum="crc32c", start=2, end=4) == b"igh"
    assert (found.metadata, found.cache_control) == ({"run": "1"}, "no-store")
    assert (found.size, found.content_type) == (7, "application/x-model")
    assert (found.md5_hash, found.crc32c) == ("Y/Tx6bclNw9FlyBXXNX5Uw==", "kj6qRQ==")


def test_generations_grow_even_when_the_clock_stands_or_goes_back(
    cloud: LocalCloud, bucket: Bucket
) -> None:
    cloud.clock.freeze()
    first = cloud.storage.write(BUCKET, "a", b"1")
    second = cloud.storage.write(BUCKET, "a", b"2")
    bucket.blob("a").delete()
    cloud.clock.set(cloud.clock.now().replace(year=2001))
    third = cloud.storage.write(BUCKET, "a", b"3")
    assert first < second < third


def test_an_overwritten_generation_is_gone(cloud: LocalCloud, bucket: Bucket) -> None:
    old = cloud.storage.write(BUCKET, "a", b"1")
    cloud.storage.write(BUCKET, "a", b"2")
    with pytest.raises(exceptions.NotFound):
        bucket.blob("a", generation=old).download_as_bytes()
    assert bucket.blob("a").download_as_bytes() == b"2"


def test_a_patch_keeps_the_generation_and_grows_the_metageneration(bucket: Bucket) -> None:
    blob = bucket.blob("a")
    blob.upload_from_string(b"1")
    before = blob.generation
    blob.metadata = {"k": "v"}
    blob.patch()
    assert (blob.generation, blob.metageneration) == (before, 2)


def test_a_range_outside_the_object_answers_416(cloud: LocalCloud, bucket: Bucket) -> None:
    fill(cloud, "a")
    with pytest.raises(exceptions.RequestRangeNotSatisfiable):
        bucket.blob("a").download_as_bytes(start=5)


def test_copy_rewrite_rename_and_compose(cloud: LocalCloud, bucket: Bucket) -> None:
    fill(cloud, "a", "b")
    bucket.copy_blob(bucket.blob("a"), bucket, "copied")
    bucket.rename_blob(bucket.blob("copied"), "renamed")
    whole = bucket.blob("whole")
    whole.compose([bucket.get_blob("a"), bucket.get_blob("b"), bucket.get_blob("renamed")])
    assert (whole.download_as_bytes(), whole.component_count) == (b"aba", 3)
    assert cloud.storage.names(BUCKET) == ["a", "b", "renamed", "whole"]


def test_an_object_under_hold_is_not_deleted(bucket: Bucket) -> None:
    blob = bucket.blob("a")
    blob.upload_from_string(b"1")
    blob.temporary_hold = True
    blob.patch()
    with pytest.raises(exceptions.Forbidden, match="hold"):
        blob.delete()


# preconditions


def test_if_generation_match_zero_means_only_when_absent(bucket: Bucket) -> None:
    bucket.blob("a").upload_from_string(b"1", if_generation_match=0)
    with pytest.raises(exceptions.PreconditionFailed):
        bucket.blob("a").upload_from_string(b"2", if_generation_match=0)
    assert bucket.blob("a").download_as_bytes() == b"1"


def test_every_change_is_held_to_its_preconditions(cloud: LocalCloud, bucket: Bucket) -> None:
    fill(cloud, "a")
    blob = bucket.get_blob("a")
    wrong = {"if_generation_match": blob.generation + 1}
    blob.metadata = {"k": "v"}
    for change in (
        lambda: blob.delete(**wrong),
        lambda: blob.patch(**wrong),
        lambda: blob.upload_from_string(b"2", **wrong),
        lambda: blob.download_as_bytes(**wrong),
        lambda: bucket.blob("b").rewrite(blob, if_source_generation_match=1),
        lambda: bucket.copy_blob(blob, bucket, "b", if_generation_match=7),
        lambda: blob.delete(if_generation_match=blob.generation, if_metageneration_match=2),
    ):
        with pytest.raises(exceptions.PreconditionFailed):
            change()
    assert cloud.storage.names(BUCKET) == ["a"]
    blob.delete(if_generation_match=blob.generation, if_metageneration_match=1)
    assert cloud.storage.names(BUCKET) == []


def test_a_read_of_what_the_client_has_answers_304(cloud: LocalCloud, bucket: Bucket) -> None:
    fill(cloud, "a")
    url = f"{cloud.http_url}/storage/v1/b/{BUCKET}/o/a"
    generation = requests.get(url, timeout=5).json()["generation"]
    answer = requests.get(url, params={"ifGenerationNotMatch": generation}, timeout=5)
    assert (answer.status_code, answer.content) == (304, b"")


# listings


def test_a_listing_pages_and_ends_without_a_token_when_the_last_page_is_full(
    cloud: LocalCloud, gcs: Client, bucket: Bucket
) -> None:
    fill(cloud, *(f"n/{number:02}" for number in range(6)))
    pages = [[blob.name for blob in page] for page in gcs.list_blobs(BUCKET, page_size=3).pages]
    assert pages == [["n/00", "n/01", "n/02"], ["n/03", "n/04", "n/05"]]
    assert cloud.effects.count("storage.objects.list") == 2


def test_a_page_holds_at_most_a_thousand(cloud: LocalCloud, bucket: Bucket) -> None:
    fill(cloud, *(f"{number:04}" for number in range(1001)))
    url = f"{cloud.http_url}/storage/v1/b/{BUCKET}/o?maxResults=5000"
    page = requests.get(url, timeout=5).json()
    assert len(page["items"]) == 1000
    rest = requests.get(f"{url}&pageToken={page['nextPageToken']}", timeout=5).json()
    assert [item["name"] for item in rest["items"]] == ["1000"]
    assert "nextPageToken" not in rest


def test_a_prefix_with_a_slash_never_reaches_a_longer_sibling(
    cloud: LocalCloud, gcs: Client, bucket: Bucket
) -> None:
    fill(cloud, "runs/1/a", "runs/10/a", "runs/1")
    assert listed(gcs, prefix="runs/1/") == ["runs/1/a"]
    assert cloud.storage.has_any(f"gs://{BUCKET}/runs/1")
    bucket.blob("runs/1/a").delete()
    assert not cloud.storage.has_any(f"gs://{BUCKET}/runs/1")


def test_folders_are_collapsed_and_paged_with_the_objects(
    cloud: LocalCloud, gcs: Client, bucket: Bucket
) -> None:
    fill(cloud, "a/1", "a/2", "b", "c/d/1", "c/d/2", "e")
    found = gcs.list_blobs(BUCKET, delimiter="/", page_size=1)
    assert [blob.name for blob in found] == ["b", "e"]
    assert found.prefixes == {"a/", "c/"}
    assert cloud.effects.count("storage.objects.list") == 4


def test_offsets_and_globs_choose_names(cloud: LocalCloud, gcs: Client, bucket: Bucket) -> None:
    fill(cloud, "a.txt", "b.bin", "d/c.txt", "d/e/f.txt")
    assert listed(gcs, start_offset="b", end_offset="d/e") == ["b.bin", "d/c.txt"]
    assert listed(gcs, match_glob="*.txt") == ["a.txt"]
    assert listed(gcs, match_glob="**/*.txt") == ["a.txt", "d/c.txt", "d/e/f.txt"]


def test_a_foreign_page_token_is_refused(cloud: LocalCloud, bucket: Bucket) -> None:
    url = f"{cloud.http_url}/storage/v1/b/{BUCKET}/o?pageToken=%FF"
    assert requests.get(url, timeout=5).status_code == 400


@pytest.mark.parametrize(
    ("glob", "name", "fits"),
    [
        ("a?c", "abc", True),
        ("a?c", "a/c", False),
        ("[a-c]x", "bx", True),
        ("[!a-c]x", "bx", False),
        ("{one,two}/*", "two/x", True),
        ("{one,two}/*", "three/x", False),
        ("a.b", "axb", False),
        ("a,b", "a,b", True),
        ("**", "any/depth", True),
        (r"\*", "*", True),
        ("**/c", "c", True),
        ("**/c", "a/b/c", True),
        ("**/c", "abc", False),
        ("{a,b{1,2}}/**x*", "b2/d/xy", True),
        ("{a,b{1,2}}/**x*", "b/d/xy", False),
        ("**X*Y", "aX/XY", True),
        ("*a" * 50 + "b", "a" * 1024, False),
        ("{" * 2000 + "}" * 2000, "", True),
    ],
)
def test_globs_mean_what_google_says(glob: str, name: str, fits: bool) -> None:
    assert Glob(glob).matches(name) is fits


@pytest.mark.parametrize(
    "asked",
    [
        *(f"/o?matchGlob={glob}" for glob in ("{a", "a}b", "[z-a]", "{a," * 2000)),
        f"/o?maxResults={10**20}",
        f"/o/a.txt?generation={10**20}",
        f"?ifMetagenerationMatch={-(10**20)}",
    ],
    ids=lambda asked: asked[:20],
)
def test_a_glob_or_a_number_that_cannot_be_is_refused(
    cloud: LocalCloud, bucket: Bucket, asked: str
) -> None:
    url = f"{cloud.http_url}/storage/v1/b/{BUCKET}{asked}"
    assert requests.get(url, timeout=5).status_code == 400


def test_the_successor_of_a_prefix_is_above_all_that_start_with_it() -> None:
    top = chr(0x10FFFF)
    assert successor("runs/") == "runs0"
    assert successor(f"a{top}") == "b"
    assert successor(top) == ""
    assert successor(chr(0xD7FF)) == chr(0xE000)


# batches


def test_a_thousand_objects_go_in_ten_batches_each_call_recorded(
    cloud: LocalCloud, gcs: Client, bucket: Bucket
) -> None:
    fill(cloud, *(f"runs/1/{number:04}" for number in range(1000)), "runs/10/kept")
    blobs = list(gcs.list_blobs(BUCKET, prefix="runs/1/"))
    for start in range(0, 1000, 100):
        with gcs.batch():
            for blob in blobs[start : start + 100]:
                blob.delete(if_generation_match=blob.generation)
    assert cloud.storage.names(BUCKET) == ["runs/10/kept"]
    gone = cloud.effects.mutations("storage.objects.delete")
    assert len(gone) == 1000
    assert gone[0].detail["generation"] == blobs[0].generation


def test_a_batch_answers_each_part_on_its_own(
    cloud: LocalCloud, gcs: Client, bucket: Bucket
) -> None:
    fill(cloud, "a", "b")
    with gcs.batch(raise_exception=False) as batch:
        bucket.blob("a").delete()
        bucket.blob("missing").delete()
        bucket.blob("b").delete(if_generation_match=1)
    assert [answer.status_code for answer in batch._responses] == [204, 404, 412]
    assert cloud.storage.names(BUCKET) == ["b"]


def test_a_batch_over_the_limit_is_refused_and_nothing_is_done(
    cloud: LocalCloud, gcs: Client, bucket: Bucket, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(cloud.batch, "limit", 100)
    fill(cloud, *(f"{number:03}" for number in range(101)))

    def empty_the_bucket() -> None:
        with gcs.batch():
            for name in cloud.storage.names(BUCKET):
                bucket.blob(name).delete()

    with pytest.raises(exceptions.BadRequest, match="at most 100"):
        empty_the_bucket()
    assert len(cloud.storage.names(BUCKET)) == 101


def test_a_fault_can_hit_one_part_of_a_batch(
    cloud: LocalCloud, gcs: Client, bucket: Bucket
) -> None:
    fill(cloud, "a", "b", "c")
    cloud.faults.order("storage.objects.delete", "lost", "UNAVAILABLE", nth=2)
    with gcs.batch(raise_exception=False) as batch:
        for name in ("a", "b", "c"):
            bucket.blob(name).delete()
    assert [answer.status_code for answer in batch._responses] == [204, 503, 204]
    assert cloud.storage.names(BUCKET) == []


# survival


def test_objects_survive_a_restart_with_a_state_file(tmp_path: Path) -> None:
    with LocalCloud(state=tmp_path / "cloud.sqlite") as first:
        generation = first.storage.write(BUCKET, "a", b"1")
    with LocalCloud(state=tmp_path / "cloud.sqlite") as second:
        assert second.storage.read(BUCKET, "a") == b"1"
        assert second.storage.write(BUCKET, "a", b"2") > generation


def test_a_listing_may_begin_with_an_empty_page_and_have_small_ones(
    cloud: LocalCloud, gcs: Client, bucket: Bucket
) -> None:
    fill(cloud, "a/1", "a/2", "a/3", "b/1")
    cloud.storage.thin_pages = 2
    pages = [[blob.name for blob in page] for page in gcs.list_blobs(BUCKET, prefix="a/").pages]
    assert pages == [[], ["a/1", "a/2"], ["a/3"]]
    cloud.reset()
    assert cloud.storage.thin_pages == 0


def test_an_object_under_a_hold_is_neither_deleted_nor_overwritten(bucket: Bucket) -> None:
    free = bucket.blob("free")
    free.upload_from_string(b"2")
    for hold, said in (("temporary_hold", "Temporary"), ("event_based_hold", "Event-Based")):
        blob = bucket.blob(hold)
        blob.upload_from_string(b"1")
        setattr(blob, hold, True)
        blob.patch()
        refused = f"Object '{bucket.name}/{hold}' is under active {said} hold and cannot be deleted"
        for deed in (
            blob.delete,
            lambda blob=blob: blob.upload_from_string(b"2"),
            lambda blob=blob: blob.rewrite(free),
            lambda blob=blob: blob.compose([free]),
            lambda blob=blob: bucket.move_blob(blob, "moved"),
        ):
            with pytest.raises(exceptions.Forbidden, match=refused):
                deed()
        assert blob.download_as_bytes() == b"1"
        blob.metadata = {"why": "an audit"}
        blob.patch()
        setattr(blob, hold, False)
        blob.patch()
        blob.delete()
