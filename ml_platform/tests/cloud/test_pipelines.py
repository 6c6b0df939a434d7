"""Pipeline jobs as the product sees them."""

from __future__ import annotations

from typing import Any

import pytest

from ml_platform.cloud import pipelines
from ml_platform.cloud.names import PipelineJobName, label_filter
from ml_platform.cloud.types import PipelineState, TaskState
from ml_platform.errors import CloudAbsent, CloudExists

NAME = PipelineJobName("demo-project", "europe-central2", "run-1")


def create(job_id="run-1", **options) -> Any:
    given = {
        "display_name": "chern",
        "spec": {"pipelineInfo": {"name": "chern"}, "root": {"dag": {"tasks": {}}}},
        "parameters": {"epochs": 3, "rate": 0.5, "name": "x", "flag": True, "list": [1]},
        "output_directory": "gs://demo-artifacts/runs/1",
        "labels": {"mlp_run": "1"},
        **options,
    }
    return pipelines.create_pipeline_job(job_id=job_id, **given)


def test_a_job_walks_to_its_success(cloud):
    job: Any = create()
    assert (job.job_id, job.labels["mlp_run"]) == ("run-1", "1")
    assert job.labels.keys() == {"mlp_run", "vertex-ai-pipelines-run-billing-id"}
    assert job.state is PipelineState.UNFINISHED
    cloud.clock.advance(3600)
    job = pipelines.get_pipeline_job(NAME)
    assert (job.state, job.error) == (PipelineState.SUCCEEDED, "")
    assert {task.state for task in job.tasks} == {TaskState.SUCCEEDED}
    assert all(task.name and task.start_time for task in job.tasks)


def test_a_failed_job_says_why_and_where(cloud):
    cloud.pipelines.outcome("fail:train", display_name="chern")
    create()
    cloud.clock.advance(3600)
    job = pipelines.get_pipeline_job(NAME)
    assert (job.state, bool(job.error)) == (PipelineState.FAILED, True)
    failed = [task for task in job.tasks if task.state is TaskState.FAILED]
    assert [(task.name, bool(task.error)) for task in failed] == [("train", True)]


def test_a_job_id_is_taken_once(cloud):
    create()
    with pytest.raises(CloudExists):
        create()


def test_jobs_are_found_by_our_labels(cloud):
    create()
    create("run-2", labels={"mlp_run": "2"})
    found = pipelines.list_pipeline_jobs(filter=label_filter({"mlp_run": "2"}))
    assert [job.job_id for page in found for job in page] == ["run-2"]
    pages = list(pipelines.list_pipeline_jobs(page_size=1))
    assert [len(page) for page in pages] == [1, 1]
    assert cloud.effects.count("PipelineService.ListPipelineJobs") == 3


def test_a_job_is_cancelled(cloud):
    create()
    pipelines.cancel_pipeline_job(NAME)
    cloud.clock.advance(3600)
    assert pipelines.get_pipeline_job(NAME).state is PipelineState.CANCELLED


def test_what_is_not_there_is_absent(cloud):
    for send in (
        pipelines.get_pipeline_job,
        pipelines.cancel_pipeline_job,
    ):
        with pytest.raises(CloudAbsent):
            send(NAME)


def test_a_state_that_google_adds_one_day_is_unknown_and_proves_nothing(cloud, monkeypatch):
    create()
    monkeypatch.setattr("ml_platform.cloud.raw.enum_name", lambda message, field: "")
    job = pipelines.get_pipeline_job(NAME)
    assert job.state is PipelineState.UNFINISHED
