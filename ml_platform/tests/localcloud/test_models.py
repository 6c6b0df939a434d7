"""The Model Registry, through Google's own client."""

from __future__ import annotations

from typing import Any

import pytest
from google.api_core import exceptions
from google.cloud.aiplatform_v1.services.model_service import ModelServiceClient

from ml_platform.localcloud import LocalCloud
from ml_platform.tests.localcloud.conftest import NUMBERED, PARENT


def upload(client: ModelServiceClient, request: dict[str, Any] | None = None, **model: Any) -> Any:
    """Upload a model and wait: the UploadModelResponse."""
    asked = {"parent": PARENT, "model": {"display_name": "ranker"} | model} | (request or {})
    return client.upload_model(request=asked).result()


def versions(client: ModelServiceClient, model_id: str, **request: Any) -> dict[str, list[str]]:
    """Version id to aliases."""
    asked = {"name": f"{PARENT}/models/{model_id}"} | request
    return {m.version_id: list(m.version_aliases) for m in client.list_model_versions(asked)}


def test_the_first_upload_is_version_1_with_the_default_alias(models: ModelServiceClient) -> None:
    answer = upload(models, {"model_id": "ranker"}, labels={"run": "1"})
    assert (answer.model, answer.model_version_id) == (f"{NUMBERED}/models/ranker", "1")
    model = models.get_model(name=f"{PARENT}/models/ranker")
    assert (model.name, model.version_id) == (f"{NUMBERED}/models/ranker", "1")
    assert list(model.version_aliases) == ["default"]
    assert dict(model.labels) == {"run": "1"}
    assert model.create_time == model.update_time == model.version_create_time


def test_without_an_id_vertex_gives_a_number(models: ModelServiceClient) -> None:
    one, two = upload(models).model, upload(models).model
    assert one != two
    assert one.rpartition("/")[2].isdigit()


def test_a_new_version_under_a_parent_leaves_the_default_where_it_was(
    models: ModelServiceClient,
) -> None:
    parent = upload(models, {"model_id": "ranker"}).model
    answer = upload(models, {"parent_model": parent}, version_aliases=["golden"])
    assert (answer.model, answer.model_version_id) == (parent, "2")
    assert versions(models, "ranker") == {"1": ["default"], "2": ["golden"]}
    assert models.get_model(name=f"{parent}@golden").version_id == "2"
    assert models.get_model(name=f"{parent}@2").name == parent
    assert models.get_model(name=parent).version_id == "1"


def test_an_upload_with_the_default_alias_becomes_the_default(models: ModelServiceClient) -> None:
    parent = upload(models, {"model_id": "ranker"}).model
    upload(models, {"parent_model": parent}, version_aliases=["default"])
    assert versions(models, "ranker") == {"1": [], "2": ["default"]}
    assert models.get_model(name=parent).version_id == "2"


def test_an_id_that_exists_is_refused_without_a_parent(models: ModelServiceClient) -> None:
    upload(models, {"model_id": "ranker"})
    with pytest.raises(exceptions.AlreadyExists):
        upload(models, {"model_id": "ranker"})
    assert versions(models, "ranker") == {"1": ["default"]}


def test_a_missing_parent_is_not_found(models: ModelServiceClient) -> None:
    with pytest.raises(exceptions.NotFound):
        upload(models, {"parent_model": f"{PARENT}/models/nobody"})


def test_a_deleted_id_can_be_used_again_and_starts_at_version_1(
    cloud: LocalCloud, models: ModelServiceClient
) -> None:
    parent = upload(models, {"model_id": "ranker"}).model
    upload(models, {"parent_model": parent})
    models.delete_model(name=parent).result()
    assert upload(models, {"model_id": "ranker"}).model_version_id == "1"
    cloud.models.behavior.versions_restart = False
    models.delete_model(name=parent).result()
    assert upload(models, {"model_id": "ranker"}).model_version_id == "2"


def test_a_deleted_version_number_is_never_given_again(models: ModelServiceClient) -> None:
    parent = upload(models, {"model_id": "ranker"}).model
    upload(models, {"parent_model": parent})
    models.delete_model_version(name=f"{parent}@2").result()
    assert upload(models, {"parent_model": parent}).model_version_id == "3"


