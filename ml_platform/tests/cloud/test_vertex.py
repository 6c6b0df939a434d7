"""The Model Registry as the product sees it."""

from __future__ import annotations

import pickle
from dataclasses import FrozenInstanceError, asdict
from datetime import timedelta
from typing import Any

import pytest

from ml_platform.cloud import vertex
from ml_platform.cloud.names import ModelName, label_filter
from ml_platform.errors import (
    CloudAbsent,
    CloudConflict,
    CloudExists,
    CloudRejected,
    Invalid,
    OutcomeUnknown,
)

BUCKET = "demo-artifacts"
NAME = ModelName("demo-project", "europe-central2", "mr-1")


def upload(cloud, run="1", **options) -> Any:
    cloud.storage.write(BUCKET, f"runs/{run}/saved_model.pb", b"model")
    given = {
        "display_name": "chern",
        "artifact_uri": f"gs://{BUCKET}/runs/{run}",
        "serving_image": "europe-docker.pkg.dev/serving:1",
        "labels": {"mlp_run": run},
        **options,
    }
    return vertex.upload_model(**given)


def versions_of(name=NAME, **options):
    return [v for page in vertex.list_model_versions(name, **options) for v in page]


def test_a_first_upload_makes_version_1_under_our_id(cloud):
    operation = upload(cloud, model_id="mr-1", description="first")
    assert (operation.done, operation.error) == (True, None)
    assert operation.result == ModelName("123456789012", "europe-central2", "mr-1", "1")
    model: Any = vertex.get_model(operation.result)
    assert (model.display_name, model.version, model.aliases) == ("chern", "1", ("default",))
    assert model.labels == {"mlp_run": "1"}
    assert model.artifact_uri == f"gs://{BUCKET}/runs/1"
    assert model.pointer == operation.result
    assert model.name == operation.result.bare
    assert model.endpoints == ()
    assert model.create_time <= model.version_create_time <= model.update_time
    assert model.create_time.utcoffset() == timedelta(0)


def test_a_second_upload_of_an_id_is_refused_by_vertex(cloud):
    upload(cloud, model_id="mr-1")
    with pytest.raises(CloudExists):
        upload(cloud, run="2", model_id="mr-1")
    assert len(versions_of()) == 1


def test_a_later_upload_makes_the_next_version(cloud):
    upload(cloud, model_id="mr-1")
    operation = upload(cloud, run="2", parent_model=NAME, aliases=["champion"])
    assert operation.result.version == "2"
    assert {(v.version, v.aliases, v.labels["mlp_run"]) for v in versions_of()} == {
        ("1", (), "1"),
        ("2", ("champion", "default"), "2"),
    }


def test_a_version_that_is_not_to_be_the_default_leaves_the_default_alone(cloud):
    upload(cloud, model_id="mr-1")
    upload(cloud, run="2", parent_model=NAME, is_default=False)
    assert vertex.get_model(NAME).version == "1"


def test_an_upload_without_artifacts_is_refused(cloud):
    with pytest.raises(CloudConflict):
        vertex.upload_model(
            display_name="x",
            artifact_uri=f"gs://{BUCKET}/runs/none",
            serving_image="i",
            labels={},
            model_id="mr-1",
        )


def test_a_bad_alias_is_refused_before_anything_is_sent(cloud):
    with pytest.raises(Invalid):
        upload(cloud, model_id="mr-1", aliases=["Champion"])
    assert cloud.effects.count("ModelService.*") == 0


def test_a_missing_parent_is_no_proof_about_the_model_to_be_made(cloud):
    with pytest.raises(CloudRejected) as error:
        upload(cloud, parent_model=NAME)
    assert not isinstance(error.value, CloudAbsent)


def test_what_is_not_there_is_absent(cloud):
    for read in (vertex.get_model, vertex.delete_model, lambda name: versions_of(name)):
        with pytest.raises(CloudAbsent):
            read(NAME)
    for pointer in (NAME.at("1"), NAME.at("champion")):
        with pytest.raises(CloudAbsent):
            vertex.get_model(pointer)
    upload(cloud, model_id="mr-1")
    with pytest.raises(CloudAbsent):
        vertex.get_model(NAME.at("2"))


