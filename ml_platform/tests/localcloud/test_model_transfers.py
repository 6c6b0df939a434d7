"""Copies, exports and evaluations of models."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
from google.api_core import exceptions
from google.cloud.aiplatform_v1.services.model_service import ModelServiceClient

from ml_platform.localcloud import LocalCloud
from ml_platform.tests.localcloud.conftest import NUMBERED, PARENT
from ml_platform.tests.localcloud.iam_tools import MEMBER

MODEL = f"{NUMBERED}/models/ranker"


@pytest.fixture
def ranker(cloud: LocalCloud, models: ModelServiceClient) -> str:
    """A model with an artifact, an alias, a label and a key."""
    cloud.storage.write("artifacts", "runs/1/saved_model.pb", b"model")
    cloud.storage.write("artifacts", "runs/1/variables/index", b"index")
    cloud.storage.write("artifacts", "runs/10/other", b"other")
    model = {
        "display_name": "Ranker",
        "description": "ranks",
        "artifact_uri": "gs://artifacts/runs/1",
        "version_aliases": ["golden"],
        "labels": {"team": "red"},
        "encryption_spec": {"kms_key_name": "a-key"},
    }
    request = {"parent": PARENT, "model_id": "ranker", "model": model}
    return str(models.upload_model(request).result().model)


def copy(models: ModelServiceClient, source: str, **target: Any) -> Any:
    """Copy and wait."""
    return models.copy_model({"parent": PARENT, "source_model": source} | target).result()


def test_a_copy_is_a_new_model_without_aliases_and_key(
    models: ModelServiceClient, ranker: str
) -> None:
    models.import_model_evaluation({"parent": ranker, "model_evaluation": {"display_name": "one"}})
    answer = copy(models, ranker, model_id="twin")
    assert (answer.model, answer.model_version_id) == (f"{NUMBERED}/models/twin", "1")
    twin = models.get_model(name=answer.model)
    assert (twin.display_name, twin.description) == ("Ranker", "ranks")
    assert (twin.artifact_uri, dict(twin.labels)) == ("gs://artifacts/runs/1", {"team": "red"})
    assert (list(twin.version_aliases), twin.encryption_spec.kms_key_name) == (["default"], "")
    assert (twin.model_source_info.source_type.name, twin.model_source_info.copy) == (
        "CUSTOM",
        True,
    )
    assert twin.original_model_info.model == f"{ranker}@1"
    assert list(models.list_model_evaluations(parent=answer.model)) == []


def test_a_copy_may_be_the_next_version_of_a_model_and_have_a_key_of_its_own(
    cloud: LocalCloud, models: ModelServiceClient, ranker: str
) -> None:
    other = cloud.models.seed("other", display_name="other", versions=[3])
    key = {"kms_key_name": "new-key"}
    answer = copy(models, f"{ranker}@golden", parent_model=other, encryption_spec=key)
    assert (answer.model, answer.model_version_id) == (other, "4")
    version = models.get_model(name=f"{other}@4")
    assert (version.display_name, version.encryption_spec.kms_key_name) == ("other", "new-key")
    assert models.get_model(name=other).version_id == "3"
    copied = [call.method for call in cloud.effects.mutations("ModelService.CopyModel")]
    assert copied == ["ModelService.CopyModel"]


def test_a_copy_without_a_target_gets_a_number(models: ModelServiceClient, ranker: str) -> None:
    assert copy(models, ranker).model.rpartition("/")[2].isdigit()


def test_copies_that_cannot_be(models: ModelServiceClient, ranker: str) -> None:
    operation = models.copy_model(parent=PARENT, source_model=f"{PARENT}/models/nobody")
    with pytest.raises(exceptions.NotFound):
        operation.result()
    refused: tuple[tuple[dict[str, Any], Any], ...] = (
        ({"model_id": "ranker"}, exceptions.AlreadyExists),
        ({"model_id": "Upper"}, exceptions.InvalidArgument),
        ({"parent_model": f"{PARENT}/models/nobody"}, exceptions.NotFound),
        ({"source_model": "nonsense"}, exceptions.InvalidArgument),
        ({"custom_service_account": "a@b"}, exceptions.MethodNotImplemented),
    )
    for request, error in refused:
        with pytest.raises(error):
            models.copy_model({"parent": PARENT, "source_model": ranker} | request)
    assert len(list(models.list_models(parent=PARENT))) == 1


def test_a_copy_comes_from_another_project_that_its_caller_may_read(
    cloud: LocalCloud, models: ModelServiceClient, ranker: str, call: Callable[..., Any]
) -> None:
    cloud.declare({"other-project": 987654321098}, ["us-central1"])
    there = "projects/987654321098/locations/us-central1"
    wanted = {"parent": there, "source_model": f"{ranker}@golden", "model_id": "twin"}
    cloud.iam.grant(MEMBER, "roles/aiplatform.user", project="other-project")
    denied = rf"Permission 'aiplatform\.models\.get' denied on resource '//.*/{ranker}'"
    with pytest.raises(exceptions.PermissionDenied, match=denied):
        call(ModelServiceClient, "copy_model", wanted)
    cloud.iam.grant(MEMBER, "roles/aiplatform.viewer")
    answer = call(ModelServiceClient, "copy_model", wanted).result()
    assert (answer.model, answer.model_version_id) == (f"{there}/models/twin", "1")
    twin = models.get_model(name=answer.model)
    assert twin.original_model_info.model == f"{ranker}@1"
    assert [one.name for one in models.list_models(parent=there)] == [answer.model]
    assert [one.name for one in models.list_models(parent=PARENT)] == [ranker]
    wanted["source_model"] = f"{ranker}@7"
    wanted["model_id"] = "other"
    with pytest.raises(exceptions.NotFound):
        call(ModelServiceClient, "copy_model", wanted).result()


def export(models: ModelServiceClient, name: str, uri: str, **output: Any) -> Any:
    """Start an export."""
    destination = {"artifact_destination": {"output_uri_prefix": uri}}
    return models.export_model({"name": name, "output_config": destination | output})


@pytest.mark.parametrize("uri", ["gs://out/models", "gs://out/models/"])
def test_an_export_writes_the_artifact_into_a_directory_of_its_own(
    cloud: LocalCloud, models: ModelServiceClient, ranker: str, uri: str
) -> None:
    cloud.storage.write("out", "models/mine", b"mine")
    operation = export(models, ranker, uri, export_format_id="custom-trained")
    operation.result()
    written = operation.metadata.output_info.artifact_output_uri
    directory, _, when = written.rpartition("/")
    assert directory == "gs://out/models/model-ranker/custom-trained"
    assert when.endswith("Z")
    path = written.removeprefix("gs://out/")
    assert cloud.storage.names("out", f"{path}/") == [
        f"{path}/saved_model.pb",
        f"{path}/variables/index",
    ]
    assert cloud.storage.read("out", f"{path}/saved_model.pb") == b"model"


def test_exports_that_cannot_be(cloud: LocalCloud, models: ModelServiceClient, ranker: str) -> None:
    cloud.storage.write("out", "mine", b"mine")
    bare = cloud.models.seed("bare", display_name="bare")
    # In the words that python-aiplatform#194 met.
    with pytest.raises(exceptions.FailedPrecondition, match=f"`{bare}` in format `` is not"):
        export(models, bare, "gs://out")
    with pytest.raises(exceptions.FailedPrecondition, match="in format `tflite` is not"):
        export(models, ranker, "gs://out", export_format_id="tflite")
    with pytest.raises(exceptions.NotFound):
        export(models, ranker, "gs://missing-bucket")
    with pytest.raises(exceptions.InvalidArgument):
        export(models, ranker, "out")
    with pytest.raises(exceptions.NotFound):
        export(models, f"{ranker}@7", "gs://out")
    with pytest.raises(exceptions.MethodNotImplemented):
        export(models, ranker, "gs://out", image_destination={"output_uri": "img"})
    assert cloud.storage.names("out") == ["mine"]


def test_evaluations_are_of_a_version_and_go_with_it(
    models: ModelServiceClient, ranker: str
) -> None:
    second = {"parent": PARENT, "parent_model": ranker, "model": {"display_name": "r"}}
    models.upload_model(second).result()
    metrics = {"auPrc": 0.9}
    for parent, name in ((ranker, "a"), (f"{ranker}@golden", "b"), (f"{ranker}@2", "c")):
        evaluation = {"display_name": name, "metrics": metrics, "metrics_schema_uri": "gs://s/1"}
        models.import_model_evaluation({"parent": parent, "model_evaluation": evaluation})

    def listed(parent: str) -> list[str]:
        found = models.list_model_evaluations({"parent": parent, "page_size": 1})
        return [evaluation.display_name for evaluation in found]

    assert (listed(ranker), listed(f"{ranker}@1"), listed(f"{ranker}@2")) == (
        ["a", "b"],
        ["a", "b"],
        ["c"],
    )
    (evaluation,) = models.list_model_evaluations(parent=f"{ranker}@2")
    assert evaluation.name.startswith(f"{ranker}/evaluations/")
    read = models.get_model_evaluation(name=evaluation.name)
    assert (read, dict(read.metrics)) == (evaluation, metrics)
    models.delete_model_version(name=f"{ranker}@2").result()
    with pytest.raises(exceptions.NotFound):
        models.get_model_evaluation(name=evaluation.name)
    with pytest.raises(exceptions.NotFound):
        models.import_model_evaluation({"parent": f"{ranker}@2"})
    with pytest.raises(exceptions.InvalidArgument):
        models.list_model_evaluations({"parent": ranker, "filter": "x=y"})
