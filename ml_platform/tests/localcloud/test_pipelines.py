"""Pipelines on the cloud's clock, through Google's own client."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import grpc
import pytest
from google.api_core import exceptions
from google.cloud.aiplatform_v1.services.pipeline_service import PipelineServiceClient

from ml_platform.localcloud import LocalCloud
from ml_platform.tests.localcloud.conftest import NUMBERED, PARENT

Create = Callable[..., Any]
MODEL_FILES = [
    "runs/one/pushed_model/1/saved_model.pb",
    "runs/one/pushed_model/1/variables/variables.data-00000-of-00001",
    "runs/one/pushed_model/1/variables/variables.index",
]


@pytest.fixture
def create(cloud: LocalCloud, pipelines: PipelineServiceClient) -> Create:
    """Create a job on a frozen clock; the job."""
    cloud.clock.freeze()

    def create(job_id: str = "one", parameters: dict[str, Any] | None = None, **job: Any) -> Any:
        config = {
            "gcs_output_directory": f"gs://artifacts/runs/{job_id}/",
            "parameter_values": parameters or {},
        }
        spec = {"pipelineInfo": {"name": "ranking"}}
        asked = {"display_name": job_id, "pipeline_spec": spec, "runtime_config": config} | job
        return pipelines.create_pipeline_job(
            {"parent": PARENT, "pipeline_job": asked, "pipeline_job_id": job_id}
        )

    return create


def name_of(job_id: str) -> str:
    """A job's resource name."""
    return f"{PARENT}/pipelineJobs/{job_id}"


def state_of(client: PipelineServiceClient, job_id: str = "one") -> str:
    """PENDING, RUNNING ..."""
    state = client.get_pipeline_job(name=name_of(job_id)).state
    return str(state.name).removeprefix("PIPELINE_STATE_")


def tasks_of(client: PipelineServiceClient, job_id: str = "one") -> dict[str, str]:
    """Task name to state."""
    details = client.get_pipeline_job(name=name_of(job_id)).job_detail.task_details
    return {task.task_name: task.state.name for task in details}


def test_a_job_walks_through_its_stages_and_leaves_a_blessed_model(
    cloud: LocalCloud, pipelines: PipelineServiceClient, create: Create
) -> None:
    job = create()
    assert job.name == f"{NUMBERED}/pipelineJobs/one"
    walked = [state_of(pipelines)]
    for _ in range(6):
        cloud.clock.advance(2)
        walked.append(state_of(pipelines))
    assert walked == ["PENDING", *["RUNNING"] * 5, "SUCCEEDED"]
    stages = ("ingest", "transform", "train", "evaluate", "push")
    assert tasks_of(pipelines) == dict.fromkeys(stages, "SUCCEEDED")
    assert cloud.storage.names("artifacts") == [
        "runs/one/evaluator/BLESSED",
        "runs/one/metrics.json",
        *MODEL_FILES,
    ]
    ended = pipelines.get_pipeline_job(name=job.name)
    assert (ended.end_time - ended.create_time).total_seconds() == 12
    assert (ended.start_time - ended.create_time).total_seconds() == 2


def test_nothing_is_pushed_before_the_push_stage_has_ended(
    cloud: LocalCloud, create: Create
) -> None:
    create()
    cloud.clock.advance(11)
    assert cloud.storage.names("artifacts") == [
        "runs/one/evaluator/BLESSED",
        "runs/one/metrics.json",
    ]


@pytest.mark.parametrize("told", ["label", "parameter", "order"])
def test_a_job_fails_at_the_stage_it_was_told(
    cloud: LocalCloud, pipelines: PipelineServiceClient, create: Create, told: str
) -> None:
    if told == "order":
        cloud.pipelines.outcome("fail:train", display_name="o*")
    create(
        labels={"localcloud_outcome": "fail_train"} if told == "label" else {},
        parameters={"localcloud_outcome": "fail:train"} if told == "parameter" else {},
    )
    cloud.clock.advance(60)
    job = pipelines.get_pipeline_job(name=name_of("one"))
    assert (state_of(pipelines), job.error.code) == ("FAILED", 9)
    assert "[train]" in job.error.message
    assert tasks_of(pipelines) == {
        "ingest": "SUCCEEDED",
        "transform": "SUCCEEDED",
        "train": "FAILED",
        "evaluate": "NOT_TRIGGERED",
        "push": "NOT_TRIGGERED",
    }
    assert job.job_detail.task_details[2].error.code == 9
    assert cloud.storage.names("artifacts") == []


