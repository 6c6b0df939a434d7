"""Cloud Storage as the product sees it."""

from __future__ import annotations

from datetime import timedelta

import pytest

from ml_platform.cloud import storage
from ml_platform.cloud.transport import channels
from ml_platform.cloud.types import DeleteOutcome
from ml_platform.errors import CloudAbsent, CloudConflict, CloudRejected, OutcomeUnknown

BUCKET = "demo-artifacts"


@pytest.fixture(autouse=True)
def bucket(cloud):
    """The bucket itself, empty."""
    channels.storage_client().create_bucket(BUCKET)
    cloud.effects.reset()


def put(cloud, *keys):
    for key in keys:
        cloud.storage.write(BUCKET, key, key.encode())


def listed(prefix, **options):
    return [o.name for page in storage.list_objects(BUCKET, prefix, **options) for o in page]


def test_a_listing_follows_its_pages_to_the_end(cloud):
    put(cloud, *(f"runs/1/{n:03}" for n in range(25)))
    pages = list(storage.list_objects(BUCKET, "runs/1/", page_size=10))
    assert [len(page) for page in pages] == [10, 10, 5]
    assert [o.name for page in pages for o in page] == [f"runs/1/{n:03}" for n in range(25)]
    assert cloud.effects.count("*") == 3


def test_a_prefix_with_a_slash_does_not_reach_its_neighbour(cloud):
    put(cloud, "runs/1/a", "runs/10/a")
    assert listed("runs/1/") == ["runs/1/a"]
    assert listed("runs/1") == ["runs/1/a", "runs/10/a"]


def test_a_glob_chooses(cloud):
    put(cloud, "runs/1/a.json", "runs/1/b.pb")
    assert listed("runs/1/", glob="**.json") == ["runs/1/a.json"]


def test_an_empty_prefix_is_one_empty_page(cloud):
    put(cloud, "a")
    assert list(storage.list_objects(BUCKET, "runs/1/")) == [()]


def test_folders_are_listed_one_level_deep(cloud):
    put(cloud, "runs/1/a", "runs/1/b/c", "runs/2/a", "other/a")
    assert list(storage.list_children(BUCKET, "runs/")) == [("runs/1/", "runs/2/")]


def test_whether_there_is_something_costs_one_call_for_one_object(cloud):
    put(cloud, *(f"runs/1/{n:03}" for n in range(25)))
    assert storage.has_objects(BUCKET, "runs/1/")
    assert not storage.has_objects(BUCKET, "runs/2/")
    assert cloud.effects.count("storage.objects.list") == cloud.effects.count("*") == 2


def test_an_object_is_described(cloud):
    written = storage.write_text(BUCKET, "runs/1/métrics.json", '{"a": "é"}')
    ((found,),) = storage.list_objects(BUCKET, "runs/")
    assert found == written
    assert (found.size, found.generation > 0) == (11, True)
    assert found.updated is not None
    assert found.updated.utcoffset() == timedelta(0)


def test_a_text_is_read_up_to_its_limit(cloud):
    storage.write_text(BUCKET, "a", "é" * 10)
    assert storage.read_text(BUCKET, "a", limit_bytes=20) == "é" * 10
    with pytest.raises(CloudRejected) as error:
        storage.read_text(BUCKET, "a", limit_bytes=19)
    assert error.value.code == "object_too_long"


def test_an_empty_text_is_read(cloud):
    storage.write_text(BUCKET, "a", "")
    assert storage.read_text(BUCKET, "a", limit_bytes=0) == ""


def test_what_is_no_text_is_refused(cloud):
    cloud.storage.write(BUCKET, "a", b"\xff\xfe")
    with pytest.raises(CloudRejected) as error:
        storage.read_text(BUCKET, "a", limit_bytes=10)
    assert error.value.code == "not_text"


def test_what_is_not_there_is_absent(cloud):
    put(cloud, "a")
    for read in (
        lambda: storage.read_text(BUCKET, "b", limit_bytes=1),
        lambda: storage.get_bucket("no-such-bucket"),
    ):
        with pytest.raises(CloudAbsent):
            read()


def test_a_missing_bucket_says_nothing_of_what_was_to_be_in_it(cloud):
    for read in (
        lambda: storage.has_objects("no-such-bucket", "runs/1/"),
        lambda: list(storage.list_children("no-such-bucket", "runs/")),
        lambda: storage.write_text("no-such-bucket", "a", "a"),
    ):
        with pytest.raises(CloudRejected) as error:
            read()
        assert error.value.code == "parent_not_found"


