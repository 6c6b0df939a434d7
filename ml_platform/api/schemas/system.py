"""The dashboard's numbers, webhooks and job set-up."""

from __future__ import annotations

from dataclasses import asdict
from datetime import date, datetime
from typing import Literal

from ninja import Field

from ml_platform.actions.inputs import In, ProjectId
from ml_platform.status import Status

from .audit import COUNTS_EXAMPLE, FourCountsOut
from .base import Json, Out, example, when


class AssetsOut(Out):
    """The assets of the installation."""

    models: int
    versions: int
    deployed: int
    endpoints_active: int
    endpoints_total: int
    runs: int
    runs_live: int
    schedules_live: int


class ProjectCardOut(Out):
    """The numbers of a project."""

    project_id: ProjectId
    name: str
    models: int
    versions: int
    deployed: int
    endpoints_active: int
    endpoints_total: int
    runs: int
    runs_live: int
    latest_registered_at: datetime | None


class ServiceDayOut(Out):
    """Traffic of a day of all services. Null is unknown, not zero: each number is, if one of the
    services could not be read. A day that nobody read is left out."""

    day: date
    requests: int | None
    errors: int | None
    latency_p50: float | None
    latency_p95: float | None
    cpu: float | None
    memory: float | None
    instances: float | None


class TimesOut(Out):
    """Seconds; null when none is known."""

    p50: float | None
    p95: float | None
    known: int = Field(description="How many findings the percentiles are of.")
    unknown: int = Field(description="How many more there were, whose time is not known.")
    at_most: int = Field(
        description="How many of the known ones Google does not tell: they count from the sweep "
        "before, so their time is at most this."
    )


class DriftTimesOut(Out):
    """How long the disagreements of the last days took to be seen, and then to be repaired."""

    days: int
    detect: TimesOut
    repair: TimesOut


@example(
    {
        "counts": COUNTS_EXAMPLE,
        "assets": {
            "models": 8,
            "versions": 21,
            "deployed": 2,
            "endpoints_active": 2,
            "endpoints_total": 3,
            "runs": 40,
            "runs_live": 1,
            "schedules_live": 2,
        },
        "projects": [
            {
                "project_id": 1,
                "name": "test_v1",
                "models": 8,
                "versions": 21,
                "deployed": 2,
                "endpoints_active": 2,
                "endpoints_total": 3,
                "runs": 40,
                "runs_live": 1,
                "latest_registered_at": "2026-02-08T12:03:00Z",
            }
        ],
        "findings": {"stale_pointer": 1},
        "drift": {
            "days": 30,
            "detect": {"p50": 1800.0, "p95": 3600.0, "known": 4, "unknown": 0, "at_most": 3},
            "repair": {"p50": None, "p95": None, "known": 0, "unknown": 0, "at_most": 0},
        },
        "services": [
            {
                "day": "2026-02-07",
                "requests": 2400,
                "errors": 2,
                "latency_p50": 31.5,
                "latency_p95": 92.0,
                "cpu": 0.41,
                "memory": 0.52,
                "instances": 3,
            }
        ],
    }
)
class KpisOut(Out):
    """The numbers of the dashboard."""

    counts: FourCountsOut
    assets: AssetsOut
    projects: list[ProjectCardOut]
    findings: dict[str, int]
    drift: DriftTimesOut
    services: list[ServiceDayOut]


@example(
    {
        "status": "success",
        "message": "Orphan model cleanup completed",
        "output": "Deleted 0 orphaned RegisteredModel(s), skipped 0 with active training runs",
    }
)
class WebhookOut(Out):
    """The result of a call: all of its work, a part, or none (503, so that it is repeated)."""

    status: Literal["success", "partial", "error"]
    message: str
    output: str = Field(description="A line for each subject, the first hundred; then the totals.")


@example(
    {
        "status": "success",
        "action": "created",
        "job_name": "projects/b2b-recs/locations/europe-central2/jobs/cleanup-orphan-models",
        "schedule": "0 4 * * *",
    }
)
class SetupOut(Out):
    """The result of setting up a Cloud Scheduler job."""

    status: Literal["success"]
    action: Literal["created", "updated", "resumed", "unchanged"]
    job_name: str
    schedule: str


class StatusQuery(In):
    """Whether Google is asked."""

    verify: Literal["live"] | None = Field(
        None, description="`live` also makes one read call of each of Google's APIs now."
    )


class StatusItem(Out):
    """One thing that the platform needs."""

    name: str = Field(description="Stable: settings, worker, job_audit-registry ...")
    title: str
    state: Literal["fine", "attention", "unknown", "unused"]
    detail: str
    advice: str
    at: datetime | None = Field(
        description="When it was last seen at work; of `operations`, since when the oldest waits."
    )
    permission: str = Field(description="The IAM permission that its call needs; may be empty.")


@example(
    {
        "state": "attention",
        "live": False,
        "checked_at": "2026-02-08T12:15:00Z",
        "items": [
            {
                "name": "worker",
                "title": "Worker",
                "state": "attention",
                "detail": "No worker has taken work for 12 min. Start `manage.py db_worker`.",
                "advice": "",
                "at": "2026-02-08T12:03:00Z",
                "permission": "",
            }
        ],
    }
)
class StatusOut(Out):
    """Whether the platform can work."""

    state: Literal["fine", "attention", "unknown"] = Field(
        description="`attention` if a person has to do something, else `unknown` if something "
        "could not be read. Without `live` it says nothing of Google's APIs."
    )
    live: bool
    checked_at: datetime
    items: list[StatusItem]


def status_json(status: Status) -> Json:
    """The status, for the API and for programs that run the command."""
    return {
        "state": status.state,
        "live": status.live,
        "checked_at": when(status.now),
        "items": [asdict(item) | {"at": when(item.at)} for item in status.items],
    }
