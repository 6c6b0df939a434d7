"""Which services Cloud Run refuses, in its own words where a source of them is named.

Limits after google/cloud/run/v2/*.proto and cloud.google.com/run/docs/configuring/*.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Mapping
from typing import Any

import grpc

from ..core.errors import CloudError
from .refusals import refuse, violation
from .resources import check_resources

# "must be less than 50 characters" (CreateServiceRequest.service_id).
_SERVICE_ID = re.compile(r"[a-z]([a-z0-9-]{0,47}[a-z0-9])?")
_LABEL = re.compile(r"[a-z]([a-z0-9-]{0,61}[a-z0-9])?")
_RESERVED = (
    "run.googleapis.com/",
    "cloud.googleapis.com/",
    "serving.knative.dev/",
    "autoscaling.knative.dev/",
)
# cloud.google.com/run/docs/container-contract#services-env-vars
_SET_BY_SYSTEM = ("PORT", "K_SERVICE", "K_REVISION", "K_CONFIGURATION")
_HOST = re.compile(r"([a-z0-9-]+\.)?gcr\.io|([a-z0-9-]+-)?docker\.pkg\.dev|docker\.io")
_PATH = re.compile(
    r"[a-z0-9]+([._-]+[a-z0-9]+)*(/[a-z0-9]+([._-]+[a-z0-9]+)*)*"
    r"(:\w[\w.-]{0,127})?(@sha256:[0-9a-f]{64})?",
    re.ASCII,
)
_MAX_CONCURRENCY = 1000
_MAX_TIMEOUT = 3600
_MAX_INSTANCES = 100
"""Of a revision that sets none."""
_MAX_LABELS = 64
_MAX_DESCRIPTION = 512
_NOT_SERVED = ("build_config", "iap_enabled", "multi_region_settings")


def check_service_id(service_id: str) -> None:
    """INVALID_ARGUMENT unless it is a DNS label of fewer than 50 characters."""
    if not _SERVICE_ID.fullmatch(service_id):
        raise violation(
            "CreateServiceRequest.service_id",
            f"{service_id!r} must begin with a lowercase letter, hold only lowercase letters, "
            "digits and hyphens, not end with a hyphen, and be less than 50 characters.",
        )


def check_service(service: Any, service_id: str, request: str) -> None:
    """INVALID_ARGUMENT for a service that Cloud Run does not take; `request` is the message's name.

    UNIMPLEMENTED for what Cloud Run takes and the local cloud cannot honor.
    """
    for field, _ in service.ListFields():
        if field.name in _NOT_SERVED:
            raise CloudError(
                grpc.StatusCode.UNIMPLEMENTED,
                f"Service.{field.name} is not part of the local cloud.",
            )
    if len(service.description) > _MAX_DESCRIPTION:
        raise violation(
            f"{request}.service.description", f"must have at most {_MAX_DESCRIPTION} characters."
        )
    for field, owner in (("", service), ("template.", service.template)):
        _check_labels(f"{request}.service.{field}labels", owner.labels)
        _check_reserved(f"{field}annotations", owner.annotations)
    _check_revision_name(service.template.revision, service_id)
    _check_bounds(service.template, f"{request}.service.template")
    _check_containers(service.template)
    _check_traffic(service, service_id)


def _check_bounds(template: Any, path: str) -> None:
    least, most = template.scaling.min_instance_count, template.scaling.max_instance_count
    seconds = template.timeout.ToTimedelta().total_seconds()
    concurrency = template.max_instance_request_concurrency
    bounds = (
        (least >= 0, "scaling.min_instance_count", "must be greater or equal than 0."),
        (
            (most or _MAX_INSTANCES) >= least,
            "scaling.max_instance_count",
            "must be greater or equal than min_instance_count.",
        ),
        (0 <= seconds <= _MAX_TIMEOUT, "timeout", f"must be between 0s and {_MAX_TIMEOUT}s."),
        (
            0 <= concurrency <= _MAX_CONCURRENCY,
            "max_instance_request_concurrency",
            f"must be between 0 and {_MAX_CONCURRENCY}.",
        ),
    )
    for holds, field, description in bounds:
        if not holds:
            raise violation(f"{path}.{field}", description)


def _check_revision_name(name: str, service_id: str) -> None:
    """hashicorp/terraform-provider-google#6491 quotes the first message."""
    if name and not name.startswith(f"{service_id}-"):
        raise refuse(
            "template.revision",
            "The revision name must be prefixed by the name of the enclosing Service or "
            "Configuration with a trailing -",
        )
    if name and not _LABEL.fullmatch(name):
        raise refuse(
            "template.revision",
            "Resource name must use only lowercase letters, numbers and '-'. Must begin with a "
            "letter and cannot end with a '-'. Maximum length is 63 characters.",
        )