def test_a_text_is_written_only_over_the_generation_that_was_meant(cloud):
    first = storage.write_text(BUCKET, "a", "1", generation=0)
    with pytest.raises(CloudConflict):
        storage.write_text(BUCKET, "a", "2", generation=0)
    storage.write_text(BUCKET, "a", "2", generation=first.generation)
    with pytest.raises(CloudConflict):
        storage.write_text(BUCKET, "a", "3", generation=first.generation)
    assert storage.read_text(BUCKET, "a", limit_bytes=9) == "2"


def generations(prefix=""):
    return [(o.name, o.generation) for page in storage.list_objects(BUCKET, prefix) for o in page]


def test_a_thousand_and_one_objects_are_deleted_in_eleven_requests(cloud, observed):
    put(cloud, *(f"runs/1/{n:04}" for n in range(1001)), "runs/10/a")
    doomed = generations("runs/1/")
    observed.clear()
    outcomes = storage.delete_objects(BUCKET, doomed)
    assert [o.name for o in outcomes] == [name for name, _ in doomed]
    assert {o.outcome for o in outcomes} == {DeleteOutcome.DELETED}
    assert observed == ["storage.batch"] * 11
    assert listed("") == ["runs/10/a"]


def test_each_object_of_a_batch_has_its_own_outcome(cloud):
    put(cloud, "runs/1/a", "runs/1/b", "runs/1/c", "runs/1/d")
    doomed = generations()
    put(cloud, "runs/1/b")
    cloud.faults.order("storage.objects.delete", code="PERMISSION_DENIED", nth=3)
    cloud.faults.order("storage.objects.delete", code="UNAVAILABLE", nth=4)
    outcomes = storage.delete_objects(BUCKET, [*doomed])
    assert [o.outcome for o in outcomes] == [
        DeleteOutcome.DELETED,
        DeleteOutcome.CHANGED,
        DeleteOutcome.REFUSED,
        DeleteOutcome.FAILED,
    ]
    assert "refused access" in outcomes[2].reason
    assert "{" not in outcomes[2].reason  # Google's sentence, not the JSON around it
    again = storage.delete_objects(BUCKET, doomed)
    assert [o.outcome for o in again] == [
        DeleteOutcome.GONE,
        DeleteOutcome.CHANGED,
        DeleteOutcome.DELETED,
        DeleteOutcome.DELETED,
    ]
    assert listed("") == ["runs/1/b"]


def test_deleting_nothing_asks_nothing(cloud):
    assert storage.delete_objects(BUCKET, []) == []
    assert cloud.effects.count("*") == 0


def test_a_batch_that_hangs_leaves_the_outcome_unknown(cloud, limits):
    put(cloud, "a", "b")
    doomed = generations()
    limits(CALL_TIMEOUT=0.3)
    cloud.faults.order("storage.objects.delete", kind="hang", when="after", nth=2)
    with pytest.raises(OutcomeUnknown):
        storage.delete_objects(BUCKET, doomed)


def test_an_answer_to_a_batch_that_cannot_be_read_leaves_the_outcome_unknown(cloud, monkeypatch):
    put(cloud, "a")
    doomed = generations()
    monkeypatch.setattr(
        "google.cloud.storage.batch._unpack_batch_response", lambda response: iter(())
    )
    with pytest.raises(OutcomeUnknown, match="cannot be read"):
        storage.delete_objects(BUCKET, doomed)


def test_a_bucket_is_described(cloud):
    put(cloud, "a")
    bucket = storage.get_bucket(BUCKET)
    assert bucket.name == BUCKET
    assert bucket.location == bucket.location.lower() != ""


def test_the_client_makes_no_calls_of_its_own(cloud):
    put(cloud, "a")
    storage.get_bucket(BUCKET)
    for _ in range(3):
        with pytest.raises(CloudAbsent):
            storage.read_text(BUCKET, "b", limit_bytes=1)
    listed("")
    assert [call.method for call in cloud.effects.calls("*")] == [
        "storage.buckets.get",
        *["storage.objects.get"] * 6,  # of the content, and of the metadata that it is not there
        "storage.objects.list",
    ]
