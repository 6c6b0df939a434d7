"""Names of Google's resources: parsed, built and compared by their parts, only here.

Vertex AI answers with the project *number*, even if the id was sent; Cloud Run and Cloud Scheduler
answer with the project *id*.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from contextlib import suppress
from dataclasses import dataclass, fields, replace
from typing import Any, ClassVar, Self, TypeAlias, get_args
from uuid import UUID

from ml_platform.conf import ALIAS
from ml_platform.errors import Invalid

IN_FULL = "Give the full resource name, as Google shows it."
_WHERE = r"projects/(?P<project>[a-z0-9][a-z0-9.:-]{0,98})/locations/(?P<location>[a-z0-9-]{1,40})"
_IN_LOCATION = "projects/{0.project}/locations/{0.location}"
_LABEL_KEY = re.compile(r"[a-z][a-z0-9_-]{0,62}")
_LABEL_VALUE = re.compile(r"[a-z0-9_-]{0,63}")


@dataclass(frozen=True, slots=True)
class _Name:
    """Base of all names: only a name that can be parsed can be built.

    `_form` writes the name from its fields; `_pattern` reads it.
    """

    _form: ClassVar[str]
    _pattern: ClassVar[re.Pattern[str]]
    _what: ClassVar[str]

    def __post_init__(self) -> None:
        if self._read(str(self)) != {f.name: getattr(self, f.name) for f in fields(self)}:
            raise self._refusal(str(self))

    def __str__(self) -> str:
        return self._form.format(self)

    @classmethod
    def parse(cls, text: str) -> Self:
        """Return the name written as `text`.

        :raises Invalid: it is not a name of this kind.
        """
        return cls(**cls._read(text))

    @classmethod
    def _read(cls, text: str) -> dict[str, Any]:
        match = cls._pattern.fullmatch(text)
        if match is None:
            raise cls._refusal(text)
        return match.groupdict(default="")

    @classmethod
    def _refusal(cls, text: str) -> Invalid:
        return Invalid(
            f"{text!r} is not the name of a {cls._what}.", code="bad_name", advice=IN_FULL
        )


@dataclass(frozen=True, slots=True)
class _ResourceName(_Name):
    """A name below a project and a location."""

    project: str
    location: str


def _one_id(collection: str, field: str, pattern: str) -> tuple[str, re.Pattern[str]]:
    """The form and the pattern of a name that ends with its collection and one id."""
    form = f"{_IN_LOCATION}/{collection}/{{0.{field}}}"
    return form, re.compile(rf"{_WHERE}/{collection}/(?P<{field}>{pattern})")


@dataclass(frozen=True, slots=True)
class ModelName(_ResourceName):
    """A model in the Vertex AI Model Registry; one version of it when `version` is set.

    `version` is a number or an alias. The id:
    https://cloud.google.com/vertex-ai/docs/reference/rest/v1/projects.locations.models/upload
    """

    model_id: str
    version: str = ""

    _form = _IN_LOCATION + "/models/{0.model_id}{0._at}"
    _pattern = re.compile(
        _WHERE
        + rf"/models/(?P<model_id>[a-z0-9_-]{{1,63}})(?:@(?P<version>[0-9]{{1,19}}|{ALIAS}))?"
    )
    _what = "model"

    @property
    def _at(self) -> str:
        return self.version and f"@{self.version}"

    @property
    def bare(self) -> ModelName:
        """The model itself, without a version."""
        return replace(self, version="")

    def at(self, version: str) -> ModelName:
        """One version of this model."""
        return replace(self, version=version)


@dataclass(frozen=True, slots=True)
class EndpointName(_ResourceName):
    """A Vertex AI endpoint; ids as in google/cloud/aiplatform_v1/types/endpoint_service.py."""

    endpoint_id: str

    _form, _pattern = _one_id("endpoints", "endpoint_id", r"[a-z0-9-]{1,63}")
    _what = "Vertex AI endpoint"


@dataclass(frozen=True, slots=True)
class PipelineJobName(_ResourceName):
    """A pipeline job; ids as in google/cloud/aiplatform_v1/types/pipeline_service.py."""

    job_id: str

    _form, _pattern = _one_id("pipelineJobs", "job_id", r"[a-z0-9-]{1,128}")
    _what = "pipeline job"


@dataclass(frozen=True, slots=True)
class ServiceName(_ResourceName):
    """A Cloud Run service; new ids have under 50 characters (run_v2/types/service.py)."""

    service_id: str

    _form, _pattern = _one_id("services", "service_id", r"[a-z](?:[a-z0-9-]{0,61}[a-z0-9])?")
    _what = "Cloud Run service"


@dataclass(frozen=True, slots=True)
class JobName(_ResourceName):
    """A Cloud Scheduler job; ids as in google/cloud/scheduler_v1/types/job.py."""

    job_id: str

    _form, _pattern = _one_id("jobs", "job_id", r"[A-Za-z0-9_-]{1,500}")
    _what = "Cloud Scheduler job"


@dataclass(frozen=True, slots=True)
class OperationName(_ResourceName):
    """A long-running operation; those of Vertex AI have a `parent` resource, such as `models/7`."""

    operation_id: str
    parent: str = ""

    _form = _IN_LOCATION + "{0._below}/operations/{0.operation_id}"
    _pattern = re.compile(
        _WHERE + r"(?:/(?P<parent>[a-zA-Z]{1,63}/[A-Za-z0-9_@-]{1,190}))?"
        r"/operations/(?P<operation_id>[A-Za-z0-9_-]{1,190})"
    )
    _what = "long-running operation"

    @property
    def _below(self) -> str:
        return self.parent and f"/{self.parent}"


@dataclass(frozen=True, slots=True)
class ObjectPath(_Name):
    """An object or folder in Cloud Storage; never the root of a bucket."""

    bucket: str
    key: str

    _form = "gs://{0.bucket}/{0.key}"
    _pattern = re.compile(
        r"gs://(?P<bucket>[a-z0-9][a-z0-9._-]{1,220}[a-z0-9])/(?P<key>[^\x00-\x1f\x7f\ud800-\udfff]{1,1024})"
    )
    _what = "Cloud Storage object"

    @property
    def folder(self) -> ObjectPath:
        """The same path with exactly one closing slash.

        As a prefix, `runs/1` would match `runs/10/` too (law 8).
        """
        return replace(self, key=self.key.rstrip("/") + "/")


ResourceName: TypeAlias = ModelName | PipelineJobName | ServiceName | JobName | OperationName


def parse_resource(text: str) -> ResourceName:
    """Return the resource name in `text`.

    :raises Invalid: it is not the name of a resource that we use.
    """
    for kind in get_args(ResourceName):
        with suppress(Invalid):
            found: ResourceName = kind.parse(text)
            return found
    raise Invalid(
        f"{text!r} is not the name of a resource that we use.", code="bad_name", advice=IN_FULL
    )


def same_resource(a: ResourceName | str, b: ResourceName | str) -> bool:
    """Whether two names are of the same resource: equal in kind, location, id and version.

    The project is not compared, because one name may have its number and the other its id.

    :raises Invalid: one of them is not a resource name.
    """
    one = parse_resource(a) if isinstance(a, str) else a
    two = parse_resource(b) if isinstance(b, str) else b
    return type(one) is type(two) and replace(one, project="p") == replace(two, project="p")


def spellings(name: ModelName, projects: Iterable[str]) -> set[str]:
    """The ways to write a model's name: with each of these names of its project, and its own.

    A row may have the number of the project where an answer has its id, or the other way round.
    """
    return {str(replace(name, project=project)) for project in (*projects, name.project)}


def model_id(uid: UUID, generation: int) -> str:
    """Return the Vertex AI id of a lineage.

    A generation follows each end of the model, so that no id is used twice (law 7).
    """
    if not 0 <= generation < 10**20:
        raise ValueError(f"generation {generation} is out of range")
    return f"mr-{uid.hex}-{generation}"


def label_filter(labels: Mapping[str, str]) -> str:
    """Return a list filter of Vertex AI for these labels.

    :raises Invalid: a key or value is not a label; it could change the filter.
    """
    for key, value in labels.items():
        if not _LABEL_KEY.fullmatch(key) or not _LABEL_VALUE.fullmatch(value):
            raise Invalid(
                f"{key}={value!r} is not a label.",
                code="bad_label",
                advice="Use lower case letters, digits, - and _.",
            )
    return " AND ".join(f'labels.{key}="{value}"' for key, value in labels.items())


def check_alias(text: str) -> str:
    """Return `text` if it is a valid version alias.

    The pattern is the strict intersection of the three that Google documents:
    google/cloud/aiplatform_v1/types/model.py, model_service.py and
    https://cloud.google.com/vertex-ai/docs/model-registry/model-alias.

    :raises Invalid: it is not.
    """
    if not re.fullmatch(ALIAS, text):
        raise Invalid(
            f"{text!r} is not a version alias.",
            code="bad_alias",
            advice="Use 2 to 128 of a-z, 0-9 and hyphen, a letter first, no hyphen last.",
        )
    return text
