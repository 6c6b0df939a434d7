"""/api/system/: the numbers of the dashboard, and the jobs at Cloud Scheduler."""

from __future__ import annotations

from dataclasses import asdict
from typing import Any

from django.http import HttpResponse
from ninja import Router

from ml_platform import kpis
from ml_platform.jobs import set_up
from ml_platform.models.clock import database_now
from ml_platform.services.rights import Right
from ml_platform.services.service_metrics import daily_totals

from .auth import Caller
from .schemas_whole import KpisOut, SetupOut
from .serialize import counts_json, reply, when

router = Router(tags=["system"])
CARDS = 100


@router.get("/kpis/", response=KpisOut, operation_id="get_kpis")
def get_kpis(request: Any) -> HttpResponse:
    """The four counts, what there is, up to a hundred project cards and the open findings."""
    caller: Caller = request.auth
    caller.require(Right.VIEW)
    limit = caller.scope.limit
    cards = kpis.project_cards(caller.scope.projects[:CARDS])
    return reply(
        {
            "counts": counts_json(kpis.four_counts(limit)),
            "assets": asdict(kpis.assets(limit)),
            "projects": [
                asdict(card) | {"latest_registered_at": when(card.latest_registered_at)}
                for card in cards
            ],
            "findings": kpis.open_findings(limit),
            "services": daily_totals(today=database_now().date(), projects=limit),
        }
    )


@router.post(
    "/setup-orphan-cleanup-scheduler/", response=SetupOut, operation_id="setup_orphan_cleanup"
)
def setup_orphan_cleanup(request: Any) -> HttpResponse:
    """Have Cloud Scheduler ring the cleanup of orphans at 04:00 UTC."""
    return _set_up(request.auth, "cleanup-orphan-models")


@router.post("/setup-cleanup-scheduler/", response=SetupOut, operation_id="setup_artifact_cleanup")
def setup_artifact_cleanup(request: Any) -> HttpResponse:
    """Have Cloud Scheduler ring the cleanup of artifacts at 03:00 UTC."""
    return _set_up(request.auth, "cleanup-gcs-artifacts")


@router.post("/setup-metrics-scheduler/", response=SetupOut, operation_id="setup_metrics")
def setup_metrics(request: Any) -> HttpResponse:
    """Have Cloud Scheduler ring the collection of metrics at 02:00 UTC."""
    return _set_up(request.auth, "collect-resource-metrics")


@router.post("/setup-polling-scheduler/", response=SetupOut, operation_id="setup_polling")
def setup_polling(request: Any) -> HttpResponse:
    """Have Cloud Scheduler ring the polling of training runs each minute."""
    return _set_up(request.auth, "poll-training-runs")


@router.post("/setup-resume-scheduler/", response=SetupOut, operation_id="setup_resumption")
def setup_resumption(request: Any) -> HttpResponse:
    """Have Cloud Scheduler ring the resumption of operations each minute."""
    return _set_up(request.auth, "resume-operations")


@router.post("/setup-audit-scheduler/", response=SetupOut, operation_id="setup_audit")
def setup_audit(request: Any) -> HttpResponse:
    """Have Cloud Scheduler ring the audit of the registry each hour."""
    return _set_up(request.auth, "audit-registry")


def _set_up(caller: Caller, name: str) -> HttpResponse:
    caller.require_everything(Right.ADMINISTER)
    done = set_up(name, actor=caller.actor, clock=database_now)
    return reply(
        {
            "status": "success",
            "action": done.action,
            "job_name": done.job_name,
            "schedule": done.schedule,
        }
    )
