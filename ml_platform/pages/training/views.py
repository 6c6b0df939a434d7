"""`/projects/<id>/training/`: the models, endpoints, runs and schedules of a project."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from django.db.models import Case, QuerySet, Value, When
from django.http import HttpRequest, HttpResponse
from django.urls import reverse

from ml_platform import kpis
from ml_platform.models import DeployedEndpoint, TrainingRun, TrainingSchedule
from ml_platform.models.clock import database_now
from ml_platform.models.endpoints.serving_truth import with_serving_truth
from ml_platform.models.states import LIVE_SCHEDULE_STATES, TRAINING_RUN_STATUSES, RunStatus
from ml_platform.pages.common.queries import NEWEST, Listed, tabs_of
from ml_platform.pages.layout import caller_of, page, render_page
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
    endpoints, endpoints_pager = ENDPOINTS.page(
        request, order=NEWEST, size=ROWS_A_TABLE, name="endpoints", project=project.pk
    )
    locks = read_project_locks(project.pk, [one.service_name for one in endpoints])
    registry = registry_table(request, project=project, caller=caller, locks=locks, now=now)
    tabs, statuses = tabs_of(request, RUN_TABS, "runs")
    runs, runs_pager = RUNS.page(
        request,
        *statuses,
        order=NEWEST,
        size=ROWS_A_TABLE,
        name="runs",
        project=project.pk,
    )
    schedules, schedules_pager = SCHEDULES.numbered(
        request, size=ROWS_A_TABLE, parameter="schedules", anchor="schedules", project=project.pk
    )
    known = registry["known"]
    found = {
        "id": project.pk,
        "name": str(project),
        "url": reverse("ml_platform:training", args=[project.pk]),
        "archived": project.in_archive,
        "may_train": caller.has(Right.TRAIN),
        "figures": asset_figures(kpis.assets([project.pk])),
        "registry": registry,
        "endpoints": endpoint_rows(
            endpoints, project_id=project.pk, caller=caller, known=known, now=now
        ),
        "p95": kpis.WORST_P95,
        "endpoints_pager": endpoints_pager,
        "runs": run_rows(runs, caller=caller, now=now),
        "runs_metric": common_name(main_metric(run.metrics) for run in runs),
        "runs_tabs": tabs,
        "runs_pager": runs_pager,
        "runs_narrowed": bool(statuses),
        "schedules": schedule_rows(schedules, caller=caller, now=now),
        "schedules_pager": schedules_pager,
    }
    status = 422 if registry["form"].errors else 200
    return render_page(request, "training", found, status=status)


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
