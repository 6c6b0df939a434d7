"""What the parity test walks: each action's subjects in several states, and its doors."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from django.utils import timezone

from ml_platform.models import (
    ArchivedProject,
    DeployedEndpoint,
    Finding,
    Operation,
    RegisteredModel,
    TrainingRun,
)
from ml_platform.models.states import EndpointState, FindingStatus, Registration, RunStatus
from ml_platform.services.findings.kinds import FindingKind
from ml_platform.tests.factories import (
    DeployedEndpointFactory,
    ProjectFactory,
    RegisteredModelFactory,
    TrainingRunFactory,
    TrainingScheduleFactory,
    UserFactory,
    version_of,
)
from ml_platform.tests.incident_rows import finished_sweep

States = dict[str, Any]
"""A subject's id for each state."""
UNMANAGED = "projects/1/locations/europe-central2/models/77"


def subjects(noun: str, project: Any) -> States:
    """One subject of that noun for each state that some action tells apart."""
    finished_sweep(timezone.now())
    return NOUNS[noun](project)


def _schedules(project: Any) -> States:
    return {
        state: TrainingScheduleFactory.create(
            registered_model=RegisteredModelFactory.create(project=project), state=state
        ).pk
        for state in ("active", "paused", "cancelled", "completed")
    }


def _operations(project: Any) -> States:
    return {state: _operation(project, state).pk for state in ("failed", "pending", "succeeded")}


def _models(project: Any) -> States:
    return {"idle": _model(project).pk, "serving": _serving(project).registered_model_id}


def _model(project: Any, **changes: Any) -> RegisteredModel:
    model: RegisteredModel = RegisteredModelFactory.create(project=project, **changes)
    version_of(model)
    return model


def _runs(project: Any) -> States:
    def run(**changes: Any) -> int:
        made: TrainingRun = TrainingRunFactory.create(project=project, **changes)
        return made.pk

    now = timezone.now()
    decided = {"approval_by": "ana", "approval_reason": "So.", "approval_at": now}
    missing = _model(project, registry_state="missing", registry_checked_at=now)
    held = _model(project)
    _operation(project, "running", lineage=held, lineage_key=f"{project.pk}:{held.model_name}")
    return {
        "pending": run(),
        "running": run(status=RunStatus.RUNNING),
        "failed": run(failed=True),
        "completed": run(completed=True),
        "not blessed": run(status=RunStatus.NOT_BLESSED, is_blessed=False),
        "deleted": run(completed=True, registration=Registration.DELETED),
        "version": _model(project).latest_run_id,
        "not judged": _judged(project, is_blessed=None),
        "approved": _judged(project, is_blessed=False, approval="approved", **decided),
        "withdrawn": _judged(project, is_blessed=True, approval="withdrawn", **decided),
        "missing": missing.latest_run_id,
        "held": held.latest_run_id,
    }


def _judged(project: Any, **judgement: Any) -> int | None:
    model = _model(project)
    model.training_runs.update(**judgement)
    return model.latest_run_id


def _serving(project: Any, **changes: Any) -> DeployedEndpoint:
    model = _model(project)
    made: DeployedEndpoint = DeployedEndpointFactory.create(
        registered_model=model, run=model.latest_run, **{"serving": True, **changes}
    )
    return made


def _endpoints(project: Any) -> States:
    model = _model(project)
    old, new = model.latest_run, version_of(model)
    two = DeployedEndpointFactory.create(
        registered_model=model, run=new, previous_run=old, serving=True
    )
    model = _model(project)
    deploying = DeployedEndpointFactory.create(
        registered_model=model, state=EndpointState.DEPLOYING, intended_run=model.latest_run
    )
    return {
        "serving": _serving(project).pk,
        "stopped": _serving(project, serving=False).pk,
        "with a version before": two.pk,
        "of a deleted model": _serving(project, serving=False, model_deleted=True).pk,
        "deploying": deploying.pk,
        "new": DeployedEndpointFactory.create(registered_model=_model(project)).pk,
    }


def _findings(project: Any) -> States:
    now = timezone.now()

    def finding(kind: str, status: str, number: int) -> int:
        lineage = RegisteredModelFactory.create(project=project)
        unmanaged = kind in (FindingKind.UNMANAGED, FindingKind.PLANE_SHRUNK)
        row = Finding.objects.create(
            kind=kind,
            subject=UNMANAGED if unmanaged else f"s{number}",
            title="It differs",
            repair="Clear it.",
            status=status,
            project=project,
            registered_model=None if unmanaged else lineage,
            evidence={"display_name": "it"},
            first_seen_at=now,
            last_seen_at=now,
            ended_at=now if status == FindingStatus.GONE else None,
        )
        return row.pk

    return {
        "orphan": finding(FindingKind.ORPHAN, FindingStatus.OPEN, 1),
        "ignored": finding(FindingKind.ORPHAN, FindingStatus.IGNORED, 2),
        "gone": finding(FindingKind.ORPHAN, FindingStatus.GONE, 3),
        "unmanaged": finding(FindingKind.UNMANAGED, FindingStatus.OPEN, 4),
        "alarm": finding(FindingKind.PLANE_SHRUNK, FindingStatus.OPEN, 5),
    }


