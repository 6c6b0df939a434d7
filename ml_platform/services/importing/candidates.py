"""What a row of the host would be here: pure functions of the row and the mapping."""

from __future__ import annotations

import json
from datetime import UTC, datetime, timedelta
from datetime import time as TimeOfDay
from decimal import Decimal
from typing import Annotated, Any, TypeVar

from pydantic import (
    AfterValidator,
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    ValidationError,
)
from pydantic_core import PydanticCustomError

from ml_platform.cloud.names import ModelName
from ml_platform.errors import Invalid, storable
from ml_platform.models.endpoints.deployed_endpoint import SERVICE_NAME_MAX
from ml_platform.models.states import (
    LIVE_RUN_STATUSES,
    Frequency,
    ModelType,
    RunStatus,
    ScheduleState,
)
from ml_platform.services.registration.vertex_facts import proposed_name
from ml_platform.services.scheduling.times import zone_of
from ml_platform.services.training.plain_values import flaw_in
from ml_platform.services.training.results import STAGE_MAX, metrics_of

from .mapping import Section

FAR = 63
"""Days within which every monthly time comes again: from the 31st to the one after the next."""


def _aware(moment: datetime) -> datetime:
    """Databases without time zones hold UTC."""
    return moment if moment.tzinfo else moment.replace(tzinfo=UTC)


def _plain(value: Any) -> float | str:
    """A value of a column that JSON does not have."""
    return float(value) if isinstance(value, Decimal) else str(value)


def _as_json(values: dict[str, Any]) -> Any:
    return json.loads(json.dumps(values, default=_plain))


def _without_flaw(values: dict[str, Any]) -> dict[str, Any]:
    if flaw := flaw_in(values):
        raise PydanticCustomError(
            "flaw", "{where} {what}", {"where": flaw.where, "what": flaw.what}
        )
    return values


Key = Annotated[str, BeforeValidator(str)]
Text = Annotated[str, BeforeValidator(lambda value: storable(str(value)))]
When = Annotated[datetime, AfterValidator(_aware)]
Json = Annotated[dict[str, Any], BeforeValidator(_as_json)]
Parameters = Annotated[Json, AfterValidator(_without_flaw)]


class BadRow(Invalid):
    """A row of the host cannot be one of ours."""

    code = "bad_row"
    advice = "Correct the row, or give its values a meaning in the mapping."


class Candidate(BaseModel):
    """A row of the host by our names; what it does not tell has its default."""

    model_config = ConfigDict(frozen=True)

    key: Key


class UserRow(Candidate):
    """A person."""

    name: Text


class ProjectRow(Candidate):
    """A tenant."""

    name: Annotated[Text, Field(min_length=1, max_length=63)]
    description: Text = ""
    member: Key = ""


class ModelRow(Candidate):
    """A model name, registered or not."""

    project: Key
    name: Text
    type: ModelType = ModelType.OTHER
    description: Text = ""
    resource_name: Text = ""

    @property
    def model_name(self) -> str:
        """The name that it gets here."""
        return proposed_name(self.name)

    @property
    def vertex_name(self) -> ModelName | None:
        """The model in Vertex AI; None if it was never registered.

        :raises Invalid: the host has something else there.
        """
        return ModelName.parse(self.resource_name).bare if self.resource_name else None


