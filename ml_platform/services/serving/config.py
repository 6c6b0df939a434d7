"""The configuration of a Cloud Run service, and whether a service serves it; no remote calls.

A new setting touches three files: a field of `ServingFields` and a line of `service_spec` here, a
field of `ServiceSpec` in cloud/types.py, and its lines in cloud/run_messages.py. API, forms and
storage read the fields of this model.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Annotated, Any, Literal, Self
from uuid import UUID

from pydantic import (
    AfterValidator,
    BaseModel,
    ConfigDict,
    Field,
    StrictInt,
    ValidationError,
    model_validator,
)
from pydantic_core import PydanticCustomError

from ml_platform.cloud.run_messages import ARTIFACT_ENV
from ml_platform.cloud.types import Ingress, RemoteService, ServiceSpec
from ml_platform.conf import get_settings
from ml_platform.errors import Invalid
from ml_platform.services.ownership.labels import labels_for, wrong_label

PORT = 8080
# From this many CPUs on: the least and the most memory in MiB
# (https://cloud.google.com/run/docs/configuring/services/cpu#cpu-memory).
_ROOM = (
    (8, 4096, 32768),
    (6, 4096, 24576),
    (4, 2048, 16384),
    (2, 128, 8192),
    (1, 128, 4096),
    (0.5, 128, 1024),
    (0.08, 128, 512),
)


def _refused(advice: str) -> PydanticCustomError:
    return PydanticCustomError("bad_config", "{advice}", {"advice": advice})


def _each(pattern: str, advice: str) -> AfterValidator:
    """Check a text, each text of a list or each name of a mapping."""

    def check(value: Any) -> Any:
        for text in [value] if isinstance(value, str) else value:
            if not re.fullmatch(pattern, text):
                raise _refused(advice)
        return value

    return AfterValidator(check)


class ServingFields(BaseModel):
    """How a version is served: the fields, their limits and their help texts."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    image: Annotated[str, _each(r"\S*", "Name one image, without spaces")] = Field(
        default="",
        max_length=512,
        title="Container image",
        description="If empty, SERVING_IMAGE of the settings.",
        examples=["europe-docker.pkg.dev/b2b-recs/serving/tf:2.19"],
    )
    cpu: Annotated[str, _each(r"0?\.\d{1,3}|[12468]", "Use 1, 2, 4, 6, 8 or below 1")] = Field(
        default="1", max_length=10, title="CPU", examples=["1"]
    )
    memory: Annotated[
        str,
        _each(r"[1-9]\d{0,4}Mi|([1-9]|[12]\d|3[0-2])Gi", "Write it as 512Mi or 2Gi, at most 32Gi"),
    ] = Field(default="2Gi", max_length=10, title="Memory", examples=["2Gi"])
    min_instances: StrictInt = Field(
        default=0,
        ge=0,
        le=1000,
        title="Minimum instances",
        description="Instances that run without requests too.",
        examples=[0],
    )
    max_instances: StrictInt = Field(
        default=1, ge=1, le=1000, title="Maximum instances", examples=[4]
    )
    concurrency: StrictInt = Field(
        default=80,
        ge=1,
        le=1000,
        title="Concurrency",
        description="Requests that one instance takes at once.",
        examples=[80],
    )
    timeout_seconds: StrictInt = Field(
        default=300, ge=1, le=3600, title="Request timeout in seconds", examples=[300]
    )
    # Cloud Run sets K_* and PORT (https://cloud.google.com/run/docs/container-contract#env-vars),
    # and we set AIP_*.
    env: Annotated[
        dict[str, str],
        _each(r"[A-Za-z_][A-Za-z0-9_]*", "Names have letters, digits and _"),
        _each(
            r"(?!(AIP_.*|K_.*|PORT)\Z).*",
            "PORT and names that begin with K_ or AIP_ are set for you",
        ),
    ] = Field(default={}, title="Environment variables", examples=[{"LOG_LEVEL": "info"}])
    ingress: Literal[Ingress.ALL, Ingress.INTERNAL, Ingress.INTERNAL_AND_LOAD_BALANCER] = Field(
        default=Ingress.ALL, title="Ingress", description="Networks whose requests are accepted."
    )
    service_account: Annotated[
        str, _each(r"([^@\s]+@[^@\s]+)?", "Give the account's e-mail address")
    ] = Field(
        default="",
        max_length=200,
        title="Service account",
        description="The identity it runs as. If empty, the default of the Google project.",
        examples=["serving@b2b-recs.iam.gserviceaccount.com"],
    )
    invokers: Annotated[
        tuple[str, ...],
        _each(
            r"allUsers|allAuthenticatedUsers|(user|group|serviceAccount):[^@\s]+@[^@\s]+"
            r"|domain:[^@\s]+",
            "Use user:, group: or serviceAccount: with an e-mail address, domain:, or allUsers",
        ),
    ] = Field(
        default=(),
        max_length=50,
        title="Invokers",
        description="Members that may call it; allUsers makes it public. Others' grants stay.",
        examples=[["serviceAccount:shop@b2b-recs.iam.gserviceaccount.com"]],
    )