def test_a_job_that_is_not_blessed_succeeds_and_pushes_nothing(
    cloud: LocalCloud, pipelines: PipelineServiceClient, create: Create
) -> None:
    create(labels={"localcloud_outcome": "not_blessed"})
    cloud.clock.advance(60)
    assert state_of(pipelines) == "SUCCEEDED"
    assert cloud.storage.names("artifacts") == [
        "runs/one/evaluator/NOT_BLESSED",
        "runs/one/metrics.json",
    ]


def test_a_hung_job_runs_for_ever_until_it_is_cancelled(
    cloud: LocalCloud, pipelines: PipelineServiceClient, create: Create
) -> None:
    create(labels={"localcloud_outcome": "hang"})
    cloud.clock.advance(10**6)
    assert state_of(pipelines) == "RUNNING"
    with pytest.raises(exceptions.FailedPrecondition):
        pipelines.delete_pipeline_job(name=name_of("one"))
    pipelines.cancel_pipeline_job(name=name_of("one"))
    assert state_of(pipelines) == "CANCELLING"
    cloud.clock.advance(2)
    assert state_of(pipelines) == "CANCELLED"
    assert pipelines.get_pipeline_job(name=name_of("one")).error.code == 1
    with pytest.raises(exceptions.FailedPrecondition):
        pipelines.cancel_pipeline_job(name=name_of("one"))
    pipelines.delete_pipeline_job(name=name_of("one")).result()
    with pytest.raises(exceptions.NotFound):
        pipelines.get_pipeline_job(name=name_of("one"))


def test_orders_choose_by_label_the_newest_counts_and_carries_metrics(
    cloud: LocalCloud, pipelines: PipelineServiceClient, create: Create
) -> None:
    cloud.pipelines.outcome("hang", labels={"team": "red"})
    cloud.pipelines.outcome("success", labels={"team": "red"}, metrics={"recall_at_100": 0.5})
    cloud.pipelines.outcome("fail:ingest", labels={"team": "blue"})
    create("red", labels={"team": "red"})
    create("blue", labels={"team": "blue"})
    create("none")
    cloud.clock.advance(60)
    assert [state_of(pipelines, job) for job in ("red", "blue", "none")] == [
        "SUCCEEDED",
        "FAILED",
        "SUCCEEDED",
    ]
    metrics = json.loads(cloud.storage.read("artifacts", "runs/red/metrics.json") or b"")
    assert metrics["recall_at_100"] == 0.5


def test_the_tasks_of_a_compiled_template_are_its_stages_in_their_order(
    cloud: LocalCloud, pipelines: PipelineServiceClient, create: Create
) -> None:
    tasks = {
        "a-last": {"dependentTasks": ["b"]},
        "b": {"dependentTasks": ["z-first"]},
        "z-first": {},
    }
    create(pipeline_spec={"root": {"dag": {"tasks": tasks}}})
    assert list(tasks_of(pipelines)) == ["z-first", "b", "a-last"]
    cloud.clock.advance(60)
    assert cloud.storage.names("artifacts", "runs/one/pushed_model") == MODEL_FILES


def test_a_stage_lasts_as_long_as_it_is_set_to(
    cloud: LocalCloud, pipelines: PipelineServiceClient, create: Create
) -> None:
    cloud.pipelines.stage_seconds = 3600
    create()
    cloud.clock.advance(6 * 3600 - 1)
    assert state_of(pipelines) == "RUNNING"
    cloud.clock.advance(1)
    assert state_of(pipelines) == "SUCCEEDED"


