"""/api/training-runs/: runs of pipelines and their results."""

from __future__ import annotations

from typing import Any

from django.http import HttpResponse
from ninja import Query, Router

from ml_platform.actions.action import perform
from ml_platform.actions.endpoints import DEPLOY
from ml_platform.actions.inputs import ApprovalIn, DeployRunIn, RegisterIn, RunIn
from ml_platform.actions.models import RUNS, find_run
from ml_platform.actions.runs import (
    APPROVE,
    CANCEL,
    CREATE,
    DELETE,
    REGISTER,
    RERUN,
    SUBMIT,
    WITHDRAW,
)
from ml_platform.api.http.idempotency import asks_google
from ml_platform.api.http.lists import answer_list, matching
from ml_platform.api.schemas.base import reply
from ml_platform.api.schemas.operations import OperationOut, accepted, operation_json
from ml_platform.api.schemas.runs import RunOut, RunsOut, RunsQuery, run_json
from ml_platform.models import TrainingRun

router = Router(tags=["training runs"])


@router.get("/", response=RunsOut, operation_id="list_training_runs")
def list_runs(request: Any, query: Query[RunsQuery]) -> HttpResponse:
    """Training runs, the newest first."""
    rows = matching(
        request.auth.only(RUNS),
        query,
        search="model_name__icontains",
        status="status",
        registration="registration",
        model="registered_model",
        schedule="schedule",
    )
    sorts = {"created": "created_at", "name": "model_name"}
    return answer_list(query, rows, sorts=sorts, row_json=run_json)


@router.post("/", response={201: RunOut}, operation_id="create_training_run")
@asks_google
def create_run(request: Any, body: RunIn) -> HttpResponse:
    """Create a run; its `submit` path starts it. It is registered only after it succeeds."""
    return _created(perform(CREATE, body.project, body, request.auth))


@router.get("/{int:run_id}/", response=RunOut, operation_id="get_training_run")
def get_run(request: Any, run_id: int) -> HttpResponse:
    """One run: its progress, its metrics, its version."""
    return reply(run_json(find_run(request.auth, run_id)))


@router.delete("/{int:run_id}/", response=OperationOut, operation_id="delete_training_run")
def delete_run(request: Any, run_id: int) -> HttpResponse:
    """Delete the record of a run that ended without a version; its files stay."""
    return reply(operation_json(perform(DELETE, run_id, None, request.auth)))


@router.post("/{int:run_id}/submit/", response={202: OperationOut}, operation_id="submit_run")
def submit_run(request: Any, run_id: int) -> HttpResponse:
    """Send the run's pipeline to Vertex AI; a repeated request has no further effect."""
    return accepted(perform(SUBMIT, run_id, None, request.auth))


@router.post("/{int:run_id}/cancel/", response={202: OperationOut}, operation_id="cancel_run")
def cancel_run(request: Any, run_id: int) -> HttpResponse:
    """Cancel a run that has not ended."""
    return accepted(perform(CANCEL, run_id, None, request.auth))


@router.post("/{int:run_id}/rerun/", response={201: RunOut}, operation_id="rerun")
@asks_google
def rerun(request: Any, run_id: int) -> HttpResponse:
    """Create a run like this one; its `submit` path starts it."""
    return _created(perform(RERUN, run_id, None, request.auth))


@router.post("/{int:run_id}/register/", response={202: OperationOut}, operation_id="register_run")
def register(request: Any, run_id: int, body: RegisterIn) -> HttpResponse:
    """Register a run that succeeded as a version; a repeated request has no further effect."""
    return accepted(perform(REGISTER, run_id, body, request.auth))


@router.post("/{int:run_id}/approve/", response=OperationOut, operation_id="approve_version")
def approve(request: Any, run_id: int, body: ApprovalIn) -> HttpResponse:
    """Let a run's version be deployed, whatever its evaluator said; a repeated request has no
    further effect."""
    return reply(operation_json(perform(APPROVE, run_id, body, request.auth)))


@router.post("/{int:run_id}/withdraw/", response=OperationOut, operation_id="withdraw_approval")
def withdraw(request: Any, run_id: int, body: ApprovalIn) -> HttpResponse:
    """Forbid further deploys of a run's version, also of a blessed one; what serves goes on. A
    repeated request has no further effect."""
    return reply(operation_json(perform(WITHDRAW, run_id, body, request.auth)))


@router.post(
    "/{int:run_id}/deploy-cloud-run/", response={202: OperationOut}, operation_id="deploy_run"
)
def deploy_cloud_run(request: Any, run_id: int, body: DeployRunIn) -> HttpResponse:
    """Deploy a run's version to Cloud Run; a deploy registers and uploads no model."""
    return accepted(perform(DEPLOY, run_id, body, request.auth))


def _created(run: TrainingRun) -> HttpResponse:
    body = run_json(run)
    return reply(body, status=201, location=body["url"])
