"""Cloud Run's rules that need no storage: what is valid, what is filled in, where traffic goes.

Behavior after google/cloud/run/v2/service.proto and cloud.google.com/run/docs.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable
from typing import Any

import grpc
from google.cloud.run_v2.types import condition as condition_types
from google.cloud.run_v2.types import revision as revision_types
from google.cloud.run_v2.types import service as service_types
from google.cloud.run_v2.types import traffic_target as traffic_types
from google.protobuf import field_mask_pb2

from ..core.errors import CloudError
from .refusals import violation
from .resources import cpus

Service: Any = service_types.Service.meta.pb
Revision: Any = revision_types.Revision.meta.pb
Condition: Any = condition_types.Condition.meta.pb
TrafficStatus: Any = traffic_types.TrafficTargetStatus.meta.pb
State = condition_types.Condition.State
LATEST = traffic_types.TrafficTargetAllocationType.TRAFFIC_TARGET_ALLOCATION_TYPE_LATEST
PINNED = traffic_types.TrafficTargetAllocationType.TRAFFIC_TARGET_ALLOCATION_TYPE_REVISION

_MASK = "UpdateServiceRequest.update_mask"
_MASKABLE = (
    "annotations",
    "binary_authorization",
    "client",
    "client_version",
    "custom_audiences",
    "default_uri_disabled",
    "description",
    "ingress",
    "invoker_iam_disabled",
    "labels",
    "launch_stage",
    "scaling",
    "template",
    "traffic",
)


def merge(stored: Any, requested: Any, paths: Iterable[str]) -> Any:
    """The new service: all fields of `requested` that may be set, or only the masked paths."""
    wanted = list(paths) or list(_MASKABLE)
    for path in wanted:
        if path != "*" and path.split(".")[0] not in _MASKABLE:
            raise violation(_MASK, f"{path!r} cannot be updated.")
    if "*" in wanted:
        wanted = list(_MASKABLE)
    fresh = Service()
    fresh.CopyFrom(stored)
    try:
        field_mask_pb2.FieldMask(paths=wanted).MergeMessage(
            requested, fresh, replace_message_field=True, replace_repeated_field=True
        )
    except ValueError as error:
        raise violation(_MASK, str(error)) from error
    return fresh


def fill_defaults(service: Any, account: str) -> None:
    """What Cloud Run writes into a service that is valid when the client leaves it out."""
    template = service.template
    service.ingress = service.ingress or 1  # IngressTraffic.INGRESS_TRAFFIC_ALL
    service.launch_stage = service.launch_stage or 4  # google.api.LaunchStage.GA
    template.service_account = template.service_account or account
    if not template.HasField("timeout"):
        template.timeout.FromSeconds(300)
    if not template.scaling.max_instance_count:
        template.scaling.max_instance_count = 100
    _fill_containers(template)
    if not service.traffic:
        service.traffic.add(type_=LATEST, percent=100)


def _fill_containers(template: Any) -> None:
    if not any(container.ports for container in template.containers):
        template.containers[0].ports.add(container_port=8080)
    for port in (port for container in template.containers for port in container.ports):
        port.name = port.name or "http1"
    for container in template.containers:
        if not container.HasField("resources"):
            container.resources.cpu_idle = True
        limits = container.resources.limits
        for resource, amount in (("cpu", "1000m"), ("memory", "512Mi")):
            if resource not in limits:
                limits[resource] = amount
    small = (cpus(template.containers[0].resources.limits["cpu"]) or 1) < 1
    concurrency = template.max_instance_request_concurrency or (1 if small else 80)
    template.max_instance_request_concurrency = concurrency


def revision_of(service: Any, name: str) -> Any:
    """The revision that a service's template makes."""
    template, fresh = service.template, Revision(name=name, service=service.name, generation=1)
    shared = {field.name for field in Revision.DESCRIPTOR.fields} & {
        field.name for field in template.DESCRIPTOR.fields
    }
    for field in shared - {"labels", "annotations", "scaling"}:
        value = getattr(template, field)
        if hasattr(value, "CopyFrom"):
            if template.HasField(field):
                getattr(fresh, field).CopyFrom(value)
        elif hasattr(value, "extend"):
            getattr(fresh, field).extend(value)
        else:
            setattr(fresh, field, value)
    fresh.labels.update(template.labels)
    fresh.annotations.update(template.annotations)
    fresh.scaling.CopyFrom(template.scaling)
    return fresh


def revision_name(service_id: str, number: int) -> str:
    """`<service>-00001-abc`: the letters come from the name, so that a replay gives the same."""
    digest = hashlib.sha256(f"{service_id}/{number}".encode()).digest()
    letters = "".join("bcdfghjklmnpqrstvwxz"[byte % 20] for byte in digest[:3])
    return f"{service_id}-{number:05d}-{letters}"


def traffic_statuses(service: Any, ready: str) -> list[Any]:
    """Where requests go: LATEST is the latest *ready* revision, nowhere before one is ready."""
    statuses = []
    for target in service.traffic:
        revision = target.revision if target.type_ == PINNED else ready.rpartition("/")[2]
        if revision:
            statuses.append(
                TrafficStatus(
                    type_=target.type_,
                    revision=revision,
                    percent=target.percent,
                    tag=target.tag,
                    uri=service.uri.replace("://", f"://{target.tag}---") if target.tag else "",
                )
            )
    return statuses


def follows_latest(service: Any) -> bool:
    """Whether the latest revision is asked to receive traffic."""
    return any(target.type_ != PINNED and target.percent for target in service.traffic)


def etag_of(service: Any) -> str:
    """Changes whenever the service does."""
    bare = Service()
    bare.CopyFrom(service)
    bare.etag = ""
    digest = hashlib.sha256(bare.SerializeToString(deterministic=True)).hexdigest()
    return f'"{digest[:32]}"'


def check_etag(sent: str, stored: str) -> None:
    """ABORTED when the client has seen an older service."""
    if sent and sent != stored:
        raise CloudError(
            grpc.StatusCode.ABORTED,
            "Conflict for resource: version in the request does not match the stored one.",
        )
