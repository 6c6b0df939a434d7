"""/api/training/schedules/: recurring training runs."""

from __future__ import annotations

from typing import Any

from django.db.models import Q
from django.http import HttpResponse
from ninja import Query, Router

from ml_platform.actions.action import perform
from ml_platform.actions.inputs import ScheduleFromRunIn, ScheduleIn
from ml_platform.actions.schedules import (
    CANCEL,
    CREATE,
    CREATE_FROM_RUN,
    PAUSE,
    RESUME,
    SCHEDULES,
    TRIGGER,
    find_schedule,
)
from ml_platform.api.http.idempotency import asks_google
from ml_platform.api.http.lists import answer_list, matching
from ml_platform.api.schemas.base import Json, reply, url_of
from ml_platform.api.schemas.operations import OperationOut, accepted, operation_json
from ml_platform.api.schemas.runs import run_json
from ml_platform.api.schemas.schedules import (
    ScheduleOut,
    SchedulesOut,
    SchedulesQuery,
    TriggerOut,
    schedule_json,
)

router = Router(tags=["schedules"])


@router.get("/", response=SchedulesOut, operation_id="list_schedules")
def list_schedules(request: Any, query: Query[SchedulesQuery]) -> HttpResponse:
    """Schedules, the newest first."""
    rows = matching(request.auth.only(SCHEDULES), query, state="state")
    if query.search:
        named = Q(name__icontains=query.search)
        rows = rows.filter(named | Q(model_name__icontains=query.search))
    sorts = {"created": "created_at", "name": "name"}
    return answer_list(query, rows, sorts=sorts, row_json=schedule_json)


@router.post("/", response={202: OperationOut}, operation_id="create_schedule")
@asks_google
def create_schedule(request: Any, body: ScheduleIn) -> HttpResponse:
    """Create a schedule and its Cloud Scheduler job."""
    return accepted(perform(CREATE, body.project, body, request.auth))


@router.post("/from-run/", response={202: OperationOut}, operation_id="create_schedule_from_run")
@asks_google
def create_from_run(request: Any, body: ScheduleFromRunIn) -> HttpResponse:
    """Create a schedule that repeats a run."""
    return accepted(perform(CREATE_FROM_RUN, body.run, body, request.auth))


@router.get("/{int:schedule_id}/", response=ScheduleOut, operation_id="get_schedule")
def get_schedule(request: Any, schedule_id: int) -> HttpResponse:
    """One schedule."""
    return reply(schedule_json(find_schedule(request.auth, schedule_id)))


@router.post(
    "/{int:schedule_id}/pause/", response={202: OperationOut}, operation_id="pause_schedule"
)
def pause(request: Any, schedule_id: int) -> HttpResponse:
    """Pause a schedule: it creates no runs until it is resumed."""
    return accepted(perform(PAUSE, schedule_id, None, request.auth))


@router.post(
    "/{int:schedule_id}/resume/", response={202: OperationOut}, operation_id="resume_schedule"
)
def resume(request: Any, schedule_id: int) -> HttpResponse:
    """Resume a paused schedule."""
    return accepted(perform(RESUME, schedule_id, None, request.auth))


@router.post(
    "/{int:schedule_id}/cancel/", response={202: OperationOut}, operation_id="cancel_schedule"
)
def cancel(request: Any, schedule_id: int) -> HttpResponse:
    """End a schedule permanently; its runs and their versions stay."""
    return accepted(perform(CANCEL, schedule_id, None, request.auth))


@router.post(
    "/{int:schedule_id}/trigger/", response={202: TriggerOut}, operation_id="trigger_schedule"
)
def trigger(request: Any, schedule_id: int) -> HttpResponse:
    """Create and submit a run now, in addition to the scheduled ones."""
    firing = perform(TRIGGER, schedule_id, None, request.auth)
    body: Json = {
        "message": firing.message,
        "run": run_json(firing.run) if firing.run else None,
        "operation": operation_json(firing.operation) if firing.operation else None,
    }
    path = f"operations/{firing.operation.pk}/" if firing.operation else ""
    return reply(body, status=202, location=url_of(path) if path else "")
