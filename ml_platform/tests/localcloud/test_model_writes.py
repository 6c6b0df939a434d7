"""What a write to a model changes: its etag, the order of its aliases, its output fields."""

from __future__ import annotations

from typing import Any

import pytest
from google.api_core import exceptions
from google.cloud.aiplatform_v1.services.endpoint_service import EndpointServiceClient
from google.cloud.aiplatform_v1.services.model_service import ModelServiceClient
from google.cloud.aiplatform_v1.types import Model, ModelSourceInfo

from ml_platform.localcloud import LocalCloud
from ml_platform.tests.localcloud.conftest import NUMBERED, PARENT

MODEL = f"{NUMBERED}/models/ranker"


@pytest.fixture
def ranker(cloud: LocalCloud) -> str:
    """A model with two versions, the second one the default."""
    return cloud.models.seed("ranker", display_name="ranker", versions=[1, 2])


def rename(models: ModelServiceClient, model: Any, name: str) -> Any:
    """Update what was read, with its etag."""
    model.name = MODEL
    model.display_name = name
    return models.update_model({"model": model, "update_mask": {"paths": ["display_name"]}})


def test_an_etag_looks_like_vertexs_and_is_the_models_under_each_of_its_names(
    models: ModelServiceClient, ranker: str
) -> None:
    etags = {models.get_model(name=name).etag for name in (ranker, f"{ranker}@1", f"{ranker}@2")}
    listed = [*models.list_models(parent=PARENT), *models.list_model_versions(name=ranker)]
    (etag,) = etags | {model.etag for model in listed}
    assert etag.startswith("AMEw9y")
    assert len(etag) == 68


def test_what_was_read_by_version_updates_the_model(
    models: ModelServiceClient, ranker: str
) -> None:
    assert rename(models, models.get_model(name=f"{ranker}@1"), "new").display_name == "new"


def test_a_deployment_leaves_the_etag(
    models: ModelServiceClient, endpoints: EndpointServiceClient, ranker: str
) -> None:
    read = models.get_model(name=ranker)
    endpoint = endpoints.create_endpoint(
        {"parent": PARENT, "endpoint": {"display_name": "e"}}
    ).result()
    endpoints.deploy_model(
        {"endpoint": endpoint.name, "deployed_model": {"model": ranker}}
    ).result()
    assert len(models.get_model(name=ranker).deployed_models) == 1
    assert rename(models, read, "new").display_name == "new"


@pytest.mark.parametrize("write", ["update", "update a version", "aliases", "upload", "delete"])
def test_each_write_makes_an_etag_stale(
    models: ModelServiceClient, ranker: str, write: str
) -> None:
    read = models.get_model(name=ranker)
    version = {"name": f"{ranker}@1", "version_description": "v"}
    writes: dict[str, Any] = {
        "update": lambda: rename(models, Model(), "other"),
        "update a version": lambda: models.update_model(
            {"model": version, "update_mask": {"paths": ["version_description"]}}
        ),
        "aliases": lambda: models.merge_version_aliases(
            name=f"{ranker}@1", version_aliases=["golden"]
        ),
        "upload": lambda: models.upload_model(
            {"parent": PARENT, "parent_model": ranker, "model": {"display_name": "ranker"}}
        ).result(),
        "delete": lambda: models.delete_model_version(name=f"{ranker}@1").result(),
    }
    writes[write]()
    with pytest.raises(exceptions.Aborted):
        rename(models, read, "new")
    rename(models, models.get_model(name=ranker), "new")


def test_the_etag_of_an_earlier_life_is_stale(
    cloud: LocalCloud, models: ModelServiceClient, ranker: str
) -> None:
    cloud.clock.freeze()
    read = models.get_model(name=ranker)
    models.delete_model(name=ranker).result()
    cloud.models.seed("ranker", display_name="ranker", versions=[1, 2])
    with pytest.raises(exceptions.Aborted):
        rename(models, read, "new")


def test_aliases_keep_the_order_in_which_they_came(models: ModelServiceClient) -> None:
    models.upload_model(
        {
            "parent": PARENT,
            "model_id": "ranker",
            "model": {"display_name": "r", "version_aliases": ["zebra", "ant"]},
        }
    ).result()
    merge = models.merge_version_aliases
    assert list(models.get_model(name=MODEL).version_aliases) == ["zebra", "ant", "default"]
    merged = merge(name=f"{MODEL}@1", version_aliases=["bee", "ant", "-zebra"])
    assert list(merged.version_aliases) == ["ant", "default", "bee"]
    merged = merge(name=f"{MODEL}@1", version_aliases=["-ant", "zebra"])
    assert list(merged.version_aliases) == ["default", "bee", "zebra"]


def test_a_models_labels_are_those_of_its_default_version_and_of_no_sibling(
    models: ModelServiceClient, ranker: str
) -> None:
    def relabel(name: str, **labels: str) -> None:
        mask = {"paths": ["labels"]}
        models.update_model({"model": {"name": name, "labels": labels}, "update_mask": mask})

    relabel(f"{ranker}@1", own="one")
    relabel(f"{ranker}@2", own="two")
    assert dict(models.get_model(name=f"{ranker}@1").labels) == {"own": "one"}
    relabel(ranker, team="red")
    assert dict(models.get_model(name=f"{ranker}@2").labels) == {"team": "red"}
    # Both the model's labels and the version's are merged when a version is returned.
    assert dict(models.get_model(name=f"{ranker}@1").labels) == {"own": "one", "team": "red"}
    (listed,) = models.list_models({"parent": PARENT, "filter": "labels.team=red"})
    assert listed.version_id == "2"
    assert not list(models.list_models({"parent": PARENT, "filter": "labels.own=two"}))


def test_output_fields_are_those_of_a_recorded_answer_whatever_was_sent(
    cloud: LocalCloud, models: ModelServiceClient
) -> None:
    cloud.storage.write("artifacts", "runs/1/saved_model.pb", b"model")
    container = {"image_uri": "img", "ports": [{"container_port": 8080}], "env": [{"name": "A"}]}
    sent = {
        "display_name": "ranker",
        "artifact_uri": "gs://artifacts/runs/1",
        "container_spec": container,
        "supported_export_formats": [{"id": "tflite"}],
        "training_pipeline": "nobody's",
    }
    models.upload_model({"parent": PARENT, "model_id": "ranker", "model": sent}).result()
    model = models.get_model(name=MODEL)
    assert [kind.name for kind in model.supported_deployment_resources_types] == [
        "DEDICATED_RESOURCES"
    ]
    assert list(model.supported_input_storage_formats) == [
        "jsonl",
        "bigquery",
        "csv",
        "tf-record",
        "tf-record-gzip",
        "file-list",
    ]
    assert list(model.supported_output_storage_formats) == ["jsonl", "bigquery"]
    (export,) = model.supported_export_formats
    assert (export.id, [one.name for one in export.exportable_contents]) == (
        "custom-trained",
        ["ARTIFACT"],
    )
    assert model.training_pipeline == ""
    assert model.model_source_info == ModelSourceInfo(source_type="CUSTOM")
    assert model.container_spec == Model(container_spec=container).container_spec
