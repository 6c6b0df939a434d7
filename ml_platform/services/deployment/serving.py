"""What a service of ours shall be and how one that is there is judged; nothing here is remote."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass, field, fields, replace
from typing import Any, Self
from uuid import UUID

from ml_platform.cloud.types import Ingress, RemoteService, ServiceSpec
from ml_platform.conf import get_settings
from ml_platform.errors import Invalid
from ml_platform.services.registry.labels import labels_for, wrong_label

ARTIFACT_ENV = "AIP_STORAGE_URI"
"""Tells a container made for Vertex AI where its model is, with the other AIP_ variables:
https://cloud.google.com/vertex-ai/docs/predictions/custom-container-requirements#aip-variables"""
PORT = 8080
_RESERVED_ENV = re.compile(r"AIP_.*|K_.*|PORT")
"""Ours, and Cloud Run's own: https://cloud.google.com/run/docs/container-contract#env-vars"""
_MEMBER = re.compile(
    r"allUsers|allAuthenticatedUsers|(user|group|serviceAccount):[^@\s]+@[^@\s]+|domain:[^@\s]+"
)


@dataclass(frozen=True, slots=True, kw_only=True)
class ServingConfig:
    """How a version is served. Private: nobody may call the service but the given invokers.

    :raises Invalid: a value Cloud Run would not take.
    """

    image: str = ""
    """Container image; '' is SERVING_IMAGE of the settings."""
    cpu: str = "1"
    memory: str = "2Gi"
    min_instances: int = 0
    max_instances: int = 1
    concurrency: int = 80
    """Requests that one instance takes at once."""
    timeout_seconds: int = 300
    env: Mapping[str, str] = field(default_factory=dict, hash=False)
    ingress: Ingress = Ingress.ALL
    service_account: str = ""
    """E-mail of the identity it runs as; '' is the Google project's default."""
    invokers: tuple[str, ...] = ()
    """Members that may call it; `allUsers` makes it public. Grants made elsewhere stay."""

    def __post_init__(self) -> None:
        for name, fine, wanted in _RULES:
            if not fine(self):
                raise Invalid(
                    f"{name} is {getattr(self, name)!r}.", code="bad_config", advice=wanted
                )

    @classmethod
    def from_dict(cls, given: Mapping[str, Any]) -> Self:
        """Read what `to_dict` or a request wrote; what is not given has its default.

        :raises Invalid: an unknown key, a value of the wrong type or one Cloud Run would not take.
        """
        known = {f.name for f in fields(cls)}
        if unknown := sorted(given.keys() - known):
            raise Invalid(
                f"A service has no {', '.join(unknown)}.",
                code="bad_config",
                advice=f"It has {', '.join(sorted(known))}.",
            )
        default = cls()
        return cls(**{k: _typed(k, value, getattr(default, k)) for k, value in given.items()})

    def to_dict(self) -> dict[str, Any]:
        """As JSON would have it."""
        return asdict(self) | {"ingress": str(self.ingress), "invokers": list(self.invokers)}

    def with_image(self) -> ServingConfig:
        """The same with the image of the settings where none is named."""
        return replace(self, image=self.image or get_settings().SERVING_IMAGE)


