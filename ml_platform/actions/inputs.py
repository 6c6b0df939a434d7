"""The input of actions, as the body of a request or the fields of a form.

Unknown fields are refused, so that a misspelled one is not lost.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Annotated, Any, Literal, Self
from uuid import UUID

from django.conf import settings
from django.db.models import IntegerField, UUIDField
from pydantic import (
    BaseModel,
    ConfigDict,
    Discriminator,
    Field,
    GetCoreSchemaHandler,
    Tag,
    ValidationError,
    model_validator,
)
from pydantic_core import CoreSchema, PydanticCustomError

from ml_platform.conf import project_model
from ml_platform.models.project import LONGEST_KEY, key_field
from ml_platform.models.registry.model_tag import TAGS_MAX
from ml_platform.models.states import Frequency, ModelType
from ml_platform.services.serving.config import ServingFields

from .invalid import OTHER, WORD, InvalidInput, field_errors

BIGGEST_ID = (1 << 63) - 1
BodyId = Annotated[int, Field(strict=True, ge=1, le=BIGGEST_ID, examples=[7])]
Id = Annotated[int, Field(ge=1, le=BIGGEST_ID, examples=[7])]


@dataclass(frozen=True, slots=True)
class KeyOf:
    """The type that ids of a model of the host have: integers, UUIDs or texts.

    The schemas are imported at first use, when the host's models are known.
    """

    label: Callable[[], str]
    number: Any

    def __get_pydantic_core_schema__(self, _: Any, handler: GetCoreSchemaHandler) -> CoreSchema:
        """What `pydantic` asks an annotation for."""
        key = key_field(self.label())
        if isinstance(key, IntegerField):
            return handler.generate_schema(self.number)
        text = Annotated[str, Field(min_length=1, max_length=LONGEST_KEY)]
        return handler.generate_schema(UUID if isinstance(key, UUIDField) else text)


BodyProject = Annotated[Any, KeyOf(project_model, BodyId)]
ProjectId = Annotated[Any, KeyOf(project_model, Id)]
UserId = Annotated[Any, KeyOf(lambda: settings.AUTH_USER_MODEL, int)]
Version = Annotated[int, Field(strict=True, ge=1, le=1 << 31)]
Yes = Annotated[bool, Field(strict=True)]
Reason = Annotated[str, Field(max_length=2000, examples=["Requested by the recommendations team."])]
Choice = Discriminator(lambda value: WORD if isinstance(value, str) else OTHER)


class In(BaseModel):
    """A body or a query. No body has a default, because a lost body would then have a meaning."""

    model_config = ConfigDict(extra="forbid")


def _choose(message: Any) -> PydanticCustomError:
    return PydanticCustomError("choice", message)


class TrainingIn(In):
    """What to train, and with which pipeline."""

    model_name: str = Field(max_length=200, examples=["chern_rank_v5"])
    model_type: ModelType = ModelType.OTHER
    template_uri: str = Field(max_length=1024, examples=["gs://artifacts/pipelines/rank.json"])
    parameters: dict[str, Any] = Field(default_factory=dict, examples=[{"epochs": 20}])


class RunIn(TrainingIn):
    """A training run to create."""

    project: BodyProject


class ProjectNameIn(In):
    """The name of a project: a new one, or the new name of one."""

    name: str = Field(min_length=1, max_length=255, examples=["test_v1"])


class MemberIn(In):
    """A user who becomes or is a member of a project."""

    user: str = Field(
        min_length=1, max_length=254, description="What they log in with.", examples=["ana"]
    )


class ReasonIn(In):
    """The reason for a change; the history shows it."""

    reason: Reason = ""


class RegisterIn(ReasonIn):
    """A registration; `reason` lets a run be registered that its evaluator did not bless."""


def _optional(schema: dict[str, Any]) -> None:
    """Document fields that may be null and have no default of their own."""
    for name, field in schema["properties"].items():
        field.pop("default", None)
        about = {
            key: field.pop(key) for key in ("title", "description", "examples") if key in field
        }
        schema["properties"][name] = {"anyOf": [field, {"type": "null"}], **about}


class ServingIn(ServingFields):
    """How a version is served; what is left out or null has the default, or stays as it is."""

    model_config = ConfigDict(json_schema_extra=_optional)

    @model_validator(mode="before")
    @classmethod
    def _leave_out_nulls(cls, given: Any) -> Any:
        if not isinstance(given, dict):
            return given
        return {name: value for name, value in given.items() if value is not None}


class DeployIn(In):
    """Where and how to deploy a version; the platform chooses what the form leaves empty."""

    endpoint: (
        Annotated[
            Annotated[Literal["default"], Tag(WORD)] | Annotated[BodyId, Tag(OTHER)],
            Choice,
        ]
        | None
    ) = Field(
        None,
        examples=[2, "default"],
        description="An endpoint of its model; `default` is the model's first one, or a new one.",
    )
    service_name: str = Field("", max_length=63, examples=["chern-rank"])
    config: ServingIn | None = None
    reason: Reason = ""


class DeployRunIn(DeployIn):
    """Where and how to deploy a run's version: to an endpoint, or to a service by its name."""

    @model_validator(mode="after")
    def _says_where(self) -> Self:
        if (self.endpoint is None) == (self.service_name == ""):
            raise _choose('Name either endpoint (an id, or "default") or service_name')
        return self


