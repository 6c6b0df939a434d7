"""Cloud Scheduler's rules that need no storage: validity, ticks, the headers of a call.

Behavior after google/cloud/scheduler/v1/{job,target,cloudscheduler}.proto.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from datetime import UTC, datetime, timedelta
from itertools import chain
from typing import Any
from urllib.parse import urlsplit
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

import grpc
from google.cloud.scheduler_v1.types import job as job_types
from google.protobuf import field_mask_pb2

from ..core.errors import CloudError
from . import schedules

Job: Any = job_types.Job.meta.pb
State: Any = job_types.Job.State

_JOB_ID = re.compile(r"[A-Za-z0-9_-]{1,500}")
_DEADLINE = (timedelta(seconds=15), timedelta(minutes=30))
_MAX_JOB = 1024 * 1024
_MAX_DESCRIPTION = 500
_MAX_URI = 2083
_MAX_HEADERS = 80 * 1024
_WITH_BODY = ("POST", "PUT", "PATCH")
_OWN_HEADERS = re.compile(
    r"host|content-length|user-agent|x-google-.*|x-appengine-.*"
    r"|x-cloudscheduler(-jobname|-scheduletime)?",
    re.IGNORECASE,
)
METHODS = ("POST", "POST", "GET", "HEAD", "PUT", "DELETE", "PATCH", "OPTIONS")
"""By google.cloud.scheduler.v1.HttpMethod."""
_SETTABLE = (
    "app_engine_http_target",
    "attempt_deadline",
    "description",
    "http_target",
    "pubsub_target",
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
    kind = job.WhichOneof("target")
    if kind not in (None, "http_target"):
        raise CloudError(
            grpc.StatusCode.UNIMPLEMENTED,
            f"Job.{kind} is not part of the local cloud: jobs call an http_target.",
        )
    for holds, message in chain(_conditions(job), _http_conditions(job.http_target)):
        if not holds:
            raise refuse(message)
    next_tick(job, datetime.now(UTC))


def _conditions(job: Any) -> Iterator[tuple[bool, str]]:
    """The limits of job.proto, each with the sentence of its refusal."""
    retry, deadline = job.retry_config, job.attempt_deadline.ToTimedelta()
    yield job.HasField("http_target"), "Job.target is required."
    yield (
        len(job.description) <= _MAX_DESCRIPTION,
        f"Job.description must have at most {_MAX_DESCRIPTION} characters.",
    )
    yield job.ByteSize() <= _MAX_JOB, "The size of the job must not exceed 1 MB."
    yield (
        _DEADLINE[0] <= deadline <= _DEADLINE[1],
        "Job.attempt_deadline must be between [15s, 30m].",
    )
    yield 0 <= retry.retry_count <= 5, "Job.retry_config.retry_count must be between 0 and 5."
    yield retry.max_doublings >= 0, "Job.retry_config.max_doublings must not be negative."
    for field in ("max_retry_duration", "min_backoff_duration", "max_backoff_duration"):
        yield (
            getattr(retry, field).ToTimedelta() >= timedelta(0),
            f"Job.retry_config.{field} must not be negative.",
        )


def _http_conditions(target: Any) -> Iterator[tuple[bool, str]]:
    """The limits of target.proto."""
    yield _is_http(target.uri), "The HTTP url must start with 'http://' or 'https://'."
    yield len(target.uri) <= _MAX_URI, f"The HTTP url must have at most {_MAX_URI} characters."
    yield 0 <= target.http_method < len(METHODS), "HttpTarget.http_method is not valid."
    yield (
        not target.body or METHODS[target.http_method] in _WITH_BODY,
        "HttpTarget.body is allowed only if the HTTP method is POST, PUT or PATCH.",
    )
    size = sum(len(name) + len(value) for name, value in target.headers.items())
    yield size < _MAX_HEADERS, "HttpTarget.headers must be less than 80KB."


def _is_http(uri: str) -> bool:
    try:
        url = urlsplit(uri)
    except ValueError:
        return False
    return url.scheme in ("http", "https") and bool(url.hostname)


def fill_defaults(job: Any) -> None:
    """What Scheduler writes into a job when the client leaves it out."""
    job.time_zone = job.time_zone or "Etc/UTC"
    target, retry = job.http_target, job.retry_config
    if job.WhichOneof("target") == "http_target":
        target.http_method = target.http_method or 1  # POST
        for name in [name for name in target.headers if name.lower() == "user-agent"]:
            del target.headers[name]
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
    """The first tick later than `after`, in UTC.

    INVALID_ARGUMENT for a bad schedule or time zone (googleapis/google-cloud-go#1352).
    """
    try:
        return schedule_of(job).next(after, _zone(job.time_zone)).astimezone(UTC)
    except (ValueError, ZoneInfoNotFoundError, OSError, OverflowError) as error:
        raise refuse("Schedule or time zone is invalid.") from error


def schedule_of(job: Any) -> schedules.Schedule:
    """ValueError when it is none."""
    return schedules.parse(job.schedule)


def _zone(name: str) -> ZoneInfo:
    """'For UTC use the string "utc"' (job.proto)."""
    return ZoneInfo("Etc/UTC" if name.lower() in ("", "utc") else name)


def may_retry(retry: Any, number: int, since: timedelta) -> bool:
    """Whether retry `number` (from 1), due `since` after the first attempt, is made.

    With both a count and a duration "the job will be retried until both limits are reached"
    (RetryConfig.max_retry_duration); a duration of zero is no limit of its own.
    """
    limit = retry.max_retry_duration.ToTimedelta()
    return bool(number <= retry.retry_count or (limit and since <= limit))


def backoff(retry: Any, attempt: int) -> timedelta:
    """How long to wait before retry number `attempt` (from 1): doubling, then linear, capped."""
    doublings = min(attempt - 1, retry.max_doublings)
    steps = max(0, attempt - 1 - retry.max_doublings)
    grown = retry.min_backoff_duration.ToTimedelta().total_seconds() * (1 << doublings)
    longest = retry.max_backoff_duration.ToTimedelta().total_seconds()
    return timedelta(seconds=min(grown * (1 + steps), longest))


def headers_of(job: Any, tick: datetime, token: str) -> dict[str, str]:
    """The headers of a call; a job's own headers cannot replace Scheduler's (target.proto)."""
    given = job.http_target.headers.items()
    sent = {name: text for name, text in given if not _replaced(name, token)}
    has_type = any(name.lower() == "content-type" for name in sent)
    if job.http_target.body and not has_type:
        sent["Content-Type"] = "application/octet-stream"
    sent |= {
        "User-Agent": "Google-Cloud-Scheduler",
        "X-CloudScheduler": "true",
        "X-CloudScheduler-JobName": job.name.rpartition("/")[2],
    }
    if isinstance(schedule_of(job), schedules.Cron):
        sent["X-CloudScheduler-ScheduleTime"] = tick.isoformat().replace("+00:00", "Z")
    return sent | ({"Authorization": f"Bearer {token}"} if token else {})


def _replaced(name: str, token: str) -> bool:
    """Whether a job's own header is left out."""
    return bool(_OWN_HEADERS.fullmatch(name) or (token and name.lower() == "authorization"))


def status_of(http_status: int) -> tuple[int, str]:
    """(google.rpc code, message) of an answer; every 2xx is success."""
    if 200 <= http_status < 300:
        return 0, ""
    kind = "ERROR_OTHER" if http_status >= 500 else "URL_REJECTED"
    message = f"URL_ERROR-{kind}. Original HTTP response code number = {http_status}"
    return _STATUS.get(http_status, 13 if http_status >= 500 else 2), message
