"""Templates compiled as a whole PipelineJob: what its runtimeConfig says counts, or is refused."""

from __future__ import annotations

import copy
import json
from typing import TYPE_CHECKING, Any

import pytest
from google.cloud.aiplatform_v1.types import PipelineFailurePolicy

from ml_platform.cloud.names import PipelineJobName
from ml_platform.cloud.transport import channels
from ml_platform.models import Operation
from ml_platform.services.training.plain_values import DEEPEST
from ml_platform.services.training.template_files import BadTemplate
from ml_platform.services.training.templates import (
    BadParameters,
    check_parameters,
    parse_template,
    template_of,
)
from ml_platform.tests.factories import ProjectFactory

from .training_tools import BUCKET, SPEC, CloudClock, start_run

if TYPE_CHECKING:
    from ml_platform.localcloud import LocalCloud

URI = f"gs://{BUCKET}/templates/job.json"


def job(runtime: Any, *, version: str = "2.1.0", **settings: Any) -> str:
    """A compiled job whose pipeline needs a `query`."""
    spec = copy.deepcopy(SPEC) | {"schemaVersion": version}
    spec["root"]["inputDefinitions"]["parameters"]["query"] = {"parameterType": "STRING"}
    return json.dumps({"pipelineSpec": spec, "runtimeConfig": runtime, **settings})


def test_a_whole_compiled_job_is_unwrapped() -> None:
    assert parse_template(json.dumps({"pipelineSpec": SPEC}), "t.json").spec == SPEC
    assert parse_template(job(None), "t.json").defaults == {}


def test_its_values_count_where_none_is_given() -> None:
    values = {"epochs": 7, "query": "select 1", "note": None}
    template = parse_template(job({"parameterValues": values}), "t.json")
    check_parameters(template=template, given={})
    assert template.values({}) == {"epochs": 7, "query": "select 1"}
    assert template.values({"epochs": 9})["epochs"] == 9
    assert template_of(template.document) == template, "as the operation keeps it"


def test_its_typed_values_count_too() -> None:
    typed = {
        "epochs": {"intValue": "7"},
        "learning_rate": {"doubleValue": 1},
        "query": {"stringValue": "select 1"},
    }
    template = parse_template(job({"parameters": typed}, version="2.0.0"), "t.json")
    check_parameters(template=template, given={})
    assert template.values({}) == {"epochs": 7, "learning_rate": 1.0, "query": "select 1"}


@pytest.mark.parametrize(
    ("values", "sentence"),
    [
        ({"query": 7}, "query is 7, which is not a text"),
        ({"query": "x", "epoch": 1}, "no parameter 'epoch'"),
        ({"epochs": 7}, "needs query"),
    ],
)
def test_its_values_are_held_to_the_types_of_the_pipeline(
    values: dict[str, Any], sentence: str
) -> None:
    template = parse_template(job({"parameterValues": values}), "t.json")
    with pytest.raises(BadParameters, match=sentence):
        check_parameters(template=template, given={})


@pytest.mark.parametrize(
    "runtime",
    [
        {"parameters": {"epochs": {"intValue": "seven"}}},
        {"parameters": {"epochs": {"intValue": 7.5}}},
        {"parameters": {"epochs": {"intValue": "9" * 5000}}},
        {"parameters": {"epochs": {"boolValue": True}}},
        {"parameters": {"epochs": {}}},
        {"parameters": {"epochs": 7}},
        {"parameters": [7]},
        {"parameterValues": [7]},
        {"parameterValues": "epochs"},
        [7],
    ],
    ids=str,
)
def test_values_that_are_none_are_refused(runtime: Any) -> None:
    with pytest.raises(BadTemplate, match=r"runtimeConfig of t\.json"):
        parse_template(job(runtime), "t.json")


@pytest.mark.parametrize(
    ("settings", "lost"),
    [
        ({"serviceAccount": "x@y"}, "serviceAccount"),
        ({"network": "n", "encryptionSpec": {"kmsKeyName": "k"}}, "network, encryptionSpec"),
        ({"runtimeConfig": {"inputArtifacts": {"a": {}}}}, "runtimeConfig.inputArtifacts"),
        ({"runtimeConfig": {"defaultRuntime": {"x": 1}}}, "runtimeConfig.defaultRuntime"),
        ({"runtimeConfig": {"failurePolicy": "fast"}}, "runtimeConfig.failurePolicy 'fast'"),
        ({"runtimeConfig": {"failurePolicy": [2]}}, "runtimeConfig.failurePolicy"),
    ],
    ids=str,
)
def test_a_setting_that_would_be_lost_is_refused(settings: dict[str, Any], lost: str) -> None:
    with pytest.raises(BadTemplate, match=f"t.json sets {lost}") as caught:
        parse_template(json.dumps({"pipelineSpec": SPEC, **settings}), "t.json")
    assert caught.value.code == "setting_lost"


def test_what_is_ours_to_say_and_what_is_empty_is_no_setting() -> None:
    labels = {"tfx_version": "1-15"}
    text = job({"inputArtifacts": {}}, displayName="tfx", labels=labels, network="")
    parse_template(text, "t.json")


@pytest.mark.django_db
def test_the_pipeline_is_started_with_them(cloud: LocalCloud) -> None:
    clock = CloudClock(cloud)
    runtime = {
        "parameterValues": {"epochs": 7, "query": "select 1"},
        "failurePolicy": "PIPELINE_FAILURE_POLICY_FAIL_FAST",
        "gcsOutputDirectory": "gs://elsewhere/root",
    }
    cloud.storage.write(BUCKET, "templates/job.json", job(runtime).encode())
    run = start_run(ProjectFactory.create(), clock, template_uri=URI, parameters={"epochs": 9})
    name = PipelineJobName.parse(run.pipeline_job_name)
    sent = channels.client("PipelineService").get_pipeline_job(name=str(name)).runtime_config
    assert dict(sent.parameter_values) == {"epochs": 9, "query": "select 1"}
    assert sent.failure_policy == PipelineFailurePolicy.PIPELINE_FAILURE_POLICY_FAIL_FAST
    assert sent.gcs_output_directory == run.gcs_artifacts_path.rstrip("/")
    notes = " ".join(str(step) for step in Operation.objects.get().steps)
    assert "It writes to the run's own folder, not to gs://elsewhere/root." in notes


@pytest.mark.django_db
@pytest.mark.parametrize("kind", [dict, list])
def test_the_deepest_value_that_is_taken_reaches_vertex(cloud: LocalCloud, kind: type) -> None:
    clock = CloudClock(cloud)
    deep: Any = "x"
    for _ in range(DEEPEST):
        deep = {"a": deep} if kind is dict else [deep]
    spec = copy.deepcopy(SPEC)
    known = spec["root"]["inputDefinitions"]["parameters"]
    known["deep"] = {"isOptional": True}
    spec["z"] = deep["a"] if kind is dict else deep[0]  # the template itself is one level
    cloud.storage.write(BUCKET, "templates/job.json", json.dumps(spec).encode())
    run = start_run(ProjectFactory.create(), clock, template_uri=URI, parameters={"deep": deep})
    assert run.status == "running"
