"""The values that the modules of this package return: frozen, typed, with aware UTC times."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from enum import StrEnum
from typing import Any

from ml_platform.errors import PlatformError

from .names import EndpointName, JobName, ModelName, OperationName, PipelineJobName, ServiceName
from .raw import RemoteValue


@dataclass(frozen=True, slots=True, kw_only=True)
class RemoteModel(RemoteValue):
    """One version of a model in the Vertex AI Model Registry; `name` is without the version."""

    name: ModelName
    version: str
    display_name: str
    aliases: tuple[str, ...]
    labels: Mapping[str, str] = field(hash=False)
    artifact_uri: str
    create_time: datetime | None
    """Of the model."""
    version_create_time: datetime | None
    update_time: datetime | None
    """Of the model: it changes when any version is added, deleted or changed."""
    endpoints: tuple[str, ...] = ()
    """The Vertex AI endpoints that serve it; Vertex AI refuses its deletion until they do not."""
    etag: str = ""
    description: str = ""
    """Of the model."""
    version_description: str = ""

    @property
    def pointer(self) -> ModelName:
        """The name with its version."""
        return self.name.at(self.version)


@dataclass(frozen=True, slots=True, kw_only=True)
class DeployedVersion(RemoteValue):
    """A version that is deployed to a Vertex AI endpoint, with its share of the traffic.

    `model` is the resource name as Google gave it, '' if it gave none; `version` may be an alias,
    or ''.
    """

    deployed_id: str
    model: str
    version: str
    percent: int


@dataclass(frozen=True, slots=True, kw_only=True)
class RemoteEndpoint(RemoteValue):
    """A Vertex AI endpoint, and what is deployed to it."""

    name: EndpointName
    display_name: str
    deployed: tuple[DeployedVersion, ...]
    create_time: datetime | None


@dataclass(frozen=True, slots=True, kw_only=True)
class RemoteEvaluation(RemoteValue):
    """An evaluation of a version of a model; `metrics` has its plain numbers only."""

    metrics: Mapping[str, float] = field(hash=False)
    create_time: datetime | None


@dataclass(frozen=True, slots=True, kw_only=True)
class RemoteOperation(RemoteValue):
    """The state of a long-running operation of Google; store `name` to read it again.

    A `done` operation has an `error` or succeeded. `result` is the name of what was created or
    updated (for a model with its version); None for deletions.
    """

    name: OperationName
    done: bool
    error: PlatformError | None = None
    result: ModelName | ServiceName | None = None


class PipelineState(StrEnum):
    """How a pipeline job ended; UNFINISHED is any other state, also one that is new to us."""

    SUCCEEDED = "succeeded"
    FAILED = "failed"
    CANCELLED = "cancelled"
    UNFINISHED = "unfinished"


class TaskState(StrEnum):
    """State of one task (stage) of a pipeline job; OTHER is any other state."""

    RUNNING = "running"
    SUCCEEDED = "succeeded"
    CANCEL_PENDING = "cancel_pending"
    CANCELLING = "cancelling"
    CANCELLED = "cancelled"
    FAILED = "failed"
    SKIPPED = "skipped"
    OTHER = "other"


@dataclass(frozen=True, slots=True, kw_only=True)
class RemoteTask(RemoteValue):
    """One task of a pipeline job; `error` is Google's text, '' without an error."""

    name: str
    state: TaskState
    start_time: datetime | None
    error: str


@dataclass(frozen=True, slots=True, kw_only=True)
class RemotePipelineJob(RemoteValue):
    """A pipeline job in Vertex AI Pipelines; `error` is Google's text, '' without an error."""

    name: PipelineJobName
    state: PipelineState
    error: str
    labels: Mapping[str, str] = field(hash=False)
    tasks: tuple[RemoteTask, ...]

    @property
    def job_id(self) -> str:
        """The last part of the name."""
        return self.name.job_id


@dataclass(frozen=True, slots=True, kw_only=True)
class RemoteBucket(RemoteValue):
    """A Cloud Storage bucket; `location` in lower case."""

    name: str
    location: str
    versioning: bool
    """Whether a deleted object stays as a noncurrent version."""
    soft_delete_seconds: int
    """How long a deleted object can be restored; 0 if it cannot."""


@dataclass(frozen=True, slots=True, kw_only=True)
class RemoteObject(RemoteValue):
    """A Cloud Storage object; `size` in bytes, `crc32c` in base64 as Google writes it.

    `name` is its address and may hold any character: `ObjectPath` checks whether we can store it.
    """

    addresses = frozenset({"name"})
    name: str
    size: int
    crc32c: str = ""
    generation: int
    updated: datetime | None


class DeleteOutcome(StrEnum):
    """What became of one object in a batch of deletions."""

    DELETED = "deleted"
    GONE = "gone"
    """It did not exist."""
    CHANGED = "changed"
    """It has another generation than the given one; it was not deleted."""
    REFUSED = "refused"
    """Cloud Storage refused: a hold, a retention policy, or a missing permission."""
    FAILED = "failed"
    """There was no usable answer; try again later."""


@dataclass(frozen=True, slots=True, kw_only=True)
class DeletedObject(RemoteValue):
    """The outcome for one object; `reason` explains every outcome except DELETED and GONE."""

    addresses = frozenset({"name"})
    name: str
    outcome: DeleteOutcome
    reason: str = ""


