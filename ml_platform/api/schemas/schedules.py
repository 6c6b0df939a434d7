"""Schedules."""

from __future__ import annotations

from datetime import datetime
from typing import Any, Literal

from ninja import Field

from ml_platform.models import (
    TrainingSchedule,
)
from ml_platform.models.states import (
    ScheduleState,
)
from ml_platform.services.scheduling.ringing import is_silent, job_finding, status_of

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
from .operations import OPERATION_EXAMPLE, OperationOut
from .runs import RUN_EXAMPLE, RunOut

SCHEDULE_EXAMPLE = {
    "id": 5,
    "project": PROJECT_EXAMPLE,
    "name": "nightly",
    "model_name": "chern_rank_v4",
    "model_type": "ranking",
    "model": 7,
    "state": "active",
    "status": "Active",
    "job_finding": "",
    "frequency": "daily",
    "cron": "0 2 * * *",
    "time_zone": "UTC",
    "starts_at": "2026-01-01T02:00:00Z",
    "next_run_at": "2026-02-09T02:00:00Z",
    "last_run_at": "2026-02-08T02:00:00Z",
    "scheduler_job_name": "projects/b2b-recs/locations/europe-central2/jobs/train-5",
    "template_uri": "gs://artifacts/pipelines/rank.json",
    "parameters": {"epochs": 20},
    "created_at": "2026-01-01T01:00:00Z",
    "url": "/api/training/schedules/5/",
}


class SchedulesQuery(Listing):
    """Schedules."""

    sort: Literal["created", "-created", "name", "-name"] = "-created"
    search: str = Field("", max_length=63, description="A part of its or its model's name.")
    state: ScheduleState | None = None


@example(SCHEDULE_EXAMPLE)
class ScheduleOut(Out):
    """A recurring intent to train."""

    id: int
    project: ProjectRef
    name: str
    model_name: str
    model_type: str
    model: int | None
    state: str
    status: str = Field(
        description="The state in words, or how its job in Cloud Scheduler differs from it."
    )
    job_finding: str = Field(
        description="The kind of the standing finding about its job: `schedule_missing`, "
        "`schedule_paused`, `schedule_changed` or `schedule_overdue`; empty for none."
    )
    frequency: str
    cron: str
    time_zone: str
    starts_at: datetime | None
    next_run_at: datetime | None = Field(
        description="Null when no call will come, because its job is missing or paused."
    )
    last_run_at: datetime | None
    scheduler_job_name: str
    template_uri: str
    parameters: Any
    created_at: datetime
    url: str


SchedulesOut = list_of("SchedulesOut", ScheduleOut, "A part of the list of schedules.")
EXAMPLES["SchedulesOut"] = {"items": [SCHEDULE_EXAMPLE], "pagination": PAGE_EXAMPLE}


@example(
    {
        "message": "Run 41 of chern_rank_v4 begins.",
        "run": RUN_EXAMPLE | {"status": "submitting"},
        "operation": OPERATION_EXAMPLE | {"workflow": "submit-run", "kind": "submit"},
    }
)
class TriggerOut(Out):
    """The result of a request for a run now."""

    message: str
    run: RunOut | None
    operation: OperationOut | None


def schedule_json(schedule: TrainingSchedule) -> Json:
    """A schedule."""
    return {
        "id": schedule.pk,
        "project": project_json(schedule.project),
        "name": schedule.name,
        "model_name": schedule.model_name,
        "model_type": schedule.model_type,
        "model": schedule.registered_model_id,
        "state": schedule.state,
        "status": status_of(schedule),
        "job_finding": job_finding(schedule),
        "frequency": schedule.frequency,
        "cron": schedule.cron,
        "time_zone": schedule.time_zone,
        "starts_at": when(schedule.starts_at),
        "next_run_at": None if is_silent(schedule) else when(schedule.next_run_at),
        "last_run_at": when(schedule.last_run_at),
        "scheduler_job_name": schedule.scheduler_job_name,
        "template_uri": schedule.template_uri,
        "parameters": schedule.parameters,
        "created_at": when(schedule.created_at),
        "url": url_of(f"training/schedules/{schedule.pk}/"),
    }
