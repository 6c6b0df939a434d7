"""What answers carry: the contract of the API, in words and types."""

from __future__ import annotations

from datetime import datetime
from typing import Any, Literal

from ninja import Field, Schema
from pydantic import ConfigDict, create_model


class Out(Schema):
    """A part of an answer."""


class Problem(Out):
    """A failure (RFC 9457): what happened, and what to do about it."""

    model_config = ConfigDict(
        json_schema_extra={
            "examples": [
                {
                    "type": "urn:ml-platform:busy",
                    "code": "busy",
                    "title": "Conflict",
                    "status": 409,
                    "detail": "chern_rank_v3 is held by Deploy chern_rank_v3 v1, which ana began "
                    "on 8 Feb 2026 at 12:00 UTC.",
                    "advice": "Wait for it to end, then try again.",
                    "operation": "0b6f8d0e-51a2-4c52-9d50-1c1a0b7c7c11",
                }
            ]
        }
    )
    type: str = Field(description="Stable: urn:ml-platform:<code>.")
    code: str
    title: str
    status: int
    detail: str = Field(description="What happened, in a sentence.")
    advice: str = Field(description="What to do about it; may be empty.")
    operation: str | None = Field(None, description="The operation that it is about.")
    errors: list[FieldError] | None = None


class FieldError(Out):
    """One field that is not valid."""

    field: str
    message: str


class Pagination(Out):
    """Where a list stands; `page` is null on a page that a cursor led to."""

    total: int
    page: int | None
    pages: int
    page_size: int
    next_cursor: str = Field(description="Give it as `cursor` for what follows; empty at the end.")


def list_of(name: str, item: type[Out], doc: str) -> type[Out]:
    """The answer of a list: a part of its items."""
    fields: Any = {"items": (list[item], ...), "pagination": (Pagination, ...)}  # type: ignore[valid-type]
    return create_model(name, __base__=Out, __doc__=doc, __module__=__name__, **fields)


class ProjectRef(Out):
    """A project by id and name."""

    id: Any
    name: str


class ModelRef(Out):
    """A lineage by id and name."""

    id: int
    name: str


class RunRef(Out):
    """A run, and the version it is."""

    id: int
    version: int | None


class Person(Out):
    """Who did something."""

    id: int | None
    name: str


class VersionOut(Out):
    """A version of a model: a registered run."""

    run: int
    version: int | None
    registration: str
    is_blessed: bool | None
    metrics: Any
    aliases: list[str]
    vertex_model_resource_name: str
    vertex_model_version: str
    former_vertex_version: str
    gcs_artifacts_path: str
    registered_at: datetime | None
    created_at: datetime


class EndpointRef(Out):
    """An endpoint that serves, and which version."""

    id: int
    service_name: str
    url: str
    version: int | None


class Deployment(Out):
    """Whether the newest version is served."""

    status: Literal["deployed", "outdated", "idle"]
    active_endpoints: int
    endpoint: EndpointRef | None


class ModelOut(Out):
    """A registered model. `registry_verified` is null when Vertex AI was not heard."""

    id: int
    name: str
    type: str
    project: ProjectRef
    versions: int
    latest_version: VersionOut | None
    deployment: Deployment
    vertex_model_resource_name: str
    registry_verified: bool | None
    registry_state: Literal["verified", "suspected", "missing", "unchecked"]
    registry_reason: str = Field(description="Why it is not verified, or how the live check ended.")
    verified_at: datetime | None
    created_at: datetime
    url: str


class ModelDetail(ModelOut):
    """A lineage with its words and its endpoints."""

    description: str
    endpoints: list[EndpointOut]


class ModelsKpi(Out):
    """How many registered models there are, whatever the filters."""

    total: int
    deployed: int
    outdated: int
    idle: int


class ModelsOut(Out):
    """A part of the list of registered models."""

    items: list[ModelOut]
    pagination: Pagination
    kpi: ModelsKpi
    registry_check_available: bool = Field(
        description="Whether the newest sweep could read Vertex AI; live: whether all answered."
    )


VersionsOut = list_of("VersionsOut", VersionOut, "A part of the list of versions.")


class RunOut(Out):
    """A training run."""

    id: int
    uid: str
    project: ProjectRef
    model_name: str
    model_type: str
    model: int | None
    schedule: int | None
    scheduled_for: datetime | None
    rerun_of: int | None
    status: str
    stage: str
    progress: int
    error: str
    template_uri: str
    parameters: Any
    pipeline_job_name: str
    gcs_artifacts_path: str
    metrics: Any
    is_blessed: bool | None
    registration: str
    version: int | None
    vertex_model_resource_name: str
    vertex_model_version: str
    registered_at: datetime | None
    created_at: datetime
    submitted_at: datetime | None
    finished_at: datetime | None
    url: str


RunsOut = list_of("RunsOut", RunOut, "A part of the list of runs.")


class EndpointOut(Out):
    """A Cloud Run service that serves, or served, a version."""

    id: int
    project: ProjectRef
    model: ModelRef
    service_name: str
    state: str
    is_active: bool
    model_deleted: bool
    run: RunRef | None
    intended_run: RunRef | None
    previous_run: RunRef | None
    is_outdated: bool
    service_url: str
    revision: str
    config: Any
    error: str
    deployed_at: datetime | None
    created_at: datetime
    url: str


EndpointsOut = list_of("EndpointsOut", EndpointOut, "A part of the list of endpoints.")


class ScheduleOut(Out):
    """A recurring intent to train."""

    id: int
    project: ProjectRef
    name: str
    model_name: str
    model_type: str
    model: int | None
    state: str
    frequency: str
    cron: str
    time_zone: str
    starts_at: datetime | None
    next_run_at: datetime | None
    last_run_at: datetime | None
    scheduler_job_name: str
    template_uri: str
    parameters: Any
    created_at: datetime
    url: str


SchedulesOut = list_of("SchedulesOut", ScheduleOut, "A part of the list of schedules.")


for _schema in (Problem, ModelDetail):
    _schema.model_rebuild()
