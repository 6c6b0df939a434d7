"""Vertex AI Pipelines: pipeline jobs and the state of their tasks."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from .names import PipelineJobName
from .raw import read_enum, read_time
from .transport import channels
from .types import PipelineState, RemotePipelineJob, RemoteTask, TaskState


def create_pipeline_job(
    *,
    job_id: str,
    display_name: str,
    spec: Mapping[str, Any],
    parameters: Mapping[str, Any],
    output_directory: str,
    labels: Mapping[str, str],
    typed: bool = False,
    failure_policy: str = "",
    service_account: str = "",
) -> RemotePipelineJob:
    """Start a pipeline from its compiled `spec`; parameters are sent as a Struct of floats.

    With `typed` they are sent as strings, integers and doubles, as schemas up to 2.0.0 need them.

    :raises CloudExists: a job of that id exists, perhaps from an earlier attempt.
    """
    request = {
        "parent": channels.location_path(),
        "pipeline_job_id": job_id,
        "pipeline_job": {
            "display_name": display_name,
            "pipeline_spec": dict(spec),
            "runtime_config": {
                "gcs_output_directory": output_directory,
                "failure_policy": failure_policy or "PIPELINE_FAILURE_POLICY_UNSPECIFIED",
                **(_typed(parameters) if typed else {"parameter_values": dict(parameters)}),
            },
            "labels": dict(labels),
            "service_account": service_account,
        },
    }
    return channels.rpc("PipelineService.CreatePipelineJob", request, _read_job)


def get_pipeline_job(name: PipelineJobName) -> RemotePipelineJob:
    """Return the job with its tasks.

    :raises CloudAbsent: Vertex AI answered NOT_FOUND for exactly that name.
    """
    request = {"name": channels.checked(name)}
    return channels.rpc("PipelineService.GetPipelineJob", request, _read_job)


def list_pipeline_jobs(
    *, filter: str = "", page_size: int = 100
) -> Iterator[tuple[RemotePipelineJob, ...]]:
    """Yield the jobs of the location page by page; a page that cannot be read raises."""
    request = {"parent": channels.location_path(), "filter": filter, "page_size": page_size}
    return channels.rpc_pages("PipelineService.ListPipelineJobs", request, _read_jobs)


def cancel_pipeline_job(name: PipelineJobName) -> None:
    """Request that the job is cancelled; it may still succeed or fail first, so read its state.

    :raises CloudConflict: the job has ended.
    """
    channels.rpc("PipelineService.CancelPipelineJob", {"name": channels.checked(name)})


def _typed(parameters: Mapping[str, Any]) -> dict[str, Any]:
    fields = {str: "string_value", int: "int_value", float: "double_value"}
    return {"parameters": {name: {fields[type(v)]: v} for name, v in parameters.items()}}


def _read_jobs(page: Any) -> tuple[RemotePipelineJob, ...]:
    return tuple(map(_read_job, page.pipeline_jobs))


def _read_job(raw: Any) -> RemotePipelineJob:
    return RemotePipelineJob(
        name=PipelineJobName.parse(raw.name),
        state=read_enum(
            raw, "state", PipelineState, PipelineState.UNFINISHED, prefix="PIPELINE_STATE_"
        ),
        error=raw.error.message,
        labels=dict(raw.labels),
        tasks=tuple(map(_read_task, raw.job_detail.task_details)),
    )


def _read_task(raw: Any) -> RemoteTask:
    return RemoteTask(
        name=raw.task_name,
        state=read_enum(raw, "state", TaskState, TaskState.OTHER),
        start_time=read_time(raw, "start_time"),
        error=raw.error.message,
    )
