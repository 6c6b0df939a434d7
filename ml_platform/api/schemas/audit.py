"""The audit: sweeps, findings and the four counts."""

from __future__ import annotations

from datetime import datetime
from typing import Any, Literal

from ninja import Field

from ml_platform.kpis import FourCounts, ServingCount
from ml_platform.models import (
    Finding,
    Sweep,
)
from ml_platform.models.states import FindingStatus
from ml_platform.services.findings.decisions import ignored_until
from ml_platform.services.repairs.reconciliation import repairs_of

from .base import (
    PAGE_EXAMPLE,
    PROJECT_EXAMPLE,
    Json,
    Listing,
    Out,
    Pagination,
    ProjectRef,
    example,
    project_json,
    when,
)

COUNTS_EXAMPLE = {
    "database": 8,
    "projects": 8,
    "registry_page": 8,
    "vertex": 9,
    "vertex_reason": "",
    "agree": False,
    "swept_at": "2026-02-08T12:10:00Z",
    "vertex_read_at": "2026-02-08T12:10:00Z",
    "vertex_last": 9,
    "points_at_nothing": 1,
    "not_seen_yet": 0,
    "only_in_vertex": 2,
    "serving": {
        "active": 4,
        "verified": 3,
        "unverified": 1,
        "unknown": 0,
        "last": 3,
        "reason": "",
        "read_at": "2026-02-08T12:10:00Z",
        "whole": False,
    },
}


READ_EXAMPLE = {"read": True, "reason": "", "code": ""}


class AuditQuery(Listing):
    """Findings."""

    sort: Literal["seen", "-seen"] = "-seen"
    kind: str = Field("", max_length=32)
    status: Literal["open", "ignored", "repaired", "gone", "any"] = "open"


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


class Ignored(Out):
    """Who ignored a finding, why, and until when."""

    by: str
    reason: str
    until: datetime | None


class FindingOut(Out):
    """One disagreement between planes."""

    id: int
    kind: str
    status: str
    title: str
    evidence: dict[str, Any]
    repair: str
    repairs: list[str] = Field(description="The names of its possible repairs, the safe one first.")
    project: ProjectRef | None
    model: int | None
    run: int | None
    looks: int
    began_at: datetime | None = Field(
        description="When it began to disagree: as Google tells it if `began_told`, otherwise not "
        "before this time. Null if that is not known."
    )
    began_told: bool
    first_seen_at: datetime
    last_seen_at: datetime
    ended_at: datetime | None
    repaired_at: datetime | None
    ignored: Ignored | None = Field(
        description="Who left it out of the counts; it is open again when that has expired."
    )
    operation: str | None


class ServingOut(Out):
    """The active endpoints, and how many of them have all their traffic on versions that are
    registered, verified lately and unchanged."""

    active: int
    verified: int | None
    unverified: int = Field(description="Those that serve something else, as far as it is known.")
    unknown: int = Field(description="`active - verified - unverified`; all others if unread.")
    last: int | None = Field(
        description="What the last readings say; `verified` is null when a plane was not read."
    )
    reason: str
    read_at: datetime | None
    whole: bool | None


class FourCountsOut(Out):
    """The number of registered models in each of the four places that show it, and what serves."""

    database: int
    projects: int
    registry_page: int
    vertex: int | None
    vertex_reason: str
    agree: bool | None
    swept_at: datetime | None
    vertex_read_at: datetime | None
    vertex_last: int | None = Field(
        description="The count of Vertex AI at `vertex_read_at`; `vertex` is null when it may no "
        "longer be true."
    )
    points_at_nothing: int
    not_seen_yet: int
    only_in_vertex: int | None = Field(
        description="`database - points_at_nothing - not_seen_yet + only_in_vertex = vertex`."
    )
    serving: ServingOut


