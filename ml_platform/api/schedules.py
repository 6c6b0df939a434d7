"""/api/training/schedules/: recurring trainings."""

from __future__ import annotations

from typing import Any

from django.db.models import Q
from django.http import HttpResponse
from ninja import Query, Router

from ml_platform.actions.caller import Caller
from ml_platform.actions.inputs import ScheduleFromRunIn, ScheduleIn, TimesIn
from ml_platform.api.http.idempotency import asks_google
from ml_platform.api.http.lists import answer_list, matching
from ml_platform.api.schemas.operation import OperationOut, TriggerOut
from ml_platform.api.schemas.outputs import ScheduleOut, SchedulesOut
from ml_platform.api.schemas.queries import SchedulesQuery
from ml_platform.api.schemas.serialize import (
    Json,
    accepted,
    operation_json,
    reply,
    run_json,
    schedule_json,
    url_of,
)
from ml_platform.models import TrainingRun, TrainingSchedule
from ml_platform.models.clock import database_now
from ml_platform.services.access.rights import Right
from ml_platform.services.scheduling import schedules as scheduling

from .runs import find_project

router = Router(tags=["schedules"])
SCHEDULES = TrainingSchedule.objects.select_related("project", "registered_model")


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
    """Write a schedule down and make its Cloud Scheduler job."""
    caller: Caller = request.auth
    operation = scheduling.create_schedule(
        project=find_project(caller, body.project, Right.TRAIN),
        model_name=body.model_name,
        model_type=body.model_type,
        template_uri=body.template_uri,
        parameters=body.parameters,
        **_times(body),
        actor=caller.actor,
        now=database_now(),
        idempotency_key=caller.key,
    )
    return accepted(operation)


@router.post("/from-run/", response={202: OperationOut}, operation_id="create_schedule_from_run")
@asks_google
def create_from_run(request: Any, body: ScheduleFromRunIn) -> HttpResponse:
    """Repeat the training that a run was."""
    caller: Caller = request.auth
    run = caller.find(TrainingRun.objects.select_related("project"), body.run)
    caller.require(Right.TRAIN)
    operation = scheduling.create_schedule_from_run(
        run=run,
        **_times(body),
        actor=caller.actor,
        now=database_now(),
        idempotency_key=caller.key,
    )
    return accepted(operation)


def _times(body: TimesIn) -> dict[str, Any]:
    return {
        "name": body.name,
        "frequency": body.frequency,
        "first": body.first,
        "time_zone": body.time_zone,
    }


@router.get("/{int:schedule_id}/", response=ScheduleOut, operation_id="get_schedule")
def get_schedule(request: Any, schedule_id: int) -> HttpResponse:
    """One schedule."""
    return reply(schedule_json(request.auth.find(SCHEDULES, schedule_id)))


@router.post(
    "/{int:schedule_id}/pause/", response={202: OperationOut}, operation_id="pause_schedule"
)
def pause(request: Any, schedule_id: int) -> HttpResponse:
    """Let it ring no more until it is resumed."""
    return _turn(request.auth, schedule_id, scheduling.pause_schedule)


@router.post(
    "/{int:schedule_id}/resume/", response={202: OperationOut}, operation_id="resume_schedule"
)
def resume(request: Any, schedule_id: int) -> HttpResponse:
    """Let a paused schedule ring again."""
    return _turn(request.auth, schedule_id, scheduling.resume_schedule)


@router.post(
    "/{int:schedule_id}/cancel/", response={202: OperationOut}, operation_id="cancel_schedule"
)
def cancel(request: Any, schedule_id: int) -> HttpResponse:
    """End it for good; its runs and their versions stay."""
    return _turn(request.auth, schedule_id, scheduling.cancel_schedule)


def _turn(caller: Caller, schedule_id: int, verb: Any) -> HttpResponse:
    schedule = caller.find(SCHEDULES, schedule_id)
    caller.require(Right.TRAIN)
    return accepted(verb(schedule=schedule, actor=caller.actor, now=database_now()))


@router.post(
    "/{int:schedule_id}/trigger/", response={202: TriggerOut}, operation_id="trigger_schedule"
)
def trigger(request: Any, schedule_id: int) -> HttpResponse:
    """Train now, beside the schedule."""
    caller: Caller = request.auth
    schedule = caller.find(SCHEDULES, schedule_id)
    caller.require(Right.TRAIN)
    firing = scheduling.trigger_schedule(
        schedule=schedule, actor=caller.actor, now=database_now(), idempotency_key=caller.key
    )
    body: Json = {
        "message": firing.message,
        "run": run_json(firing.run) if firing.run else None,
        "operation": operation_json(firing.operation) if firing.operation else None,
    }
    path = f"operations/{firing.operation.pk}/" if firing.operation else ""
    return reply(body, status=202, location=url_of(path) if path else "")
