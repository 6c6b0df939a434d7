"""What is in the cloud just now, as plain values: for the console page and the control API."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING, Any

from google.cloud.aiplatform_v1.types import endpoint_service as endpoint_wire
from google.cloud.aiplatform_v1.types import model_service as model_wire
from google.cloud.aiplatform_v1.types import pipeline_service as pipeline_wire
from google.cloud.aiplatform_v1.types import pipeline_state
from google.cloud.run_v2.types import condition as condition_types
from google.cloud.run_v2.types import service as run_wire
from google.cloud.scheduler_v1.types import cloudscheduler as scheduler_wire
from google.cloud.scheduler_v1.types import job as job_types

if TYPE_CHECKING:
    from .. import LocalCloud

# A page for people: programs that need more call the APIs.
_SHOWN = 500


def inventory(cloud: LocalCloud) -> dict[str, list[dict[str, Any]]]:
    """Up to 500 resources of each kind, read at one time."""
    with cloud.core.lock:
        return {
            "models": _models(cloud),
            "pipelines": _pipelines(cloud),
            "endpoints": _endpoints(cloud),
            "services": _services(cloud),
            "jobs": _jobs(cloud),
            "buckets": _buckets(cloud),
        }


def _all(call: Callable[[Any], Any], request: Any, field: str) -> Iterator[Any]:
    for _ in range(_SHOWN):
        answer = call(request)
        yield from getattr(answer, field)
        if not answer.next_page_token:
            return
        request.page_token = answer.next_page_token


def _first(call: Callable[[Any], Any], request: Any, field: str) -> list[Any]:
    found = _all(call, request, field)
    return [item for item, _ in zip(found, range(_SHOWN), strict=False)]


def _models(cloud: LocalCloud) -> list[dict[str, Any]]:
    list_request = model_wire.ListModelsRequest(parent=cloud.core.names.vertex_parent)
    return [
        {
            "name": model.name,
            "id": model.name.rpartition("/")[2],
            "display_name": model.display_name,
            "versions": [
                {
                    "name": one.name,
                    "version": one.version_id,
                    "aliases": list(one.version_aliases),
                    "labels": dict(one.labels),
                    "artifact_uri": one.artifact_uri,
                    "created": _time(one.version_create_time),
                }
                for one in _first(
                    cloud.models.list_model_versions,
                    model_wire.ListModelVersionsRequest(name=model.name),
                    "models",
                )
            ],
        }
        for model in _first(cloud.models.list_models, list_request, "models")
    ]


def _pipelines(cloud: LocalCloud) -> list[dict[str, Any]]:
    list_request = pipeline_wire.ListPipelineJobsRequest(parent=cloud.core.names.vertex_parent)
    return [
        {
            "name": job.name,
            "display_name": job.display_name,
            "state": pipeline_state.PipelineState(job.state).name.removeprefix("PIPELINE_STATE_"),
            "labels": dict(job.labels),
            "created": _time(job.create_time),
        }
        for job in _first(cloud.pipelines.list_pipeline_jobs, list_request, "pipeline_jobs")
    ]


def _endpoints(cloud: LocalCloud) -> list[dict[str, Any]]:
    list_request = endpoint_wire.ListEndpointsRequest(parent=cloud.core.names.vertex_parent)
    return [
        {
            "name": endpoint.name,
            "display_name": endpoint.display_name,
            "models": [deployed.model for deployed in endpoint.deployed_models],
        }
        for endpoint in _first(cloud.endpoints.list_endpoints, list_request, "endpoints")
    ]


def _services(cloud: LocalCloud) -> list[dict[str, Any]]:
    list_request = run_wire.ListServicesRequest(parent=cloud.core.names.parent)
    return [
        {
            "name": service.name,
            "id": service.name.rpartition("/")[2],
            "uri": service.uri,
            "state": condition_types.Condition.State(service.terminal_condition.state).name,
            "revision": service.latest_ready_revision.rpartition("/")[2],
            "labels": dict(service.labels),
            "updated": _time(service.update_time),
        }
        for service in _first(cloud.run.list_services, list_request, "services")
    ]


def _jobs(cloud: LocalCloud) -> list[dict[str, Any]]:
    list_request = scheduler_wire.ListJobsRequest(parent=cloud.core.names.parent)
    return [
        {
            "name": job.name,
            "id": job.name.rpartition("/")[2],
            "schedule": f"{job.schedule} {job.time_zone}",
            "state": job_types.Job.State(job.state).name,
            "uri": job.http_target.uri,
            "next": _time(job.schedule_time) if job.HasField("schedule_time") else "",
            "last": _time(job.last_attempt_time) if job.HasField("last_attempt_time") else "",
            "status": job.status.message or ("OK" if job.HasField("last_attempt_time") else ""),
        }
        for job in _first(cloud.scheduler.list_jobs, list_request, "jobs")
    ]


def _buckets(cloud: LocalCloud) -> list[dict[str, Any]]:
    totals, past = cloud.storage.tables.totals(), cloud.storage.tables.past_totals()
    return [
        {
            "name": bucket["name"],
            "objects": totals.get(bucket["name"], (0, 0))[0],
            "bytes": totals.get(bucket["name"], (0, 0))[1],
            "noncurrent": past.get(bucket["name"], (0, 0))[0],
            "soft_deleted": past.get(bucket["name"], (0, 0))[1],
        }
        for bucket in cloud.storage.tables.buckets("", "", _SHOWN)
    ]


def _time(stamp: Any) -> str:
    text: str = stamp.ToJsonString()
    return text.partition(".")[0].rstrip("Z") + "Z"
