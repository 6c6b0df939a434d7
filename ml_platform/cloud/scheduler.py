"""Cloud Scheduler: the jobs that call our webhooks."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import timedelta
from typing import Any

from .names import JobName
from .raw import enum_name, read_enum, read_time
from .transport import channels
from .types import JobSpec, JobState, RemoteJob

_MASK = (
    "schedule",
    "time_zone",
    "description",
    "http_target",
    "attempt_deadline",
    "retry_config",
)


def get_job(job_id: str) -> RemoteJob:
    """Return the current state of the job.

    :raises CloudAbsent: Cloud Scheduler answered NOT_FOUND for exactly that name.
    """
    return channels.rpc("CloudScheduler.GetJob", {"name": _name(job_id)}, _read_job)


def list_jobs(*, page_size: int = 500) -> Iterator[tuple[RemoteJob, ...]]:
    """Yield the jobs of the location page by page; a page has at most 500
    (`page_size` in google/cloud/scheduler_v1/types/cloudscheduler.py).

    :raises CloudUnavailable: a page could not be read, so that a job missing in it may exist.
    """
    request = {"parent": channels.location_path(), "page_size": page_size}
    return channels.rpc_pages("CloudScheduler.ListJobs", request, _read_jobs)


def create_job(spec: JobSpec) -> RemoteJob:
    """Create a job.

    :raises CloudExists: a job of that name exists.
    """
    request = {"parent": channels.location_path(), "job": _job(spec)}
    return channels.rpc("CloudScheduler.CreateJob", request, _read_job)


def update_job(spec: JobSpec) -> RemoteJob:
    """Update the job of that id to `spec`; a paused job stays paused.

    :raises CloudAbsent: the job does not exist.
    """
    request = {"job": _job(spec), "update_mask": {"paths": list(_MASK)}}
    return channels.rpc("CloudScheduler.UpdateJob", request, _read_job)


def delete_job(job_id: str) -> None:
    """Delete a job.

    :raises CloudAbsent: the job does not exist.
    """
    channels.rpc("CloudScheduler.DeleteJob", {"name": _name(job_id)})


def pause_job(job_id: str) -> RemoteJob:
    """Pause a job until it is resumed."""
    return channels.rpc("CloudScheduler.PauseJob", {"name": _name(job_id)}, _read_job)


def resume_job(job_id: str) -> RemoteJob:
    """Resume a paused job from its next scheduled time on."""
    return channels.rpc("CloudScheduler.ResumeJob", {"name": _name(job_id)}, _read_job)


def _name(job_id: str) -> str:
    return str(JobName.parse(f"{channels.location_path()}/jobs/{job_id}"))


def _job(spec: JobSpec) -> dict[str, Any]:
    token = {"service_account_email": spec.service_account, "audience": spec.audience}
    return {
        "name": _name(spec.job_id),
        "description": spec.description,
        "schedule": spec.schedule,
        "time_zone": spec.time_zone,
        "http_target": {
            "uri": spec.uri,
            "http_method": spec.method,
            "headers": {"Content-Type": "application/json"},
            "body": bytes(spec.body),  # proto-plus decodes a str as base64
            "oidc_token": token,
        },
        "attempt_deadline": timedelta(seconds=spec.attempt_deadline),
        "retry_config": {"retry_count": spec.retry_count},
    }


def _read_jobs(page: Any) -> tuple[RemoteJob, ...]:
    return tuple(map(_read_job, page.jobs))


def _read_job(raw: Any) -> RemoteJob:
    name, target = JobName.parse(raw.name), raw.http_target
    return RemoteJob(
        name=name,
        spec=JobSpec(
            job_id=name.job_id,
            schedule=raw.schedule,
            uri=target.uri,
            service_account=target.oidc_token.service_account_email,
            audience=target.oidc_token.audience,
            time_zone=raw.time_zone,
            method=enum_name(target, "http_method"),
            body=target.body,
            description=raw.description,
            attempt_deadline=raw.attempt_deadline.seconds,
            retry_count=raw.retry_config.retry_count,
        ),
        state=read_enum(raw, "state", JobState, JobState.UNKNOWN),
        next_run=read_time(raw, "schedule_time"),
        last_attempt=read_time(raw, "last_attempt_time"),
        last_error=_read_error(raw.status),
    )


def _read_error(status: Any) -> str:
    return f"{status.message or 'code'} ({status.code})" if status.code else ""
