"""Cloud Run's messages: our fields are written into a service, and what it has is read.

A service has more than we set: networks, keys, secrets, volumes, other containers, tags, labels.
All of that stays, because UpdateService replaces what its message leaves out
(`update_mask` in google/cloud/run_v2/types/service.py): so we change the message that we read.
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import timedelta
from typing import Any

from .names import ServiceName
from .raw import enum_name, read_time
from .types import Ingress, RemoteService, ServiceSpec, TrafficShare, TrafficTarget

ARTIFACT_ENV = "AIP_STORAGE_URI"
"""Gives a container made for Vertex AI the path of its model, with the other AIP_ variables:
https://cloud.google.com/vertex-ai/docs/predictions/custom-container-requirements#aip-variables"""

_INGRESS = {
    Ingress.ALL: "INGRESS_TRAFFIC_ALL",
    Ingress.INTERNAL: "INGRESS_TRAFFIC_INTERNAL_ONLY",
    Ingress.INTERNAL_AND_LOAD_BALANCER: "INGRESS_TRAFFIC_INTERNAL_LOAD_BALANCER",
}
_INGRESS_READ = {name: ours for ours, name in _INGRESS.items()}
_LATEST = "TRAFFIC_TARGET_ALLOCATION_TYPE_LATEST"
_BY_NAME = "TRAFFIC_TARGET_ALLOCATION_TYPE_REVISION"
_READY = {"CONDITION_SUCCEEDED": True, "CONDITION_FAILED": False}


# ---- write -------------------------------------------------------------------------------------


def new_service(spec: ServiceSpec) -> Any:
    """A message of a service that does not exist yet."""
    from google.cloud.run_v2.types.service import Service

    service = Service.pb(Service())
    # Without `cpu_idle` the CPU is billed between requests too, which Cloud Run refuses below one
    # CPU (google/cloud/run_v2/types/k8s_min.py).
    container = service.template.containers.add(resources={"cpu_idle": True})
    container.ports.add(container_port=spec.port)
    write_spec(service, spec, before=spec)
    return service


def write_spec(service: Any, spec: ServiceSpec, *, before: ServiceSpec) -> None:
    """Set our fields of the message `service`; `before` is what we set in it last.

    Variables that only `before` has are removed. An ingress or service account that `spec` leaves
    open (ALL, '') is removed if it is that of `before`, and otherwise stays.
    """
    template = service.template
    template.revision = ""  # a name is given once; Cloud Run makes the next one
    for labels in (service.labels, template.labels):
        labels.update(spec.labels)
    if spec.ingress is not Ingress.ALL or _ingress(service) in (before.ingress, Ingress.UNKNOWN):
        number = service.DESCRIPTOR.fields_by_name["ingress"].enum_type.values_by_name
        service.ingress = number[_INGRESS[spec.ingress]].number
    if spec.service_account or template.service_account == before.service_account:
        template.service_account = spec.service_account
    template.scaling.min_instance_count = spec.min_instances
    template.scaling.max_instance_count = spec.max_instances
    template.timeout.FromTimedelta(timedelta(seconds=spec.timeout_seconds))
    template.max_instance_request_concurrency = spec.concurrency
    container = main_container(template) or template.containers.add()
    container.image = spec.image
    if spec.args:
        container.args[:] = spec.args
    container.resources.limits.update({"cpu": spec.cpu, "memory": spec.memory})
    for port in container.ports:
        port.container_port = spec.port
    _write_env(container, spec, before)
    _route(service)


def main_container(template: Any) -> Any:
    """The container that serves the model, among those of others; None if there is none."""
    containers = template.containers
    with_model = [c for c in containers if any(e.name == ARTIFACT_ENV for e in c.env)]
    exposed = [c for c in containers if c.ports]
    return next(iter([*with_model, *exposed, *containers]), None)


def _write_env(container: Any, spec: ServiceSpec, before: ServiceSpec) -> None:
    there = {variable.name: variable for variable in container.env}
    for name, value in spec.env.items():
        (there.get(name) or container.env.add(name=name)).value = value
    gone = before.env.keys() - spec.env.keys()
    kept = [variable for variable in container.env if variable.name not in gone]
    if gone:
        del container.env[:]
        container.env.extend(kept)


