"""`/operations/<uuid>/`: one operation, its steps and its subject."""

from __future__ import annotations

import uuid
from collections.abc import Iterator, Mapping
from datetime import datetime
from typing import Any

from django.http import HttpRequest, HttpResponse, JsonResponse
from django.urls import reverse
from django.utils import timezone

from ml_platform.actions.caller import Caller
from ml_platform.actions.operations import CANCEL, RETRY, find_operation
from ml_platform.models import DeployedEndpoint, Finding, Operation, TrainingRun, TrainingSchedule
from ml_platform.models.operation import OperationQuerySet
from ml_platform.models.states import LIVE_OPERATION_STATUSES, OperationStatus
from ml_platform.pages.common.buttons import button, is_offered
from ml_platform.pages.layout import open_count, page, render_page
from ml_platform.pages.requests import caller_of
from ml_platform.pages.training.registry_table import model_url
from ml_platform.pages.view_models.badges import STEP_BADGES, badge
from ml_platform.pages.view_models.context import Button, Fact, Link, OperationDetail, StepRow
from ml_platform.pages.view_models.fact_list import facts, readable
from ml_platform.pages.view_models.serialize import operation_row
from ml_platform.pages.view_models.times import duration, moment
from ml_platform.services.access.scope import Scope
from ml_platform.services.operations.store import held_by, holders
from ml_platform.services.operations.workflow import title_of, workflow_of

FINDINGS_SHOWN = 5
ORIGINS: Mapping[str, str] = {
    "page": "these pages",
    "api": "the API",
    "command": "a command",
    "scheduler": "Cloud Scheduler",
    "worker": "a worker",
}


def operations_of(scope: Scope) -> OperationQuerySet:
    """The operations that a user may see, the newest first."""
    rows: OperationQuerySet = Operation.objects.select_related("project", "lineage")
    return scope.only(rows).order_by("-created_at", "pk")


@page
def operation(request: HttpRequest, operation_id: uuid.UUID) -> HttpResponse:
    """One operation with its facts, its steps and links to its subject."""
    now, caller = timezone.now(), caller_of(request)
    row, scope = find_operation(caller, operation_id), caller.scope
    before, _, after = workflow_of(row).title.partition("{}")
    waits = _waits_for(row, scope)
    found = OperationDetail(
        row=operation_row(row, now),
        before=before.strip(),
        after=after.strip(),
        about=tuple(_about(row, scope)),
        facts=_facts(row, now),
        steps=(*(_step(entry, now) for entry in row.steps), *_ahead(row)),
        waits=waits,
        error=readable(row.error),
        error_code=row.error_code,
        advice=row.advice,
        started=moment(row.started_at, now),
        finished=moment(row.finished_at, now),
        acts=_buttons(caller, row),
    )
    return render_page(request, "operation", found, findings_open=open_count(scope))


@page
def operation_status(request: HttpRequest, operation_id: uuid.UUID) -> HttpResponse:
    """The state of an operation as JSON, for the script that polls it."""
    row = find_operation(caller_of(request), operation_id)
    told = operation_row(row, timezone.now())
    return JsonResponse(
        {
            "status": row.status,
            "label": told.status.label,
            "live": told.live,
            "what": f"{told.actor} {told.verb} {told.subject} {told.after}".strip(),
            "note": told.note,
            "done": told.done,
            "steps": told.steps,
            "error": readable(row.error),
            "advice": row.advice,
        }
    )


def _buttons(caller: Caller, row: Operation) -> tuple[Button, ...]:
    """Retry where it failed, or cancel while it runs; no button that can only fail."""
    name = title_of(row)
    if is_offered(RETRY, row):
        return (button(caller, RETRY, row, "Retry", name=f"Retry: {name}"),)
    if not row.cancel_requested and not is_offered(CANCEL, row):
        return ()
    return (
        button(
            caller,
            CANCEL,
            row,
            "Cancel",
            name=f"Cancel: {name}",
            confirm=f"Cancel: {name}? It stops at the next step where that is safe.",
            tone="danger",
        ),
    )