class DeployModelIn(DeployRunIn):
    """Which version of a model to deploy, and where."""

    version: Annotated[
        Annotated[Literal["newest"], Tag(WORD)] | Annotated[Version, Tag(OTHER)], Choice
    ] = Field(examples=[3, "newest"])


class DeleteVersionsIn(In):
    """Which versions to delete; `all` of them end the registration."""

    versions: Annotated[
        Annotated[Literal["all"], Tag(WORD)]
        | Annotated[list[Version], Field(min_length=1, max_length=100), Tag(OTHER)],
        Choice,
    ] = Field(examples=[[3], "all"])
    reason: Reason = ""


class AliasesIn(In):
    """Aliases that a version gets and loses."""

    add: list[Annotated[str, Field(max_length=128)]] = Field(
        default_factory=list, max_length=20, examples=[["champion"]]
    )
    remove: list[Annotated[str, Field(max_length=128)]] = Field(
        default_factory=list, max_length=20, examples=[["challenger"]]
    )

    @model_validator(mode="after")
    def _says_what(self) -> Self:
        if not self.add and not self.remove:
            raise _choose("Name an alias to add or to remove")
        return self


class TagsIn(In):
    """Tags that a model gets, each in place of one with the same key, and keys that it loses."""

    add: dict[str, str] = Field(
        default_factory=dict, max_length=TAGS_MAX, examples=[{"team": "recommendations"}]
    )
    remove: list[str] = Field(default_factory=list, max_length=TAGS_MAX, examples=[["draft"]])

    @model_validator(mode="after")
    def _says_what(self) -> Self:
        if not self.add and not self.remove:
            raise _choose("Name a tag to add or to remove")
        return self


class DeletePlanIn(In):
    """The versions of the plan that the user saw, by the ids of their runs."""

    runs: list[BodyId]
    reason: Reason = ""


class AliasFormIn(In):
    """The aliases of a version as the user left them, and as the form showed them. An alias that
    was added meanwhile stays."""

    aliases: str = Field(max_length=1000)
    was: str = Field(max_length=10_000)

    @model_validator(mode="after")
    def _changes_something(self) -> Self:
        if self.add == self.remove:
            raise _choose("These are the aliases that it has")
        return self

    @property
    def add(self) -> set[str]:
        """The aliases to add."""
        return _names(self.aliases) - _names(self.was)

    @property
    def remove(self) -> set[str]:
        """The aliases to remove."""
        return _names(self.was) - _names(self.aliases)


def _names(text: str) -> set[str]:
    return set(text.replace(",", " ").split())


class RestoreIn(In):
    """Which version to deploy to an endpoint again; without `run` the one it served last."""

    run: BodyId | None = Field(None, description="The version that this run became.")
    config: ServingIn | None = None
    reason: Reason = ""


