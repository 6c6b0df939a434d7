"""/api/audit/: whether the planes agree, the findings and their repairs."""

from __future__ import annotations

from typing import Any

from django.http import HttpResponse
from ninja import Query, Router

from ml_platform import kpis
from ml_platform.actions.action import perform
from ml_platform.actions.caller import Caller
from ml_platform.actions.findings import ADOPT, CONFIRM, DELETE_UNMANAGED, IGNORE, REOPEN, REPAIR
from ml_platform.actions.inputs import AdoptIn, IgnoreIn, RepairIn, RepairNameIn
from ml_platform.actions.system import CHECK
from ml_platform.api.http.lists import answer_list, matching
from ml_platform.api.schemas.audit import (
    AuditOut,
    AuditQuery,
    counts_json,
    finding_json,
    sweep_json,
)
from ml_platform.api.schemas.base import Json, reply
from ml_platform.api.schemas.operations import OperationOut, accepted, operation_json
from ml_platform.models import Finding, Sweep
from ml_platform.services.sweeps.audit import counts_of, left_out_of

router = Router(tags=["audit"])
REPAIRS = {"repair": REPAIR, "adopt": ADOPT, "delete": DELETE_UNMANAGED}


@router.get("/", response=AuditOut, operation_id="get_audit")
def audit(request: Any, query: Query[AuditQuery]) -> HttpResponse:
    """The newest sweep, the five counts, and the findings that are not repaired."""
    caller: Caller = request.auth
    findings = caller.only(Finding.objects.select_related("project"))
    rows = matching(findings, query, kind="kind")
    if query.status != "any":
        rows = rows.filter(status=query.status)
    return answer_list(
        query,
        rows,
        sorts={"seen": "first_seen_at"},
        row_json=finding_json,
        more=lambda: _newest_sweep(caller),
    )


def _newest_sweep(caller: Caller) -> Json:
    newest = Sweep.objects.finished().first()
    limit = caller.scope.limit
    counts, serving = kpis.four_counts(limit), kpis.serving_count(limit)
    sweep = _sweep_of(caller, newest, counts.vertex) if newest else None
    return {"sweep": sweep, "counts": counts_json(counts, serving)}


def _sweep_of(caller: Caller, sweep: Sweep, vertex: int | None) -> Json:
    """A sweep reads the planes of all tenants; a caller who does not see all gets the counts of
    their own projects."""
    limit = caller.scope.limit
    if limit is None:
        counts = {name: value for name, value in sweep.counts.items() if name != "of"}
        return sweep_json(sweep, actor=sweep.actor_label, counts=counts)
    ids = list(limit.values_list("pk", flat=True))
    counts = counts_of(sweep, projects=ids, vertex=vertex) | left_out_of(sweep, projects=ids)
    return sweep_json(sweep, actor="", counts=counts)


@router.post("/run/", response={202: OperationOut}, operation_id="run_audit")
def run(request: Any) -> HttpResponse:
    """Start a sweep of all planes; during another sweep, 409 names its operation."""
    return accepted(perform(CHECK, "", None, request.auth))


@router.post(
    "/findings/{int:finding_id}/repair/",
    response={202: OperationOut},
    operation_id="repair_finding",
)
def repair(request: Any, finding_id: int, body: RepairIn) -> HttpResponse:
    """Open a repair of a finding; adopt or delete an unmanaged model."""
    given: AdoptIn | RepairNameIn | None = RepairNameIn(repair=body.repair)
    if body.action == "delete":
        given = None
    elif body.action == "adopt":
        project = "" if body.project is None else str(body.project)
        given = AdoptIn(
            project=project,
            model_name=body.model_name,
            model_type=body.model_type,
            service_name=body.service_name,
        )
    return accepted(perform(REPAIRS[body.action or "repair"], finding_id, given, request.auth))


@router.post(
    "/findings/{int:finding_id}/ignore/",
    response={200: OperationOut},
    operation_id="ignore_finding",
)
def ignore(request: Any, finding_id: int, body: IgnoreIn) -> HttpResponse:
    """Leave a finding out of the counts, with a reason that stays in the history."""
    return reply(operation_json(perform(IGNORE, finding_id, body, request.auth)))


@router.post(
    "/findings/{int:finding_id}/reopen/",
    response={200: OperationOut},
    operation_id="reopen_finding",
)
def reopen(request: Any, finding_id: int) -> HttpResponse:
    """Count an ignored finding again."""
    return reply(operation_json(perform(REOPEN, finding_id, None, request.auth)))


@router.post(
    "/findings/{int:finding_id}/confirm/",
    response={200: OperationOut},
    operation_id="confirm_plane",
)
def confirm(request: Any, finding_id: int) -> HttpResponse:
    """Confirm the alarm that a plane suddenly lacks much of what it had: the next sweep believes
    it, and makes a finding for each."""
    return reply(operation_json(perform(CONFIRM, finding_id, None, request.auth)))
