"""Cloud Run: the services that serve models, and who may call them."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping, Sequence
from typing import Any

from ml_platform.errors import CloudUnavailable

from .names import OperationName, ServiceName
from .raw import clean
from .run_messages import (
    artifact_uri,
    new_service,
    read_service,
    read_texts,
    write_spec,
    write_targets,
)
from .transport import channels, operations
from .transport.codes import Unreadable
from .types import RemoteOperation, RemoteRevision, RemoteService, ServiceSpec, TrafficTarget

INVOKER = "roles/run.invoker"


def get_service(service_id: str) -> RemoteService:
    """Return the current state of the service.

    :raises CloudAbsent: Cloud Run answered NOT_FOUND for exactly that name.
    """
    request = {"name": str(_name(service_id))}
    return channels.rpc("Services.GetService", request, read_service)


def list_services(*, page_size: int = 100) -> Iterator[tuple[RemoteService, ...]]:
    """Yield the services of the location page by page.

    :raises CloudUnavailable: a page could not be read, or lacks a region (`unreachable` in
        google/cloud/run_v2/types/service.py), so that a service missing in it may exist.
    """
    request = {"parent": channels.location_path(), "page_size": page_size}
    return channels.rpc_pages("Services.ListServices", request, _read_services)


def get_revision(service_id: str, revision: str) -> RemoteRevision:
    """Return one revision: the service as it was when the revision was created.

    :raises CloudAbsent: Cloud Run answered NOT_FOUND for exactly that revision.
    """
    request = {"name": f"{_name(service_id)}/revisions/{revision}"}
    return channels.rpc("Revisions.GetRevision", request, _read_revision)


def create_service(service_id: str, spec: ServiceSpec) -> RemoteOperation:
    """Start the creation of a service.

    :raises CloudExists: a service of that name exists.
    """
    request = {
        "parent": channels.location_path(),
        "service_id": service_id,
        "service": new_service(spec),
    }
    return operations.start("Services.CreateService", request)


def update_service(
    service: RemoteService,
    spec: ServiceSpec,
    *,
    before: ServiceSpec,
    traffic: Sequence[TrafficTarget] = (),
) -> RemoteOperation:
    """Start an update of our fields, if the service still is as it was read; it gets a revision.

    The message that was read is changed as `write_spec` does with `before`, and written back with
    its etag, so that what others set stays. Without `traffic` the new revision gets the share of
    the newest one as soon as it is ready.

    :raises CloudConflict: the service has changed since.
    :raises CloudAbsent: the service does not exist; it is not created.
    """
    message = _copy_of(service)
    write_spec(message, spec, before=before)
    if traffic:
        write_targets(message, traffic)
    return operations.start("Services.UpdateService", {"service": message})


def route_service(service: RemoteService, traffic: Sequence[TrafficTarget]) -> RemoteOperation:
    """Start to send the traffic there, if the service still is as it was read.

    :raises CloudConflict: the service has changed since.
    :raises CloudAbsent: the service does not exist; it is not created.
    """
    message = _copy_of(service)
    write_targets(message, traffic)
    return operations.start("Services.UpdateService", {"service": message})


def relabel_service(service: RemoteService, labels: Mapping[str, str]) -> RemoteOperation:
    """Start to set these labels of the service itself, if it still is as it was read.

    Its other labels, its template and its traffic stay, so that it gets no revision.

    :raises CloudConflict: the service has changed since.
    :raises CloudAbsent: the service does not exist; it is not created.
    """
    message = _copy_of(service)
    message.labels.update(labels)
    return operations.start("Services.UpdateService", {"service": message})


def delete_service(service_id: str, *, etag: str) -> RemoteOperation:
    """Start the deletion of the service, if it still has that `etag`.

    :raises CloudConflict: the service has changed since.
    """
    return operations.start(
        "Services.DeleteService", {"name": str(_name(service_id)), "etag": etag}
    )


def get_operation(name: OperationName) -> RemoteOperation:
    """Return the state of a long-running operation of Cloud Run.

    :raises CloudAbsent: Cloud Run no longer keeps it; its outcome is unknown.
    """
    return operations.get_operation(name, method="Services.UpdateService")


def get_invokers(service_id: str) -> tuple[str, ...]:
    """Return who may call the service by an unconditional grant of the service itself.

    :raises CloudAbsent: the service does not exist.
    """
    policy = _get_policy(str(_name(service_id)))
    return tuple(sorted(map(clean, _invokers_of(policy))))


def change_invokers(
    service_id: str, *, add: Collection[str], remove: Collection[str] = ()
) -> tuple[str, ...]:
    """Allow `add` to call the service, and no longer those of `remove`; returns who may then.

    A member in both may call it. The policy is read once and written once with the etag of that
    read, so that no other grant is lost. Nothing is written if nothing changes.

    :raises CloudConflict: the policy was changed in between; read it again.
    """
    resource = str(_name(service_id))
    policy = _get_policy(resource)
    for binding in policy.bindings:
        # A written policy must not name deleted accounts:
        # https://github.com/hashicorp/terraform-provider-google/issues/5151
        binding.members[:] = [one for one in binding.members if not one.startswith("deleted:")]
    held = _invokers_of(policy)
    wanted = held - set(remove) | set(add)
    if wanted != held:
        kept = [one for one in policy.bindings if one.members and not _is_invoker(one)]
        del policy.bindings[:]
        policy.bindings.extend(kept)
        if wanted:
            policy.bindings.add(role=INVOKER, members=sorted(wanted))
        channels.rpc("Services.SetIamPolicy", {"resource": resource, "policy": policy})
    return tuple(sorted(map(clean, wanted)))


def _name(service_id: str) -> ServiceName:
    return ServiceName.parse(f"{channels.location_path()}/services/{service_id}")


def _copy_of(service: RemoteService) -> Any:
    """Its message, to change and to write back with its etag."""
    message = type(service.message)()
    message.CopyFrom(service.message)
    message.name = str(_name(service.service_id))
    return message


def _get_policy(resource: str) -> Any:
    # Version 3 is the one that shows conditions: https://cloud.google.com/iam/docs/policies#versions
    options = {"requested_policy_version": 3}
    request = {"resource": resource, "options": options}
    return channels.rpc("Services.GetIamPolicy", request, _read_policy)


def _invokers_of(policy: Any) -> set[str]:
    return {member for b in policy.bindings if _is_invoker(b) for member in b.members}


def _is_invoker(binding: Any) -> bool:
    return bool(binding.role == INVOKER and not binding.HasField("condition"))


def _read_policy(raw: Any) -> Any:
    """Every policy has an etag. What has none is not one, and would be written over all grants."""
    if not raw.etag:
        raise Unreadable("the policy has no etag")
    return raw


def _read_revision(raw: Any) -> RemoteRevision:
    if not raw.name:
        raise Unreadable("the revision has no name")
    return RemoteRevision(
        labels=dict(raw.labels), texts=read_texts(raw), artifact_uri=artifact_uri(raw)
    )


def _read_services(page: Any) -> tuple[RemoteService, ...]:
    if page.unreachable:
        raise CloudUnavailable(
            f"Cloud Run listed its services without {', '.join(page.unreachable)}.",
            code="incomplete_listing",
        )
    return tuple(map(read_service, page.services))
