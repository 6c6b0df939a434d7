"""What queries may carry. Unknown parameters are refused before these are read."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from ninja import Field
from pydantic import BeforeValidator
from pydantic_core import PydanticCustomError

from ml_platform.actions.inputs import BIGGEST_ID, In
from ml_platform.models.states import (
    ModelType,
    OperationKind,
    OperationStatus,
    Registration,
    RunStatus,
    ScheduleState,
)

Id = Annotated[int, Field(ge=1, le=BIGGEST_ID, examples=[7])]
FLAGS = {"true": True, "1": True, "false": False, "0": False}


def _flag(value: Any) -> bool:
    if value in FLAGS.values():
        return bool(value)
    if value not in FLAGS:
        raise PydanticCustomError("bool_parsing", "It is neither true nor false")
    return FLAGS[value]


Flag = Annotated[bool, BeforeValidator(_flag)]
"""A query parameter that is `true`, `false`, `1` or `0`, and nothing that looks like it."""


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
    blessed: Flag | None = Field(None, description="Whether the newest version was blessed.")
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
    all: Flag = Field(default=False, description="Also versions that were deleted or lost.")


class EndpointsQuery(Listing):
    """Endpoints."""

    sort: Literal["created", "-created", "name", "-name"] = "-created"
    search: str = Field("", max_length=63, description="A part of the service's name.")
    active: Flag | None = None
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
