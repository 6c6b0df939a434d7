"""`/operations/` and `/operations/<uuid>/`: the list, and one operation with its steps."""

from __future__ import annotations

import uuid
from collections.abc import Iterator, Mapping
from datetime import datetime
from typing import Any

from django.http import HttpRequest, HttpResponse, JsonResponse
from django.urls import reverse

from ml_platform.actions.caller import Caller
from ml_platform.actions.operations import CANCEL, RETRY, find_operation
from ml_platform.actions.runs import REGISTER, to_register
from ml_platform.models import DeployedEndpoint, Finding, Operation, TrainingRun, TrainingSchedule
from ml_platform.models.clock import database_now
from ml_platform.models.operation import OperationQuerySet
from ml_platform.models.states import LIVE_OPERATION_STATUSES, OperationStatus
from ml_platform.pages.common.buttons import button, is_offered, offered
from ml_platform.pages.common.queries import numbered_page, tabs_of
from ml_platform.pages.layout import caller_of, page, render_page
from ml_platform.pages.training.buttons import register_button, train_again
from ml_platform.pages.training.registry_table import model_url
from ml_platform.pages.view_models.badges import STEP_BADGES, badge
from ml_platform.pages.view_models.context import Button, Link, Values
from ml_platform.pages.view_models.fact_list import facts, readable
from ml_platform.pages.view_models.serialize import operation_row, operation_rows
from ml_platform.pages.view_models.times import duration, moment
from ml_platform.services.access.scope import Scope, scope_of
from ml_platform.services.operations.liveness import WAITS, why_waiting
from ml_platform.services.operations.store import held_by, holders
from ml_platform.services.operations.workflow import title_of, workflow_of

FINDINGS_SHOWN = 5
OPERATIONS_A_PAGE = 50
OPERATION_TABS: dict[str, tuple[str, list[str]]] = {
    "all": ("All", []),
    "live": ("Running", [OperationStatus.PENDING, OperationStatus.RUNNING]),
    "failed": ("Failed", [OperationStatus.FAILED]),
}
WAITING = badge("Waiting", "quiet")
ORIGINS: Mapping[str, str] = {
    "page": "these pages",
    "api": "the API",
    "command": "a command",
    "scheduler": "Cloud Scheduler",
    "worker": "a worker",
}


def operations_of(scope: Scope) -> OperationQuerySet:
    """The operations that a user may see, the newest first."""
    return scope.only(newest_operations())


def newest_operations() -> OperationQuerySet:
    """All operations, the newest first."""
    rows: OperationQuerySet = Operation.objects.select_related("project", "lineage")
    return rows.order_by("-created_at", "pk")


@page
def operations(request: HttpRequest) -> HttpResponse:
    """The list of operations, the newest first."""
    scope = scope_of(request.user)
    tabs, statuses = tabs_of(request, OPERATION_TABS)
    rows = operations_of(scope)
    if statuses:
        rows = rows.filter(status__in=statuses).exclude(step="")  # a refused request has no step
    shown, pager = numbered_page(rows, request, size=OPERATIONS_A_PAGE)
    found = {"tabs": tabs, "rows": operation_rows(shown, database_now()), "pager": pager}
    return render_page(request, "operations", found)


@page
def operation(request: HttpRequest, operation_id: uuid.UUID) -> HttpResponse:
    """One operation with its facts, its steps and links to its subject."""
    now, caller = database_now(), caller_of(request)
    row = find_operation(caller, operation_id)
    # The words of its title around the name of its subject.
    before, _, after = workflow_of(row).title.partition("{}")
    waiting = why_waiting([row], clock=lambda: now).get(row.pk, "")
    found = {
        "row": operation_row(row, now, waiting=waiting),
        "before": before.strip(),
        "after": after.strip(),
        "about": list(_about(row, caller.scope)),
        "facts": facts(_facts(row), now),
        "steps": _steps(row, now, waiting),
        "waits": _waits_for(row, caller.scope, waiting),
        "error": readable(row.error),
        "error_code": row.error_code,
        "advice": row.advice,
        "finished": moment(row.finished_at, now),
        "acts": _buttons(caller, row),
    }
    return render_page(request, "operation", found)


@page
def operation_status(request: HttpRequest, operation_id: uuid.UUID) -> HttpResponse:
    """The state of an operation as JSON, for the script that polls it."""
    row = find_operation(caller_of(request), operation_id)
    [shown] = operation_rows([row], database_now())
    what = " ".join(shown[name] for name in ("actor", "verb", "subject", "after"))
    return JsonResponse(
        {
            "status": row.status,
            "label": shown["status"].label,
            **{name: shown[name] for name in ("live", "note", "done", "steps")},
            "what": what.strip(),
            "error": readable(row.error),
            "advice": row.advice,
        }
    )


