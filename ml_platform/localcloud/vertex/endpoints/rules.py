"""What EndpointService accepts and how traffic moves: pure, no store, no clock.

Behavior after google/cloud/aiplatform/v1/{endpoint,endpoint_service}.proto.
"""

from __future__ import annotations

import base64
import hashlib
import re
from collections.abc import Iterable, Mapping
from typing import Any

from google.cloud.aiplatform_v1.types import endpoint as gca_endpoint
from google.protobuf import field_mask_pb2

from ...core.errors import invalid, precondition
from ..models.rules import check_display_name, check_labels
from ..unsupported import refuse_set

Endpoint: Any = gca_endpoint.Endpoint.meta.pb
FILTERS = ("endpoint", "display_name", "labels", "base_model_name")
ORDERS = ("display_name", "create_time", "update_time")
_ENDPOINT_ID = re.compile(r"[a-z]([a-z0-9-]{0,61}[a-z0-9])?|0|[1-9][0-9]{0,8}")
_OUTPUT = ("name", "deployed_models", "create_time", "update_time", "etag")
_UPDATABLE = ("display_name", "description", "labels", "traffic_split")
# They need networks, keys, logs or a machine of their own, which the local cloud does not have.
_UNSUPPORTED = (
    "dedicated_endpoint_enabled",
    "enable_private_service_connect",
    "encryption_spec",
    "gen_ai_advanced_features_config",
    "network",
    "predict_request_response_logging_config",
    "private_model_server_enabled",
    "private_service_connect_config",
)
_UNSUPPORTED_DEPLOYMENT = (
    "checkpoint_id",
    "explanation_spec",
    "faster_deployment_config",
    "shared_resources",
    "speculative_decoding_spec",
)
# What MutateDeployedModel may change (endpoint_service.proto, MutateDeployedModelRequest).
_MUTABLE = frozenset(
    {
        "dedicated_resources.autoscaling_metric_specs",
        "dedicated_resources.max_replica_count",
        "dedicated_resources.min_replica_count",
        "dedicated_resources.required_replica_count",
        "automatic_resources.max_replica_count",
        "automatic_resources.min_replica_count",
        "disable_container_logging",
        "enable_access_logging",
    }
)


def check_new(endpoint_id: str, endpoint: Any) -> None:
    """INVALID_ARGUMENT for what CreateEndpoint refuses; output fields of `endpoint` are cleared."""
    if endpoint_id and not _ENDPOINT_ID.fullmatch(endpoint_id):
        raise invalid(
            "endpoint_id",
            "The ID must be up to 63 characters of [a-z0-9-] that begin with a letter and end "
            "with a letter or number, or up to 9 digits without leading zeros.",
        )
    for field in _OUTPUT:
        endpoint.ClearField(field)
    refuse_set(endpoint, _UNSUPPORTED)
    check_display_name(endpoint.display_name)
    check_labels(endpoint.labels, "endpoint.labels")
    check_split(endpoint.traffic_split, ())


def check_split(split: Mapping[str, int], deployed: Iterable[str]) -> None:
    """Empty, or shares of deployed models that add up to 100; INVALID_ARGUMENT otherwise."""
    unknown = sorted(set(split) - set(deployed))
    if unknown:
        raise invalid("traffic_split", f"DeployedModel {unknown[0]} is not in the Endpoint.")
    shares = list(split.values())
    if shares and (sum(shares) != 100 or min(shares) < 0):
        raise invalid("traffic_split", "The traffic percentage values must add up to 100.")


def updated(stored: Any, asked: Any, paths: Iterable[str]) -> Any:
    """The endpoint after UpdateEndpoint; INVALID_ARGUMENT for what cannot be updated."""
    wanted = list(paths)
    unknown = sorted(set(wanted) - set(_UPDATABLE))
    if unknown or not wanted:
        raise invalid("update_mask", f"Unsupported field(s): {', '.join(unknown) or '-'}.")
    fresh = Endpoint()
    fresh.CopyFrom(stored)
    for path in wanted:
        fresh.ClearField(path)
    field_mask_pb2.FieldMask(paths=wanted).MergeMessage(asked, fresh)
    check_display_name(fresh.display_name)
    check_labels(fresh.labels, "endpoint.labels")
    check_split(fresh.traffic_split, ids_of(fresh))
    return fresh


def connected(stored: Any, asked: Any) -> Any:
    """The endpoint after UpdateEndpointLongRunning: it changes client_connection_config only."""
    for descriptor, value in asked.ListFields():
        field = descriptor.name
        if field not in {"name", "etag", "client_connection_config"} and value != getattr(
            stored, field
        ):
            raise invalid(f"endpoint.{field}", "Only client_connection_config can be updated.")
    fresh = Endpoint()
    fresh.CopyFrom(stored)
    fresh.client_connection_config.CopyFrom(asked.client_connection_config)
    return fresh


