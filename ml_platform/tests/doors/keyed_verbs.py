"""Requests that change something, each with a thing of its own to change."""

from __future__ import annotations

from collections.abc import Callable
from datetime import timedelta
from typing import Any

from ml_platform.models import Finding, Operation, Project, TrainingRun, TrainingSchedule
from ml_platform.models.clock import database_now
from ml_platform.tests.factories import (
    DeployedEndpointFactory,
    RegisteredModelFactory,
    TrainingRunFactory,
    TrainingScheduleFactory,
    version_of,
)
from ml_platform.tests.services.training_tools import TEMPLATE_URI

ActionRequest = tuple[str, dict[str, Any], str]
"""A path, its body, and the path as the contract has it."""


def times(number: int) -> dict[str, Any]:
    first = database_now() + timedelta(days=1)
    return {"name": f"n{number}", "frequency": "daily", "first": first.isoformat()}


def workflow(project: Project) -> dict[str, Any]:
    return {"project": project.pk, "model_name": "chern", "template_uri": TEMPLATE_URI}


def create_run(project: Project, number: int) -> ActionRequest:
    return "/api/training-runs/", workflow(project), "/api/training-runs/"


def rerun(project: Project, number: int) -> ActionRequest:
    run = TrainingRunFactory.create(project=project, failed=True, template_uri=TEMPLATE_URI)
    return f"/api/training-runs/{run.pk}/rerun/", {}, "/api/training-runs/{run_id}/rerun/"


def create_schedule(project: Project, number: int) -> ActionRequest:
    path = "/api/training/schedules/"
    return path, {**workflow(project), **times(number)}, path


def register(project: Project, number: int) -> ActionRequest:
    run = TrainingRunFactory.create(completed=True, project=project)
    path = "/api/training-runs/{run_id}/register/"
    return path.format(run_id=run.pk), {}, path


def cancel_run(project: Project, number: int) -> ActionRequest:
    run = TrainingRunFactory.create(project=project)
    path = "/api/training-runs/{run_id}/cancel/"
    return path.format(run_id=run.pk), {}, path


def _schedule(project: Project) -> TrainingSchedule:
    lineage = RegisteredModelFactory.create(project=project)
    made: TrainingSchedule = TrainingScheduleFactory.create(registered_model=lineage)
    return made


def pause(project: Project, number: int) -> ActionRequest:
    path = "/api/training/schedules/{schedule_id}/pause/"
    return path.format(schedule_id=_schedule(project).pk), {}, path


def trigger(project: Project, number: int) -> ActionRequest:
    path = "/api/training/schedules/{schedule_id}/trigger/"
    return path.format(schedule_id=_schedule(project).pk), {}, path


def delete_model(project: Project, number: int) -> ActionRequest:
    model = RegisteredModelFactory.create(project=project)
    run = version_of(model)
    folder = f"gs://demo-artifacts/runs/{run.uid.hex}/"
    TrainingRun.objects.filter(pk=run.pk).update(gcs_artifacts_path=folder)
    path = "/api/models/{model_id}/delete/"
    return path.format(model_id=model.pk), {"versions": "all"}, path


def delete_endpoint(project: Project, number: int) -> ActionRequest:
    lineage = RegisteredModelFactory.create(project=project)
    endpoint = DeployedEndpointFactory.create(registered_model=lineage, project=project)
    path = "/api/deployed-endpoints/{endpoint_id}/delete/"
    return path.format(endpoint_id=endpoint.pk), {}, path


def ignore_finding(project: Project, number: int) -> ActionRequest:
    now = database_now()
    finding = Finding.objects.create(
        kind="orphan", subject=f"x{number}", title="x", project=project,
        first_seen_at=now, last_seen_at=now,
    )  # fmt: skip
    path = "/api/audit/findings/{finding_id}/ignore/"
    return path.format(finding_id=finding.pk), {"reason": "known"}, path


def retry_operation(project: Project, number: int) -> ActionRequest:
    operation = Operation.objects.create(
        kind="sweep", status="failed", step="sweep", project=project, actor_label="ana",
        origin="api", finished_at=database_now(),
    )  # fmt: skip
    path = "/api/operations/{operation_id}/retry/"
    return path.format(operation_id=operation.pk), {}, path


VERBS: dict[str, Callable[[Project, int], ActionRequest]] = {
    each.__name__: each
    for each in (
        create_run, rerun, create_schedule, register, cancel_run, pause, trigger, delete_model,
        delete_endpoint, ignore_finding, retry_operation,
    )
}  # fmt: skip