class ServingConfig(ServingFields):
    """A complete configuration. It is private unless it names invokers.

    :raises ValidationError: Cloud Run does not allow a value or their combination.
    """

    @model_validator(mode="after")
    def _fits_together(self) -> Self:
        if self.min_instances > self.max_instances:
            raise _refused("min_instances is at most max_instances")
        cpu = float(self.cpu)
        if self.concurrency > 1 and cpu < 1:
            raise _refused("With a cpu below 1 the concurrency is 1")
        room = next((room for room in _ROOM if cpu >= room[0]), None)
        if room is None:
            raise _refused("The cpu is at least 0.08")
        amount = int(self.memory[:-2]) * (1024 if self.memory.endswith("Gi") else 1)
        if not room[1] <= amount <= room[2]:
            raise _refused(f"With {self.cpu} CPU the memory is {room[1]}Mi to {room[2]}Mi")
        return self

    @classmethod
    def from_dict(cls, given: Mapping[str, Any]) -> Self:
        """Read a stored or requested configuration; missing keys have their defaults.

        :raises Invalid: Cloud Run does not allow it, or there is no such key.
        """
        try:
            return cls.model_validate(given)
        except ValidationError as error:
            first = error.errors()[0]
            name = ".".join(str(part) for part in first["loc"])
            message = (
                f"{name} is {first['input']!r}." if name else "The configuration is not valid."
            )
            raise Invalid(message, code="bad_config", advice=f"{first['msg']}.") from error

    def to_dict(self) -> dict[str, Any]:
        """As JSON."""
        return self.model_dump(mode="json")

    def with_image(self) -> Self:
        """The same; an empty image is replaced by SERVING_IMAGE of the settings."""
        return self.model_copy(update={"image": self.image or get_settings().SERVING_IMAGE})


def service_spec(
    config: ServingConfig, *, artifact_uri: str, labels: Mapping[str, str]
) -> ServiceSpec:
    """The service to ask Cloud Run for."""
    given = config.with_image()
    return ServiceSpec(
        image=given.image,
        labels=labels,
        env={
            **given.env,
            ARTIFACT_ENV: artifact_uri,
            "AIP_HTTP_PORT": str(PORT),
            "AIP_HEALTH_ROUTE": "/health",
            "AIP_PREDICT_ROUTE": "/predict",
        },
        port=PORT,
        cpu=given.cpu,
        memory=given.memory,
        min_instances=given.min_instances,
        max_instances=given.max_instances,
        concurrency=given.concurrency,
        timeout_seconds=given.timeout_seconds,
        ingress=given.ingress,
        service_account=given.service_account,
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class Judgement:
    """Whether the newest configuration serves; None while Cloud Run works on it."""

    serves: bool | None
    reason: str


def compare_service(service: RemoteService, *, percent: int = 100) -> Judgement:
    """Whether the newest revision serves: it is ready and gets that share of the traffic."""
    judged = compare_revision(service)
    if not judged.serves:
        return judged
    newest = service.latest_created_revision
    share = share_of(service, newest)
    if share < (percent or 100):
        return Judgement(
            serves=False, reason=f"Revision {newest} is ready but gets {share} % of the traffic."
        )
    part = "" if share == 100 else f" {share} % of the traffic"
    return Judgement(serves=True, reason=f"{newest} serves{part}.")


def compare_revision(service: RemoteService) -> Judgement:
    """Whether the newest revision could serve: it is ready."""
    if service.ready is None:
        return Judgement(serves=None, reason=service.reason or "Cloud Run is still working on it.")
    newest = service.latest_created_revision
    if not service.ready:
        return Judgement(serves=False, reason=service.reason or f"Revision {newest} is not ready.")
    if service.latest_ready_revision != newest:
        return Judgement(serves=False, reason=f"Revision {newest} did not become ready.")
    return Judgement(serves=True, reason=f"{newest} is ready.")


def share_of(service: RemoteService, revision: str) -> int:
    """Percent of the traffic that a revision gets.

    A share without a name is the latest ready revision's (TrafficTargetStatus in
    google/cloud/run_v2/types/traffic_target.py).
    """
    return sum(
        part.percent
        for part in service.traffic
        if (part.revision or service.latest_ready_revision) == revision
    )


def belongs_to(service: RemoteService, endpoint: UUID) -> bool:
    """Whether the service has our labels and that endpoint's; we change no other service."""
    return not wrong_label(service.labels, labels_for(endpoint=endpoint))
