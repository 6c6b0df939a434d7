"""What requests may carry. Unknown fields are refused, so that a misspelled one is not lost."""

from __future__ import annotations

from datetime import datetime
from typing import Annotated, Any, Literal

from ninja import Body, Field, Schema
from pydantic import ConfigDict

from ml_platform.models.states import (
    Frequency,
    ModelType,
    OperationKind,
    OperationStatus,
    Registration,
    RunStatus,
    ScheduleState,
)

BIGGEST_ID = (1 << 63) - 1
Id = Annotated[int, Field(ge=1, le=BIGGEST_ID, examples=[7])]
Reason = Annotated[str, Field(max_length=2000, examples=["Asked for by the recommendations team."])]


class In(Schema):
    """A body or a query."""

    model_config = ConfigDict(extra="forbid")


def optional(schema: type[In]) -> Any:
    """A body that may be left out, as a handler's default."""
    default: Any = Body  # its type is for annotations, where it takes an argument
    return default(schema())


class Listing(In):
    """Which part of a list: a page by number, or by cursor what follows an answer before."""

    page: int | None = Field(None, ge=1, le=1_000_000, description="Page number, from 1.")
    page_size: int = Field(25, ge=1, le=100)
    cursor: str = Field("", max_length=1000, description="next_cursor of the answer before.")
    project: Id | None = Field(None, description="Only this project's.")


class ModelsQuery(Listing):
    """Registered models."""

    sort: Literal["registered", "-registered", "name", "-name", "versions", "-versions"] = (
        "-registered"
    )
    search: str = Field("", max_length=63, description="A part of the name.")
    type: ModelType | None = None
    status: Literal["deployed", "outdated", "idle"] | None = Field(
        None, description="Whether an endpoint serves the newest version, an older one, or none."
    )
    blessed: bool | None = Field(None, description="Whether the newest version was blessed.")
    registry_state: Literal["verified", "suspected", "missing", "unchecked"] | None = None
    verify: Literal["live"] | None = Field(
        None, description="`live` asks Vertex AI now about the models of this page."
    )


class RunsQuery(Listing):
    """Training runs."""

    sort: Literal["created", "-created", "name", "-name"] = "-created"
    search: str = Field("", max_length=63, description="A part of the model's name.")
    status: RunStatus | None = None
    registration: Registration | None = None
    model: Id | None = Field(None, description="Only this registered model's.")
    schedule: Id | None = Field(None, description="Only this schedule's.")


class VersionsQuery(Listing):
    """Versions of a model, those that were deleted or lost included when asked for."""

    sort: Literal["version", "-version"] = "-version"
    all: bool = Field(default=False, description="Also versions that were deleted or lost.")


class EndpointsQuery(Listing):
    """Endpoints."""

    sort: Literal["created", "-created", "name", "-name"] = "-created"
    search: str = Field("", max_length=63, description="A part of the service's name.")
    active: bool | None = None
    model: Id | None = Field(None, description="Only this registered model's.")


class SchedulesQuery(Listing):
    """Schedules."""

    sort: Literal["created", "-created", "name", "-name"] = "-created"
    search: str = Field("", max_length=63, description="A part of its or its model's name.")
    state: ScheduleState | None = None


class OperationsQuery(Listing):
    """Operations."""

    sort: Literal["created", "-created"] = "-created"
    search: str = Field("", max_length=63, description="A part of its subject's name.")
    kind: OperationKind | None = None
    status: OperationStatus | None = None
    model: Id | None = Field(None, description="Only this registered model's.")


class AuditQuery(Listing):
    """Findings."""

    sort: Literal["seen", "-seen"] = "-seen"
    kind: str = Field("", max_length=32)
    status: Literal["open", "ignored", "repaired", "gone", "any"] = "open"


class RunIn(In):
    """A training run to create."""

    project: Id
    model_name: str = Field(max_length=200, examples=["chern_rank_v5"])
    model_type: ModelType = ModelType.OTHER
    template_uri: str = Field(max_length=1024, examples=["gs://artifacts/pipelines/rank.json"])
    parameters: dict[str, Any] = Field(default_factory=dict, examples=[{"epochs": 20}])