def _projects(project: Any) -> States:
    """Two of the same members, one of them archived; `MEMBER` is one of them."""
    member = UserFactory.create(username=MEMBER)
    archived = ProjectFactory.create()
    ArchivedProject.objects.create(project=archived, archived_at=timezone.now())
    for one in (project, archived):
        one.members.add(member)
    archived.members.set(project.members.all())
    return {"in use": project.pk, "archived": archived.pk}


def _operation(project: Any, status: str, **changes: Any) -> Operation:
    live = status in ("pending", "running")
    values = {
        "kind": "delete", "actor_label": "ana", "origin": "page", "step": "check",
        "subject_name": "x", "finished_at": None if live else timezone.now(),
        "started_at": None if status == "pending" else timezone.now(),
    }  # fmt: skip
    return Operation.objects.create(status=status, project=project, **{**values, **changes})


NOUNS = {
    "run": _runs,
    "endpoint": _endpoints,
    "schedule": _schedules,
    "finding": _findings,
    "operation": _operations,
    "model": _models,
    "project": _projects,
}
RUNS, ENDPOINTS = "/api/training-runs/{}/", "/api/deployed-endpoints/{}/"
FINDINGS, OPERATIONS = "/api/audit/findings/{}/", "/api/operations/{}/"
SCHEDULES, MODELS = "/api/training/schedules/{}/", "/api/models/{}/"
PROJECTS, MEMBER = "/api/projects/{}/", "mia"
WHY = {"reason": "For the test."}
ADOPT = {"project": "1", "model_name": "adopted"}

DOORS: Mapping[str, tuple[str, str, Any, dict[str, str]]] = {
    "submit-run": ("run", f"{RUNS}submit/", {}, {}),
    "cancel-run": ("run", f"{RUNS}cancel/", {}, {}),
    "rerun": ("run", f"{RUNS}rerun/", {}, {}),
    "register-run": ("run", f"{RUNS}register/", WHY, WHY),
    "approve-version": ("run", f"{RUNS}approve/", WHY, WHY),
    "withdraw-approval": ("run", f"{RUNS}withdraw/", WHY, WHY),
    "delete-run": ("run", RUNS, None, {}),
    "deploy-run": ("run", f"{RUNS}deploy-cloud-run/", {"endpoint": "default"}, {}),
    "alias-run": ("run", "", {"add": ["champion"]}, {"aliases": "champion", "was": ""}),
    "trigger-schedule": ("schedule", f"{SCHEDULES}trigger/", {}, {}),
    "pause-schedule": ("schedule", f"{SCHEDULES}pause/", {}, {}),
    "resume-schedule": ("schedule", f"{SCHEDULES}resume/", {}, {}),
    "cancel-schedule": ("schedule", f"{SCHEDULES}cancel/", {}, {}),
    "deploy-model": (
        "model",
        f"{MODELS}deploy/",
        {"version": "newest", "endpoint": "default"},
        {"version": "newest", "endpoint": "default"},
    ),
    "delete-model": ("model", f"{MODELS}delete/", {"versions": "all"}, {}),
    "redeploy": ("endpoint", f"{ENDPOINTS}deploy/", {"again": True}, {}),
    "rollback": ("endpoint", f"{ENDPOINTS}deploy/", {"rollback": True}, {}),
    "undeploy": ("endpoint", f"{ENDPOINTS}undeploy/", {}, {}),
    "delete-endpoint": ("endpoint", f"{ENDPOINTS}delete/", {}, {}),
    "repair-finding": ("finding", f"{FINDINGS}repair/", {"action": "repair"}, {}),
    "adopt-finding": (
        "finding",
        f"{FINDINGS}repair/",
        {"action": "adopt", **ADOPT, "project": 1},
        ADOPT,
    ),
    "delete-unmanaged": ("finding", f"{FINDINGS}repair/", {"action": "delete"}, {"name": "it"}),
    "ignore-finding": ("finding", f"{FINDINGS}ignore/", WHY, WHY),
    "reopen-finding": ("finding", f"{FINDINGS}reopen/", {}, {}),
    "confirm-plane": ("finding", f"{FINDINGS}confirm/", {}, {}),
    "remove-member": ("project", f"{PROJECTS}remove-member/", {"user": MEMBER}, {"user": MEMBER}),
    "archive-project": ("project", f"{PROJECTS}archive/", WHY, WHY),
    "unarchive-project": ("project", f"{PROJECTS}unarchive/", WHY, WHY),
    "retry-operation": ("operation", f"{OPERATIONS}retry/", {}, {}),
    "cancel-operation": ("operation", f"{OPERATIONS}cancel/", {}, {}),
}
"""For each action with a button: its noun, its path in the API, the body there (None is a DELETE
request), and the fields of the form on the page."""
