"""Rows as JSON would have them. Plain dicts: a list of a hundred is written without a detour."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import asdict
from datetime import datetime
from typing import Any, TypeAlias

from django.db.models import Model
from django.http import HttpResponse
from django.urls import reverse

from ml_platform.kpis import FourCounts
from ml_platform.models import (
    DeployedEndpoint,
    Finding,
    Operation,
    Sweep,
    TrainingRun,
    TrainingSchedule,
)
from ml_platform.services.deletion.plan import DeletionPlan, VersionFacts
from ml_platform.services.operations.workflow import slug_of

Json: TypeAlias = dict[str, Any]


def reply(body: Json, *, status: int = 200, location: str = "") -> HttpResponse:
    """The answer; its words are held to the contract by tests, not by a second pass here."""
    response = HttpResponse(
        json.dumps(body, separators=(",", ":"), default=_plain),
        status=status,
        content_type="application/json",
    )
    if location:
        response["Location"] = location
    return response


def accepted(operation: Operation) -> HttpResponse:
    """Long work has begun: the operation, and where to watch it."""
    body = operation_json(operation)
    return reply(body, status=202, location=body["url"])


def url_of(path: str) -> str:
    """The address of an API path, wherever the host has mounted us."""
    return reverse("ml_platform:api", kwargs={"path": path})


def when(moment: datetime | None) -> str | None:
    """A time in UTC as RFC 3339 has it."""
    return moment.isoformat().replace("+00:00", "Z") if moment else None


def _plain(value: Any) -> Any:
    """What JSON has no word for: times, and choices and ids as their text."""
    return when(value) if isinstance(value, datetime) else str(value)


def project_json(project: Model) -> Json:
    """A project by id and name."""
    return {"id": project.pk, "name": str(project)}


VERSION: Mapping[str, str] = {
    "run": "pk",
    "version": "version",
    "registration": "registration",
    "is_blessed": "is_blessed",
    "metrics": "metrics",
    "aliases": "aliases",
    "vertex_model_resource_name": "vertex_model_resource_name",
    "vertex_model_version": "vertex_model_version",
    "former_vertex_version": "last_vertex_version",
    "gcs_artifacts_path": "gcs_artifacts_path",
    "registered_at": "registered_at",
    "created_at": "created_at",
}
"""What is said of a version -> the run's column."""


def version_json(run: TrainingRun) -> Json:
    """A run as the version it is or was."""
    return {name: getattr(run, column) for name, column in VERSION.items()}


def run_json(run: TrainingRun) -> Json:
    """A training run."""
    return {
        "id": run.pk,
        "uid": run.uid.hex,
        "project": project_json(run.project),
        "model_name": run.model_name,
        "model_type": run.model_type,
        "model": run.registered_model_id,
        "schedule": run.schedule_id,
        "scheduled_for": when(run.scheduled_for),
        "rerun_of": run.rerun_of_id,
        "status": run.status,
        "stage": run.stage,
        "progress": run.progress,
        "error": run.error,
        "template_uri": run.template_uri,
        "parameters": run.parameters,
        "pipeline_job_name": run.pipeline_job_name,
        "gcs_artifacts_path": run.gcs_artifacts_path,
        "metrics": run.metrics,
        "is_blessed": run.is_blessed,
        "registration": run.registration,
        "version": run.version,
        "vertex_model_resource_name": run.vertex_model_resource_name,
        "vertex_model_version": run.vertex_model_version,
        "registered_at": when(run.registered_at),
        "created_at": when(run.created_at),
        "submitted_at": when(run.submitted_at),
        "finished_at": when(run.finished_at),
        "url": url_of(f"training-runs/{run.pk}/"),
    }


def endpoint_json(endpoint: DeployedEndpoint) -> Json:
    """An endpoint, with its lineage and its runs read beside it."""
    latest = endpoint.registered_model.latest_run_id
    return {
        "id": endpoint.pk,
        "project": project_json(endpoint.project),
        "model": {
            "id": endpoint.registered_model_id,
            "name": endpoint.registered_model.model_name,
        },
        "service_name": endpoint.service_name,
        "state": endpoint.state,
        "is_active": endpoint.is_active,
        "model_deleted": endpoint.model_deleted,
        "run": _run_ref(endpoint.run),
        "intended_run": _run_ref(endpoint.intended_run),
        "previous_run": _run_ref(endpoint.previous_run),
        "is_outdated": endpoint.is_active and latest is not None and endpoint.run_id != latest,
        "service_url": endpoint.url,
        "revision": endpoint.revision,
        "config": endpoint.config,
        "error": endpoint.error,
        "deployed_at": when(endpoint.deployed_at),
        "created_at": when(endpoint.created_at),
        "url": url_of(f"deployed-endpoints/{endpoint.pk}/"),
    }


def _run_ref(run: TrainingRun | None) -> Json | None:
    return {"id": run.pk, "version": run.version} if run else None


