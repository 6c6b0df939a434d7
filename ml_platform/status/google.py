"""Google's APIs: one read call of each, and the permission that it needs.

Permissions, below cloud.google.com: vertex-ai/docs/general/iam-permissions, run/docs/reference/iam,
scheduler/docs/access-control, monitoring/access-control, storage/docs/access-control/iam-json.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Sequence
from concurrent.futures import Future, ThreadPoolExecutor, wait
from dataclasses import dataclass
from datetime import datetime, timedelta

from ml_platform.cloud import cloud_run, monitoring, pipelines, scheduler, storage, vertex
from ml_platform.cloud.transport import channels
from ml_platform.cloud.types import RemoteJob
from ml_platform.conf import get_settings
from ml_platform.errors import CloudDenied, PlatformError

from .item import Item, State

DEADLINE = 8.0
"""Seconds after which a call without an answer is unknown."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Probe:
    """A read call of an API that the platform uses."""

    name: str
    title: str
    method: str
    permission: str
    role: str
    """A predefined role that has it."""
    read: Callable[[datetime], object]


def _jobs(_: datetime) -> tuple[RemoteJob, ...]:
    return tuple(job for page in scheduler.list_jobs() for job in page)


PROBES: Sequence[Probe] = (
    Probe(
        name="vertex",
        title="Vertex AI Model Registry",
        method="ModelService.ListModels",
        permission="aiplatform.models.list",
        role="roles/aiplatform.viewer",
        read=lambda _: next(vertex.list_models(page_size=1), ()),
    ),
    Probe(
        name="vertex_endpoints",
        title="Vertex AI endpoints",
        method="EndpointService.ListEndpoints",
        permission="aiplatform.endpoints.list",
        role="roles/aiplatform.viewer",
        read=lambda _: next(vertex.list_endpoints(page_size=1), ()),
    ),
    Probe(
        name="vertex_pipelines",
        title="Vertex AI Pipelines",
        method="PipelineService.ListPipelineJobs",
        permission="aiplatform.pipelineJobs.list",
        role="roles/aiplatform.viewer",
        read=lambda _: next(pipelines.list_pipeline_jobs(page_size=1), ()),
    ),
    Probe(
        name="gcs",
        title="Cloud Storage",
        method="storage.objects.list",
        permission="storage.objects.list",
        role="roles/storage.objectViewer",
        read=lambda _: storage.has_objects(
            get_settings().BUCKET, f"{get_settings().ARTIFACTS_PREFIX}/"
        ),
    ),
    Probe(
        name="cloud_run",
        title="Cloud Run",
        method="Services.ListServices",
        permission="run.services.list",
        role="roles/run.viewer",
        read=lambda _: next(cloud_run.list_services(page_size=1), ()),
    ),
    Probe(
        name="scheduler",
        title="Cloud Scheduler",
        method="CloudScheduler.ListJobs",
        permission="cloudscheduler.jobs.list",
        role="roles/cloudscheduler.viewer",
        read=_jobs,
    ),
    Probe(
        name="monitoring",
        title="Cloud Monitoring",
        method="MetricService.ListTimeSeries",
        permission="monitoring.timeSeries.list",
        role="roles/monitoring.viewer",
        read=lambda now: monitoring.read_series(
            metric="request_count",
            service="any",  # what it lists is not read
            start=now - timedelta(minutes=5),
            end=now,
            period_seconds=60,
            aligner=monitoring.Aligner.DELTA,
        ),
    ),
)


def ask_google(*, now: datetime) -> tuple[list[Item], Collection[RemoteJob] | None]:
    """Ask all APIs at once; return what they said, and the jobs that Cloud Scheduler lists, or None
    if it did not list them."""
    pool = ThreadPoolExecutor(max_workers=len(PROBES), thread_name_prefix="status")
    asked: dict[str, Future[object]] = {
        probe.name: pool.submit(probe.read, now) for probe in PROBES
    }
    wait(asked.values(), timeout=DEADLINE)
    pool.shutdown(wait=False, cancel_futures=True)
    items = [_credentials(), *(_item(probe, asked[probe.name]) for probe in PROBES)]
    jobs = asked["scheduler"]
    listed = jobs.done() and not jobs.cancelled() and jobs.exception() is None
    return items, jobs.result() if listed else None  # type: ignore[return-value]  # as `_jobs`


def _credentials() -> Item:
    state, detail, advice = State.FINE, "Application default credentials were found.", ""
    if get_settings().LOCAL_CLOUD:
        state, detail = State.UNUSED, "The local cloud needs none."
    else:
        try:
            channels.client("ModelService")
        except PlatformError as error:
            state, detail, advice = State.UNKNOWN, str(error), error.advice
    return Item(name="credentials", title="Credentials", state=state, detail=detail, advice=advice)


def _item(probe: Probe, asked: Future[object]) -> Item:
    state, advice = State.UNKNOWN, ""
    try:
        asked.result(timeout=0)
    except TimeoutError:
        detail = f"{probe.title} did not answer within {DEADLINE:.0f} seconds ({probe.method})."
    except PlatformError as error:
        detail, advice = str(error), error.advice
        if isinstance(error, CloudDenied):
            advice = (
                f"It needs the permission {probe.permission}, as {probe.role} has it, and the API "
                "has to be enabled."
            )
    else:
        state, detail = State.FINE, f"It answered {probe.method}."
    return Item(
        name=probe.name,
        title=probe.title,
        state=state,
        detail=detail,
        advice=advice,
        permission=probe.permission,
    )