class Ingress(StrEnum):
    """Networks from which a Cloud Run service accepts requests."""

    ALL = "all"
    INTERNAL = "internal"
    INTERNAL_AND_LOAD_BALANCER = "internal_and_load_balancer"
    UNKNOWN = "unknown"


@dataclass(frozen=True, slots=True, kw_only=True)
class ServiceSpec(RemoteValue):
    """The desired state of a Cloud Run service; `change_invokers` sets who may call it."""

    image: str
    labels: Mapping[str, str] = field(hash=False)
    env: Mapping[str, str] = field(default_factory=dict, hash=False)
    secrets: tuple[str, ...] = ()
    """Only read: the variables whose values come from secrets; `env` has '' for them."""
    args: tuple[str, ...] = ()
    port: int = 8080
    cpu: str = "1"
    memory: str = "2Gi"
    min_instances: int = 0
    max_instances: int = 1
    concurrency: int = 80
    """Requests that one instance takes at once."""
    timeout_seconds: int = 300
    """Seconds a request to the service may take."""
    ingress: Ingress = Ingress.ALL
    service_account: str = ""
    """E-mail of the identity it runs as; '' is the project's default."""


@dataclass(frozen=True, slots=True, kw_only=True)
class TrafficShare(RemoteValue):
    """Share of a service's traffic, in percent, that one revision receives; requests to the `url`
    of its tag reach it in any case."""

    revision: str
    percent: int
    tag: str = ""
    url: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class TrafficTarget(RemoteValue):
    """Where a part of a service's traffic was asked to go, in percent; '' is the latest revision
    that is ready. Requests with a tag go there in any case."""

    revision: str
    percent: int
    tag: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class RemoteService(RemoteValue):
    """The current state of a Cloud Run service; revisions are given by their ids."""

    name: ServiceName
    uri: str
    etag: str
    labels: Mapping[str, str] = field(hash=False)
    image: str
    env: Mapping[str, str] = field(hash=False)
    ready: bool | None
    """Whether the newest configuration is ready; None while Cloud Run works on it."""
    reason: str
    """Why it is not ready, '' when it is."""
    latest_ready_revision: str
    latest_created_revision: str
    traffic: tuple[TrafficShare, ...]
    texts: tuple[str, ...] = ()
    """Texts in its newest revision: environment, arguments, annotations, mounted buckets."""
    spec: ServiceSpec | None = None
    """What it has in the fields that we set."""
    targets: tuple[TrafficTarget, ...] = ()
    """The traffic that was asked for; `traffic` is what the revisions get."""
    create_time: datetime | None = None
    percent_of_newest: int = 100
    """Percent of the traffic that was asked for its newest ready revision, by its name or as the
    latest; the other revisions get the rest."""
    changed_by: str = ""
    """Who changed the service last, of its own fields or its labels, and when."""
    changed_at: datetime | None = None
    message: Any = field(default=None, repr=False, compare=False)
    """The raw message, with what others set."""

    @property
    def service_id(self) -> str:
        """The last part of the name."""
        return self.name.service_id

    @property
    def serving(self) -> tuple[str, ...]:
        """The revisions that may get requests; a share without a name is of the latest ready one
        (TrafficTargetStatus in google/cloud/run_v2/types/traffic_target.py)."""
        return tuple({share.revision or self.latest_ready_revision: 0 for share in self.traffic})


@dataclass(frozen=True, slots=True, kw_only=True)
class RemoteRevision(RemoteValue):
    """A revision of a Cloud Run service; `texts` as in RemoteService."""

    labels: Mapping[str, str] = field(hash=False)
    texts: tuple[str, ...] = ()
    artifact_uri: str = ""
    """The address of its model, '' for none."""


class JobState(StrEnum):
    """State of a Cloud Scheduler job."""

    ENABLED = "enabled"
    PAUSED = "paused"
    DISABLED = "disabled"
    UPDATE_FAILED = "update_failed"
    UNKNOWN = "unknown"


@dataclass(frozen=True, slots=True, kw_only=True)
class JobSpec(RemoteValue):
    """The desired state of a Cloud Scheduler job: send `body` to `uri` with an OIDC token."""

    job_id: str
    schedule: str
    """Unix cron."""
    uri: str
    service_account: str
    audience: str
    time_zone: str = "Etc/UTC"
    method: str = "POST"
    body: bytes = b""
    description: str = ""
    attempt_deadline: int = 180
    """Seconds an attempt may take, 15 to 1800."""
    retry_count: int = 0
    """How often a failed attempt is repeated, 0 to 5."""


@dataclass(frozen=True, slots=True, kw_only=True)
class RemoteJob(RemoteValue):
    """The current state of a Cloud Scheduler job."""

    name: JobName
    spec: JobSpec
    state: JobState
    next_run: datetime | None
    last_attempt: datetime | None = None
    last_error: str = ""
    """How the last attempt failed, as google.rpc.Status names it; '' if it did not."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Point(RemoteValue):
    """One value of a time series, for the interval that ends at `end`."""

    end: datetime
    value: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Identity(RemoteValue):
    """The identity in a verified OIDC token."""

    email: str
