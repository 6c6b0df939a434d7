"""A compiled pipeline's inputs are demanded, and its runtime parameters have their types."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
from google.api_core import exceptions
from google.cloud.aiplatform_v1.services.pipeline_service import PipelineServiceClient

from ml_platform.tests.localcloud.conftest import PARENT

Submit = Callable[..., Any]
KINDS = {
    "text": "STRING",
    "whole": "NUMBER_INTEGER",
    "number": "NUMBER_DOUBLE",
    "flag": "BOOLEAN",
    "many": "LIST",
    "deep": "STRUCT",
}
FITTING = {
    "text": "a",
    "whole": 3,
    "number": 0.5,
    "flag": True,
    "many": [1, "b"],
    "deep": {"a": {"b": 1}},
}


def spec(version: str = "2.1.0", **inputs: Any) -> dict[str, Any]:
    """A compiled template with these input definitions."""
    root = {"dag": {"tasks": {"train": {}}}, "inputDefinitions": inputs}
    return {"pipelineInfo": {"name": "ranking"}, "schemaVersion": version, "root": root}


@pytest.fixture
def submit(pipelines: PipelineServiceClient) -> Submit:
    """Create a job of a spec with a runtime config; the job."""

    def submit(pipeline_spec: dict[str, Any], **config: Any) -> Any:
        directory = {"gcs_output_directory": "gs://artifacts/runs/one"}
        job = {"pipeline_spec": pipeline_spec, "runtime_config": directory | config}
        return pipelines.create_pipeline_job({"parent": PARENT, "pipeline_job": job})

    return submit


def test_a_required_artifact_is_refused_and_an_optional_one_is_not(submit: Submit) -> None:
    kind = {"artifactType": {"schemaTitle": "system.Dataset", "schemaVersion": "0.0.1"}}
    with pytest.raises(exceptions.InvalidArgument, match=r"input_artifacts; .*'data'"):
        submit(spec(artifacts={"data": kind}))
    submit(spec(artifacts={"data": kind | {"isOptional": True}}))
    with pytest.raises(exceptions.MethodNotImplemented, match="input_artifacts"):
        submit(spec(artifacts={"data": kind}), input_artifacts={"data": {"artifact_id": "1"}})


def test_parameters_of_their_types_are_taken(submit: Submit) -> None:
    declared = {name: {"parameterType": kind} for name, kind in KINDS.items()}
    job = submit(spec(parameters=declared), parameter_values=FITTING)
    assert dict(job.runtime_config.parameter_values) == FITTING


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("text", 3),
        ("whole", 3.5),
        ("whole", "3"),
        ("whole", True),
        ("number", "0.5"),
        ("flag", "true"),
        ("flag", 1),
        ("many", {"a": 1}),
        ("deep", [1]),
        ("text", None),
    ],
)
def test_a_parameter_of_another_type_is_refused(submit: Submit, name: str, value: Any) -> None:
    declared = {name: {"parameterType": KINDS[name]}}
    with pytest.raises(exceptions.InvalidArgument, match=f"'{name}' must be of type"):
        submit(spec(parameters=declared), parameter_values={name: value})


def test_a_required_parameter_is_demanded(submit: Submit) -> None:
    kind = {"parameterType": "STRING"}
    with pytest.raises(exceptions.InvalidArgument, match="'text' is missing"):
        submit(spec(parameters={"text": kind}))
    submit(spec(parameters={"text": kind | {"isOptional": True}}))
    submit(spec(parameters={"text": kind | {"defaultValue": "x"}}))


def test_an_old_template_takes_its_values_from_the_old_field(submit: Submit) -> None:
    old = spec("2.0.0", parameters={"whole": {"type": "INT"}})
    job = submit(old, parameters={"whole": {"int_value": 3}})
    assert job.runtime_config.parameters["whole"].int_value == 3
    refused: tuple[tuple[Any, dict[str, Any]], ...] = (
        (old, {"parameters": {"whole": {"string_value": "3"}}}),
        (old, {"parameter_values": {"whole": 3}}),
        (old, {}),
        (spec(parameters={}), {"parameters": {"whole": {"int_value": 3}}}),
    )
    for asked, config in refused:
        with pytest.raises(exceptions.InvalidArgument):
            submit(asked, **config)


@pytest.mark.parametrize("field", ["network", "template_uri"])
def test_what_would_only_be_stored_is_unimplemented(
    pipelines: PipelineServiceClient, field: str
) -> None:
    config = {"gcs_output_directory": "gs://artifacts/runs/one"}
    job: dict[str, Any] = {"runtime_config": config, field: "https://example.test/x"}
    if field != "template_uri":
        job["pipeline_spec"] = spec()
    with pytest.raises(exceptions.MethodNotImplemented, match=field):
        pipelines.create_pipeline_job({"parent": PARENT, "pipeline_job": job})


def test_output_fields_of_a_request_are_ignored(
    pipelines: PipelineServiceClient, submit: Submit
) -> None:
    config = {"gcs_output_directory": "gs://artifacts/runs/one"}
    asked = {
        "pipeline_spec": spec(),
        "runtime_config": config,
        "name": "mine",
        "schedule_name": "theirs",
        "error": {"code": 3},
        "labels": {"vertex-ai-pipelines-run-billing-id": "mine", "team": "red"},
    }
    job = pipelines.create_pipeline_job({"parent": PARENT, "pipeline_job": asked})
    assert job.name.startswith("projects/")
    assert (job.schedule_name, job.error.code, job.labels["team"]) == ("", 0, "red")
    assert job.labels["vertex-ai-pipelines-run-billing-id"].isdigit()


def test_a_job_runs_as_the_default_account_unless_told(submit: Submit) -> None:
    assert submit(spec()).service_account == ("123456789012-compute@developer.gserviceaccount.com")


def test_a_read_mask_reaches_into_the_spec(
    pipelines: PipelineServiceClient, submit: Submit
) -> None:
    submit(spec())

    def listed(*paths: str) -> Any:
        asked = {"parent": PARENT, "read_mask": {"paths": list(paths)}}
        return next(iter(pipelines.list_pipeline_jobs(asked)))

    job = listed("state", "pipeline_spec.pipeline_info", "job_detail.pipeline_context")
    assert list(job.pipeline_spec) == ["pipelineInfo"]
    assert (job.state.name, job.service_account) == ("PIPELINE_STATE_PENDING", "")
    assert listed("*").service_account
    with pytest.raises(exceptions.InvalidArgument, match="read_mask"):
        listed("nothing")