def _waits_for(row: Operation, scope: Scope) -> Link | None:
    """Why a pending operation has not started: another one holds its subject, or no worker ran."""
    if row.status != OperationStatus.PENDING:
        return None
    holder = holders(lineages=[row.lineage_key], services=[row.service_key]).first()
    if holder is None:
        return Link(text="It waits for a worker.")
    told = held_by(holder, project_id=row.project_id)
    shown = scope.sees(holder.project_id)
    url = reverse("ml_platform:operation", args=[holder.pk]) if shown else ""
    return Link(text=f"It waits for another operation: {row.subject_name} {told}", url=url)


def _about(row: Operation, scope: Scope) -> Iterator[Link]:
    """Links to its model, run, endpoint or schedule, and to the findings it repairs."""
    if row.lineage:
        yield Link(text=f"Model {row.lineage.model_name}", url=model_url(row.lineage.pk))
    if row.project_id:
        training = reverse("ml_platform:training", args=[row.project_id])
        if row.subject_type == "trainingrun" and _is_there(row.subject_id):
            yield Link(text=f"Run {row.subject_id}", url=f"{training}#run-{row.subject_id}")
        # After the endpoint was deleted, another project may use its service name.
        own = DeployedEndpoint.objects.filter(project=row.project_id)
        endpoint = own.filter(service_name=row.service_key or None).first()
        if endpoint:
            name = f"Endpoint {endpoint.service_name}"
            yield Link(text=name, url=f"{training}#endpoint-{endpoint.pk}")
        if row.subject_type == "trainingschedule":
            schedule = TrainingSchedule.objects.filter(pk=row.subject_id).first()
            if schedule:
                name = f"Schedule {schedule.name}"
                yield Link(text=name, url=f"{training}#schedule-{schedule.pk}")
    for finding in scope.only(Finding.objects.filter(operation=row))[:FINDINGS_SHOWN]:
        url = reverse("ml_platform:finding", args=[finding.pk])
        yield Link(text=f"Finding: {finding.title}", url=url)


def _is_there(run_id: str) -> bool:
    return TrainingRun.objects.filter(pk=run_id).exists()


def _facts(row: Operation, now: datetime) -> tuple[Fact, ...]:
    named = {
        "project": str(row.project) if row.project else None,
        "requested through": ORIGINS.get(row.origin, row.origin),
        "reason": row.reason,
        "idempotency key": row.idempotency_key if row.origin == "api" else None,
        "operation at Google": row.remote_operation,
        "attempts of this step": row.attempts,
        "id": str(row.pk),
    }
    return facts(named, now)


def _step(entry: Mapping[str, Any], now: datetime) -> StepRow:
    label, tone = STEP_BADGES.get(entry.get("status", ""), ("Not begun", "quiet"))
    started, finished = _time(entry, "started_at"), _time(entry, "finished_at")
    return StepRow(
        title=str(entry.get("title") or entry.get("step") or ""),
        note=readable(str(entry.get("note") or "")),
        status=badge(label, tone),
        started=moment(started or finished, now),
        took=duration(finished - started) if started and finished and finished > started else "",
    )


def _ahead(row: Operation) -> Iterator[StepRow]:
    """The steps that a live operation has not done; a retried one is in the history already."""
    if row.status not in LIVE_OPERATION_STATUSES:
        return
    newest = row.steps[-1] if row.steps else {}
    for step in workflow_of(row).planned(row):
        at_it = step.name == row.step
        if at_it and newest.get("step") == step.name and newest.get("status") != "done":
            continue
        running = at_it and row.status == OperationStatus.RUNNING
        state = badge("Running", "busy") if running else badge("Waiting", "quiet")
        yield StepRow(title=step.title, note="", status=state, started=None, took="")


def _time(entry: Mapping[str, Any], key: str) -> datetime | None:
    return datetime.fromisoformat(entry[key]) if entry.get(key) else None
