"""`/projects/<id>/training/`: the models, endpoints, runs and schedules of a project."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime
from typing import Any

from django.db.models import Case, QuerySet, Value, When
from django.http import HttpRequest, HttpResponse
from django.urls import reverse

from ml_platform import kpis
from ml_platform.actions.caller import Caller
from ml_platform.models import DeployedEndpoint, TrainingRun, TrainingSchedule
from ml_platform.models.clock import database_now
from ml_platform.models.endpoints.serving_truth import with_serving_truth
from ml_platform.models.states import LIVE_SCHEDULE_STATES, TRAINING_RUN_STATUSES, RunStatus
from ml_platform.pages.common.queries import FRAGMENT, NEWEST, Listed, tabs_of
from ml_platform.pages.layout import caller_of, fragment, page, render_page
from ml_platform.pages.view_models.context import Values
from ml_platform.pages.view_models.metrics import common_name, main_metric
from ml_platform.pages.view_models.serialize import asset_figures
from ml_platform.services.access.rights import Right
from ml_platform.services.deployment.deployable import with_differences
from ml_platform.services.operations.locks import read_project_locks
from ml_platform.services.scheduling.ringing import with_job_finding

from .registry_table import registry_table
from .tables import endpoint_rows, run_rows, schedule_rows

ROWS_A_TABLE = 15
RUN_TABS: Mapping[str, tuple[str, list[str]]] = {
    "all": ("All", []),
    "live": ("Under way", sorted(TRAINING_RUN_STATUSES)),
    "failed": ("Failed", [RunStatus.FAILED, RunStatus.DEPLOY_FAILED]),
}


@page
def training(request: HttpRequest, project_id: str) -> HttpResponse:
    """The four tables of a project, each one page long. Reads only our database."""
    now, caller = database_now(), caller_of(request)
    project = caller.find_project(project_id)
    if request.GET.get(FRAGMENT) == "runs":
        return fragment(request, "runs", _runs_table(request, project, caller, now))
    endpoints, endpoints_pager = ENDPOINTS.page(
        request, order=NEWEST, size=ROWS_A_TABLE, name="endpoints", project=project.pk
    )
    locks = read_project_locks(project.pk, [one.service_name for one in endpoints])
    registry = registry_table(request, project=project, caller=caller, locks=locks, now=now)
    schedules, schedules_pager = SCHEDULES.numbered(
        request, size=ROWS_A_TABLE, parameter="schedules", anchor="schedules", project=project.pk
    )
    known = registry["known"]
    found = {
        "id": project.pk,
        "name": str(project),
        "url": reverse("ml_platform:training", args=[project.pk]),
        "archived": project.in_archive,
        "new_schedule_url": _url_to_train("new_schedule", project, caller),
        "figures": asset_figures(kpis.assets([project.pk])),
        "registry": registry,
        "endpoints": endpoint_rows(
            endpoints, project_id=project.pk, caller=caller, known=known, now=now
        ),
        "p95": kpis.WORST_P95,
        "endpoints_pager": endpoints_pager,
        "runs": _runs_table(request, project, caller, now),
        "schedules": schedule_rows(schedules, caller=caller, now=now),
        "schedules_pager": schedules_pager,
    }
    status = 422 if registry["form"].errors else 200
    return render_page(request, "training", found, status=status)


def _runs_table(request: HttpRequest, project: Any, caller: Caller, now: datetime) -> Values:
    tabs, statuses = tabs_of(request, RUN_TABS, "runs")
    runs, pager = RUNS.page(
        request, *statuses, order=NEWEST, size=ROWS_A_TABLE, name="runs", project=project.pk
    )
    return {
        "rows": run_rows(runs, caller=caller, now=now),
        "metric": common_name(main_metric(run.metrics) for run in runs),
        "tabs": tabs,
        "pager": pager,
        "narrowed": bool(statuses),
        "new_url": _url_to_train("new_run", project, caller),
    }


def _url_to_train(name: str, project: Any, caller: Caller) -> str:
    """The form of that name; '' where nothing can be trained."""
    if project.in_archive or not caller.has(Right.TRAIN):
        return ""
    return reverse(f"ml_platform:{name}", args=[project.pk])


def _endpoints(*, project: Any) -> QuerySet[DeployedEndpoint]:
    rows = with_serving_truth(DeployedEndpoint.objects.filter(project=project))
    return with_differences(
        rows.select_related("registered_model", "run", "intended_run", "previous_run")
    )


def _schedules(*, project: Any) -> QuerySet[TrainingSchedule]:
    """Schedules by name; those that have ended come last."""
    ended = Case(When(state__in=LIVE_SCHEDULE_STATES, then=Value(0)), default=Value(1))
    rows = TrainingSchedule.objects.filter(project=project)
    return with_job_finding(rows).order_by(ended, "name", "pk")


def _runs(*statuses: str, project: Any) -> QuerySet[TrainingRun]:
    rows = TrainingRun.objects.filter(project=project).select_related("schedule", "created_by")
    return rows.filter(status__in=statuses) if statuses else rows


ENDPOINTS = Listed(DeployedEndpoint, _endpoints)
RUNS = Listed(TrainingRun, _runs)
SCHEDULES = Listed(TrainingSchedule, _schedules)
