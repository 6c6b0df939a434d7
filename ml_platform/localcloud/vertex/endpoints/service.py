"""Vertex AI EndpointService: endpoints, the models deployed to them, and their traffic."""

from __future__ import annotations

from functools import partial
from typing import Any

import grpc
from google.cloud.aiplatform_v1.types import endpoint_service as wire_types
from google.cloud.aiplatform_v1.types.operation import DeleteOperationMetadata
from google.protobuf import empty_pb2

from ...core.core import Core
from ...core.errors import CloudError, not_found, precondition
from ...core.lists.filters import compile_filter, compile_order, sort
from ...core.lists.pages import page
from ..models.rules import DEFAULT, masked
from ..models.store import DEPLOYMENT, Registry
from . import rules
from .rules import Endpoint

ENDPOINT = "endpoint"
_NAME = "projects/{project}/locations/{location}/endpoints/{endpoint}"
_PARENT = "projects/{project}/locations/{location}"


class EndpointService:
    """Endpoints and the models deployed to them; PredictionService answers for them.

    The machines that a DeployedModel asks for are shown as asked; the local cloud runs none.
    """

    def __init__(self, core: Core) -> None:
        self._core, self._store, self._registry = core, core.store, Registry(core)
        for kind, land in (
            ("endpoint.create", self._land_create),
            ("endpoint.update", self._land_update),
            ("endpoint.delete", self._land_delete),
            ("endpoint.deploy", self._land_deploy),
            ("endpoint.undeploy", self._land_undeploy),
            ("endpoint.mutate", self._land_mutate),
        ):
            core.operations.on(kind, land)

    def create_endpoint(self, request: Any) -> Any:
        """A new endpoint, with the requested id or a numeric one."""
        pb_request = wire_types.CreateEndpointRequest.pb(request)
        self._core.names.locate(pb_request.parent, _PARENT, field="parent")
        rules.check_new(pb_request.endpoint_id, pb_request.endpoint)
        self._refuse_existing(pb_request.endpoint_id)
        if not request.endpoint_id:
            request.endpoint_id = str(10**18 + self._store.next_id(ENDPOINT))
        metadata = wire_types.CreateEndpointOperationMetadata()
        return self._start("endpoint.create", request.endpoint_id, request, metadata)

    def get_endpoint(self, request: Any) -> Any:
        """NOT_FOUND without it."""
        return self.need(request.name)

    def list_endpoints(self, request: Any) -> Any:
        """In the order of their creation unless ordered."""
        pb_request = wire_types.ListEndpointsRequest.pb(request)
        self._core.names.locate(pb_request.parent, _PARENT, field="parent")
        keep = compile_filter(pb_request.filter, rules.FILTERS)
        order = compile_order(pb_request.order_by, rules.ORDERS)
        rows = ((seq, Endpoint.FromString(blob)) for seq, _, blob in self._store.rows(ENDPOINT))
        kept = ((seq, one) for seq, one in rows if keep(partial(rules.field_of, one)))
        if order:
            ordered = sort([one for _, one in kept], order, rules.order_key)
            kept = (row for row in enumerate(ordered, start=1))
        found, token = page(kept, pb_request)
        response = wire_types.ListEndpointsResponse.meta.pb(next_page_token=token)
        response.endpoints.extend(masked(one, pb_request.read_mask.paths) for one in found)
        return response

    def update_endpoint(self, request: Any) -> Any:
        """What the mask names of display_name, description, labels and traffic_split.

        ABORTED for another etag than the endpoint's; without an etag it overwrites.
        """
        pb_request = wire_types.UpdateEndpointRequest.pb(request)
        stored = self._current(pb_request.endpoint)
        return self._save(rules.updated(stored, pb_request.endpoint, pb_request.update_mask.paths))

    def update_endpoint_long_running(self, request: Any) -> Any:
        """Changes client_connection_config, and refuses any other change."""
        pb_request = wire_types.UpdateEndpointLongRunningRequest.pb(request)
        stored = self._current(pb_request.endpoint)
        rules.connected(stored, pb_request.endpoint)
        metadata = wire_types.UpdateEndpointOperationMetadata()
        return self._start("endpoint.update", self._id(stored.name), request, metadata)

    def delete_endpoint(self, request: Any) -> Any:
        """Refused while a model is deployed to it."""
        endpoint = self.need(request.name)
        self._refuse_in_use(endpoint)
        metadata = DeleteOperationMetadata()
        return self._start("endpoint.delete", self._id(endpoint.name), request, metadata)

    def deploy_model(self, request: Any) -> Any:
        """From now on the model version cannot be deleted."""
        pb_request = wire_types.DeployModelRequest.pb(request)
        endpoint, deployed = self.need(pb_request.endpoint, "endpoint"), pb_request.deployed_model
        rules.check_deployed(deployed)
        model_id, wanted = self._registry.split(deployed.model, "model")
        parent = self._registry.need(model_id)
        version = self._registry.version(model_id, parent, wanted or DEFAULT)
        deployed.id = deployed.id or str(10**15 + self._store.next_id(DEPLOYMENT))
        deployed.model = self._registry.name_of(model_id)
        deployed.model_version_id = version.version_id
        deployed.display_name = deployed.display_name or parent.display_name
        held = str(endpoint.name).encode()
        rules.deployed_to(endpoint, deployed, pb_request.traffic_split)
        # "Deployed or being deployed": the version is in use from the call on.
        self._store.put(DEPLOYMENT, self._hold(deployed), held)
        metadata = wire_types.DeployModelOperationMetadata()
        return self._start("endpoint.deploy", self._id(endpoint.name), request, metadata)

    def undeploy_model(self, request: Any) -> Any:
        """NOT_FOUND when no model is deployed under that id; refused while it has traffic."""
        endpoint = self.need(request.endpoint, "endpoint")
        _deployed(endpoint, request.deployed_model_id)
        rules.undeployed_from(endpoint, request.deployed_model_id, request.traffic_split)
        metadata = wire_types.UndeployModelOperationMetadata()
        return self._start("endpoint.undeploy", self._id(endpoint.name), request, metadata)

    def mutate_deployed_model(self, request: Any) -> Any:
        """Replica counts, autoscaling and logging of a deployed model, as the mask names them."""
        pb_request = wire_types.MutateDeployedModelRequest.pb(request)
        endpoint = self.need(pb_request.endpoint, "endpoint")
        asked = pb_request.deployed_model
        rules.mutated(_deployed(endpoint, asked.id), asked, pb_request.update_mask.paths)
        metadata = wire_types.MutateDeployedModelOperationMetadata()
        return self._start("endpoint.mutate", self._id(endpoint.name), request, metadata)

    def need(self, name: str, field: str = "name") -> Any:
        """The endpoint of that resource name; NOT_FOUND without it."""
        blob = self._store.get(ENDPOINT, self._id(name, field))
        if blob is None:
            raise not_found("The Endpoint does not exist.")
        return Endpoint.FromString(blob)

    # ---- operations

    def _land_create(self, payload: bytes) -> Any:
        request = wire_types.CreateEndpointRequest.meta.pb.FromString(payload)
        self._refuse_existing(request.endpoint_id)
        endpoint = request.endpoint
        endpoint.name = self._name(request.endpoint_id)
        endpoint.create_time.FromDatetime(self._core.clock.now())
        self._save(endpoint)
        return Endpoint(name=endpoint.name)

    def _land_update(self, payload: bytes) -> Any:
        asked = wire_types.UpdateEndpointLongRunningRequest.meta.pb.FromString(payload).endpoint
        return self._save(rules.connected(self.need(asked.name), asked))

    def _land_delete(self, payload: bytes) -> Any:
        endpoint = self.need(wire_types.DeleteEndpointRequest.deserialize(payload).name)
        self._refuse_in_use(endpoint)
        self._store.delete(ENDPOINT, self._id(endpoint.name))
        self._core.effects.record(endpoint.name, labels=dict(endpoint.labels))
        return empty_pb2.Empty()

    def _land_deploy(self, payload: bytes) -> Any:
        request = wire_types.DeployModelRequest.meta.pb.FromString(payload)
        deployed = request.deployed_model
        deployed.create_time.FromDatetime(self._core.clock.now())
        try:
            endpoint = self.need(request.endpoint)
            rules.deployed_to(endpoint, deployed, request.traffic_split)
        except CloudError:
            self._store.delete(DEPLOYMENT, self._hold(deployed))
            raise
        self._save(endpoint)
        return wire_types.DeployModelResponse.meta.pb(deployed_model=deployed)

    def _land_undeploy(self, payload: bytes) -> Any:
        request = wire_types.UndeployModelRequest.meta.pb.FromString(payload)
        endpoint = self.need(request.endpoint)
        gone = _deployed(endpoint, request.deployed_model_id)
        hold = self._hold(gone)
        rules.undeployed_from(endpoint, gone.id, request.traffic_split)
        self._store.delete(DEPLOYMENT, hold)
        self._save(endpoint)
        return wire_types.UndeployModelResponse.meta.pb()

    def _land_mutate(self, payload: bytes) -> Any:
        request = wire_types.MutateDeployedModelRequest.meta.pb.FromString(payload)
        endpoint, asked = self.need(request.endpoint), request.deployed_model
        stored = _deployed(endpoint, asked.id)
        stored.CopyFrom(rules.mutated(stored, asked, request.update_mask.paths))
        self._save(endpoint)
        return wire_types.MutateDeployedModelResponse.meta.pb(deployed_model=stored)

    # ---- helpers

    def _current(self, asked: Any) -> Any:
        stored = self.need(asked.name, "endpoint.name")
        if asked.etag and asked.etag != stored.etag:
            raise CloudError(grpc.StatusCode.ABORTED, "The etag does not match: read it again.")
        return stored

    def _hold(self, deployed: Any) -> str:
        model_id, _ = self._registry.split(deployed.model)
        return f"{model_id}@{deployed.model_version_id}/{deployed.id}"

    def _save(self, endpoint: Any) -> Any:
        endpoint.update_time.FromDatetime(self._core.clock.now())
        endpoint.etag = rules.etag_of(endpoint)
        self._store.put(ENDPOINT, self._id(endpoint.name), endpoint.SerializeToString())
        self._core.effects.record(endpoint.name, labels=dict(endpoint.labels))
        return endpoint

    def _name(self, endpoint_id: str) -> str:
        return f"{self._core.names.vertex_parent}/endpoints/{endpoint_id}"

    def _id(self, name: str, field: str = "name") -> str:
        return self._core.names.locate(name, _NAME, field=field)["endpoint"]

    def _refuse_existing(self, endpoint_id: str) -> None:
        if endpoint_id and self._store.get(ENDPOINT, endpoint_id) is not None:
            raise CloudError(
                grpc.StatusCode.ALREADY_EXISTS,
                f"Endpoint {self._name(endpoint_id)} already exists.",
            )

    def _refuse_in_use(self, endpoint: Any) -> None:
        if endpoint.deployed_models:
            raise precondition(f'Endpoint "{endpoint.name}" has deployed Models: undeploy first.')

    def _start(self, kind: str, endpoint_id: str, request: Any, metadata: Any) -> Any:
        metadata.generic_metadata.create_time = self._core.clock.now()
        number = self._store.next_id("vertex.operation")
        return self._core.operations.start(
            kind,
            type(request).serialize(request),
            name=f"{self._name(endpoint_id)}/operations/{number}",
            metadata=type(metadata).pb(metadata),
        )


def _deployed(endpoint: Any, deployed_id: str) -> Any:
    for one in endpoint.deployed_models:
        if one.id == deployed_id:
            return one
    raise not_found(f"DeployedModel {deployed_id} does not exist.")
