"""What is in the local cloud just now, read from its store: no call, no fault, no stale view."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from google.cloud.run_v2.types import revision as revision_types
from google.cloud.run_v2.types import service as service_types
from google.cloud.scheduler_v1.types import job as job_types

from ml_platform.localcloud.run.rollout import REVISION, SERVICE
from ml_platform.localcloud.scheduler.executions import JOB
from ml_platform.localcloud.vertex.models.rules import Model, Parent
from ml_platform.localcloud.vertex.models.store import MODEL, VERSION
from ml_platform.localcloud.vertex.pipelines.runner import JOB as PIPELINE
from ml_platform.services.registry.labels import RUN

if TYPE_CHECKING:
    from ml_platform.localcloud import LocalCloud

BUCKET = "demo-artifacts"
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


def services(cloud: LocalCloud) -> dict[str, Any]:
    """Cloud Run's services by id."""
    return {key: _Service.FromString(blob) for key, blob in cloud.store.list(SERVICE)}


def served_by(cloud: LocalCloud, key: str) -> set[str]:
    """The runs whose revisions get a service's traffic, as the revisions' labels name them."""
    service = services(cloud)[key]
    latest = service.latest_ready_revision
    names = {(t.revision or latest).rpartition("/")[2] for t in service.traffic_statuses}
    blobs = [cloud.store.get(REVISION, f"{key}/{name}") for name in names]
    return {_Revision.FromString(blob).labels.get(RUN, "") for blob in blobs if blob}


def users_of(cloud: LocalCloud, prefix: str) -> list[str]:
    """The versions and services that point into a folder of the bucket."""
    root = f"gs://{BUCKET}/{prefix.rstrip('/')}/"
    told = [(f"{v.model_id}@{v.version}", v.artifact_uri) for v in versions(cloud)]
    for key, service in services(cloud).items():
        told += [(key, text) for text in env_of(service).values()]
    return [who for who, text in told if f"{text}/".startswith(root)]


def revisions(cloud: LocalCloud, key: str) -> list[str]:
    """The ready revisions of a service, oldest first."""
    made = [_Revision.FromString(blob) for _, blob in cloud.store.list(REVISION, f"{key}/")]
    ready = [r for r in made if r.conditions and not r.conditions[0].message]
    return sorted(r.name.rpartition("/")[2] for r in ready)


def env_of(service: Any) -> dict[str, str]:
    """What a service's newest template tells its container."""
    return {env.name: env.value for env in service.template.containers[0].env}


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