class RunRow(Candidate):
    """A pipeline execution."""

    project: Key
    name: Text
    status: RunStatus
    type: ModelType = ModelType.OTHER
    blessed: bool | None = None
    resource_name: Text = ""
    version: Text = ""
    registered_at: When | None = None
    artifacts: Annotated[Text, Field(max_length=1024)] = ""
    parameters: Parameters = {}
    metrics: Json = {}
    stage: Text = ""
    error: Text = ""
    schedule: Key = ""
    pipeline_job: Annotated[Text, Field(max_length=255)] = ""
    created_by: Key = ""
    created_at: When | None = None
    started_at: When | None = None
    finished_at: When | None = None

    @property
    def model_name(self) -> str:
        """The name of its model here."""
        return proposed_name(self.name)

    @property
    def is_live(self) -> bool:
        """Whether its pipeline may still finish in the host's hands."""
        return self.status in LIVE_RUN_STATUSES

    @property
    def pointer(self) -> ModelName | None:
        """The version that it is in Vertex AI, None for none."""
        try:
            name = ModelName.parse(self.resource_name)
        except Invalid:
            return None
        version = self.version or name.version
        return name.at(version) if version.isascii() and version.isdecimal() else None

    @property
    def kept_metrics(self) -> tuple[dict[str, float], str]:
        """Its metrics that are numbers, and a sentence about the others, as of our own runs."""
        return metrics_of(json.dumps(self.metrics))

    @property
    def kept_stage(self) -> str:
        """Its stage, as much as a run holds."""
        return self.stage[:STAGE_MAX]


class ScheduleRow(Candidate):
    """A recurring training."""

    project: Key
    model: Key
    name: Text
    state: ScheduleState
    frequency: Frequency
    time: TimeOfDay | None = None
    weekday: Annotated[int, Field(ge=0, le=6)] | None = None
    day: Annotated[int, Field(ge=1, le=31)] | None = None
    starts_at: When | None = None
    time_zone: Text = "UTC"
    template_uri: Text = ""
    parameters: Parameters = {}
    job: Text = ""
    created_by: Key = ""
    created_at: When | None = None


class EndpointRow(Candidate):
    """A service on Cloud Run."""

    model: Key
    service: Annotated[Text, Field(min_length=1, max_length=SERVICE_NAME_MAX)]
    active: bool
    run: Key = ""
    model_deleted: bool = False
    url: Annotated[Text, Field(max_length=512)] = ""
    created_at: When | None = None


C = TypeVar("C", bound=Candidate)


def candidate_of(kind: type[C], section: Section, row: dict[str, Any]) -> C:
    """Return what a row of the host would be here.

    :raises BadRow: a value cannot be one of ours; the message names it.
    """
    try:
        return kind.model_validate(section.read(row))
    except ValidationError as error:
        words = " ".join(map(_words, error.errors(include_url=False)))
        raise BadRow(words) from error


def _words(error: Any) -> str:
    """`status is 'archived': Input should be 'pending' or 'failed'.`"""
    name = ".".join(map(str, error["loc"]))
    if error["type"] == "missing":
        return f"{name} has no value."
    return f"{name} is {error['input']!r:.80}: {error['msg']}."


def first_time(row: ScheduleRow, *, after: datetime) -> datetime:
    """Return the first time of a schedule that is later than `after`; of one that trains once, its
    time.

    :raises BadRow: the row does not say when.
    """
    if row.frequency == Frequency.ONCE:
        if row.starts_at is None:
            raise BadRow("It trains once, and starts_at has no value.")
        return row.starts_at
    if row.time is None:
        raise BadRow("time has no value.")
    zone = zone_of(row.time_zone)
    local = after.astimezone(zone)
    if row.frequency == Frequency.HOURLY:
        this = local.replace(minute=row.time.minute, second=0, microsecond=0)
        return (this if this > local else this + timedelta(hours=1)).astimezone(UTC)
    days = (local.date() + timedelta(days=ahead) for ahead in range(FAR))
    times = (datetime.combine(day, row.time, zone) for day in days)
    found = next((at for at in times if at > local and _is_due(row, at)), None)
    if found is None:
        what = "weekday" if row.frequency == Frequency.WEEKLY else "day"
        raise BadRow(f"{what} has no value.")
    return found.astimezone(UTC)


def _is_due(row: ScheduleRow, at: datetime) -> bool:
    if row.frequency == Frequency.WEEKLY:
        return at.weekday() == row.weekday
    return row.frequency == Frequency.DAILY or at.day == row.day
