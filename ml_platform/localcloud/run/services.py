"""Cloud Run: services, the revisions that their templates create, and who may invoke them."""

from __future__ import annotations

import hashlib
import uuid
from typing import Any

import grpc
from google.cloud.run_v2.types import service as service_types
from google.longrunning import operations_pb2

from ..core.core import Core
from ..core.errors import CloudError, not_found
from ..server.rpc.policies import Policies
from . import rules
from .checks import check_service, check_service_id
from .refusals import pages
from .rollout import REVISION, SERVICE, Ending, Rollout
from .rules import Service

_PARENT = "projects/{project}/locations/{location}"
SERVICE_NAME = _PARENT + "/services/{service}"
_LIST_LIMIT = 1000
_Create: Any = service_types.CreateServiceRequest.meta.pb
_Update: Any = service_types.UpdateServiceRequest.meta.pb
_Delete: Any = service_types.DeleteServiceRequest.meta.pb


class CloudRun:
    """google.cloud.run.v2.Services. Names are answered with the project's id."""

    def __init__(self, core: Core) -> None:
        self._core, self._store, self._names = core, core.store, core.names
        self._rollout = Rollout(core)
        self._policies = Policies(core, "run.policy", self._need_named)
        core.operations.on("run.create", self._land_create)
        core.operations.on("run.update", self._land_update)
        core.operations.on("run.delete", self._land_delete)

    def outcome(
        self,
        service: str = "*",
        ending: Ending = "fail",
        *,
        times: int | None = 1,
        message: str = "",
    ) -> None:
        """Order how the next revisions of services matching a glob end.

        fail: the revision never gets ready, traffic stays where it was, the operation ends in an
        error. no_traffic: it gets ready and receives none; if it should not, it is the next update
        of the traffic that changes none. ready: as ever. ValueError for others.
        """
        self._rollout.order(service, ending, times, message)

    def reset(self) -> None:
        """Every revision gets ready again."""
        self._rollout.reset()

    # the API

    def create_service(self, request: Any) -> Any:
        """ALREADY_EXISTS for a name that is taken."""
        pb_request = service_types.CreateServiceRequest.pb(request)
        self._locate(pb_request.parent, _PARENT, "parent")
        self._check_create(pb_request)
        preview = self._preview(pb_request.service, pb_request.service_id)
        return start(self._core, "run.create", pb_request, preview)

    def get_service(self, request: Any) -> Any:
        """NOT_FOUND when no service has that name."""
        return self._need(self._id(request.name))

    def list_services(self, request: Any) -> Any:
        """The services of the location, in pages."""
        self._locate(request.parent, _PARENT, "parent")
        rows = self._store.rows(SERVICE)
        services, token = pages(
            ((seq, Service.FromString(blob)) for seq, _, blob in rows), request, _LIST_LIMIT
        )
        answer: Any = service_types.ListServicesResponse.meta.pb
        return answer(services=services, next_page_token=token)

    def update_service(self, request: Any) -> Any:
        """ABORTED for an old etag; with `allow_missing` a service that is not there is made."""
        pb_request = service_types.UpdateServiceRequest.pb(request)
        service_id = self._id(pb_request.service.name)
        return start(self._core, "run.update", pb_request, self._updated(pb_request, service_id))

    def delete_service(self, request: Any) -> Any:
        """The revisions and the policy go with it."""
        pb_request = service_types.DeleteServiceRequest.pb(request)
        stored = self._need(self._id(pb_request.name))
        rules.check_etag(pb_request.etag, stored.etag)
        return start(self._core, "run.delete", pb_request, stored)

    def get_iam_policy(self, request: Any) -> Any:
        """An empty policy until one is set."""
        return self._policies.get(request.resource)

    def set_iam_policy(self, request: Any) -> Any:
        """ABORTED for an old etag."""
        return self._policies.set(request.resource, request.policy)

    def test_iam_permissions(self, request: Any) -> Any:
        """Those that the caller has."""
        return self._policies.test(request.resource, request.permissions)

    # what the effects do when they land

    def _land_create(self, payload: bytes) -> Any:
        pb_request = _Create.FromString(payload)
        self._check_create(pb_request)
        return self._make(pb_request.service, pb_request.service_id)

    def _land_update(self, payload: bytes) -> Any:
        pb_request = _Update.FromString(payload)
        service_id = self._id(pb_request.service.name)
        fresh = self._updated(pb_request, service_id)
        stored = self._find(service_id)
        if stored is None:
            return self._make(pb_request.service, service_id)
        fresh.generation = stored.generation + 1
        if fresh.template != stored.template:
            return self._rollout.roll(fresh, service_id)
        return self._rollout.reroute(fresh, service_id)

    def _land_delete(self, payload: bytes) -> Any:
        pb_request = _Delete.FromString(payload)
        service_id = self._id(pb_request.name)
        stored = self._need(service_id)
        rules.check_etag(pb_request.etag, stored.etag)
        self._store.delete(SERVICE, service_id)
        for name, _ in list(self._store.list(REVISION, f"{service_id}/")):
            self._store.delete(REVISION, name)
        self._policies.drop(stored.name)
        self._core.effects.record(
            stored.name, labels=dict(stored.labels), detail={"generation": stored.generation}
        )
        stored.delete_time.FromDatetime(self._core.clock.now())
        return stored

    def _make(self, requested: Any, service_id: str) -> Any:
        fresh = self._preview(requested, service_id)
        fresh.uid = str(uuid.uuid4())
        fresh.create_time.FromDatetime(self._core.clock.now())
        fresh.creator = self._rollout.caller
        return self._rollout.roll(fresh, service_id)

    # helpers

    def _locate(self, name: str, pattern: str, field: str = "name") -> dict[str, str]:
        return self._names.locate(name, pattern, field=field, api="run")

    def _id(self, name: str) -> str:
        return self._locate(name, SERVICE_NAME)["service"]

    def _find(self, service_id: str) -> Any:
        blob = self._store.get(SERVICE, service_id)
        return None if blob is None else Service.FromString(blob)

    def _need(self, service_id: str) -> Any:
        found = self._find(service_id)
        if found is None:
            raise not_found(f"Resource '{service_id}' of kind 'SERVICE' was not found.")
        return found

    def _need_named(self, name: str) -> str:
        return str(self._need(self._id(name)).name)

    def _check_create(self, pb_request: Any) -> None:
        check_service_id(pb_request.service_id)
        check_service(pb_request.service, pb_request.service_id, "CreateServiceRequest")
        if self._find(pb_request.service_id) is not None:
            raise CloudError(
                grpc.StatusCode.ALREADY_EXISTS,
                f"Resource '{pb_request.service_id}' already exists.",
            )

    def _preview(self, requested: Any, service_id: str) -> Any:
        """A new service as it would be, before it has revisions."""
        fresh = rules.merge(Service(), requested, ())
        fresh.name = f"{self._names.parent}/services/{service_id}"
        digest = hashlib.sha256(f"{self._names.number}/{service_id}".encode()).hexdigest()[:10]
        host = f"{self._names.location}.run.app"
        fresh.uri = f"https://{service_id}-{digest}.{host}"
        fresh.urls.extend([f"https://{service_id}-{self._names.number}.{host}", fresh.uri])
        fresh.generation = 1
        rules.fill_defaults(fresh, self._rollout.account)
        return fresh

    def _updated(self, pb_request: Any, service_id: str) -> Any:
        """The service as the update would leave it."""
        stored = self._find(service_id)
        if stored is None and pb_request.allow_missing:
            check_service_id(service_id)
            check_service(pb_request.service, service_id, "UpdateServiceRequest")
            return self._preview(pb_request.service, service_id)
        stored = self._need(service_id)
        rules.check_etag(pb_request.service.etag, stored.etag)
        fresh = rules.merge(stored, pb_request.service, pb_request.update_mask.paths)
        check_service(fresh, service_id, "UpdateServiceRequest")
        rules.fill_defaults(fresh, self._rollout.account)
        return fresh


def start(core: Core, kind: str, pb_request: Any, preview: Any) -> Any:
    """The operation of a call; with `validate_only` it is done, and nothing was changed."""
    name = f"{core.names.parent}/operations/{uuid.uuid4()}"
    if pb_request.validate_only:
        done = operations_pb2.Operation(name=name, done=True)
        done.response.Pack(preview)
        done.metadata.Pack(preview)
        return done
    payload = pb_request.SerializeToString()
    return core.operations.start(kind, payload, name=name, metadata=preview)
