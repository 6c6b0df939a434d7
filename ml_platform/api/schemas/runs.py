"""Training runs."""

from __future__ import annotations

from datetime import datetime
from typing import Any, Literal

from ninja import Field

from ml_platform.actions.inputs import Id
from ml_platform.models import (
    TrainingRun,
)
from ml_platform.models.states import (
    Approval,
    Registration,
    RunStatus,
)

from .base import (
    EXAMPLES,
    PAGE_EXAMPLE,
    PROJECT_EXAMPLE,
    Json,
    Listing,
    Out,
    ProjectRef,
    example,
    list_of,
    project_json,
    url_of,
    when,
)

RUN_EXAMPLE = {
    "id": 41,
    "uid": "9c1d0f1e2a3b4c5d8e9f0a1b2c3d4e5f",
    "project": PROJECT_EXAMPLE,
    "model_name": "chern_rank_v4",
    "model_type": "ranking",
    "model": 7,
    "schedule": 5,
    "scheduled_for": "2026-02-08T02:00:00Z",
    "rerun_of": None,
    "status": "completed",
    "stage": "",
    "progress": 100,
    "error": "",
    "remark": "",
    "template_uri": "gs://artifacts/pipelines/rank.json",
    "parameters": {"epochs": 20},
    "pipeline_job_name": "projects/1/locations/europe-central2/pipelineJobs/run-9c1d",
    "gcs_artifacts_path": "gs://artifacts/runs/9c1d/",
    "metrics": {"recall_at_50": 0.4312},
    "is_blessed": True,
    "approval": "",
    "approval_by": "",
    "approval_reason": "",
    "approval_at": None,
    "registration": "registered",
    "version": 3,
    "vertex_model_resource_name": "projects/1/locations/europe-central2/models/mr-5f0c-1",
    "vertex_model_version": "3",
    "registered_at": "2026-02-08T12:03:00Z",
    "created_at": "2026-02-08T02:00:00Z",
    "submitted_at": "2026-02-08T02:00:01Z",
    "finished_at": "2026-02-08T11:58:00Z",
    "url": "/api/training-runs/41/",
}


class RunsQuery(Listing):
    """Training runs."""

    sort: Literal["created", "-created", "name", "-name"] = "-created"
    search: str = Field("", max_length=63, description="A part of the model's name.")
    status: RunStatus | None = None
    registration: Registration | None = None
    model: Id | None = Field(None, description="Only this registered model's.")
    schedule: Id | None = Field(None, description="Only this schedule's.")


@example(RUN_EXAMPLE)
class RunOut(Out):
    """A training run."""

    id: int
    uid: str
    project: ProjectRef
    model_name: str
    model_type: str
    model: int | None
    schedule: int | None
    scheduled_for: datetime | None
    rerun_of: int | None
    status: str
    stage: str
    progress: int
    error: str
    remark: str = Field(description="Which metrics were not kept, and why.")
    template_uri: str
    parameters: Any
    pipeline_job_name: str
    gcs_artifacts_path: str
    metrics: Any
    is_blessed: bool | None = Field(description="The evaluator's word; null if it did not judge.")
    approval: Approval = Field(
        description="A person's word, which counts before the evaluator's: approved may be "
        "deployed, withdrawn may not."
    )
    approval_by: str
    approval_reason: str
    approval_at: datetime | None
    registration: str
    version: int | None
    vertex_model_resource_name: str
    vertex_model_version: str
    registered_at: datetime | None
    created_at: datetime
    submitted_at: datetime | None
    finished_at: datetime | None
    url: str


RunsOut = list_of("RunsOut", RunOut, "A part of the list of runs.")
EXAMPLES["RunsOut"] = {"items": [RUN_EXAMPLE], "pagination": PAGE_EXAMPLE}


def run_json(run: TrainingRun) -> Json:
    """A training run."""
    return {
        "id": run.pk,
        "uid": run.uid.hex,
        "project": project_json(run.project),
        "model_name": run.model_name,
        "model_type": run.model_type,
        "model": run.registered_model_id,
        "schedule": run.schedule_id,
        "scheduled_for": when(run.scheduled_for),
        "rerun_of": run.rerun_of_id,
        "status": run.status,
        "stage": run.stage,
        "progress": run.progress,
        "error": run.error,
        "remark": run.remark,
        "template_uri": run.template_uri,
        "parameters": run.parameters,
        "pipeline_job_name": run.pipeline_job_name,
        "gcs_artifacts_path": run.gcs_artifacts_path,
        "metrics": run.metrics,
        "is_blessed": run.is_blessed,
        "approval": run.approval,
        "approval_by": run.approval_by,
        "approval_reason": run.approval_reason,
        "approval_at": when(run.approval_at),
        "registration": run.registration,
        "version": run.version,
        "vertex_model_resource_name": run.vertex_model_resource_name,
        "vertex_model_version": run.vertex_model_version,
        "registered_at": when(run.registered_at),
        "created_at": when(run.created_at),
        "submitted_at": when(run.submitted_at),
        "finished_at": when(run.finished_at),
        "url": url_of(f"training-runs/{run.pk}/"),
    }
