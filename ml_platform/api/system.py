"""/api/system/: the numbers of the dashboard, the status, and the jobs at Cloud Scheduler."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import asdict
from typing import Any

from django.http import HttpResponse
from ninja import Query, Router

from ml_platform import kpis
from ml_platform.actions.action import perform
from ml_platform.actions.caller import Caller
from ml_platform.actions.system import SET_UP_JOB, STATUS
from ml_platform.api.http.idempotency import asks_google
from ml_platform.api.schemas.audit import counts_json
from ml_platform.api.schemas.base import reply, when
from ml_platform.api.schemas.system import KpisOut, SetupOut, StatusOut, StatusQuery, status_json
from ml_platform.jobs import JOBS
from ml_platform.models import snapshot
from ml_platform.models.clock import database_now
from ml_platform.services.access.rights import Right
from ml_platform.services.metrics.service_metrics import daily_totals

router = Router(tags=["system"])
CARDS = 100


@router.get("/kpis/", response=KpisOut, operation_id="get_kpis")
def get_kpis(request: Any) -> HttpResponse:
    """The five counts, the assets, up to a hundred project cards and the open findings."""
    caller: Caller = request.auth
    caller.require(Right.VIEW)
    limit, now = caller.scope.limit, database_now()
    with snapshot():
        cards = kpis.project_cards(caller.scope.projects[:CARDS])
        body = {
            "counts": counts_json(kpis.four_counts(limit), kpis.serving_count(limit)),
            "assets": asdict(kpis.assets(limit)),
            "projects": [
                asdict(card) | {"latest_registered_at": when(card.latest_registered_at)}
                for card in cards
            ],
            "findings": kpis.open_findings(limit),
            "drift": asdict(kpis.drift_times(now=now, projects=limit)),
            "services": daily_totals(today=now.date(), projects=limit),
        }
    return reply(body)


@router.get("/status/", response=StatusOut, operation_id="get_status")
def get_status(request: Any, query: Query[StatusQuery]) -> HttpResponse:
    """Whether settings, database, workers, sweeps and jobs are well; on request Google's APIs too.

    For administrators who see all projects.
    """
    return reply(status_json(perform(STATUS, "", query.verify, request.auth)))


def _setter(name: str) -> Callable[[Any], HttpResponse]:
    @asks_google
    def setup(request: Any) -> HttpResponse:
        done = perform(SET_UP_JOB, name, None, request.auth)
        return reply(
            {
                "status": "success",
                "action": done.action,
                "job_name": done.job_name,
                "schedule": done.schedule,
            }
        )

    return setup


for _job in JOBS.values():
    router.post(
        f"/{_job.setup}",
        response=SetupOut,
        operation_id=f"setup_{_job.noun}",
        summary=f"Set up {_job.noun.replace('_', ' ')}",
        description=f"Set up its Cloud Scheduler job: `{_job.cron}` in UTC. {_job.description} "
        "A paused job is resumed.",
    )(_setter(_job.name))
