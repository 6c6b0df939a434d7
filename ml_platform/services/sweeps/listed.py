"""The planes that a sweep lists, and the mirror row of what each lists."""

from __future__ import annotations

from collections.abc import Mapping

from ml_platform.cloud import cloud_run, scheduler, vertex
from ml_platform.cloud.types import RemoteEndpoint, RemoteJob, RemoteModel, RemoteService
from ml_platform.models import (
    MirroredArtifacts,
    MirroredEndpoint,
    MirroredJob,
    MirroredModel,
    MirroredService,
)
from ml_platform.services.installation.identity import Identity
from ml_platform.services.operations.work import Json
from ml_platform.services.ownership.labels import ENDPOINT, INSTALLATION, OWNER, RUN
from ml_platform.services.scheduling.job import our_address
from ml_platform.services.serving.our_fields import keep_seen

from .mirrored import Plane
from .planes.services import keep_what_serves
from .pushed_models import read_pushed_models


def _model_row(model: RemoteModel, us: Identity) -> Json:
    if not (model.version.isascii() and model.version.isdecimal()):
        model.pointer  # noqa: B018 - raises Invalid for what is no version
    return {
        "resource_name": str(model.name),
        "display_name": model.display_name,
        "version": model.version,
        "artifact_uri": model.artifact_uri[:1024],
        "labels": dict(model.labels),
        **_owner(model.labels, us),
        "run_uid": model.labels.get(RUN, "")[:32],
        "remote_created_at": model.create_time,
        "remote_updated_at": model.update_time,
        "revision": f"{model.update_time} {model.etag}"[:320],
    }


def _endpoint_row(endpoint: RemoteEndpoint, _: Identity) -> Json:
    return {
        "resource_name": str(endpoint.name),
        "display_name": endpoint.display_name[:128],
        "deployed": [
            {
                "id": one.deployed_id,
                "model": one.model,
                "version": one.version,
                "percent": one.percent,
            }
            for one in endpoint.deployed
        ],
        "remote_created_at": endpoint.create_time,
    }


def _service_row(service: RemoteService, us: Identity) -> Json:
    return {
        "uri": service.uri,
        "labels": dict(service.labels),
        **_owner(service.labels, us),
        "endpoint_uid": service.labels.get(ENDPOINT, "")[:32],
        "run_uid": service.labels.get(RUN, "")[:32],
        "ready": service.ready,
        "newest_revision": service.latest_created_revision,
        "ready_revision": service.latest_ready_revision,
        "spec": keep_seen(service.spec) if service.spec else None,
        "changed_by": service.changed_by[:255],
        "changed_at": service.changed_at,
    }


def _job_row(job: RemoteJob, _: Identity) -> Json:
    return {
        "resource_name": str(job.name),
        "state": job.state,
        "schedule": job.spec.schedule[:255],
        "time_zone": job.spec.time_zone[:64],
        "uri": job.spec.uri[:2048],
        "service_account": job.spec.service_account[:255],
        "theirs": not job.spec.uri.startswith(our_address()),
        "next_at": job.next_run,
        "last_attempt_at": job.last_attempt,
        "last_error": job.last_error,
    }


def _owner(labels: Mapping[str, str], us: Identity) -> Json:
    owner = labels.get(OWNER, "")
    return {"owner": owner, "theirs": us.is_another(owner, labels.get(INSTALLATION, ""))}


PLANES: Mapping[str, Plane] = {
    "vertex": Plane(
        pages=lambda: vertex.list_models(page_size=100),
        name=lambda model: model.name.model_id,
        row=_model_row,
        table=MirroredModel,
        key="model_id",
    ),
    "gcs": Plane(
        pages=read_pushed_models,
        name=lambda pushed: pushed.prefix,
        row=lambda pushed, _: {
            "folders": pushed.folders,
            "manifest_digest": pushed.manifest_digest,
        },
        table=MirroredArtifacts,
        key="prefix",
    ),
    "cloud_run": Plane(
        pages=lambda: cloud_run.list_services(page_size=100),
        name=lambda service: service.service_id,
        row=_service_row,
        table=MirroredService,
        key="service_name",
        together=1,  # what each page serves is read before the next page
        keep=keep_what_serves,
    ),
    "scheduler": Plane(
        pages=scheduler.list_jobs,
        name=lambda job: job.name.job_id,
        row=_job_row,
        table=MirroredJob,
        key="job_id",
    ),
    "vertex_endpoints": Plane(
        pages=lambda: vertex.list_endpoints(page_size=100),
        name=lambda endpoint: endpoint.name.endpoint_id,
        row=_endpoint_row,
        table=MirroredEndpoint,
        key="endpoint_id",
    ),
}