def test_lists_are_newest_first_filtered_and_without_details(
    cloud: LocalCloud, pipelines: PipelineServiceClient, create: Create
) -> None:
    for job_id, label in (("one", "fail"), ("two", "ok"), ("three", "ok")):
        create(job_id, labels={"kind": label})
        cloud.clock.advance(1)
    cloud.pipelines.outcome("fail:ingest")
    create("four")
    cloud.clock.advance(60)

    def listed(**asked: Any) -> list[str]:
        return [
            job.display_name for job in pipelines.list_pipeline_jobs({"parent": PARENT} | asked)
        ]

    assert listed(page_size=2) == ["four", "three", "two", "one"]
    assert listed(filter='state="PIPELINE_STATE_FAILED"') == ["four"]
    assert listed(filter="labels.kind=ok AND display_name=t*") == ["three", "two"]
    assert listed(filter='pipeline_name="ranking"', order_by="create_time") == [
        "one",
        "two",
        "three",
        "four",
    ]
    created = pipelines.get_pipeline_job(name=name_of("two")).create_time.rfc3339()
    assert listed(filter=f'create_time>"{created}"') == ["four", "three"]
    (job,) = pipelines.list_pipeline_jobs({"parent": PARENT, "filter": "display_name=one"})
    assert not job.job_detail.task_details


def test_batches_delete_all_or_none_and_cancel_what_still_runs(
    cloud: LocalCloud, pipelines: PipelineServiceClient, create: Create
) -> None:
    create("done")
    cloud.clock.advance(60)
    create("runs")
    names = [name_of("done"), name_of("runs")]
    with pytest.raises(exceptions.FailedPrecondition):
        pipelines.batch_delete_pipeline_jobs(parent=PARENT, names=names)
    cancelled = pipelines.batch_cancel_pipeline_jobs(parent=PARENT, names=names).result()
    assert [job.display_name for job in cancelled.pipeline_jobs] == ["runs"]
    cloud.clock.advance(2)
    deleted = pipelines.batch_delete_pipeline_jobs(parent=PARENT, names=names).result()
    assert [job.display_name for job in deleted.pipeline_jobs] == ["done", "runs"]
    assert list(pipelines.list_pipeline_jobs(parent=PARENT)) == []
    with pytest.raises(exceptions.InvalidArgument):
        pipelines.batch_cancel_pipeline_jobs(parent=PARENT, names=names * 17)


@pytest.mark.parametrize(
    "wrong",
    [
        {"job_id": "Upper"},
        {"job_id": "x" * 128},
        {"runtime_config": {}},
        {"runtime_config": {"gcs_output_directory": "runs/one"}},
        {"pipeline_spec": {}},
        {"labels": {"localcloud_outcome": "explode"}},
        {"pipeline_spec": {"root": {"dag": {"tasks": {"a": {"dependentTasks": ["a"]}}}}}},
    ],
)
def test_a_malformed_job_is_an_invalid_argument(
    pipelines: PipelineServiceClient, create: Create, wrong: dict[str, Any]
) -> None:
    with pytest.raises(exceptions.InvalidArgument):
        create(**wrong)
    assert list(pipelines.list_pipeline_jobs(parent=PARENT)) == []


def test_an_id_that_exists_is_refused(create: Create) -> None:
    create()
    with pytest.raises(exceptions.AlreadyExists):
        create()


def test_a_job_goes_on_after_a_restart(tmp_path: Path) -> None:
    state = tmp_path / "cloud.sqlite3"
    transport = PipelineServiceClient.get_transport_class("grpc")

    def client_at(cloud: LocalCloud) -> PipelineServiceClient:
        return PipelineServiceClient(
            transport=transport(channel=grpc.insecure_channel(cloud.grpc_target))
        )

    with LocalCloud(state=state) as cloud:
        cloud.pipelines.stage_seconds = 3600
        job = {
            "pipeline_spec": {"pipelineInfo": {"name": "x"}},
            "runtime_config": {"gcs_output_directory": "gs://artifacts/runs/one"},
        }
        client_at(cloud).create_pipeline_job(
            {"parent": PARENT, "pipeline_job_id": "one", "pipeline_job": job}
        )
    with LocalCloud(state=state) as cloud:
        cloud.clock.advance(7 * 3600)
        assert state_of(client_at(cloud)) == "SUCCEEDED"
        assert cloud.storage.names("artifacts", "runs/one/pushed_model") == MODEL_FILES