def test_an_alias_finds_its_version(cloud):
    upload(cloud, model_id="mr-1", aliases=["champion"])
    upload(cloud, run="2", parent_model=NAME)
    assert vertex.get_model(NAME.at("champion")).version == "1"


def test_a_listing_costs_one_call_for_each_page(cloud):
    for n in range(250):
        cloud.models.seed(f"m{n}", display_name=f"m{n}")
    pages = list(vertex.list_models())
    assert [len(page) for page in pages] == [100, 100, 50]
    assert len({model.name for page in pages for model in page}) == 250
    assert cloud.effects.count("ModelService.ListModels") == 3
    assert cloud.effects.count("*") == 3


def test_a_listing_stops_asking_when_its_reader_stops(cloud):
    for n in range(30):
        cloud.models.seed(f"m{n}", display_name=f"m{n}")
    next(vertex.list_models(page_size=10))
    assert cloud.effects.count("*") == 1


def test_an_empty_registry_has_one_empty_page(cloud):
    assert list(vertex.list_models()) == [()]


def test_a_page_that_fails_leaves_no_listing_that_looks_whole(cloud):
    for n in range(30):
        cloud.models.seed(f"m{n}", display_name=f"m{n}")
    cloud.faults.order("ModelService.ListModels", code="PERMISSION_DENIED", nth=3)
    seen: list[Any] = []
    with pytest.raises(Exception, match="refused access"):
        seen.extend(vertex.list_models(page_size=10))
    assert len(seen) <= 2


def test_versions_are_found_by_our_labels(cloud):
    upload(cloud, model_id="mr-1")
    upload(cloud, run="2", parent_model=NAME)
    found = versions_of(filter=label_filter({"mlp_run": "2"}))
    assert [v.version for v in found] == ["2"]
    assert versions_of(filter=label_filter({"mlp_run": "3"})) == []


def test_models_are_found_by_our_labels(cloud):
    upload(cloud, model_id="mr-1", labels={"mlp_owner": "tests"})
    upload(cloud, model_id="mr-2", labels={"mlp_owner": "others"})
    pages = vertex.list_models(filter=label_filter({"mlp_owner": "tests"}))
    assert [m.name.model_id for page in pages for m in page] == ["mr-1"]


def test_a_name_with_a_version_lists_all_versions_of_its_model(cloud):
    upload(cloud, model_id="mr-1")
    upload(cloud, run="2", parent_model=NAME)
    assert {v.version for v in versions_of(NAME.at("1"))} == {"1", "2"}
    asked = cloud.effects.calls("ModelService.ListModelVersions")
    assert [call.resource for call in asked] == [str(NAME)]


def test_deleting_a_version_leaves_its_siblings(cloud):
    upload(cloud, model_id="mr-1")
    upload(cloud, run="2", parent_model=NAME)
    operation = vertex.delete_model_version(NAME.at("2"))
    assert (operation.done, operation.error, operation.result) == (True, None, None)
    assert [v.version for v in versions_of()] == ["1"]


def test_the_only_version_is_not_deleted_as_a_version(cloud):
    upload(cloud, model_id="mr-1")
    with pytest.raises(CloudConflict):
        vertex.delete_model_version(NAME.at("1"))
    assert [v.version for v in versions_of()] == ["1"]


def test_deleting_the_model_deletes_all_versions(cloud):
    upload(cloud, model_id="mr-1")
    upload(cloud, run="2", parent_model=NAME)
    assert vertex.delete_model(NAME).done
    with pytest.raises(CloudAbsent):
        vertex.get_model(NAME)


@pytest.mark.parametrize(
    ("send", "name"),
    [
        (vertex.delete_model, NAME.at("1")),
        (vertex.delete_model_version, NAME),
        (vertex.delete_model_version, NAME.at("default")),
        (lambda name: vertex.merge_version_aliases(name, ["champion"]), NAME),
        (lambda name: vertex.update_model_labels(name, {}), NAME),
        (lambda name: vertex.update_model_labels(name, {}), NAME.at("default")),
    ],
)
def test_a_name_that_would_hit_more_or_other_than_was_meant_is_refused(cloud, send, name):
    upload(cloud, model_id="mr-1")
    before = cloud.effects.count("*")
    with pytest.raises(Invalid):
        send(name)
    assert cloud.effects.count("*") == before


