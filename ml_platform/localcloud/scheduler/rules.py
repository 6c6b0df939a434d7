"""Cloud Scheduler's rules that need no storage: validity, ticks, the headers of a call.

Behavior after google/cloud/scheduler/v1/{job,target,cloudscheduler}.proto.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from datetime import UTC, datetime, timedelta
from typing import Any
from urllib.parse import urlsplit
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

import grpc
from croniter import CroniterError, croniter
from google.cloud.scheduler_v1.types import job as job_types
from google.protobuf import field_mask_pb2

from ..core.errors import CloudError

Job: Any = job_types.Job.meta.pb
State: Any = job_types.Job.State

_JOB_ID = re.compile(r"[A-Za-z0-9_-]{1,500}")
# unix-cron: five fields of numbers or names, without the @names, L and # croniter would take.
_ONE = r"(\d{1,2}|[A-Za-z]{3})"
_ITEM = rf"(\*|{_ONE}(-{_ONE})?)(/\d+)?"
_FIELD = rf"{_ITEM}(,{_ITEM})*"
_CRON = re.compile(rf"{_FIELD}(\s+{_FIELD}){{4}}")
_DEADLINE = (timedelta(seconds=15), timedelta(minutes=30))
_MAX_BODY = 1024 * 1024
_SETTABLE = (
    "attempt_deadline",
    "description",
    "http_target",
    "retry_config",
    "schedule",
    "time_zone",
)
# What an HTTP answer of the target means for the job's status (google/rpc/code.proto).
_STATUS = {
    400: 3,
    401: 16,
    403: 7,
    404: 5,
    409: 10,
    429: 8,
    499: 1,
    501: 12,
    503: 14,
    504: 4,
}


def refuse(message: str) -> CloudError:
    """INVALID_ARGUMENT."""
    return CloudError(grpc.StatusCode.INVALID_ARGUMENT, message)


def check_job_id(job_id: str) -> None:
    """INVALID_ARGUMENT for a name with other characters than Scheduler takes."""
    if not _JOB_ID.fullmatch(job_id):
        raise refuse(f"Job name must be formatted with [A-Za-z0-9_-]: {job_id!r} is not.")


def check_job(job: Any) -> None:
    """INVALID_ARGUMENT for what Scheduler refuses; UNIMPLEMENTED for targets that are not HTTP."""
    target = job.WhichOneof("target")
    if target != "http_target":
        code = grpc.StatusCode.UNIMPLEMENTED if target else grpc.StatusCode.INVALID_ARGUMENT
        raise CloudError(code, "Job.target: an http_target is required here.")
    url = urlsplit(job.http_target.uri)
    if url.scheme not in ("http", "https") or not url.hostname:
        raise refuse("The HTTP url must start with 'http://' or 'https://'.")
    if len(job.http_target.body) > _MAX_BODY:
        raise refuse("The size of the job must not exceed 1 MB.")
    deadline = job.attempt_deadline.ToTimedelta()
    if not _DEADLINE[0] <= deadline <= _DEADLINE[1]:
        raise refuse("Job.attempt_deadline must be between [15s, 30m].")
    if not 0 <= job.retry_config.retry_count <= 5:
        raise refuse("Job.retry_config.retry_count must be between 0 and 5.")
    next_tick(job, datetime.now(UTC))


def fill_defaults(job: Any) -> None:
    """What Scheduler writes into a job when the client leaves it out."""
    job.time_zone = job.time_zone or "Etc/UTC"
    target, retry = job.http_target, job.retry_config
    if job.WhichOneof("target") == "http_target":
        target.http_method = target.http_method or 1  # POST
        target.headers["User-Agent"] = "Google-Cloud-Scheduler"
        oidc = target.WhichOneof("authorization_header") == "oidc_token"
        if oidc and not target.oidc_token.audience:
            target.oidc_token.audience = target.uri
    if not job.HasField("attempt_deadline"):
        job.attempt_deadline.FromSeconds(180)
    retry.max_doublings = retry.max_doublings or 5
    for field, seconds in (
        ("max_retry_duration", 0),
        ("min_backoff_duration", 5),
        ("max_backoff_duration", 3600),
    ):
        if not retry.HasField(field):
            getattr(retry, field).FromSeconds(seconds)


def merge(stored: Any, requested: Any, paths: Iterable[str]) -> Any:
    """The job after UpdateJob; an empty mask means everything a client may set."""
    wanted = [path for path in paths if path != "*"] or list(_SETTABLE)
    for path in wanted:
        if path.split(".")[0] not in _SETTABLE:
            raise refuse(f"update_mask: {path!r} cannot be updated.")
    fresh = Job()
    fresh.CopyFrom(stored)
    try:
        field_mask_pb2.FieldMask(paths=wanted).MergeMessage(
            requested, fresh, replace_message_field=True, replace_repeated_field=True
        )
    except ValueError as error:
        raise refuse(f"update_mask: {error}") from error
    return fresh


def next_tick(job: Any, after: datetime) -> datetime:
    """The first tick later than `after`, in UTC. INVALID_ARGUMENT for a bad cron or time zone."""
    cron, wrong = job.schedule.strip(), refuse("Schedule or timezone is invalid.")
    if not _CRON.fullmatch(cron):
        raise wrong
    try:
        zone = ZoneInfo(job.time_zone or "Etc/UTC")
        found: datetime = croniter(cron, after.astimezone(zone)).get_next(datetime)
    except (CroniterError, ZoneInfoNotFoundError, ValueError) as error:
        raise wrong from error
    return found.astimezone(UTC)


def backoff(retry: Any, attempt: int) -> timedelta:
    """How long to wait before retry number `attempt` (from 1): doubling, then linear, capped."""
    doublings = min(attempt - 1, retry.max_doublings)
    steps = max(0, attempt - 1 - retry.max_doublings)
    grown = retry.min_backoff_duration.ToTimedelta().total_seconds() * (1 << doublings)
    longest = retry.max_backoff_duration.ToTimedelta().total_seconds()
    return timedelta(seconds=min(grown * (1 + steps), longest))


def headers_of(job: Any, tick: datetime, token: str) -> dict[str, str]:
    """The headers of a call; a job's own headers cannot replace Scheduler's."""
    sent = dict(job.http_target.headers)
    has_type = any(name.lower() == "content-type" for name in sent)
    if job.http_target.body and not has_type:
        sent["Content-Type"] = "application/octet-stream"
    sent |= {
        "X-CloudScheduler": "true",
        "X-CloudScheduler-JobName": job.name.rpartition("/")[2],
        "X-CloudScheduler-ScheduleTime": tick.isoformat().replace("+00:00", "Z"),
    }
    return sent | ({"Authorization": f"Bearer {token}"} if token else {})


def status_of(http_status: int) -> tuple[int, str]:
    """(google.rpc code, message) of an answer; every 2xx is success."""
    if 200 <= http_status < 300:
        return 0, ""
    kind = "ERROR_OTHER" if http_status >= 500 else "URL_REJECTED"
    message = f"URL_ERROR-{kind}. Original HTTP response code number = {http_status}"
    return _STATUS.get(http_status, 13 if http_status >= 500 else 2), message
