"""Cloud Run: the services that serve models, and who may call them."""

from __future__ import annotations

from collections.abc import Collection, Iterator
from datetime import timedelta
from typing import Any

from ml_platform.errors import CloudUnavailable

from .names import OperationName, ServiceName
from .raw import clean, enum_name
from .transport import channels, operations
from .transport.codes import Unreadable
from .types import (
    Ingress,
    RemoteOperation,
    RemoteRevision,
    RemoteService,
    ServiceSpec,
    TrafficShare,
)

INVOKER = "roles/run.invoker"

_INGRESS = {
    Ingress.ALL: "INGRESS_TRAFFIC_ALL",
    Ingress.INTERNAL: "INGRESS_TRAFFIC_INTERNAL_ONLY",
    Ingress.INTERNAL_AND_LOAD_BALANCER: "INGRESS_TRAFFIC_INTERNAL_LOAD_BALANCER",
}
_READY = {"CONDITION_SUCCEEDED": True, "CONDITION_FAILED": False}


def get_service(service_id: str) -> RemoteService:
    """Return the current state of the service.

    :raises CloudAbsent: Cloud Run answered NOT_FOUND for exactly that name.
    """
    request = {"name": str(_name(service_id))}
    return channels.rpc("Services.GetService", request, _read_service)


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
        "service": _service(spec),
    }
    return operations.start("Services.CreateService", request)


def update_service(service_id: str, spec: ServiceSpec, *, etag: str) -> RemoteOperation:
    """Start an update of the service, if it still has that `etag`; this creates a revision.

    :raises CloudConflict: the service has changed since.
    :raises CloudAbsent: the service does not exist; it is not created.
    """
    service = {**_service(spec), "name": str(_name(service_id)), "etag": etag}
    return operations.start("Services.UpdateService", {"service": service})


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


def change_invokers(
    service_id: str, *, add: Collection[str], remove: Collection[str] = ()
) -> tuple[str, ...]:
    """Allow `add` to call the service, and no longer those of `remove`; returns who may then.

    A member in both may call it. The policy is read once and written once with the etag of that
    read, so that no other grant is lost. Nothing is written if nothing changes.

    :raises CloudConflict: the policy was changed in between; read it again.
    """
    resource = str(_name(service_id))
    # Version 3 is the one that shows conditions: https://cloud.google.com/iam/docs/policies#versions
    options = {"requested_policy_version": 3}
    request = {"resource": resource, "options": options}
    policy = channels.rpc("Services.GetIamPolicy", request, _read_policy)
    for binding in policy.bindings:
        # A written policy must not name deleted accounts:
        # https://github.com/hashicorp/terraform-provider-google/issues/5151
        binding.members[:] = [one for one in binding.members if not one.startswith("deleted:")]
    held = {member for b in policy.bindings if _is_invoker(b) for member in b.members}
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


def _is_invoker(binding: Any) -> bool:
    return bool(binding.role == INVOKER and not binding.HasField("condition"))


def _service(spec: ServiceSpec) -> dict[str, Any]:
    labels = dict(spec.labels)
    return {
        "labels": labels,
        "ingress": _INGRESS[spec.ingress],
        "template": {
            "labels": labels,
            "scaling": {
                "min_instance_count": spec.min_instances,
                "max_instance_count": spec.max_instances,
            },
            "timeout": timedelta(seconds=spec.timeout_seconds),
            "service_account": spec.service_account,
            "max_instance_request_concurrency": spec.concurrency,
            "containers": [
                {
                    "image": spec.image,
                    "args": list(spec.args),
                    "env": [{"name": k, "value": v} for k, v in spec.env.items()],
                    # Without `cpu_idle` the CPU is billed between requests too, which Cloud Run
                    # refuses below one CPU (google/cloud/run_v2/types/k8s_min.py).
                    "resources": {
                        "limits": {"cpu": spec.cpu, "memory": spec.memory},
                        "cpu_idle": True,
                    },
                    "ports": [{"container_port": spec.port}],
                }
            ],
        },
        "traffic": [{"type_": "TRAFFIC_TARGET_ALLOCATION_TYPE_LATEST", "percent": 100}],
    }


def _read_policy(raw: Any) -> Any:
    """Every policy has an etag. What has none is not one, and would be written over all grants."""
    if not raw.etag:
        raise Unreadable("the policy has no etag")
    return raw


def _read_revision(raw: Any) -> RemoteRevision:
    if not raw.name:
        raise Unreadable("the revision has no name")
    return RemoteRevision(labels=dict(raw.labels), texts=_texts(raw))


def _read_services(page: Any) -> tuple[RemoteService, ...]:
    if page.unreachable:
        raise CloudUnavailable(
            f"Cloud Run listed its services without {', '.join(page.unreachable)}.",
            code="incomplete_listing",
        )
    return tuple(map(_read_service, page.services))


def _read_service(raw: Any) -> RemoteService:
    condition = raw.terminal_condition
    settled = not raw.reconciling and raw.generation == raw.observed_generation
    ready = _READY.get(enum_name(condition, "state")) if settled else None
    container = raw.template.containers[0] if raw.template.containers else None
    return RemoteService(
        name=ServiceName.parse(raw.name),
        uri=raw.uri,
        etag=raw.etag,
        labels=dict(raw.labels),
        image=container.image if container else "",
        env={e.name: e.value for e in container.env} if container else {},
        texts=_texts(raw.template),
        ready=ready,
        reason="" if ready else condition.message,
        latest_ready_revision=_last(raw.latest_ready_revision),
        latest_created_revision=_last(raw.latest_created_revision),
        traffic=tuple(
            TrafficShare(revision=_last(t.revision), percent=t.percent)
            for t in raw.traffic_statuses
        ),
    )


def _texts(raw: Any) -> tuple[str, ...]:
    """All texts that a template or revision passes to its containers; buckets as gs:// URIs."""
    texts = [*raw.annotations.values(), *(_mounted(v.gcs) for v in raw.volumes if v.gcs.bucket)]
    for container in raw.containers:
        texts += [*container.command, *container.args, *(e.value for e in container.env)]
    return tuple(text for text in texts if text)


def _mounted(volume: Any) -> str:
    """The URI of a mounted bucket, or of the folder of it that is mounted:
    https://cloud.google.com/run/docs/configuring/services/cloud-storage-volume-mounts"""
    only = [o[len("only-dir") + 1 :] for o in volume.mount_options if o.startswith("only-dir")]
    return f"gs://{volume.bucket}/{(only or [''])[-1].strip('/')}"


def _last(revision: str) -> str:
    return revision.rpartition("/")[2]
