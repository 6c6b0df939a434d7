"""Models and versions."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime
from typing import Annotated, Any, Literal

from ninja import Field
from pydantic import AfterValidator, WithJsonSchema
from pydantic_core import PydanticCustomError

from ml_platform.models import (
    TrainingRun,
)
from ml_platform.models.registry.manifest import FilesState, ManifestOrigin
from ml_platform.models.registry.model_tag import TAGS_MAX
from ml_platform.models.registry.model_words import METRIC_MAX
from ml_platform.models.states import Approval, ModelType
from ml_platform.services.mirror.vertex_endpoints import Deployment as Deployed
from ml_platform.services.registry.tags import is_tag_filter

from .base import (
    EXAMPLES,
    PAGE_EXAMPLE,
    Flag,
    Json,
    Listing,
    Out,
    Pagination,
    ProjectRef,
    example,
    list_of,
)
from .endpoints import ENDPOINT_EXAMPLE, EndpointOut

VERSION_EXAMPLE = {
    "run": 41,
    "version": 3,
    "registration": "registered",
    "is_blessed": True,
    "approval": "",
    "approval_by": "",
    "approval_reason": "",
    "approval_at": None,
    "metrics": {"recall_at_50": 0.4312},
    "aliases": ["default"],
    "vertex_model_resource_name": "projects/1/locations/europe-central2/models/mr-5f0c-1",
    "vertex_model_version": "3",
    "former_vertex_version": "",
    "gcs_artifacts_path": "gs://artifacts/runs/9c1d/",
    "manifest_digest": "4be1f70f1f4a1b7a0ffb7c3fd8d6cb3fd4f1cc8a",
    "manifest_files": 4,
    "manifest_bytes": 1048576,
    "manifest_origin": "registration",
    "manifest_taken_at": "2026-02-08T12:02:00Z",
    "files_state": "verified",
    "files_checked_at": "2026-02-08T12:10:00Z",
    "registered_at": "2026-02-08T12:03:00Z",
    "created_at": "2026-02-08T11:00:00Z",
}


MODEL_EXAMPLE = {
    "id": 7,
    "name": "chern_rank_v4",
    "type": "ranking",
    "project": {"id": 1, "name": "test_v1"},
    "versions": 3,
    "latest_version": VERSION_EXAMPLE,
    "deployment": {
        "status": "outdated",
        "active_endpoints": 1,
        "endpoint": {
            "id": 2,
            "service_name": "chern-rank-v4",
            "url": "https://chern-rank-v4-abc.a.run.app",
            "version": 2,
        },
    },
    "vertex_model_resource_name": "projects/1/locations/europe-central2/models/mr-5f0c-1",
    "registry_verified": True,
    "registry_state": "verified",
    "registry_reason": "",
    "verified_at": "2026-02-08T12:10:00Z",
    "created_at": "2026-01-02T09:00:00Z",
    "url": "/api/models/7/",
}


def _tag_filter(text: str) -> str:
    if not is_tag_filter(text):
        raise PydanticCustomError("tag", "It is neither the key of a tag nor key:value")
    return text


def _sort(text: str) -> str:
    name = text.removeprefix("-")
    metric = name.removeprefix(METRIC)
    if name not in SORTS and (metric == name or not 0 < len(metric) <= METRIC_MAX):
        raise PydanticCustomError(
            "literal_error", "Unknown", {"expected": f"{', '.join(SORTS)} and {METRIC}<name>"}
        )
    return text


METRIC = "metric:"
SORTS: Mapping[str, str] = {
    "registered": "latest_registered_at",
    "name": "model_name",
    "versions": "total_versions",
    "last_traffic": "last_traffic_on",
}
"""Sort order -> column."""
ModelSort = Annotated[
    str,
    AfterValidator(_sort),
    WithJsonSchema(
        {
            "anyOf": [
                {"type": "string", "enum": [sign + name for name in SORTS for sign in ("", "-")]},
                {"type": "string", "pattern": rf"^-?{METRIC}[\s\S]{{1,{METRIC_MAX}}}$"},
            ]
        }
    ),
]
TagFilter = Annotated[str, AfterValidator(_tag_filter)]
StoredState = Literal["verified", "suspected", "missing", "changed", "foreign", "unchecked"]


class ModelsQuery(Listing):
    """Registered models."""

    sort: ModelSort = Field(
        "-registered",
        description="Or a metric of the newest version, as in `-metric:recall_at_100`; models "
        "without it come last.",
    )
    search: str = Field("", max_length=63, description="A part of the name.")
    type: ModelType | None = None
    status: Literal["deployed", "outdated", "idle"] | None = Field(
        None,
        description="Whether an active endpoint serves the newest deployable version, only an "
        "older one, or none.",
    )
    blessed: Flag | None = Field(None, description="Whether the newest version was blessed.")
    registry_state: StoredState | None = None
    tag: list[TagFilter] = Field(
        default_factory=list,
        max_length=TAGS_MAX,
        description="A key, or `key:value`; repeated, it selects models that have all of them.",
    )
    verify: Literal["live"] | None = Field(
        None, description="`live` asks Vertex AI now about the models of this page."
    )


class VersionsQuery(Listing):
    """Versions of a model, on request with those that were deleted or lost."""

    sort: Literal["version", "-version"] = "-version"
    all: Flag = Field(default=False, description="Also versions that were deleted or lost.")


class VersionOut(Out):
    """A version of a model: a registered run."""

    run: int
    version: int | None
    registration: str
    is_blessed: bool | None = Field(description="The evaluator's word; null if it did not judge.")
    approval: Approval = Field(
        description="A person's word, which counts before the evaluator's: approved may be "
        "deployed, withdrawn may not."
    )
    approval_by: str
    approval_reason: str
    approval_at: datetime | None
    metrics: Any
    aliases: list[str]
    vertex_model_resource_name: str
    vertex_model_version: str
    former_vertex_version: str
    gcs_artifacts_path: str
    manifest_digest: str | None = Field(
        description="Of the names, sizes and checksums of its files; null before it was taken."
    )
    manifest_files: int | None
    manifest_bytes: int | None
    manifest_origin: ManifestOrigin | None = Field(
        description="When it was taken: it proves nothing about the time before."
    )
    manifest_taken_at: datetime | None
    files_state: FilesState | None = Field(
        description="Whether the last sweep that listed the files found those of the manifest."
    )
    files_checked_at: datetime | None
    registered_at: datetime | None
    created_at: datetime


class EndpointRef(Out):
    """An endpoint that serves, and which version."""

    id: int
    service_name: str
    url: str
    version: int | None


class Deployment(Out):
    """Whether an active endpoint serves the newest deployable version."""

    status: Literal["deployed", "outdated", "idle"]
    active_endpoints: int
    endpoint: EndpointRef | None


@example(MODEL_EXAMPLE)
class ModelOut(Out):
    """A registered model. `registry_verified` is null when Vertex AI was not read, and while the
    version that it has there is without our labels."""

    id: int
    name: str
    type: str
    project: ProjectRef
    versions: int
    latest_version: VersionOut | None
    deployment: Deployment
    vertex_model_resource_name: str
    registry_verified: bool | None
    registry_state: StoredState
    registry_reason: str = Field(description="Why it is not verified, or how the live check ended.")
    verified_at: datetime | None
    created_at: datetime
    url: str


class AtVertexEndpoint(Out):
    """A version that people deployed to an endpoint of Vertex AI."""

    endpoint: str
    display_name: str
    vertex_model_version: str
    percent: int = Field(description="Its share of the endpoint's traffic.")


@example(
    MODEL_EXAMPLE
    | {
        "description": "Ranks by margin.",
        "tags": {"team": "recommendations"},
        "endpoints": [ENDPOINT_EXAMPLE],
        "vertex_endpoints": [
            {
                "endpoint": "projects/1/locations/europe-central2/endpoints/81",
                "display_name": "front",
                "vertex_model_version": "3",
                "percent": 100,
            }
        ],
    }
)
class ModelDetail(ModelOut):
    """A lineage with its texts and its endpoints."""

    description: str
    tags: dict[str, str] = Field(description="The value of each key; it may be empty.")
    endpoints: list[EndpointOut]
    vertex_endpoints: list[AtVertexEndpoint] | None = Field(
        description="Null if the newest sweep could not list the endpoints of Vertex AI."
    )


def deployed_json(deployed: Deployed) -> Json:
    """A version at an endpoint of Vertex AI."""
    return {
        "endpoint": deployed.endpoint.resource_name,
        "display_name": deployed.endpoint.display_name,
        "vertex_model_version": deployed.version,
        "percent": deployed.percent,
    }


class ModelsKpi(Out):
    """How many registered models there are, whatever the filters."""

    total: int
    deployed: int
    outdated: int
    idle: int


@example(
    {
        "items": [MODEL_EXAMPLE],
        "pagination": PAGE_EXAMPLE,
        "kpi": {"total": 8, "deployed": 1, "outdated": 1, "idle": 6},
        "registry_check_available": True,
    }
)
class ModelsOut(Out):
    """A part of the list of registered models."""

    items: list[ModelOut]
    pagination: Pagination
    kpi: ModelsKpi
    registry_check_available: bool = Field(
        description="Whether the newest sweep could read Vertex AI; live: whether all answered."
    )


VersionsOut = list_of("VersionsOut", VersionOut, "A part of the list of versions.")
EXAMPLES["VersionsOut"] = {"items": [VERSION_EXAMPLE], "pagination": PAGE_EXAMPLE}


VERSION: Mapping[str, str] = {
    "run": "pk",
    "version": "version",
    "registration": "registration",
    "is_blessed": "is_blessed",
    "approval": "approval",
    "approval_by": "approval_by",
    "approval_reason": "approval_reason",
    "approval_at": "approval_at",
    "metrics": "metrics",
    "aliases": "aliases",
    "vertex_model_resource_name": "vertex_model_resource_name",
    "vertex_model_version": "vertex_model_version",
    "former_vertex_version": "last_vertex_version",
    "gcs_artifacts_path": "gcs_artifacts_path",
    "manifest_digest": "manifest__digest",
    "manifest_files": "manifest__file_count",
    "manifest_bytes": "manifest__total_bytes",
    "manifest_origin": "manifest__origin",
    "manifest_taken_at": "manifest__taken_at",
    "files_state": "manifest__state",
    "files_checked_at": "files_checked_at",
    "registered_at": "registered_at",
    "created_at": "created_at",
}
"""Field of a version -> column of the run, or of its manifest."""


def version_json(run: TrainingRun) -> Json:
    """A run, read with its manifest and `files_checked_at`, as the version it is or was."""
    return {name: _value(run, column) for name, column in VERSION.items()}


def _value(run: TrainingRun, column: str) -> Any:
    """The value of a column; None for one of a manifest that was not taken."""
    about, _, name = column.rpartition("__")
    return getattr(getattr(run, about, None) if about else run, name, None)