class RedeployIn(RestoreIn):
    """What to deploy to an endpoint: exactly one of `run`, `rollback` and `again`."""

    rollback: Yes = Field(default=False, description="The version before, as it was served.")
    again: Yes = Field(default=False, description="The version that it served last.")

    @model_validator(mode="after")
    def _says_what(self) -> Self:
        if (self.run is not None) + self.rollback + self.again != 1:
            raise _choose("Name exactly one of run, rollback (true) and again (true)")
        return self


class UndeployIn(ReasonIn):
    """An undeploy."""


class DeleteEndpointIn(ReasonIn):
    """The deletion of an endpoint's record."""


class TimesIn(In):
    """When to train."""

    name: str = Field(max_length=200, examples=["nightly"])
    frequency: Frequency
    first: datetime = Field(examples=["2026-03-01T02:00:00Z"], description="With its time zone.")
    time_zone: str = Field("UTC", max_length=64, examples=["Europe/Warsaw"])


class ScheduledTrainingIn(TimesIn, TrainingIn):
    """When to train what."""


class ScheduleIn(ScheduledTrainingIn):
    """A schedule to create."""

    project: BodyProject


class ScheduleFromRunIn(TimesIn):
    """A schedule that repeats a run."""

    run: BodyId


class RepairNameIn(In):
    """Which repair of a finding; empty for the only one of its kind."""

    repair: str = Field("", max_length=32)


class RepairIn(In):
    """The repair of a finding; an unmanaged model needs a user's choice."""

    action: Literal["repair", "adopt", "delete"] | None = Field(
        None, description="May be left out where `repair` is given."
    )
    repair: str = Field(
        "",
        max_length=32,
        description="Which of the finding's `repairs`, where its kind has several.",
        examples=["put_back"],
    )
    project: BodyProject | None = Field(
        None, description="For adopt: the project that the model joins."
    )
    model_name: str = Field(
        "", max_length=63, description="For adopt: its name here.", examples=["chern_rank_v5"]
    )
    model_type: ModelType | Literal[""] = Field(
        "", description="For adopt: its type; left out, what its labels in Vertex AI tell."
    )
    service_name: str = Field(
        "",
        max_length=63,
        description="For adopt: the service on Cloud Run that serves it, to be adopted too.",
        examples=["chern-rank"],
    )

    @model_validator(mode="after")
    def _says_what(self) -> Self:
        if self.action is None and not self.repair:
            raise _choose("Name the action, or the repair")
        if self.repair and self.action in ("adopt", "delete"):
            raise _choose(f"With the action {self.action}, name no repair")
        return self


class AdoptIn(In):
    """The project and the name for an unmanaged model, its type and the service that serves it."""

    project: str
    model_name: str = Field(max_length=1000)
    model_type: ModelType | Literal[""] = ""
    service_name: str = Field("", max_length=63)


class TypedNameIn(In):
    """The name of what is deleted, typed by the user as a confirmation."""

    name: str = Field(max_length=1000)


class ApprovalIn(In):
    """Why a person approves a version, or withdraws its approval."""

    reason: str = Field(min_length=1, max_length=2000, examples=["Compared with v3 by hand."])


class IgnoreIn(In):
    """Why a finding is left out of the counts."""

    reason: str = Field(min_length=1, max_length=2000, examples=["A person's own test."])


def _cleaned(value: Any) -> Any:
    return value.replace("\r\n", "\n").strip() if isinstance(value, str) else value


def read(name: str, form: Mapping[str, Any]) -> In:
    """The fields of a form as the input of that name; blanks around a text are removed.

    :raises InvalidInput: one is missing or wrong.
    """
    kind: type[In] = globals()[name]
    given = {field: _cleaned(form[field]) for field in kind.model_fields if field in form}
    try:
        return kind.model_validate(given)
    except ValidationError as error:
        raise InvalidInput(
            field_errors(error.errors()), advice="Correct it and send the form again."
        ) from error
