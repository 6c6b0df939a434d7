"""What answers carry about the whole: plans, sweeps and findings, the dashboard's numbers, jobs."""

from __future__ import annotations

from datetime import date, datetime
from typing import Any, Literal

from ninja import Field

from .outputs import Out, Pagination, ProjectRef


class SizeOut(Out):
    """Objects and bytes in GCS; `complete` is false where counting stopped."""

    objects: int
    bytes: int
    complete: bool


class PlanVersion(Out):
    """A version as a deletion plan sees it."""

    run: int
    version: int
    vertex: str
    aliases: list[str]
    size: SizeOut | None
    unsafe: str
    used_by: str = Field(
        description="Who else points at its artifacts, which are kept; empty when nobody does."
    )


class PlanBlock(Out):
    """What stands against a deletion."""

    code: str
    message: str
    endpoint: int | None


class PlanOut(Out):
    """What a deletion would take, leave and meet."""

    versions: list[PlanVersion]
    siblings: list[PlanVersion]
    endpoints_marked: list[str]
    default_moves_to: int | None
    ends_registration: bool
    size: SizeOut
    blocks: list[PlanBlock]
    unknown: list[str] = Field(description="Planes that could not be read.")


class PlaneOut(Out):
    """Whether a sweep read a plane, or why not."""

    read: bool
    reason: str
    code: str


class SweepOut(Out):
    """One reading of all planes."""

    id: int
    status: str
    actor: str
    planes: dict[str, PlaneOut]
    counts: dict[str, Any]
    started_at: datetime
    finished_at: datetime | None


class FindingOut(Out):
    """One disagreement between planes."""

    id: int
    kind: str
    status: str
    title: str
    evidence: dict[str, Any]
    repair: str
    project: ProjectRef | None
    model: int | None
    run: int | None
    looks: int
    first_seen_at: datetime
    last_seen_at: datetime
    ended_at: datetime | None
    operation: str | None


class FourCountsOut(Out):
    """The number of registered models as each of the four places tells it."""

    database: int
    projects: int
    registry_page: int
    vertex: int | None
    vertex_reason: str
    agree: bool | None
    swept_at: datetime | None
    vertex_read_at: datetime | None


class AuditOut(Out):
    """The newest sweep, the four counts, and a part of the list of findings."""

    sweep: SweepOut | None
    counts: FourCountsOut
    items: list[FindingOut]
    pagination: Pagination


class AssetsOut(Out):
    """What there is."""

    models: int
    versions: int
    deployed: int
    endpoints_active: int
    endpoints_total: int
    runs: int
    runs_live: int
    schedules_live: int


class ProjectCardOut(Out):
    """What a project has."""

    project_id: Any
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
    """One day of all active services, or of one."""

    day: date
    requests: int
    errors: int
    latency_p50: float | None
    latency_p95: float | None
    cpu: float | None
    memory: float | None
    instances: float | None


class KpisOut(Out):
    """The numbers of the dashboard."""

    counts: FourCountsOut
    assets: AssetsOut
    projects: list[ProjectCardOut]
    findings: dict[str, int]
    services: list[ServiceDayOut]


class WebhookOut(Out):
    """What a ring did: all of it, a part, or nothing yet (503, so that it is rung again)."""

    status: Literal["success", "partial", "error"]
    message: str
    output: str = Field(description="A line for each thing, the first hundred; then the sums.")


class SetupOut(Out):
    """What became of a Cloud Scheduler job."""

    status: Literal["success"]
    action: Literal["created", "updated", "unchanged"]
    job_name: str
    schedule: str