_RULES: tuple[tuple[str, Callable[[ServingConfig], object], str], ...] = (
    ("image", lambda c: re.fullmatch(r"\S{0,512}", c.image), "Name one image, without spaces."),
    ("cpu", lambda c: re.fullmatch(r"0?\.\d{1,3}|[12468]", c.cpu), "Use 1, 2, 4, 6, 8 or below 1."),
    (
        "memory",
        lambda c: re.fullmatch(r"[1-9]\d{0,4}Mi|([1-9]|[12]\d|3[0-2])Gi", c.memory),
        "Write it as 512Mi or 2Gi, at most 32Gi.",
    ),
    ("min_instances", lambda c: 0 <= c.min_instances <= c.max_instances, "Use 0 to max_instances."),
    ("max_instances", lambda c: 1 <= c.max_instances <= 1000, "Use 1 to 1000."),
    ("concurrency", lambda c: 1 <= c.concurrency <= 1000, "Use 1 to 1000."),
    (
        "concurrency",
        lambda c: c.concurrency == 1 or float(c.cpu) >= 1,
        "With less than one CPU an instance takes one request at once.",
    ),
    ("timeout_seconds", lambda c: 1 <= c.timeout_seconds <= 3600, "Use 1 to 3600."),
    (
        "env",
        lambda c: all(re.fullmatch(r"[A-Za-z_][A-Za-z0-9_]*", name) for name in c.env),
        "Names have letters, digits and _.",
    ),
    (
        "env",
        lambda c: not any(_RESERVED_ENV.fullmatch(name) for name in c.env),
        "PORT and names that begin with K_ or AIP_ are set for you.",
    ),
    (
        "ingress",
        lambda c: c.ingress is not Ingress.UNKNOWN,
        "Use all, internal or internal_and_load_balancer.",
    ),
    (
        "service_account",
        lambda c: re.fullmatch(r"([^@\s]+@[^@\s]+)?", c.service_account),
        "Give the account's e-mail address.",
    ),
    (
        "invokers",
        lambda c: all(_MEMBER.fullmatch(member) for member in c.invokers),
        "Use user:, group: or serviceAccount: with an e-mail address, domain:, or allUsers.",
    ),
)


def _typed(name: str, value: Any, default: Any) -> Any:
    if isinstance(default, Ingress) and value in set(Ingress):
        return Ingress(value)
    if isinstance(default, tuple) and isinstance(value, list):
        value = tuple(value)
    parts = value.items() if isinstance(value, dict) else [(value, "")]
    if isinstance(value, tuple):
        parts = [(part, "") for part in value]
    texts = isinstance(default, dict | tuple)
    if type(value) is not type(default) or (
        texts and not all(isinstance(k, str) and isinstance(v, str) for k, v in parts)
    ):
        raise Invalid(
            f"{name} is {value!r}.",
            code="bad_config",
            advice=f"It is of the same type as {default!r}.",
        )
    return value


def service_spec(
    config: ServingConfig, *, artifact_uri: str, labels: Mapping[str, str]
) -> ServiceSpec:
    """Return what Cloud Run shall be asked for."""
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
    """Whether the newest configuration serves; None while Cloud Run has not said."""

    serves: bool | None
    reason: str


def compare_service(service: RemoteService) -> Judgement:
    """Judge the *serving* revision: ready is no success until all traffic reaches it."""
    if service.ready is None:
        return Judgement(serves=None, reason=service.reason or "Cloud Run is still at it.")
    newest = service.latest_created_revision
    if not service.ready:
        return Judgement(serves=False, reason=service.reason or f"Revision {newest} is not ready.")
    if service.latest_ready_revision != newest:
        return Judgement(serves=False, reason=f"Revision {newest} did not become ready.")
    if (share := share_of(service, newest)) != 100:
        return Judgement(
            serves=False, reason=f"Revision {newest} is ready but gets {share} % of the traffic."
        )
    return Judgement(serves=True, reason=f"{newest} serves.")


def share_of(service: RemoteService, revision: str) -> int:
    """Per cent of the traffic that a revision gets; a share without a name is the latest ready's.

    Of "latest" Cloud Run may leave the name out (TrafficTargetStatus in
    google/cloud/run_v2/types/traffic_target.py).
    """
    return sum(
        part.percent
        for part in service.traffic
        if (part.revision or service.latest_ready_revision) == revision
    )


def belongs_to(service: RemoteService, endpoint: UUID) -> bool:
    """Whether the service carries our labels and that endpoint's; else it is never touched."""
    return not wrong_label(service.labels, labels_for(endpoint=endpoint))
