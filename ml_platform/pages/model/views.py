"""`/models/<id>/`: the versions of a model, their metrics, lineage and history."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from typing import Any

from django.db.models import Prefetch, QuerySet
from django.http import HttpRequest, HttpResponse
from django.urls import reverse

from ml_platform import kpis
from ml_platform.actions.caller import Caller
from ml_platform.actions.endpoints import Known, read_known
from ml_platform.actions.models import AliasFacts, find_model
from ml_platform.models import (
    DeployedEndpoint,
    Manifest,
    RegisteredModel,
    TrainingRun,
    TrainingSchedule,
)
from ml_platform.models.clock import database_now
from ml_platform.models.endpoints.serving_truth import with_serving_truth
from ml_platform.models.states import HOLDS_POINTER, Registration, RegistryState
from ml_platform.pages.common.buttons import alias_button, approval_button, deploy_button
from ml_platform.pages.common.queries import cursor_page, query_url, read_versions
from ml_platform.pages.layout import caller_of, page, render_page
from ml_platform.pages.training.registry_table import blessed_badge, registry_badge
from ml_platform.pages.view_models.badges import badge
from ml_platform.pages.view_models.context import Badge, Button, Fact, Link, Values
from ml_platform.pages.view_models.metrics import common_name, main_metric, numbers
from ml_platform.pages.view_models.times import moment
from ml_platform.pagination import Order
from ml_platform.services.access.rights import Right
from ml_platform.services.artifacts.folders import human_size
from ml_platform.services.artifacts.manifest import files_checked_at
from ml_platform.services.deletion.preview import DELETABLE
from ml_platform.services.deployment.deployable import choose_endpoint, with_differences
from ml_platform.services.mirror.vertex_endpoints import deployments_at
from ml_platform.services.registry.protection import why_protected
from ml_platform.services.registry.registry_state import RegistryVerdict
from ml_platform.services.scheduling.ringing import with_job_finding
from ml_platform.text import counted

from .history import history
from .lineage_graph import artifacts_badge, draw, files_badge
from .metric_comparison import Measured, compare

NEWEST_VERSION = Order("newest", "version", descending=True)
VERSIONS_A_PAGE = 20
COMPARED = 5
COMPARED_MAX = 12
REGISTRATIONS = {
    Registration.REGISTERED: ("Registered", "good"),
    Registration.DELETING: ("Being deleted", "busy"),
    Registration.DELETED: ("Deleted", "quiet"),
    Registration.LOST: (RegistryState.MISSING.label, "bad"),
    Registration.NONE: ("Not registered", "quiet"),
}
NOT_REGISTERED = badge(
    "Not registered", "quiet", "It has no version in the Vertex AI Model Registry."
)


@page
def model(request: HttpRequest, model_id: int) -> HttpResponse:
    """One model, its versions, and a comparison of the chosen ones. Reads only our database."""
    now, caller = database_now(), caller_of(request)
    row = find_model(caller, model_id)
    known = read_known([row], [])
    verdict = known.verdict(row)
    training = reverse("ml_platform:training", args=[row.project_id])
    deployed = with_serving_truth(DeployedEndpoint.objects.filter(registered_model=row))
    endpoints = list(
        with_differences(deployed.select_related("run", "intended_run")).order_by("pk")
    )
    numbered = row.training_runs.filter(version__isnull=False)
    numbered = numbered.annotate(files_checked_at=files_checked_at())
    numbered = numbered.select_related("created_by", "manifest").prefetch_related(
        Prefetch("schedule", with_job_finding(TrainingSchedule.objects.all()))
    )
    numbered = numbered.defer("manifest__files")
    shown, pager = cursor_page(
        numbered, request, order=NEWEST_VERSION, size=VERSIONS_A_PAGE, name="versions"
    )
    compared = _compared(request, numbered, shown)
    pictured = _pictured(request, numbered, shown, endpoints)
    found = {
        "name": row.model_name,
        "project": Link(text=str(row.project), url=training),
        "registry": registry_badge(verdict, now) if row.total_versions else NOT_REGISTERED,
        "checked": moment(verdict.at, now),
        "deploy": row.latest_run and _deploy(caller, row, row.latest_run, endpoints, known),
        "delete_url": _delete_url(row, caller) if row.total_versions else "",
        # Which aliases forbid to delete all versions, as far as the versions of this page show.
        "delete_why": " ".join(filter(None, map(_why_protected, shown))),
        "facts": _facts(row),
        "serving": [*_serving(endpoints, training), *_at_vertex_endpoints(row, known)],
        "versions": [
            _version(run, row, endpoints, caller, known, now)
            | _chosen(request, run, compared, pictured)
            for run in shown
        ],
        "metric": common_name(main_metric(run.metrics) for run in shown),
        "versions_pager": pager,
        "comparison": _comparison(request, compared),
        "picture": pictured and _picture(pictured, endpoints, verdict, known, now),
        "history": history(row, now),
    }
    return render_page(request, "model", found)


def _deploy(
    caller: Caller,
    row: RegisteredModel,
    run: TrainingRun,
    endpoints: Sequence[DeployedEndpoint],
    known: Known,
) -> Button:
    return deploy_button(caller, known.deploy(row, run, choose_endpoint(endpoints)), run)


def _facts(row: RegisteredModel) -> tuple[Fact, ...]:
    known = (
        Fact(name="Type", value=row.get_model_type_display()),
        Fact(name="Registered versions", value=f"{row.total_versions:,}"),
        Fact(name="In Vertex AI", value=row.vertex_model_resource_name, code=True),
        Fact(name="About", value=row.description),
    )
    return tuple(fact for fact in known if fact.value)


def _serving(endpoints: Sequence[DeployedEndpoint], training: str) -> list[Link]:
    """`v5 on test-v1-retriv`, for each active endpoint."""
    return [
        Link(text=f"v{e.run.version} on {e.service_name}", url=f"{training}#endpoint-{e.pk}")
        for e in endpoints
        if e.is_active and e.run
    ]


def _at_vertex_endpoints(row: RegisteredModel, known: Known) -> list[Link]:
    """`version 5 in Vertex AI at its endpoint front (100 %)`, as they were last listed."""
    unread = known.endpoints_unread
    found = [
        f"version {one.version or '?'} in Vertex AI at its endpoint {one.endpoint} "
        f"({one.percent} %){', as last seen' if unread else ''}"
        for one in deployments_at(row.vertex_model_resource_name)
    ]
    if unread and unread != kpis.NEVER_SWEPT:
        found.append(f"unknown at endpoints of Vertex AI: {unread}")
    return [Link(text=text) for text in found]


def _comparison(request: HttpRequest, compared: Sequence[TrainingRun]) -> Values:
    return compare(
        [Measured(run.version or 0, numbers(run.metrics)) for run in compared],
        metric=request.GET.get("metric", ""),
        url_of=lambda name: f"{query_url(request, 'metric', name)}#compare",
    )


def _compared(
    request: HttpRequest, numbered: QuerySet[TrainingRun], shown: Sequence[TrainingRun]
) -> list[TrainingRun]:
    """The versions that the query names, or the newest registered ones of the page."""
    asked = read_versions(request.GET, "v")
    if asked:
        here = [run for run in shown if run.version in asked]
        if len(here) == len(asked):
            return here[:COMPARED_MAX]
        return list(numbered.filter(version__in=sorted(asked)[-COMPARED_MAX:]))
    return [run for run in shown if run.registration in HOLDS_POINTER][:COMPARED]


def _pictured(
    request: HttpRequest,
    numbered: QuerySet[TrainingRun],
    shown: Sequence[TrainingRun],
    endpoints: Sequence[DeployedEndpoint],
) -> TrainingRun | None:
    """The version of the lineage graph: the one that the query names, else the newest that is
    served, else the newest registered one."""
    asked = read_versions(request.GET, "picture")
    for run in shown:
        if run.version in asked:
            return run
    serving = numbered.filter(pk__in=[e.run_id for e in endpoints if e.is_active])
    registered = (run for run in shown if run.registration in HOLDS_POINTER)
    return serving.order_by("-version").first() or next(registered, shown[0] if shown else None)


def _version(
    run: TrainingRun,
    row: RegisteredModel,
    endpoints: Sequence[DeployedEndpoint],
    caller: Caller,
    known: Known,
    now: datetime,
) -> Values:
    registered = run.registration == Registration.REGISTERED
    training = reverse("ml_platform:training", args=[row.project_id])
    delete_url = _delete_url(row, caller) if run.registration in DELETABLE else ""
    vertex = f"{run.vertex_model_resource_name}@{run.vertex_model_version}"
    return {
        "number": run.version or 0,
        "aliases": run.aliases,
        "alias": alias_button(caller, run, AliasFacts(run, known.locks)) if registered else None,
        "state": _version_badge(run, known.verdict(row), now),
        "files": _files(run, now),
        "blessed": blessed_badge(run),
        "approval": approval_button(caller, run) if registered else None,
        "metric": main_metric(run.metrics),
        "services": [
            Link(text=e.service_name, url=f"{training}#endpoint-{e.pk}")
            for e in endpoints
            if e.is_active and e.run_id == run.pk
        ],
        "by": run.schedule.name if run.schedule else "",
        "registered": moment(run.registered_at, now),
        "vertex": vertex if registered else "",
        "deploy": _deploy(caller, row, run, endpoints, known) if registered else None,
        "delete_url": delete_url and f"{delete_url}?version={run.version}",
        "delete_why": _why_protected(run),
    }


def _files(run: Any, now: datetime) -> Values | None:
    """The manifest of a version; None before one was taken, and once its files were deleted."""
    manifest: Manifest | None = getattr(run, "manifest", None)
    if manifest is None or run.registration == Registration.DELETED:
        return None
    return {
        "text": f"{counted(manifest.file_count, 'file')}, {human_size(manifest.total_bytes)}",
        "digest": manifest.digest,
        "taken": manifest.get_origin_display(),
        "checked": moment(run.files_checked_at, now),
    }


def _chosen(
    request: HttpRequest,
    run: TrainingRun,
    compared: Sequence[TrainingRun],
    pictured: TrainingRun | None,
) -> Values:
    """Whether the version is compared, and whether the lineage graph shows it."""
    url = f"{query_url(request, 'picture', run.version or 0)}#lineage"
    return {"chosen": run in compared, "shown": run == pictured, "picture_url": url}


def _why_protected(run: TrainingRun) -> str:
    """Which alias forbids to delete the version; '' if none does."""
    return why_protected(f"v{run.version}", run.aliases)


def _version_badge(run: TrainingRun, verdict: RegistryVerdict, now: datetime) -> Badge:
    """The state of a version; green only if the sweeps verified it."""
    if run.registration == Registration.REGISTERED:
        if other := files_badge(run):
            return other
        if not verdict.verified and not verdict.changed:
            return registry_badge(verdict, now)
    return badge(*REGISTRATIONS[Registration(run.registration)])


def _delete_url(row: RegisteredModel, caller: Caller) -> str:
    if not caller.has(Right.DELETE):
        return ""
    return reverse("ml_platform:delete", args=[row.pk])


def _picture(
    run: TrainingRun,
    endpoints: Sequence[DeployedEndpoint],
    verdict: RegistryVerdict,
    known: Known,
    now: datetime,
) -> Values:
    mine = [e for e in endpoints if run.pk in (e.run_id, e.intended_run_id)]
    return draw(
        run,
        mine,
        version_state=_version_badge(run, verdict, now),
        artifacts=artifacts_badge(run, known, now),
        serving_unread=known.serving_unread,
    )
