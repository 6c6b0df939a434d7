"""What is in the local cloud just now, read from its store: no call, no fault, no stale view."""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from google.cloud.run_v2.types import revision as revision_types
from google.cloud.run_v2.types import service as service_types
from google.cloud.scheduler_v1.types import job as job_types

from ml_platform.cloud.run_messages import ARTIFACT_ENV
from ml_platform.localcloud.run.rollout import REVISION, SERVICE
from ml_platform.localcloud.scheduler.executions import JOB
from ml_platform.localcloud.vertex.models.rules import Model, Parent
from ml_platform.localcloud.vertex.models.store import MODEL, VERSION
from ml_platform.localcloud.vertex.pipelines.runner import JOB as PIPELINE
from ml_platform.models import Installation
from ml_platform.services.ownership.labels import INSTALLATION, OWNER, RUN, owner
from ml_platform.tests.services.installations import MARKER

if TYPE_CHECKING:
    from ml_platform.localcloud import LocalCloud

BUCKET = "demo-artifacts"
_RUN_FOLDER = re.compile(rf"gs://{BUCKET}/runs/(\w{{32}})/")
_ADDRESS = re.compile(r"(?:gs://|/gcs/|https://storage\.googleapis\.com/)([^\s\"',;]+)")
_Service: Any = service_types.Service.meta.pb
_Revision: Any = revision_types.Revision.meta.pb
_Job: Any = job_types.Job.meta.pb


@dataclass(frozen=True, slots=True, kw_only=True)
class Version:
    """One version in the registry."""

    model_id: str
    version: str
    labels: Mapping[str, str] = field(hash=False)
    aliases: tuple[str, ...]
    born: float
    artifact_uri: str
    content: bytes
    """Everything that Vertex AI stores of it."""


def versions(cloud: LocalCloud) -> list[Version]:
    """All versions of all models, in order of their making."""
    parents = {key: Parent.load(blob) for key, blob in cloud.store.list(MODEL)}
    found = []
    for key, blob in cloud.store.list(VERSION):
        name, _, number = key.partition("@")
        model = Model.FromString(blob)
        found.append(
            Version(
                model_id=name.rpartition("/")[2],
                version=number,
                labels=dict(model.labels),
                aliases=tuple(sorted(parents[name].aliases_of(number))),
                born=float(model.version_create_time.seconds),
                artifact_uri=model.artifact_uri,
                content=blob,
            )
        )
    return found


def version(cloud: LocalCloud, model_id: str, number: str) -> Any:
    """One version as it is stored, None without it."""
    name = f"{cloud.core.names.vertex_parent}/models/{model_id}"
    blob = cloud.store.get(VERSION, f"{name}@{number}")
    return None if blob is None else Model.FromString(blob)


def is_ours(labels: Mapping[str, str]) -> bool:
    """Whether labels name this installation: its name, and its uid where they have one."""
    return labels.get(OWNER) == owner() and not is_theirs(labels)


def is_theirs(labels: Mapping[str, str]) -> bool:
    """Whether labels name another installation: by a uid, or by a name if they have no uid."""
    if uid := labels.get(INSTALLATION, ""):
        return uid not in {own.hex for own in Installation.objects.values_list("uid", flat=True)}
    return labels.get(OWNER, "") not in ("", owner())


def marker(cloud: LocalCloud) -> dict[str, str]:
    """What the marker object says, nothing without one."""
    return dict(json.loads(cloud.storage.read(BUCKET, MARKER) or b"{}"))


def services(cloud: LocalCloud) -> dict[str, Any]:
    """Cloud Run's services by id."""
    return {key: _Service.FromString(blob) for key, blob in cloud.store.list(SERVICE)}


def served_by(cloud: LocalCloud, key: str) -> set[str]:
    """The runs whose revisions get a service's traffic, as their files or else their labels say."""
    service = services(cloud)[key]
    latest = service.latest_ready_revision
    names = {(t.revision or latest).rpartition("/")[2] for t in service.traffic_statuses}
    blobs = [cloud.store.get(REVISION, f"{key}/{name}") for name in names]
    return {_run_of(_Revision.FromString(blob)) for blob in blobs if blob}


def _run_of(revision: Any) -> str:
    """The run in whose folder its files are; people who change them keep the labels. Files of an
    adopted version are in no run's folder."""
    found = _RUN_FOLDER.match(env_of(revision).get(ARTIFACT_ENV, ""))
    return found[1] if found else revision.labels.get(RUN, "")


def addresses_served_by(cloud: LocalCloud, key: str) -> set[str]:
    """The addresses of the models that the revisions read which requests to a service reach."""
    service = services(cloud)[key]
    names = {t.revision.rpartition("/")[2] for t in service.traffic_statuses}
    blobs = [cloud.store.get(REVISION, f"{key}/{name}") for name in names]
    revisions = [_Revision.FromString(blob) for blob in blobs if blob]
    return {
        each.value.rstrip("/")
        for revision in revisions
        for each in revision.containers[0].env
        if each.name == ARTIFACT_ENV
    }