def _route(service: Any) -> None:
    """Let the next revision have what the newest ready one has by its name or as the latest.

    Other shares and all tags stay, and so does traffic that goes to other revisions only.
    """
    if not service.traffic:
        service.traffic.add(type_=_LATEST, percent=100)
    if _percent_of_latest(service):
        return
    pinned = _pinned_to_newest(service)
    if share := sum(target.percent for target in pinned):
        for target in pinned:
            target.percent = 0
        kept = [target for target in service.traffic if target.percent or target.tag]
        del service.traffic[:]
        service.traffic.add(type_=_LATEST, percent=share)
        service.traffic.extend(kept)


def next_targets(service: RemoteService) -> tuple[TrafficTarget, ...]:
    """The traffic that an update asks for: the next revision gets the share of the newest one."""
    message = type(service.message)()
    message.CopyFrom(service.message)
    _route(message)
    return read_targets(message)


def read_targets(service: Any) -> tuple[TrafficTarget, ...]:
    """The traffic that was asked for."""
    return tuple(
        TrafficTarget(revision=_last(t.revision), percent=t.percent, tag=t.tag)
        for t in service.traffic
    )


def write_targets(service: Any, targets: Sequence[TrafficTarget]) -> None:
    """Ask for this traffic in place of what the message `service` has."""
    del service.traffic[:]
    for target in targets:
        service.traffic.add(
            type_=_BY_NAME if target.revision else _LATEST,
            revision=target.revision,
            percent=target.percent,
            tag=target.tag,
        )


def _percent_of_latest(service: Any) -> int:
    return sum(t.percent for t in service.traffic if enum_name(t, "type_") == _LATEST)


def _pinned_to_newest(service: Any) -> list[Any]:
    newest = _last(service.latest_ready_revision)
    return [target for target in service.traffic if newest and target.revision == newest]


# ---- read --------------------------------------------------------------------------------------


def read_service(raw: Any) -> RemoteService:
    """A service as Cloud Run shows it."""
    condition = raw.terminal_condition
    settled = not raw.reconciling and raw.generation == raw.observed_generation
    ready = _READY.get(enum_name(condition, "state")) if settled else None
    found = _read_spec(raw)
    pinned = sum(target.percent for target in _pinned_to_newest(raw))
    return RemoteService(
        name=ServiceName.parse(raw.name),
        uri=raw.uri,
        etag=raw.etag,
        labels=dict(raw.labels),
        image=found.image,
        env=found.env,
        spec=found,
        texts=read_texts(raw.template),
        ready=ready,
        reason="" if ready else condition.message,
        latest_ready_revision=_last(raw.latest_ready_revision),
        latest_created_revision=_last(raw.latest_created_revision),
        traffic=tuple(
            TrafficShare(revision=_last(t.revision), percent=t.percent, tag=t.tag, url=t.uri)
            for t in raw.traffic_statuses
        ),
        targets=read_targets(raw),
        create_time=read_time(raw, "create_time"),
        percent_of_newest=(_percent_of_latest(raw) or pinned) if raw.traffic else 100,
        changed_by=raw.last_modifier,
        changed_at=read_time(raw, "update_time"),
        message=raw,
    )


def _read_spec(raw: Any) -> ServiceSpec:
    """What the service has in the fields that are ours."""
    template = raw.template
    container = main_container(template)
    limits = container.resources.limits if container else {}
    return ServiceSpec(
        image=container.image if container else "",
        labels=dict(raw.labels),
        env={e.name: e.value for e in container.env} if container else {},
        secrets=_from_secrets(container),
        port=next((p.container_port for p in container.ports), 0) if container else 0,
        cpu=limits.get("cpu", ""),
        memory=limits.get("memory", ""),
        min_instances=template.scaling.min_instance_count,
        max_instances=template.scaling.max_instance_count,
        concurrency=template.max_instance_request_concurrency,
        timeout_seconds=template.timeout.seconds,
        ingress=_ingress(raw),
        service_account=template.service_account,
    )


def _from_secrets(container: Any) -> tuple[str, ...]:
    variables = container.env if container else ()
    return tuple(e.name for e in variables if e.HasField("value_source"))


def _ingress(raw: Any) -> Ingress:
    return _INGRESS_READ.get(enum_name(raw, "ingress"), Ingress.UNKNOWN)


def artifact_uri(raw: Any) -> str:
    """The address of the model that a revision reads, '' for none."""
    container = main_container(raw)
    env = container.env if container else ()
    return next((each.value for each in env if each.name == ARTIFACT_ENV), "")


def read_texts(raw: Any) -> tuple[str, ...]:
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