def _buttons(caller: Caller, row: Operation) -> list[Button]:
    """Retry if it failed, or cancel while it runs; no button that can only fail."""
    name = title_of(row)
    if retry := offered(caller, RETRY, row, "Retry", name=f"Retry: {name}"):
        return retry
    if not row.cancel_requested and not is_offered(CANCEL, row):
        return _instead(caller, row)
    cancel = button(
        caller,
        CANCEL,
        row,
        "Cancel",
        name=f"Cancel: {name}",
        confirm=f"Cancel: {name}? It ends at its next cancellable step.",
        tone="danger",
    )
    return [cancel]


def _instead(caller: Caller, row: Operation) -> list[Button]:
    """What can work after a deploy whose model is gone: register its run again, or train again."""
    if row.status != OperationStatus.FAILED or row.error_code != "model_not_found":
        return []
    runs = caller.scope.only(TrainingRun.objects.select_related("registered_model"))
    run = runs.filter(pk=row.data.get("run", 0)).first()
    if run is None:
        return []
    again = is_offered(REGISTER, to_register(run)) and row.data.get("registers")
    return [*([register_button(caller, run)] if again else []), *train_again(caller, run)]


def _waits_for(row: Operation, scope: Scope, waiting: str) -> Link | None:
    """Why nobody works on it: no worker has taken it, or another operation holds its subject."""
    if waiting or row.status != OperationStatus.PENDING:
        return Link(text=waiting) if waiting else None
    holder = holders(lineages=[row.lineage_key], services=[row.service_key]).first()
    if holder is None:
        return Link(text=WAITS)
    held = f"{row.subject_name} {held_by(holder, project_id=row.project_id)}"
    url = reverse("ml_platform:operation", args=[holder.pk])
    return Link(
        text=f"It waits for another operation: {held}",
        url=url if scope.sees(holder.project_id) else "",
    )


def _about(row: Operation, scope: Scope) -> Iterator[Link]:
    """Links to its model, run, endpoint or schedule, and to the findings it repairs."""
    if row.lineage:
        yield Link(text=f"Model {row.lineage.model_name}", url=model_url(row.lineage.pk))
    if row.project_id:
        yield from _on_training_page(row)
    for finding in scope.only(Finding.objects.filter(operation=row))[:FINDINGS_SHOWN]:
        url = reverse("ml_platform:finding", args=[finding.pk])
        yield Link(text=f"Finding: {finding.title}", url=url)


def _on_training_page(row: Operation) -> Iterator[Link]:
    training = reverse("ml_platform:training", args=[row.project_id])
    if row.subject_type == "trainingrun":
        for run in TrainingRun.objects.filter(pk=row.subject_id):
            yield Link(text=f"Run {run.pk}", url=f"{training}#run-{run.pk}")
    # After the endpoint was deleted, another project may use its service name.
    own = DeployedEndpoint.objects.filter(project=row.project_id)
    for endpoint in own.filter(service_name=row.service_key or None):
        text = f"Endpoint {endpoint.service_name}"
        yield Link(text=text, url=f"{training}#endpoint-{endpoint.pk}")
    if row.subject_type == "trainingschedule":
        for schedule in TrainingSchedule.objects.filter(pk=row.subject_id):
            text = f"Schedule {schedule.name}"
            yield Link(text=text, url=f"{training}#schedule-{schedule.pk}")


def _facts(row: Operation) -> Values:
    return {
        "project": str(row.project) if row.project else None,
        "requested through": ORIGINS.get(row.origin, row.origin),
        "reason": row.reason,
        "idempotency key": row.idempotency_key if row.origin == "api" else None,
        "operation at Google": row.remote_operation,
        "attempts of this step": row.attempts,
        "id": str(row.pk),
    }


def _steps(row: Operation, now: datetime, waiting: str) -> list[Values]:
    """Those of its history, and those ahead; none is running while nobody works on it."""
    steps = [*(_step(entry, now) for entry in row.steps), *_ahead(row)]
    if waiting:
        quiet = {"status": WAITING}
        steps = [{**one, **(quiet if one["status"].tone == "busy" else {})} for one in steps]
    return steps


def _step(entry: Mapping[str, Any], now: datetime) -> Values:
    label, tone = STEP_BADGES.get(entry.get("status", ""), ("Not begun", "quiet"))
    started, finished = _time(entry, "started_at"), _time(entry, "finished_at")
    return {
        "title": str(entry.get("title") or entry.get("step") or ""),
        "note": readable(str(entry.get("note") or "")),
        "status": badge(label, tone),
        "started": moment(started or finished, now),
        "took": duration(finished - started) if started and finished and finished > started else "",
    }


def _ahead(row: Operation) -> Iterator[Values]:
    """The steps that a live operation has not done; a retried one is in the history already."""
    if row.status not in LIVE_OPERATION_STATUSES:
        return
    newest = row.steps[-1] if row.steps else {}
    for step in workflow_of(row).planned(row):
        at_it = step.name == row.step
        if at_it and newest.get("step") == step.name and newest.get("status") != "done":
            continue
        running = at_it and row.status == OperationStatus.RUNNING
        state = badge(*STEP_BADGES["running"]) if running else WAITING
        yield {"title": step.title, "status": state}


def _time(entry: Mapping[str, Any], key: str) -> datetime | None:
    return datetime.fromisoformat(entry[key]) if entry.get(key) else None