def test_an_empty_artifact_directory_is_refused_on_the_call_itself(
    cloud: LocalCloud, models: ModelServiceClient
) -> None:
    cloud.storage.write("artifacts", "runs/10/pushed_model/saved_model.pb", b"model")
    with pytest.raises(exceptions.FailedPrecondition):
        upload(models, artifact_uri="gs://artifacts/runs/1")
    upload(models, artifact_uri="gs://artifacts/runs/10/pushed_model")
    assert len(list(models.list_models(parent=PARENT))) == 1


@pytest.mark.parametrize(
    ("request_fields", "model_fields"),
    [
        ({"model_id": "9starts-with-a-digit"}, {}),
        ({"model_id": "-hyphen"}, {}),
        ({"model_id": "Upper"}, {}),
        ({"model_id": "x" * 64}, {}),
        ({}, {"display_name": ""}),
        ({}, {"display_name": "x" * 129}),
        ({}, {"version_aliases": ["7"]}),
        ({}, {"version_aliases": ["ends-with-"]}),
        ({}, {"labels": {"Upper": "x"}}),
        ({}, {"labels": {"key": "x" * 64}}),
        ({}, {"labels": {"k" * 64: "x"}}),
        ({}, {"labels": {"key": "\u00e9" * 64}}),
        ({}, {"labels": {"-key": "x"}}),
        ({}, {"labels": {"_key": "x"}}),
        ({}, {"labels": {"key": "a.b"}}),
        ({}, {"labels": {"": "x"}}),
        ({}, {"artifact_uri": "/local/path"}),
        ({"parent": "projects/demo-project/locations/us-central1"}, {}),
        ({"parent": "nonsense"}, {}),
    ],
)
def test_a_malformed_upload_is_an_invalid_argument(
    models: ModelServiceClient, request_fields: dict[str, Any], model_fields: dict[str, Any]
) -> None:
    with pytest.raises(exceptions.InvalidArgument):
        upload(models, request_fields, **model_fields)
    assert list(models.list_models(parent=PARENT)) == []


def test_labels_at_the_edge_of_the_rule_are_taken(models: ModelServiceClient) -> None:
    labels = {"k" * 63: "v" * 63, "1st": "", "\u00e9t\u00e9": "-_9"}
    upload(models, {"model_id": "ranker"}, labels=labels)
    assert dict(models.get_model(name=f"{PARENT}/models/ranker").labels) == labels


def test_ids_at_the_edge_of_the_pattern_are_taken(models: ModelServiceClient) -> None:
    for model_id in ("_", "a", "x" * 63, "a-_9"):
        assert upload(models, {"model_id": model_id}).model.endswith(f"/{model_id}")


def test_another_project_is_denied_by_id_and_ours_is_known_by_number(
    models: ModelServiceClient,
) -> None:
    with pytest.raises(exceptions.PermissionDenied) as denied:
        models.list_models(parent="projects/other/locations/europe-central2")
    assert denied.value.details[0].reason == "IAM_PERMISSION_DENIED"
    assert list(models.list_models(parent=NUMBERED)) == []


@pytest.mark.parametrize("name", ["models/1", f"{PARENT}/models/", f"{PARENT}/models/a@", "x/y"])
def test_a_malformed_name_is_an_invalid_argument_in_vertex_words(
    models: ModelServiceClient, name: str
) -> None:
    with pytest.raises(exceptions.InvalidArgument, match=r"List of found errors:\t1\.Field: name"):
        models.get_model(name=name)


def test_what_is_not_there_is_not_found(models: ModelServiceClient) -> None:
    upload(models, {"model_id": "ranker"})
    for name in ("nobody", "ranker@2", "ranker@golden"):
        with pytest.raises(exceptions.NotFound):
            models.get_model(name=f"{PARENT}/models/{name}")


