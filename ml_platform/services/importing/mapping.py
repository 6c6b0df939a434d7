"""The mapping file of an import: which tables, columns and values of the host mean what here."""

from __future__ import annotations

import json
import tomllib
from collections.abc import Iterator, Mapping
from contextlib import suppress
from pathlib import Path
from typing import Annotated, Any, Self

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, ValidationError, model_validator
from pydantic_core import PydanticCustomError

from ml_platform.errors import Invalid

READY = Path(__file__).parent
"""Where the mappings of known platforms are, each `<name>.toml`."""
ALL = "*"
"""In a table of names: the column is a JSON object, and all in it is taken under its own name."""


class BadMapping(Invalid):
    """The mapping file cannot be used; nothing was read."""

    code = "bad_mapping"
    advice = "docs/import.md lists the keys of a mapping."


class _Part(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class Source(_Part):
    """Where a value comes from: a column, `column.key` of a JSON column, or only a default."""

    field: str = ""
    values: dict[str, Any] = {}
    """What a value of the host is here; one that is not in it stays as it is."""
    default: Any = None
    """The value where the host has none: NULL, an empty text, or no such column."""

    @property
    def column(self) -> str:
        """The column that it reads, '' for none."""
        return self.field.partition(".")[0]

    def read(self, row: Mapping[str, Any]) -> Any:
        """The value in a row of the host, None if it is unknown."""
        column, *path = self.field.split(".")
        found = row.get(column)
        for name in path:
            found = _object(found).get(name)
        if found is None or found == "":
            return self.default
        return self.values.get(str(found), found)


def _object(value: Any) -> dict[str, Any]:
    """A JSON object; nothing else has parts."""
    found = _decoded(value)
    return dict(found) if isinstance(found, dict) else {}


def _spelled_out(value: Any) -> Any:
    return {"field": value} if isinstance(value, str) else value


From = Annotated[Source, BeforeValidator(_spelled_out)]
Named = dict[str, From]
"""Sources by the names that their values get here; that of ALL gives many."""


class Section(_Part):
    """A table of the host: `table` is its name in the database, or an installed model, whose name
    has a dot: then columns are named as the model's fields."""

    table: Annotated[str, Field(min_length=1, examples=["shop_training", "shop.Training"])]
    key: From = Source(field="id")

    @model_validator(mode="after")
    def _has_a_key(self) -> Self:
        if not self.key.field:
            raise PydanticCustomError("bad_mapping", "key needs the column of the primary key")
        return self

    def sources(self) -> Iterator[tuple[str, Source]]:
        """Each source with the name of its value; of a table of names `metrics.loss`."""
        for name in type(self).model_fields:
            found = getattr(self, name)
            if isinstance(found, Source):
                yield name, found
            elif isinstance(found, dict):
                yield from ((f"{name}.{inner}", source) for inner, source in found.items())

    def columns(self) -> list[str]:
        """The columns that it reads."""
        return sorted({source.column for _, source in self.sources() if source.column})

    def read(self, row: Mapping[str, Any]) -> dict[str, Any]:
        """The values of a row of the host by our names, without those that are unknown."""
        values: dict[str, Any] = {}
        for name in type(self).model_fields:
            found = getattr(self, name)
            value = found.read(row) if isinstance(found, Source) else None
            if isinstance(found, dict):
                value = _read_named(found, row)
            if value is not None:
                values[name] = value
        return values


def _read_named(named: Named, row: Mapping[str, Any]) -> dict[str, Any]:
    values = _object(named[ALL].read(row)) if ALL in named else {}
    for name, source in named.items():
        if name != ALL:
            values[name] = _decoded(source.read(row))
    return {name: value for name, value in values.items() if value is not None}


def _decoded(value: Any) -> Any:
    """A JSON object or list, which some databases give as text."""
    if isinstance(value, str) and value[:1] in ("{", "["):
        with suppress(ValueError):
            return json.loads(value)
    return value


class Users(Section):
    """Who people are: by the name that they sign in with, here as there."""

    name: From


class Projects(Section):
    """The tenants. Their names are those of our projects, unless both are the same table."""

    name: From
    description: From | None = None
    member: From | None = None
    """The key of a user who sees it here too."""


class Models(Section):
    """The model names; `resource_name` is where Vertex AI has it."""

    project: From
    name: From
    resource_name: From
    type: From | None = None
    description: From | None = None


class Runs(Section):
    """The pipeline executions; one with a resource name and a version is a version."""

    project: From
    name: From
    status: From
    type: From | None = None
    blessed: From | None = None
    resource_name: From | None = None
    version: From | None = None
    registered_at: From | None = None
    artifacts: From | None = None
    parameters: Named = {}
    metrics: Named = {}
    stage: From | None = None
    error: From | None = None
    schedule: From | None = None
    pipeline_job: From | None = None
    created_by: From | None = None
    created_at: From | None = None
    started_at: From | None = None
    finished_at: From | None = None


class Schedules(Section):
    """The recurring trainings. `model` is a key of [models]; `weekday` counts from Monday, 0."""

    project: From
    model: From
    name: From
    state: From
    frequency: From
    time: From | None = None
    weekday: From | None = None
    day: From | None = None
    starts_at: From | None = None
    time_zone: From | None = None
    template_uri: From | None = None
    parameters: Named = {}
    job: From | None = None
    created_by: From | None = None
    created_at: From | None = None


class Endpoints(Section):
    """The services on Cloud Run. `model` is a key of [models], `run` one of [runs]."""

    model: From
    service: From
    active: From
    run: From | None = None
    model_deleted: From | None = None
    url: From | None = None
    created_at: From | None = None


class PlatformMap(_Part):
    """A mapping file: a table of each kind."""

    database: str = "default"
    """The alias in DATABASES."""
    users: Users | None = None
    projects: Projects
    models: Models
    runs: Runs
    schedules: Schedules | None = None
    endpoints: Endpoints | None = None

    def sections(self) -> dict[str, Section]:
        """The tables that it names, in the order in which they are read."""
        found = {name: getattr(self, name) for name in type(self).model_fields}
        return {name: part for name, part in found.items() if isinstance(part, Section)}


def load_mapping(name: str) -> PlatformMap:
    """Read a mapping file, by its path or as the name of a ready one.

    :raises BadMapping: there is none, or a key of it is missing, unknown or wrong.
    """
    path = Path(name)
    if not path.exists():
        path = READY / f"{name}.toml"
    try:
        return PlatformMap.model_validate(tomllib.loads(path.read_text(encoding="utf-8")))
    except OSError as error:
        ready = ", ".join(sorted(each.stem for each in READY.glob("*.toml")))
        raise BadMapping(
            f"There is no mapping {name}.", advice=f"Give the path of one, or a ready one: {ready}."
        ) from error
    except (UnicodeDecodeError, tomllib.TOMLDecodeError) as error:
        raise BadMapping(f"{name} is not a TOML file: {error}.") from error
    except ValidationError as error:
        raise BadMapping(f"{name}: {_words(error)}") from error


def _words(error: ValidationError) -> str:
    """`runs.status: Field required. runs.state: Extra inputs are not permitted.`"""
    return " ".join(
        f"{'.'.join(map(str, each['loc'])) or 'the file'}: {each['msg']}."
        for each in error.errors(include_url=False)
    )
