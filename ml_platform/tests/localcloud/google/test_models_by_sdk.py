"""Models through the high-level SDK, as python-aiplatform's system tests use them.

Told again: tests/system/aiplatform/test_model_version_management.py and test_model_upload.py,
and of test_model_evaluation.py what an evaluation is read by. Left out: `Endpoint.update` after
the deployments (test_endpoints' subject), `Model.evaluate`, which runs a pipeline of Google's own
containers, and test_initializer.py, which calls no service.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest

from ml_platform.localcloud import LocalCloud

from .programs import tell

SCRIPT = """
import tempfile
from google.cloud.aiplatform.models import ModelRegistry
from google.cloud.aiplatform_v1.types import ModelEvaluation

path = tempfile.mkdtemp() + "/model.bst"
open(path, "wb").write(b"a model")
upload = aiplatform.Model.upload_xgboost_model_file

# Versions
model = upload(
    model_file_path=path, version_aliases=["system-test-model", "testing"], model_id="mine",
    version_description="first",
)
second = upload(model_file_path=path, parent_model="mine", is_default_version=False)
registry = second.versioning_registry
info, listed = registry.get_version_info("testing"), registry.list_versions()
fields = (
    "version_id", "version_aliases", "version_description", "model_display_name",
    "version_update_time",
)
told["versions"] = {
    "uri": model.uri,
    "description": model.version_description,
    "aliases": model.version_aliases,
    "second": [second.version_id, second.version_aliases],
    "same name": second.resource_name == model.resource_name,
    "versions": len(listed),
    "info is listed": all(getattr(info, f) == getattr(listed[0], f) for f in fields),
    "clone": [registry.get_model().resource_name, registry.get_model().version_id],
}
registry = ModelRegistry(model)
registry.add_version_aliases(["new-alias"], "default")
registry.remove_version_aliases(["testing"], "new-alias")
told["versions"]["after"] = registry.get_model("new-alias").version_aliases
registry.delete_version("2")
told["versions"]["left"] = [version.version_id for version in registry.list_versions()]

# Updates of a deployed model
model = upload(model_file_path=path)
endpoint = model.deploy(machine_type="n1-standard-2")
before = model.gca_resource.etag
model = model.update(
    display_name="new_name", description="new_description", labels={"my_label": "updated"}
)
deployed = [len(endpoint.list_models())]
endpoint.deploy(model, traffic_percentage=100)
deployed.append(len(endpoint.list_models()))
told["updates"] = {
    "model": [model.display_name, model.description, dict(model.labels)],
    "deployed": deployed,
    "etag changed": before != model.gca_resource.etag,
    "by version": aiplatform.Model(model.resource_name, version="1").update(
        display_name="newer"
    ).display_name,
}

# Copies, an export, an evaluation
model = upload(model_file_path=path, model_id="source", labels={"team": "red"})
copy = model.copy(destination_location="us-central1", destination_model_id="copied")
again = model.copy(destination_location="us-central1", destination_parent_model="copied")
model.api_client.import_model_evaluation(
    parent=model.resource_name,
    model_evaluation=ModelEvaluation(metrics={"auPrc": 0.9, "auRoc": 0.8}),
)
evaluation = model.get_model_evaluation()
by_id = model.get_model_evaluation(evaluation.name)
told["moves"] = {
    "formats": {
        key: [one.name for one in held] for key, held in model.supported_export_formats.items()
    },
    "copies": [[one.name, one.version_id, dict(one.labels)] for one in (copy, again)],
    "export": model.export_model("custom-trained", artifact_destination=model.uri + "/out"),
    "metrics": dict(evaluation.metrics),
    "by id": by_id.resource_name == evaluation.resource_name,
    "of the copy": copy.list_model_evaluations(),
}
"""


@pytest.fixture(scope="module")
def central() -> Iterator[LocalCloud]:
    """A cloud in the location where Google's tests run."""
    with LocalCloud(location="us-central1", tls_port=0) as cloud:
        yield cloud


@pytest.fixture(scope="module")
def told(central: LocalCloud) -> Any:
    """What the program told."""
    return tell(central, SCRIPT)


def test_versions_are_managed_as_googles_test_manages_them(told: Any) -> None:
    versions = told["versions"]
    assert "-vertex-staging-" in versions.pop("uri")
    name = "projects/123456789012/locations/us-central1/models/mine"
    assert versions == {
        "description": "first",
        "aliases": ["system-test-model", "testing", "default"],
        "second": ["2", []],
        "same name": True,
        "versions": 2,
        "info is listed": True,
        "clone": [name, "1"],
        "after": ["system-test-model", "default", "new-alias"],
        "left": ["1"],
    }


def test_a_deployed_model_is_updated_by_what_was_read_before(told: Any) -> None:
    assert told["updates"] == {
        "model": ["new_name", "new_description", {"my_label": "updated"}],
        "deployed": [1, 2],
        "etag changed": True,
        "by version": "newer",
    }


def test_a_model_is_copied_exported_and_evaluated(central: LocalCloud, told: Any) -> None:
    export = told["moves"].pop("export")["artifactOutputUri"]
    assert "/out/model-source/custom-trained/" in export
    bucket, _, path = export.removeprefix("gs://").partition("/")
    assert central.storage.read(bucket, f"{path}/model.bst") == b"a model"
    assert told["moves"] == {
        "formats": {"custom-trained": ["ARTIFACT"]},
        "copies": [["copied", "1", {"team": "red"}], ["copied", "2", {"team": "red"}]],
        "metrics": {"auPrc": 0.9, "auRoc": 0.8},
        "by id": True,
        "of the copy": [],
    }