@pytest.mark.parametrize("size", [1, 2, 3, 6, 7])
def test_paging_meets_every_model_once_and_a_full_last_page_has_no_token(
    cloud: LocalCloud, models: ModelServiceClient, size: int
) -> None:
    for number in range(6):
        cloud.models.seed(f"m{number}", display_name=f"m{number}")
    pages = list(models.list_models(request={"parent": PARENT, "page_size": size}).pages)
    met = [model.display_name for page in pages for model in page.models]
    assert met == [f"m{number}" for number in range(6)]
    assert len(pages) == -(-6 // size)
    assert cloud.effects.count("ModelService.ListModels") == -(-6 // size)


def test_a_deletion_between_two_pages_neither_skips_nor_repeats(
    cloud: LocalCloud, models: ModelServiceClient
) -> None:
    for number in range(4):
        cloud.models.seed(f"m{number}", display_name=f"m{number}")
    first = models.list_models(request={"parent": PARENT, "page_size": 2})
    token = first.next_page_token
    models.delete_model(name=f"{PARENT}/models/m0").result()
    rest = models.list_models(request={"parent": PARENT, "page_size": 2, "page_token": token})
    assert [model.display_name for model in rest] == ["m2", "m3"]


def test_page_sizes_and_tokens_that_make_no_sense_are_refused(
    cloud: LocalCloud, models: ModelServiceClient
) -> None:
    for number in range(3):
        cloud.models.seed(f"m{number}", display_name="same")
    token = models.list_models({"parent": PARENT, "page_size": 1}).next_page_token
    for wrong in (
        {"page_size": -1},
        {"page_size": 301},
        {"page_token": "nonsense"},
        {"page_token": token, "filter": "display_name=same"},
    ):
        with pytest.raises(exceptions.InvalidArgument):
            models.list_models({"parent": PARENT} | wrong)
    assert len(list(models.list_models({"parent": PARENT, "page_size": 300}))) == 3


@pytest.mark.parametrize(
    ("expression", "met"),
    [
        ("", "abc"),
        ("model=b", "b"),
        ("model!=b", "ac"),
        ('display_name="Bee"', "b"),
        ('displayName="Bee"', "b"),
        ("labels.env=prod", "ac"),
        ('labels.env="prod" AND labels.team=red', "a"),
        ("labels.env=prod labels.team=red", "a"),
        ("labels.team:*", "ab"),
        ("labels:team", "ab"),
        ("NOT labels.team:*", "c"),
        ("model=a OR model=c", "ac"),
        ("labels.env=prod AND (model=a OR model=b)", "a"),
        ("model=b OR model=c AND labels.env=prod", "c"),
        ("labels.none=x", ""),
    ],
)
def test_filters_choose_models(
    cloud: LocalCloud, models: ModelServiceClient, expression: str, met: str
) -> None:
    cloud.models.seed("a", display_name="Ant", labels={"env": "prod", "team": "red"})
    cloud.models.seed("b", display_name="Bee", labels={"env": "test", "team": "blue"})
    cloud.models.seed("c", display_name="Cow", labels={"env": "prod"})
    found = models.list_models({"parent": PARENT, "filter": expression})
    assert "".join(model.name[-1] for model in found) == met


@pytest.mark.parametrize(
    "expression", ["color=red", "model", "model=", "(model=a", "model=a)", "="]
)
def test_a_filter_nobody_understands_is_refused(
    models: ModelServiceClient, expression: str
) -> None:
    with pytest.raises(exceptions.InvalidArgument):
        models.list_models({"parent": PARENT, "filter": expression})


def test_order_by_sorts_across_pages(cloud: LocalCloud, models: ModelServiceClient) -> None:
    for model_id, name in (("x", "b"), ("y", "a"), ("z", "c")):
        cloud.models.seed(model_id, display_name=name)
        cloud.clock.advance(1)
    asked = {"parent": PARENT, "page_size": 2}
    by_name = models.list_models(asked | {"order_by": "display_name desc"})
    assert [model.display_name for model in by_name] == ["c", "b", "a"]
    by_time = models.list_models(asked | {"order_by": "create_time desc"})
    assert [model.display_name for model in by_time] == ["c", "a", "b"]
    with pytest.raises(exceptions.InvalidArgument):
        models.list_models(asked | {"order_by": "color"})


def test_a_read_mask_leaves_only_its_fields(models: ModelServiceClient) -> None:
    upload(models, {"model_id": "ranker"}, labels={"a": "b"})
    (found,) = models.list_models(
        {"parent": PARENT, "read_mask": {"paths": ["name", "version_id"]}}
    )
    assert (found.name, found.version_id) == (f"{NUMBERED}/models/ranker", "1")
    assert (found.display_name, dict(found.labels)) == ("", {})


def test_version_names_carry_their_number_and_their_labels_can_be_filtered(
    models: ModelServiceClient,
) -> None:
    parent = upload(models, {"model_id": "ranker"}, labels={"run": "one"}).model
    upload(models, {"parent_model": parent}, labels={"run": "two"})
    asked = {"name": parent, "filter": "labels.run=two"}
    assert [model.name for model in models.list_model_versions(asked)] == [f"{parent}@2"]
    pages = list(models.list_model_versions({"name": parent, "page_size": 1}).pages)
    assert [[model.version_id for model in page.models] for page in pages] == [["1"], ["2"]]


def test_versions_of_a_name_that_is_a_prefix_of_another_stay_apart(
    models: ModelServiceClient,
) -> None:
    for model_id in ("rank", "rank2", "ran"):
        upload(models, {"model_id": model_id})
    upload(models, {"parent_model": f"{PARENT}/models/rank2"})
    assert versions(models, "rank") == {"1": ["default"]}


def test_aliases_move_and_leave_and_default_cannot_leave(models: ModelServiceClient) -> None:
    parent = upload(models, {"model_id": "ranker"}, version_aliases=["golden"]).model
    upload(models, {"parent_model": parent})
    models.merge_version_aliases(name=f"{parent}@2", version_aliases=["golden", "default"])
    assert versions(models, "ranker") == {"1": [], "2": ["golden", "default"]}
    models.merge_version_aliases(name=f"{parent}@2", version_aliases=["-golden", "x1", "-x1"])
    assert versions(models, "ranker") == {"1": [], "2": ["default"]}
    with pytest.raises(exceptions.FailedPrecondition):
        models.merge_version_aliases(name=f"{parent}@2", version_aliases=["-default"])
    with pytest.raises(exceptions.InvalidArgument):
        models.merge_version_aliases(name=parent, version_aliases=["golden"])
    with pytest.raises(exceptions.InvalidArgument):
        models.merge_version_aliases(name=f"{parent}@2", version_aliases=["2nd"])


def test_deleting_the_default_version_moves_default_to_the_newest_left(
    cloud: LocalCloud, models: ModelServiceClient
) -> None:
    parent = upload(models, {"model_id": "ranker"}).model
    for _ in range(2):
        upload(models, {"parent_model": parent})
    models.delete_model_version(name=f"{parent}@default").result()
    assert versions(models, "ranker") == {"2": [], "3": ["default"]}
    cloud.models.behavior.default_moves = False
    with pytest.raises(exceptions.FailedPrecondition):
        models.delete_model_version(name=f"{parent}@3")


def test_the_last_version_can_only_go_with_its_model(models: ModelServiceClient) -> None:
    parent = upload(models, {"model_id": "ranker"}).model
    with pytest.raises(exceptions.FailedPrecondition, match="only version"):
        models.delete_model_version(name=f"{parent}@1")
    models.delete_model(name=parent).result()
    with pytest.raises(exceptions.NotFound):
        models.get_model(name=parent)
    with pytest.raises(exceptions.NotFound):
        models.delete_model(name=parent)


def test_a_deletion_leaves_in_the_record_what_it_removed(
    cloud: LocalCloud, models: ModelServiceClient
) -> None:
    parent = upload(models, {"model_id": "ranker"}, labels={"run": "one"}).model
    upload(models, {"parent_model": parent}, labels={"run": "two"})
    models.delete_model(name=parent).result()
    (deleted,) = cloud.effects.mutations("ModelService.DeleteModel")
    removed = [(item["version"], item["labels"]) for item in deleted.detail["versions"]]
    assert removed == [("1", {"run": "one"}), ("2", {"run": "two"})]


def test_updates_are_of_the_model_or_of_the_version_never_both(models: ModelServiceClient) -> None:
    parent = upload(models, {"model_id": "ranker"}, labels={"run": "one"}).model

    def update(name: str, paths: str, **fields: Any) -> Any:
        mask = {"paths": paths.split(",")}
        return models.update_model({"model": {"name": name} | fields, "update_mask": mask})

    assert update(parent, "display_name", display_name="new").display_name == "new"
    # python-aiplatform#3049: an update of the model's labels is one of its default version's too.
    assert dict(update(parent, "labels", labels={"team": "red"}).labels) == {"team": "red"}
    assert dict(update(f"{parent}@1", "labels", labels={"run": "x"}).labels)["run"] == "x"
    assert update(f"{parent}@1", "version_description", version_description="v")
    for name, paths in ((parent, "version_description"), (f"{parent}@1", "display_name")):
        with pytest.raises(exceptions.FailedPrecondition):
            update(name, paths)
    with pytest.raises(exceptions.InvalidArgument):
        update(parent, "artifact_uri")
    with pytest.raises(exceptions.Aborted):
        update(parent, "display_name", display_name="newer", etag="stale")
    assert models.get_model(name=parent).version_description == "v"


def test_labels_of_an_upload_may_belong_to_the_model_where_google_does_not_say(
    cloud: LocalCloud, models: ModelServiceClient
) -> None:
    cloud.models.behavior.labels_per_version = False
    parent = upload(models, {"model_id": "ranker"}, labels={"run": "one"}).model
    upload(models, {"parent_model": parent}, labels={"run": "two"})
    met = models.list_model_versions({"name": parent, "filter": "labels.run=two"})
    assert [model.version_id for model in met] == ["1", "2"]


def test_an_existing_id_may_be_refused_in_the_operation_where_google_does_not_say(
    cloud: LocalCloud, models: ModelServiceClient
) -> None:
    cloud.models.behavior.exists_in_lro = True
    upload(models, {"model_id": "ranker"})
    operation = models.upload_model(
        {"parent": PARENT, "model_id": "ranker", "model": {"display_name": "ranker"}}
    )
    with pytest.raises(exceptions.AlreadyExists):
        operation.result()


def test_a_seeded_model_has_the_id_and_versions_it_was_given(
    cloud: LocalCloud, models: ModelServiceClient
) -> None:
    name = cloud.models.seed(
        "8920403806844354560",
        display_name="chern_retriv_v5",
        versions=[{"version": 3, "labels": {"run": "3"}}, 5],
        labels={"run": "5"},
        artifact_uri="gs://b2b-recs-training-artifacts/runs/5",
    )
    assert name == f"{NUMBERED}/models/8920403806844354560"
    assert versions(models, "8920403806844354560") == {"3": [], "5": ["default"]}
    assert dict(models.get_model(name=f"{name}@3").labels) == {"run": "3"}
    assert upload(models, {"parent_model": name}).model_version_id == "6"
    assert cloud.effects.calls("*Seed*") == []


@pytest.mark.parametrize(
    ("model_id", "versions"),
    [("a/b", [1]), ("", [1]), ("a", []), ("a", [0]), ("a", [2, 1]), ("a", [{"labels": {}}])],
)
def test_a_seed_no_model_can_have_is_refused_and_leaves_nothing(
    cloud: LocalCloud, model_id: str, versions: list[Any]
) -> None:
    with pytest.raises(ValueError, match=r"not"):
        cloud.models.seed(model_id, display_name="x", versions=versions)
    assert cloud.store.count("model") == 0


def test_a_thousand_models_take_ten_pages(cloud: LocalCloud, models: ModelServiceClient) -> None:
    for number in range(1_000):
        cloud.models.seed(f"m{number}", display_name=f"m{number}")
    found = models.list_models({"parent": PARENT, "page_size": 100})
    assert len({model.name for model in found}) == 1_000
    assert cloud.effects.count("ModelService.ListModels") == 10


def test_the_reason_header_is_written_down_beside_the_call(
    cloud: LocalCloud, models: ModelServiceClient
) -> None:
    models.list_models(parent=PARENT, metadata=[("x-goog-request-reason", "op-7")])
    assert [call.reason for call in cloud.effects.calls()] == ["op-7"]


def test_methods_we_do_not_have_are_unimplemented(models: ModelServiceClient) -> None:
    with pytest.raises(exceptions.MethodNotImplemented, match="GetModelEvaluationSlice"):
        models.get_model_evaluation_slice(name=f"{PARENT}/models/1/evaluations/2/slices/3")