class RegisterIn(In):
    """A registration; `reason` lets a run be registered that its evaluator did not bless."""

    reason: Reason = ""


class ServingIn(In):
    """How a version is served; what is left out has the default, or stays as it is."""

    image: str | None = Field(
        None, max_length=512, examples=["europe-docker.pkg.dev/b2b-recs/serving/tf:2.19"]
    )
    cpu: str | None = Field(None, max_length=10, examples=["1"])
    memory: str | None = Field(None, max_length=10, examples=["2Gi"])
    min_instances: int | None = Field(None, ge=0, le=1000, examples=[0])
    max_instances: int | None = Field(None, ge=1, le=1000, examples=[4])
    concurrency: int | None = Field(None, ge=1, le=1000, examples=[80])
    timeout_seconds: int | None = Field(None, ge=1, le=3600, examples=[300])
    env: dict[str, str] | None = Field(None, examples=[{"LOG_LEVEL": "info"}])
    ingress: Literal["all", "internal", "internal_and_load_balancer"] | None = None
    service_account: str | None = Field(
        None, max_length=200, examples=["serving@b2b-recs.iam.gserviceaccount.com"]
    )
    invokers: list[str] | None = Field(
        None, max_length=50, examples=[["serviceAccount:shop@b2b-recs.iam.gserviceaccount.com"]]
    )


class DeployRunIn(In):
    """Where and how to deploy a run's version."""

    endpoint: Id | None = Field(None, description="An endpoint of its model.")
    service_name: str = Field("", max_length=63, examples=["chern-rank"])
    config: ServingIn | None = None
    reason: Reason = ""


class DeployModelIn(DeployRunIn):
    """Which version of a model to deploy; the newest when none is named."""

    version: int | None = Field(None, ge=1, le=1 << 31, examples=[3])


class DeleteVersionsIn(In):
    """Which versions to delete; all of them, and with them the registration, when none is named."""

    versions: list[Annotated[int, Field(ge=1, le=1 << 31)]] | None = Field(
        None, min_length=1, max_length=100, examples=[[3]]
    )
    reason: Reason = ""


class AliasesIn(In):
    """Aliases that a version gets and loses."""

    add: list[Annotated[str, Field(max_length=128)]] = Field(
        default_factory=list, max_length=20, examples=[["champion"]]
    )
    remove: list[Annotated[str, Field(max_length=128)]] = Field(
        default_factory=list, max_length=20, examples=[["challenger"]]
    )


class RedeployIn(In):
    """What an endpoint shall serve: a run's version, the one before, or what it served last."""

    run: Id | None = None
    rollback: bool = False
    config: ServingIn | None = None
    reason: Reason = ""


class UndeployIn(In):
    """An undeploy."""

    reason: Reason = ""


class DeleteEndpointIn(In):
    """The deletion of an endpoint's record."""

    reason: Reason = ""


class TimesIn(In):
    """When to train."""

    name: str = Field(max_length=200, examples=["nightly"])
    frequency: Frequency
    first: datetime = Field(examples=["2026-03-01T02:00:00Z"], description="With its time zone.")
    time_zone: str = Field("UTC", max_length=64, examples=["Europe/Warsaw"])


class ScheduleIn(TimesIn):
    """A schedule to create."""

    project: Id
    model_name: str = Field(max_length=200, examples=["chern_rank_v5"])
    model_type: ModelType = ModelType.OTHER
    template_uri: str = Field(max_length=1024, examples=["gs://artifacts/pipelines/rank.json"])
    parameters: dict[str, Any] = Field(default_factory=dict, examples=[{"epochs": 20}])


class ScheduleFromRunIn(TimesIn):
    """A schedule that repeats a run."""

    run: Id


class RepairIn(In):
    """The repair of a finding; a model that nobody manages needs the choice of a person."""

    action: Literal["repair", "adopt", "delete"] = "repair"
    project: Id | None = Field(None, description="For adopt: whose the model becomes.")
    model_name: str = Field(
        "", max_length=63, description="For adopt: its name here.", examples=["chern_rank_v5"]
    )


class IgnoreIn(In):
    """Why a finding is left out of the counts."""

    reason: str = Field(min_length=1, max_length=2000, examples=["A person's own test."])