def check_deployed(deployed: Any) -> None:
    """INVALID_ARGUMENT for a bad id; output fields of a DeployedModel to come are cleared."""
    if deployed.id and not re.fullmatch(r"[0-9]{1,10}", deployed.id):
        raise invalid("deployed_model.id", "The ID must be 1 to 10 characters of [0-9].")
    for field in ("model_version_id", "create_time", "private_endpoints", "status"):
        deployed.ClearField(field)
    refuse_set(deployed, _UNSUPPORTED_DEPLOYMENT)
    _check_replicas(deployed)


def deployed_to(endpoint: Any, deployed: Any, split: Mapping[str, int]) -> None:
    """Add a DeployedModel; a split, in which "0" means the new one, replaces the endpoint's."""
    if deployed.id in ids_of(endpoint):
        raise invalid("deployed_model.id", f"DeployedModel {deployed.id} already exists.")
    wanted = {deployed.id if key == "0" else key: share for key, share in split.items()}
    check_split(wanted, {*ids_of(endpoint), deployed.id})
    endpoint.deployed_models.append(deployed)
    if wanted:
        _set_split(endpoint, wanted)


def undeployed_from(endpoint: Any, deployed_id: str, split: Mapping[str, int]) -> None:
    """Remove a DeployedModel without traffic; the last one goes in any case.

    FAILED_PRECONDITION while it has traffic and `split` does not take it away.
    """
    left = [one for one in endpoint.deployed_models if one.id != deployed_id]
    wanted = dict(split or endpoint.traffic_split)
    if left and wanted.pop(deployed_id, 0):
        raise precondition(
            f"DeployedModel {deployed_id} has traffic assigned to it: set its share of the "
            "traffic_split to 0 before it is undeployed."
        )
    if split and left:
        check_split(wanted, {one.id for one in left})
    del endpoint.deployed_models[:]
    endpoint.deployed_models.extend(left)
    _set_split(endpoint, wanted if left else {})


def mutated(stored: Any, asked: Any, paths: Iterable[str]) -> Any:
    """The DeployedModel after MutateDeployedModel."""
    wanted = list(paths)
    unknown = sorted(set(wanted) - _MUTABLE)
    if unknown or not wanted:
        raise invalid("update_mask", f"Unsupported field(s): {', '.join(unknown) or '-'}.")
    held = stored.WhichOneof("prediction_resources")
    for path in wanted:
        if "." in path and path.partition(".")[0] != held:
            raise invalid("update_mask", f"The DeployedModel has no {path.partition('.')[0]}.")
    fresh = type(stored)()
    fresh.CopyFrom(stored)
    field_mask_pb2.FieldMask(paths=wanted).MergeMessage(asked, fresh, replace_repeated_field=True)
    _check_replicas(fresh)
    return fresh


def etag_of(endpoint: Any) -> str:
    """A new etag for a new state, in the form of Google's."""
    stripped = Endpoint()
    stripped.CopyFrom(endpoint)
    stripped.ClearField("etag")
    digest = hashlib.sha256(stripped.SerializeToString(deterministic=True)).digest()
    return f"AMEw9y{base64.urlsafe_b64encode(digest[:24]).decode()}"


def ids_of(endpoint: Any) -> set[str]:
    """The ids of its deployed models."""
    return {one.id for one in endpoint.deployed_models}


def field_of(endpoint: Any, field: str) -> Any:
    """A field of FILTERS; no model here comes from a base model."""
    return {
        "labels": dict(endpoint.labels),
        "display_name": endpoint.display_name,
        "endpoint": endpoint.name.rpartition("/")[2],
    }.get(field)


def order_key(endpoint: Any, field: str) -> str:
    """The text by which a field of ORDERS sorts."""
    if field == "display_name":
        return str(endpoint.display_name)
    value = getattr(endpoint, field)
    return f"{value.seconds:020}.{value.nanos:09}"


def _set_split(endpoint: Any, split: Mapping[str, int]) -> None:
    endpoint.traffic_split.clear()
    endpoint.traffic_split.update(split)


def _check_replicas(deployed: Any) -> None:
    held = deployed.WhichOneof("prediction_resources")
    if held in ("dedicated_resources", "automatic_resources"):
        resources = getattr(deployed, held)
        if 0 < resources.max_replica_count < resources.min_replica_count:
            raise invalid(
                f"deployed_model.{held}.max_replica_count",
                "The maximum replica count must not be below the minimum.",
            )