def test_an_alias_moves_and_is_taken_away(cloud):
    upload(cloud, model_id="mr-1", aliases=["champion"])
    upload(cloud, run="2", parent_model=NAME)
    assert "champion" in vertex.merge_version_aliases(NAME.at("2"), ["champion"]).aliases
    assert vertex.get_model(NAME.at("1")).aliases == ()
    assert vertex.merge_version_aliases(NAME.at("2"), ["-champion"]).aliases == ("default",)
    with pytest.raises(Invalid):
        vertex.merge_version_aliases(NAME.at("2"), ["--champion"])


def test_labels_of_one_version_are_replaced(cloud):
    upload(cloud, model_id="mr-1")
    upload(cloud, run="2", parent_model=NAME)
    assert vertex.update_model_labels(NAME.at("2"), {"mlp_run": "3"}).labels == {"mlp_run": "3"}
    assert vertex.get_model(NAME.at("1")).labels == {"mlp_run": "1"}


def test_an_operation_that_takes_its_time_is_asked_for_by_name(cloud):
    cloud.faults.order("ModelService.UploadModel", kind="late", seconds=60)
    operation = upload(cloud, model_id="mr-1")
    assert (operation.done, operation.error, operation.result) == (False, None, None)
    assert vertex.get_operation(operation.name) == operation
    with pytest.raises(CloudAbsent):
        vertex.get_model(NAME)
    cloud.clock.advance(61)
    finished: Any = vertex.get_operation(operation.name)
    assert finished.done
    assert vertex.get_model(finished.result).version == "1"


def test_an_upload_that_fails_later_says_so_in_its_operation(cloud):
    cloud.faults.order("ModelService.UploadModel", kind="late", seconds=60)
    operation = upload(cloud, model_id="mr-1")
    upload(cloud, run="2", model_id="mr-1")
    cloud.clock.advance(61)
    finished: Any = vertex.get_operation(operation.name)
    assert (finished.done, finished.result) == (True, None)
    assert isinstance(finished.error, CloudExists)
    assert "ModelService.UploadModel: ALREADY_EXISTS" in str(finished.error)
    assert [v.labels["mlp_run"] for v in versions_of()] == ["2"]


def test_a_deletion_that_finds_nothing_any_more_says_absent_in_its_operation(cloud):
    upload(cloud, model_id="mr-1")
    cloud.faults.order("ModelService.DeleteModel", kind="late", seconds=60)
    operation = vertex.delete_model(NAME)
    vertex.delete_model(NAME)
    cloud.clock.advance(61)
    finished = vertex.get_operation(operation.name)
    assert isinstance(finished.error, CloudAbsent)


def test_an_upload_whose_parent_vanished_says_nothing_of_the_model_to_be_made(cloud):
    upload(cloud, model_id="mr-1")
    cloud.faults.order("ModelService.UploadModel", kind="late", seconds=60)
    operation = upload(cloud, run="2", parent_model=NAME)
    vertex.delete_model(NAME)
    cloud.clock.advance(61)
    error = vertex.get_operation(operation.name).error
    assert type(error) is CloudRejected
    assert error.code == "parent_not_found"


def test_an_operation_that_google_forgot_is_absent(cloud):
    operation = upload(cloud, model_id="mr-1")
    forgotten = type(operation.name).parse(str(operation.name) + "99")
    with pytest.raises(CloudAbsent):
        vertex.get_operation(forgotten)


def test_a_lost_answer_leaves_the_outcome_unknown_and_the_labels_tell_it(cloud):
    cloud.faults.order("ModelService.UploadModel", kind="lost")
    with pytest.raises(OutcomeUnknown):
        upload(cloud, model_id="mr-1")
    assert [v.labels["mlp_run"] for v in versions_of()] == ["1"]


def test_the_values_are_frozen_and_can_be_stored(cloud):
    upload(cloud, model_id="mr-1")
    model = vertex.get_model(NAME)
    assert pickle.loads(pickle.dumps(model)) == model  # noqa: S301 (our own bytes)
    assert asdict(model)["labels"] == {"mlp_run": "1"}
    assert hash(model) == hash(vertex.get_model(NAME))
    with pytest.raises(FrozenInstanceError):
        model.version = "2"  # type: ignore[misc]
