"""Vertex AI EndpointService: enough of it that a model can be seen deployed, and refuses to go."""

from __future__ import annotations

from functools import partial
from typing import Any

from google.cloud.aiplatform_v1.types import endpoint as gca_endpoint
from google.cloud.aiplatform_v1.types import endpoint_service as wire_types
from google.cloud.aiplatform_v1.types.operation import DeleteOperationMetadata
from google.protobuf import empty_pb2

from ..core.core import Core
from ..core.errors import not_found, precondition
from ..core.filters import compile_filter
from ..core.pages import page, start_of
from .model_rules import DEFAULT, check_display_name, check_labels
from .model_store import DEPLOYMENT, Registry

ENDPOINT = "endpoint"
_NAME = "projects/{project}/locations/{location}/endpoints/{endpoint}"
_PARENT = "projects/{project}/locations/{location}"
_Endpoint: Any = gca_endpoint.Endpoint.meta.pb
_FIELDS = ("endpoint", "display_name", "labels")


class EndpointService:
    """Endpoints and the models deployed to them, without predictions."""

    def __init__(self, core: Core) -> None:
        self._core, self._store, self._registry = core, core.store, Registry(core)
        for kind, land in (
            ("endpoint.create", self._land_create),
            ("endpoint.delete", self._land_delete),
            ("endpoint.deploy", self._land_deploy),
            ("endpoint.undeploy", self._land_undeploy),
        ):
            core.operations.on(kind, land)

    def create_endpoint(self, request: Any) -> Any:
        """A new endpoint, with the requested id or a numeric one."""
        self._core.names.locate(request.parent, _PARENT, field="parent")
        check_display_name(request.endpoint.display_name)
        check_labels(request.endpoint.labels, "endpoint.labels")
        if not request.endpoint_id:
            request.endpoint_id = str(10**18 + self._store.next_id(ENDPOINT))
        metadata = wire_types.CreateEndpointOperationMetadata()
        return self._start("endpoint.create", request.endpoint_id, request, metadata)

    def get_endpoint(self, request: Any) -> Any:
        """NOT_FOUND without it."""
        return self._need(self._id(request.name))

    def list_endpoints(self, request: Any) -> Any:
        """In the order of their creation."""
        self._core.names.locate(request.parent, _PARENT, field="parent")
        keep = compile_filter(request.filter, _FIELDS)
        rows = (
            (seq, _Endpoint.FromString(blob))
            for seq, _, blob in self._store.rows(ENDPOINT, after=start_of(request))
        )
        kept = ((n, e) for n, e in rows if keep(partial(_field, e)))
        found, token = page(kept, request)
        response = wire_types.ListEndpointsResponse.meta.pb(next_page_token=token)
        response.endpoints.extend(found)
        return response

    def delete_endpoint(self, request: Any) -> Any:
        """Refused while a model is deployed to it."""
        endpoint_id = self._id(request.name)
        self._refuse_in_use(self._need(endpoint_id))
        return self._start("endpoint.delete", endpoint_id, request, DeleteOperationMetadata())

    def deploy_model(self, request: Any) -> Any:
        """From now on the model version cannot be deleted."""
        endpoint_id = self._id(request.endpoint, "endpoint")
        self._need(endpoint_id)
        model_id, wanted = self._registry.split(request.deployed_model.model, "model")
        parent = self._registry.need(model_id)
        version = self._registry.version(model_id, parent, wanted or DEFAULT)
        deployed = request.deployed_model
        deployed.id = deployed.id or str(10**15 + self._store.next_id(DEPLOYMENT))
        deployed.model = self._registry.name_of(model_id)
        deployed.model_version_id = version.version_id
        # "Deployed or being deployed": the version is in use from the call on.
        self._store.put(DEPLOYMENT, self._hold(deployed), self._name(endpoint_id).encode())
        metadata = wire_types.DeployModelOperationMetadata()
        return self._start("endpoint.deploy", endpoint_id, request, metadata)

    def undeploy_model(self, request: Any) -> Any:
        """NOT_FOUND when no model is deployed under that id."""
        endpoint_id = self._id(request.endpoint, "endpoint")
        held = {one.id for one in self._need(endpoint_id).deployed_models}
        if request.deployed_model_id not in held:
            raise not_found(f"DeployedModel {request.deployed_model_id} does not exist.")
        metadata = wire_types.UndeployModelOperationMetadata()
        return self._start("endpoint.undeploy", endpoint_id, request, metadata)

    def _land_create(self, payload: bytes) -> Any:
        request = wire_types.CreateEndpointRequest.meta.pb.FromString(payload)
        endpoint, now = request.endpoint, self._core.clock.now()
        endpoint.name = self._name(request.endpoint_id)
        endpoint.create_time.FromDatetime(now)
        endpoint.update_time.FromDatetime(now)
        self._save(endpoint)
        return _Endpoint(name=endpoint.name)

    def _land_delete(self, payload: bytes) -> Any:
        endpoint = self._need(self._id(wire_types.DeleteEndpointRequest.deserialize(payload).name))
        self._refuse_in_use(endpoint)
        self._store.delete(ENDPOINT, self._id(endpoint.name))
        self._core.effects.record(endpoint.name, labels=dict(endpoint.labels))
        return empty_pb2.Empty()

    def _land_deploy(self, payload: bytes) -> Any:
        request = wire_types.DeployModelRequest.meta.pb.FromString(payload)
        endpoint = self._need(self._id(request.endpoint))
        request.deployed_model.create_time.FromDatetime(self._core.clock.now())
        endpoint.deployed_models.append(request.deployed_model)
        for deployed_id, share in request.traffic_split.items():
            key = request.deployed_model.id if deployed_id == "0" else deployed_id
            endpoint.traffic_split[key] = share
        self._save(endpoint)
        return wire_types.DeployModelResponse.meta.pb(deployed_model=request.deployed_model)

    def _land_undeploy(self, payload: bytes) -> Any:
        request = wire_types.UndeployModelRequest.deserialize(payload)
        endpoint = self._need(self._id(request.endpoint))
        for deployed in [d for d in endpoint.deployed_models if d.id == request.deployed_model_id]:
            endpoint.deployed_models.remove(deployed)
            self._store.delete(DEPLOYMENT, self._hold(deployed))
        endpoint.traffic_split.pop(request.deployed_model_id, None)
        self._save(endpoint)
        return wire_types.UndeployModelResponse.meta.pb()

    def _hold(self, deployed: Any) -> str:
        model_id, _ = self._registry.split(deployed.model)
        return f"{model_id}@{deployed.model_version_id}/{deployed.id}"

    def _save(self, endpoint: Any) -> None:
        endpoint.update_time.FromDatetime(self._core.clock.now())
        self._store.put(ENDPOINT, self._id(endpoint.name), endpoint.SerializeToString())
        self._core.effects.record(endpoint.name, labels=dict(endpoint.labels))

    def _name(self, endpoint_id: str) -> str:
        return f"{self._core.names.vertex_parent}/endpoints/{endpoint_id}"

    def _id(self, name: str, field: str = "name") -> str:
        return self._core.names.locate(name, _NAME, field=field)["endpoint"]

    def _need(self, endpoint_id: str) -> Any:
        blob = self._store.get(ENDPOINT, endpoint_id)
        if blob is None:
            raise not_found("The Endpoint does not exist.")
        return _Endpoint.FromString(blob)

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


def _field(endpoint: Any, field: str) -> Any:
    if field == "labels":
        return dict(endpoint.labels)
    return endpoint.display_name if field == "display_name" else endpoint.name.rpartition("/")[2]