def schedule_json(schedule: TrainingSchedule) -> Json:
    """A schedule."""
    return {
        "id": schedule.pk,
        "project": project_json(schedule.project),
        "name": schedule.name,
        "model_name": schedule.model_name,
        "model_type": schedule.model_type,
        "model": schedule.registered_model_id,
        "state": schedule.state,
        "frequency": schedule.frequency,
        "cron": schedule.cron,
        "time_zone": schedule.time_zone,
        "starts_at": when(schedule.starts_at),
        "next_run_at": when(schedule.next_run_at),
        "last_run_at": when(schedule.last_run_at),
        "scheduler_job_name": schedule.scheduler_job_name,
        "template_uri": schedule.template_uri,
        "parameters": schedule.parameters,
        "created_at": when(schedule.created_at),
        "url": url_of(f"training/schedules/{schedule.pk}/"),
    }


def operation_json(operation: Operation) -> Json:
    """An operation; what its steps kept for each other is not shown."""
    url = url_of(f"operations/{operation.pk}/")
    error = {
        "code": operation.error_code,
        "detail": operation.error,
        "advice": operation.advice,
    }
    return {
        "id": str(operation.pk),
        "workflow": slug_of(operation),
        "kind": operation.kind,
        "status": operation.status,
        "project": operation.project_id,
        "subject": {
            "type": operation.subject_type,
            "id": operation.subject_id,
            "name": operation.subject_name,
        },
        "model": operation.lineage_id,
        "actor": {"id": operation.actor_id, "name": operation.actor_label},
        "origin": operation.origin,
        "reason": operation.reason,
        "step": operation.step,
        "steps": [_step_json(step) for step in operation.steps],
        "remote_operation": operation.remote_operation,
        "cancel_requested": operation.cancel_requested,
        "error": error if operation.error else None,
        "created_at": when(operation.created_at),
        "started_at": when(operation.started_at),
        "finished_at": when(operation.finished_at),
        "url": url,
    }


def operation_detail_json(operation: Operation) -> Json:
    """An operation with what its job said."""
    return operation_json(operation) | {
        "lines": operation.data.get("lines", []),
        "lines_left_out": operation.data.get("lines_left_out", 0),
    }


def _step_json(step: Json) -> Json:
    texts = {name: str(step.get(name) or "") for name in ("step", "title", "status", "note")}
    times = {name: step.get(name) for name in ("started_at", "finished_at")}
    return texts | {
        name: when(datetime.fromisoformat(time)) if time else None for name, time in times.items()
    }


def plan_json(plan: DeletionPlan) -> Json:
    """The preview of a deletion."""
    return {
        "versions": [_plan_version(version) for version in plan.versions],
        "siblings": [_plan_version(version) for version in plan.siblings],
        "endpoints_marked": [endpoint.service_name for endpoint in plan.endpoints_marked],
        "default_moves_to": plan.default_moves_to.number if plan.default_moves_to else None,
        "ends_registration": plan.ends_registration,
        "size": asdict(plan.size),
        "blocks": [
            {"code": block.error.code, "message": block.error.words, "endpoint": block.endpoint_id}
            for block in plan.blocks
        ],
        "unknown": list(plan.unknown),
    }


def _plan_version(version: VersionFacts) -> Json:
    return {
        "run": version.run_id,
        "version": version.number,
        "vertex": version.vertex,
        "aliases": list(version.aliases),
        "size": asdict(version.size) if version.size else None,
        "unsafe": str(version.unsafe or ""),
        "used_by": version.used_by,
    }


def sweep_json(sweep: Sweep, *, actor: str, counts: Json) -> Json:
    """A sweep, with as much of who asked for it and of what it counted as the caller may know."""
    planes = {
        name: {key: plane.get(key, default) for key, default in _PLANE.items()}
        for name, plane in sweep.planes.items()
    }
    return {
        "id": sweep.pk,
        "status": sweep.status,
        "actor": actor,
        "planes": planes,
        "counts": counts,
        "started_at": when(sweep.started_at),
        "finished_at": when(sweep.finished_at),
    }


_PLANE = {"read": False, "reason": "", "code": ""}


def finding_json(finding: Finding) -> Json:
    """A finding."""
    return {
        "id": finding.pk,
        "kind": finding.kind,
        "status": finding.status,
        "title": finding.title,
        "evidence": finding.evidence,
        "repair": finding.repair,
        "project": project_json(finding.project) if finding.project else None,
        "model": finding.registered_model_id,
        "run": finding.run_id,
        "looks": finding.consecutive_sightings,
        "first_seen_at": when(finding.first_seen_at),
        "last_seen_at": when(finding.last_seen_at),
        "ended_at": when(finding.ended_at),
        "operation": str(finding.operation_id) if finding.operation_id else None,
    }


def counts_json(counts: FourCounts) -> Json:
    """The four counts."""
    return {
        "database": counts.database,
        "projects": counts.projects,
        "registry_page": counts.registry_page,
        "vertex": counts.vertex,
        "vertex_reason": counts.vertex_reason,
        "agree": counts.agree,
        "swept_at": when(counts.swept_at),
        "vertex_read_at": when(counts.vertex_read_at),
    }