@example(
    {
        "sweep": {
            "id": 12,
            "status": "complete",
            "actor": "ana",
            "planes": dict.fromkeys(
                ("vertex", "gcs", "cloud_run", "scheduler", "vertex_endpoints"), READ_EXAMPLE
            ),
            "counts": {
                "rows": 10,
                "registered": 8,
                "vertex": 9,
                "gcs": 8,
                "cloud_run": 2,
                "scheduler": 7,
                "vertex_endpoints": 0,
            },
            "started_at": "2026-02-08T12:10:00Z",
            "finished_at": "2026-02-08T12:10:04Z",
        },
        "counts": COUNTS_EXAMPLE,
        "items": [
            {
                "id": 3,
                "kind": "stale_pointer",
                "status": "open",
                "title": "chern_rank_v1 v1 is not in Vertex AI",
                "evidence": {"looks": 2},
                "repair": "Clear the pointer; the history keeps its value.",
                "repairs": ["repair"],
                "project": PROJECT_EXAMPLE,
                "model": 3,
                "run": 9,
                "looks": 2,
                "began_at": "2026-02-08T10:10:00Z",
                "began_told": False,
                "first_seen_at": "2026-02-08T11:10:00Z",
                "last_seen_at": "2026-02-08T12:10:00Z",
                "ended_at": None,
                "repaired_at": None,
                "ignored": None,
                "operation": None,
            }
        ],
        "pagination": PAGE_EXAMPLE,
    }
)
class AuditOut(Out):
    """The newest sweep, the four counts, and a part of the list of findings."""

    sweep: SweepOut | None
    counts: FourCountsOut
    items: list[FindingOut]
    pagination: Pagination


def sweep_json(sweep: Sweep, *, actor: str, counts: Json) -> Json:
    """A sweep, with its actor and counts as far as the caller may see them."""
    planes = {
        name: {key: plane.get(key, default) for key, default in _PLANE.items()}
        for name, plane in sweep.planes.items()
    }
    return {
        "id": sweep.pk,
        "status": sweep.status,
        "actor": actor,
        "planes": planes,
        "counts": counts,
        "started_at": when(sweep.started_at),
        "finished_at": when(sweep.finished_at),
    }


_PLANE = {"read": False, "reason": "", "code": ""}


def finding_json(finding: Finding) -> Json:
    """A finding."""
    return {
        "id": finding.pk,
        "kind": finding.kind,
        "status": finding.status,
        "title": finding.title,
        "evidence": finding.evidence,
        "repair": finding.repair,
        "repairs": [repair.slug for repair in repairs_of(finding)],
        "project": project_json(finding.project) if finding.project else None,
        "model": finding.registered_model_id,
        "run": finding.run_id,
        "looks": finding.consecutive_sightings,
        "began_at": when(finding.began_at),
        "began_told": finding.began_told,
        "first_seen_at": when(finding.first_seen_at),
        "last_seen_at": when(finding.last_seen_at),
        "ended_at": when(finding.ended_at),
        "repaired_at": when(finding.ended_at if finding.status == FindingStatus.REPAIRED else None),
        "ignored": _ignored(finding) if finding.ignored_by else None,
        "operation": str(finding.operation_id) if finding.operation_id else None,
    }


def _ignored(finding: Finding) -> Json:
    return {
        "by": finding.ignored_by,
        "reason": finding.ignored_reason,
        "until": when(ignored_until(finding)),
    }


def counts_json(counts: FourCounts, serving: ServingCount) -> Json:
    """The four counts, and the fifth of what serves."""
    return {
        "database": counts.database,
        "projects": counts.projects,
        "registry_page": counts.registry_page,
        "vertex": counts.vertex,
        "vertex_reason": counts.vertex_reason,
        "agree": counts.agree,
        "swept_at": when(counts.swept_at),
        "vertex_read_at": when(counts.vertex_read_at),
        "vertex_last": counts.vertex_last,
        "points_at_nothing": counts.points_at_nothing,
        "not_seen_yet": counts.not_seen_yet,
        "only_in_vertex": counts.only_in_vertex,
        "serving": {
            "active": serving.active,
            "verified": serving.verified,
            "unverified": serving.unverified,
            "unknown": serving.unknown,
            "last": serving.last,
            "reason": serving.reason,
            "read_at": when(serving.read_at),
            "whole": serving.whole,
        },
    }
