"""An account with roles, and calls that need them."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

from google.cloud import monitoring_v3, run_v2, scheduler_v1
from google.cloud.aiplatform_v1.services.endpoint_service import EndpointServiceClient
from google.cloud.aiplatform_v1.services.model_service import ModelServiceClient
from google.cloud.aiplatform_v1.services.pipeline_service import PipelineServiceClient

from .conftest import PARENT, ROBOT

MEMBER = f"serviceAccount:{ROBOT}"
RUNNER = "runner@demo-project.iam.gserviceaccount.com"
JOB = {"schedule": "0 4 * * *", "http_target": {"uri": "http://127.0.0.1:1/"}}
SERVICE = {"template": {"containers": [{"image": "img"}], "service_account": RUNNER}}
PIPELINE = {
    "display_name": "train",
    "pipeline_spec": {"root": {"dag": {"tasks": {"train": {"taskInfo": {"name": "train"}}}}}},
    "runtime_config": {"gcs_output_directory": "gs://artifacts/runs"},
}
DAY = monitoring_v3.TimeInterval(
    start_time=datetime(2026, 3, 1, tzinfo=UTC), end_time=datetime(2026, 3, 2, tzinfo=UTC)
)
_MODEL = {"parent": PARENT, "model_id": "ranker", "model": {"display_name": "ranker"}}
_SERIES = {
    "name": "projects/demo-project",
    "filter": 'metric.type = "run.googleapis.com/request_count"',
    "interval": DAY,
}
# service: its client, a call that reads, a call that writes, the permissions of both
CALLS: dict[str, tuple[Any, tuple[str, dict[str, Any], str], tuple[str, dict[str, Any], str]]] = {
    "aiplatform models": (
        ModelServiceClient,
        ("list_models", {"parent": PARENT}, "aiplatform.models.list"),
        ("upload_model", _MODEL, "aiplatform.models.upload"),
    ),
    "aiplatform endpoints": (
        EndpointServiceClient,
        ("list_endpoints", {"parent": PARENT}, "aiplatform.endpoints.list"),
        (
            "create_endpoint",
            {"parent": PARENT, "endpoint": {"display_name": "e"}},
            "aiplatform.endpoints.create",
        ),
    ),
    "aiplatform pipelines": (
        PipelineServiceClient,
        ("list_pipeline_jobs", {"parent": PARENT}, "aiplatform.pipelineJobs.list"),
        (
            "create_pipeline_job",
            {"parent": PARENT, "pipeline_job": PIPELINE},
            "aiplatform.pipelineJobs.create",
        ),
    ),
    "run": (
        run_v2.ServicesClient,
        ("list_services", {"parent": PARENT}, "run.services.list"),
        (
            "create_service",
            {"parent": PARENT, "service_id": "serve", "service": SERVICE},
            "run.services.create",
        ),
    ),
    "cloudscheduler": (
        scheduler_v1.CloudSchedulerClient,
        ("list_jobs", {"parent": PARENT}, "cloudscheduler.jobs.list"),
        ("create_job", {"parent": PARENT, "job": JOB}, "cloudscheduler.jobs.create"),
    ),
    "monitoring": (
        monitoring_v3.MetricServiceClient,
        ("list_time_series", _SERIES, "monitoring.timeSeries.list"),
        ("list_time_series", _SERIES, "monitoring.timeSeries.list"),
    ),
}