def _check_containers(template: Any) -> None:
    if not template.containers:
        raise refuse("template.containers", "should not be empty.")
    if len(template.containers) > 1 and sum(bool(one.ports) for one in template.containers) != 1:
        raise refuse(
            "template.containers",
            "Revision template should contain exactly one container with an exposed port.",
        )
    for number, container in enumerate(template.containers):
        path = f"template.containers[{number}]"
        _check_image(f"{path}.image", container.image)
        _check_env(f"{path}.env", [one.name for one in container.env])
        _check_ports(f"{path}.ports", container.ports)
        check_resources(template, number)


def _check_image(field: str, image: str) -> None:
    """ko-build/terraform-provider-ko#205 quotes the second message."""
    if not image:
        raise refuse(field, "should not be empty.")
    first, slash, rest = image.partition("/")
    has_host = bool(slash) and (first == "localhost" or "." in first or ":" in first)
    path = rest if has_host else image
    if (has_host and not _HOST.fullmatch(first)) or not _PATH.fullmatch(path):
        raise refuse(
            field,
            "Expected an image path like [host/]repo-path[:tag and/or @digest], where host is one "
            f"of [region.]gcr.io, [region-]docker.pkg.dev or docker.io but obtained {image}",
        )


def _check_env(field: str, names: list[str]) -> None:
    """hashicorp/terraform-provider-google#26877 quotes the first message."""
    reserved = sorted(set(names) & set(_SET_BY_SYSTEM))
    if reserved:
        raise refuse(
            field,
            f"The following reserved env names were provided: {', '.join(reserved)}. These values "
            "are automatically set by the system.",
        )
    twice = [name for name, count in Counter(names).items() if count > 1]
    if twice:
        raise refuse(field, f"Duplicate env names were provided: {', '.join(sorted(twice))}.")
    if any(not name or "=" in name for name in names):
        raise refuse(field, "An env name must not be empty or contain an equals sign.")


def _check_ports(field: str, ports: Any) -> None:
    if len(ports) > 1:
        raise refuse(field, "should contain at most one port.")
    for port in ports:
        if port.name not in ("", "http1", "h2c"):
            raise refuse(f"{field}.name", 'must be one of "http1" or "h2c".')
        if not 1 <= port.container_port <= 65535:
            raise refuse(f"{field}.container_port", "must be between 1 and 65535.")


def _check_labels(field: str, labels: Mapping[str, str]) -> None:
    """The limits of cloud.google.com/run/docs/configuring/services/labels."""
    _check_reserved(field, labels)
    if len(labels) > _MAX_LABELS:
        raise violation(field, f"must have at most {_MAX_LABELS} entries.")
    for key, value in labels.items():
        if not (key and _is_lower(key[0]) and _is_label(key)):
            raise violation(
                field,
                f"key {key!r} must begin with a lowercase letter and have at most 63 lowercase "
                "letters, digits, underscores and dashes.",
            )
        if not _is_label(value):
            raise violation(
                field,
                f"value {value!r} must have at most 63 lowercase letters, digits, underscores and "
                "dashes.",
            )


def _check_reserved(field: str, values: Mapping[str, str]) -> None:
    for key in values:
        if key.startswith(_RESERVED):
            raise refuse(field, f"The key {key!r} is in a reserved namespace.")


def _is_lower(letter: str) -> bool:
    """International letters are allowed; those without case count as lower case."""
    return letter.isalpha() and letter == letter.lower()


def _is_label(text: str) -> bool:
    return len(text) <= 63 and all(c in "_-" or c.isnumeric() or _is_lower(c) for c in text)


def _check_traffic(service: Any, service_id: str) -> None:
    """The words of knative.dev/serving, whose admission Cloud Run retells (knative/client#345)."""
    total = sum(target.percent for target in service.traffic)
    if service.traffic and total != 100:
        raise refuse("traffic", f"Traffic targets sum to {total}, want 100")
    tags: dict[str, int] = {}
    for number, target in enumerate(service.traffic):
        field = f"traffic[{number}]"
        if not 0 <= target.percent <= 100:
            raise refuse(f"{field}.percent", f"expected 0 <= {target.percent} <= 100")
        if target.type_ == 0:
            raise refuse(f"{field}.type", "must be specified.")
        if (target.type_ == 2) != bool(target.revision):
            raise refuse(f"{field}.revision", "is set if and only if the type is REVISION.")
        if target.tag:
            _check_tag(f"{field}.tag", target.tag, service_id)
            if target.tag in tags:
                raise refuse(
                    "traffic",
                    f'Multiple definitions for "{target.tag}": traffic[{tags[target.tag]}].tag, '
                    f"{field}.tag",
                )
            tags[target.tag] = number


def _check_tag(field: str, tag: str, service_id: str) -> None:
    """The tag and the service's name are one label of the tagged URL's host name."""
    if not _LABEL.fullmatch(tag) or len(f"{tag}---{service_id}") > 63:
        raise refuse(
            field,
            f"{tag!r} must use only lowercase letters, numbers and '-', begin with a letter, not "
            "end with a '-', and have at most 60 characters together with the service's name.",
        )