def pointers(cloud: LocalCloud) -> list[tuple[str, str]]:
    """What points at files: (who, bucket/path) of every version, and of every revision of a service
    that is the newest or that requests or tags reach."""
    found = [
        (f"{v.model_id}@{v.version}", path)
        for v in versions(cloud)
        for path in _paths(v.artifact_uri)
    ]
    for key, service in services(cloud).items():
        reached = {target.revision.rpartition("/")[2] for target in service.traffic_statuses}
        blobs = [cloud.store.get(REVISION, f"{key}/{name}") for name in reached if name]
        for one in [service.template, *(_Revision.FromString(blob) for blob in blobs if blob)]:
            found += [(key, path) for text in _texts(one) for path in _paths(text)]
    return found


def _texts(template: Any) -> Iterator[str]:
    for container in template.containers:
        yield from (env.value for env in container.env)
        yield from (*container.args, *container.command)
    yield from template.annotations.values()
    yield from (f"gs://{volume.gcs.bucket}" for volume in template.volumes if volume.gcs.bucket)


def _paths(text: str) -> list[str]:
    """bucket/path of each address in a text, however it is written."""
    return [found.rstrip("/") for found in _ADDRESS.findall(text)]


def users_of(name: str, found: list[tuple[str, str]]) -> list[str]:
    """Who, of these pointers, uses an object of the bucket, or of a folder that ends with a slash:
    who points at it, above it, or at something in the same folder of a run."""
    folder = f"{BUCKET}/{'/'.join(name.split('/')[:2])}/"
    used = f"{BUCKET}/{name}"
    return [
        who
        for who, path in found
        if f"{path}/".startswith(folder) or f"{used}/".startswith(f"{path}/")
    ]


def content_of(cloud: LocalCloud, key: str) -> bytes | None:
    """What people made of a resource: `model ID@VERSION`, `service ID` or `object NAME`; None if it
    is not there."""
    kind, _, name = key.partition(" ")
    if kind == "model":
        return cloud.store.get(VERSION, f"{cloud.core.names.vertex_parent}/models/{name}")
    if kind == "object":
        found = cloud.storage.tables.get(BUCKET, name)
        return None if found is None else str(found.generation).encode()
    blob = cloud.store.get(SERVICE, name)
    if blob is None:
        return None
    service = _Service.FromString(blob)
    kept = _Service(
        labels=service.labels,
        annotations=service.annotations,
        template=service.template,
        traffic=service.traffic,
        ingress=service.ingress,
        description=service.description,
    )
    return bytes(kept.SerializeToString(deterministic=True))


def set_by_people(service: Any) -> dict[str, str]:
    """The fields of a service that are people's, by the word for each."""
    return {
        "variable": env_of(service).get("TEAM_FLAG", ""),
        "description": service.description,
        "label": service.labels.get("team", ""),
        "annotation": service.annotations.get("example.com/team", ""),
    }


def digest_of(cloud: LocalCloud, folder: str) -> str:
    """The digest of the files in gs://bucket/folder/, by their bytes, as the page on manifests
    defines it: names, sizes and checksums in the order of the names."""
    prefix = folder.removeprefix(f"gs://{BUCKET}/").rstrip("/") + "/"
    total = hashlib.sha256()
    for item in cloud.storage.tables.each(BUCKET, prefix):
        line = [item.name.removeprefix(prefix), item.size, item.crc32c]
        total.update(json.dumps(line).encode() + b"\n")
    return total.hexdigest()[:40]


def revisions(cloud: LocalCloud, key: str) -> list[str]:
    """The ready revisions of a service, oldest first."""
    made = [_Revision.FromString(blob) for _, blob in cloud.store.list(REVISION, f"{key}/")]
    ready = [r for r in made if r.conditions and not r.conditions[0].message]
    return sorted(r.name.rpartition("/")[2] for r in ready)


def env_of(service: Any) -> dict[str, str]:
    """What a service's newest template, or a revision, tells its container."""
    made = getattr(service, "template", service)
    return {env.name: env.value for env in made.containers[0].env}


def jobs(cloud: LocalCloud) -> dict[str, Any]:
    """Cloud Scheduler's jobs by id."""
    return {key: _Job.FromString(blob) for key, blob in cloud.store.list(JOB)}


def pipelines(cloud: LocalCloud) -> list[str]:
    """Ids of the pipeline jobs."""
    return [key for key, _ in cloud.store.list(PIPELINE)]


def objects(cloud: LocalCloud, prefix: str = "") -> Iterator[tuple[str, int]]:
    """(name, generation) of the objects below a prefix."""
    for item in cloud.storage.tables.each(BUCKET, prefix):
        yield item.name, item.generation
