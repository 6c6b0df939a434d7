"""/api/audit/: do the planes agree, and what repairs them?"""

from __future__ import annotations

from typing import Any

from django.http import HttpResponse
from ninja import Query, Router

from ml_platform import kpis
from ml_platform.api.http.auth import Caller
from ml_platform.api.http.lists import answer_list, matching
from ml_platform.api.schemas.details import AuditOut
from ml_platform.api.schemas.inputs import IgnoreIn, RepairIn
from ml_platform.api.schemas.operation import OperationOut
from ml_platform.api.schemas.queries import AuditQuery
from ml_platform.api.schemas.serialize import (
    Json,
    accepted,
    counts_json,
    finding_json,
    operation_json,
    reply,
    sweep_json,
)
from ml_platform.errors import Invalid
from ml_platform.models import Finding, Operation, Sweep
from ml_platform.models.clock import database_now
from ml_platform.models.states import FindingStatus
from ml_platform.services.access.rights import Right
from ml_platform.services.findings.kinds import facts_of
from ml_platform.services.findings.store import ignore_finding, reopen_finding
from ml_platform.services.registration.adoption import adopt_model
from ml_platform.services.repairs.reconciliation import NoRepair, repair_finding
from ml_platform.services.repairs.unmanaged_models import delete_unmanaged_model
from ml_platform.services.sweeps.audit import counts_of, left_out_of
from ml_platform.services.sweeps.operation import check_registry

from .runs import find_project

router = Router(tags=["audit"])


@router.get("/", response=AuditOut, operation_id="get_audit")
def audit(request: Any, query: Query[AuditQuery]) -> HttpResponse:
    """The newest sweep, the four counts, and the findings that stand."""
    caller: Caller = request.auth
    findings = caller.only(Finding.objects.select_related("project"))
    rows = matching(findings, query, kind="kind")
    if query.status != "any":
        rows = rows.filter(status=query.status)
    newest = Sweep.objects.finished().first()
    counts = kpis.four_counts(caller.scope.limit)
    return answer_list(
        query,
        rows,
        sorts={"seen": "first_seen_at"},
        row_json=finding_json,
        sweep=_sweep_of(caller, newest, counts.vertex) if newest else None,
        counts=counts_json(counts),
    )


def _sweep_of(caller: Caller, sweep: Sweep, vertex: int | None) -> Json:
    """A sweep reads the planes of all tenants; who does not see all is told what concerns them."""
    limit = caller.scope.limit
    if limit is None:
        told = {name: value for name, value in sweep.counts.items() if name != "of"}
        return sweep_json(sweep, actor=sweep.actor_label, counts=told)
    ids = list(limit.values_list("pk", flat=True))
    told = counts_of(sweep, projects=ids, vertex=vertex) | left_out_of(sweep, projects=ids)
    return sweep_json(sweep, actor="", counts=told)


@router.post("/run/", response={202: OperationOut}, operation_id="run_audit")
def run(request: Any) -> HttpResponse:
    """Have a worker read all planes; while one is at it, 409 names the operation."""
    caller: Caller = request.auth
    caller.require_everything(Right.ADMINISTER)
    return accepted(
        check_registry(actor=caller.actor, clock=database_now, idempotency_key=caller.key)
    )


@router.post(
    "/findings/{int:finding_id}/repair/",
    response={202: OperationOut},
    operation_id="repair_finding",
)
def repair(request: Any, finding_id: int, body: RepairIn) -> HttpResponse:
    """Open the safe repair of a finding; adopt or delete a model that nobody manages."""
    caller: Caller = request.auth
    rows = Finding.objects.select_related("registered_model", "run")
    finding = caller.get(rows, finding_id, "finding", Right.ADMINISTER)
    return accepted(_repair(caller, finding, body))


def _repair(caller: Caller, finding: Finding, body: RepairIn) -> Operation:
    now = database_now()
    if body.action == "repair":
        return repair_finding(finding=finding, actor=caller.actor, now=now)
    if not facts_of(finding).needs_choice or finding.status != FindingStatus.OPEN:
        raise NoRepair(f"{finding.title}: nothing to {body.action}.", advice=finding.repair)
    if body.action == "delete":
        return delete_unmanaged_model(
            resource_name=finding.subject,
            actor=caller.actor,
            now=now,
            project_id=finding.project_id,
        )
    if body.project is None or not body.model_name:
        raise Invalid(
            "An adoption needs the project and the name that the model gets.",
            code="adopt_needs_name",
            advice="Give project and model_name.",
        )
    return adopt_model(
        resource_name=finding.subject,
        project=find_project(caller, body.project, Right.ADMINISTER),
        model_name=body.model_name,
        actor=caller.actor,
        now=now,
    )


@router.post(
    "/findings/{int:finding_id}/ignore/",
    response={200: OperationOut},
    operation_id="ignore_finding",
)
def ignore(request: Any, finding_id: int, body: IgnoreIn) -> HttpResponse:
    """Leave a finding out of the counts, with a reason that stays in the history."""
    caller: Caller = request.auth
    finding = caller.get(Finding.objects.all(), finding_id, "finding", Right.ADMINISTER)
    operation = ignore_finding(
        finding=finding, actor=caller.actor, reason=body.reason, now=database_now()
    )
    return reply(operation_json(operation))


@router.post(
    "/findings/{int:finding_id}/reopen/",
    response={200: OperationOut},
    operation_id="reopen_finding",
)
def reopen(request: Any, finding_id: int) -> HttpResponse:
    """Count an ignored finding again."""
    caller: Caller = request.auth
    finding = caller.get(Finding.objects.all(), finding_id, "finding", Right.ADMINISTER)
    operation = reopen_finding(finding=finding, actor=caller.actor, now=database_now())
    return reply(operation_json(operation))
