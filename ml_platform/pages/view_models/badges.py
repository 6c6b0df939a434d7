"""The labels, tones and icons of every state, because color alone is not accessible."""

from __future__ import annotations

from collections.abc import Mapping

from ml_platform.models.endpoints.serving_status import ServingStatus
from ml_platform.models.states import (
    EndpointState,
    FindingStatus,
    OperationStatus,
    RunStatus,
    ScheduleState,
    SweepStatus,
)

from .context import Badge

ICONS: Mapping[str, str] = {
    "good": "✓",
    "bad": "✕",
    "warn": "!",
    "unknown": "?",
    "busy": "↻",
    "quiet": "○",
}
"""The icon of each tone."""

OPERATION_TONES: Mapping[str, str] = {
    OperationStatus.PENDING: "quiet",
    OperationStatus.RUNNING: "busy",
    OperationStatus.SUCCEEDED: "good",
    OperationStatus.FAILED: "bad",
    OperationStatus.CANCELLED: "quiet",
}

STEP_BADGES: Mapping[str, tuple[str, str]] = {
    "done": ("Done", "good"),
    "failed": ("Failed", "bad"),
    "cancelled": ("Cancelled", "quiet"),
    "waiting": ("Waiting", "busy"),
    "running": ("Running", "busy"),
}

FINDING_STATUS_TONES: Mapping[str, str] = {
    FindingStatus.OPEN: "bad",
    FindingStatus.IGNORED: "quiet",
    FindingStatus.REPAIRED: "good",
    FindingStatus.GONE: "good",
}

SWEEP_TONES: Mapping[str, str] = {
    SweepStatus.RUNNING: "busy",
    SweepStatus.COMPLETE: "good",
    SweepStatus.PARTIAL: "unknown",
    SweepStatus.INTERRUPTED: "warn",
}

RUN_TONES: Mapping[str, str] = {
    RunStatus.PENDING: "quiet",
    RunStatus.SCHEDULED: "quiet",
    RunStatus.SUBMITTING: "busy",
    RunStatus.RUNNING: "busy",
    RunStatus.COMPLETED: "good",
    RunStatus.FAILED: "bad",
    RunStatus.CANCELLED: "quiet",
    RunStatus.NOT_BLESSED: "warn",
    RunStatus.DEPLOYING: "busy",
    RunStatus.DEPLOYED: "good",
    RunStatus.DEPLOY_FAILED: "bad",
}

SERVING_TONES: Mapping[str, str] = {
    ServingStatus.DEPLOYED: "good",
    ServingStatus.OUTDATED: "warn",
    ServingStatus.IDLE: "quiet",
}

SCHEDULE_TONES: Mapping[str, str] = {
    ScheduleState.ACTIVE: "good",
    ScheduleState.PAUSED: "warn",
    ScheduleState.CANCELLED: "quiet",
    ScheduleState.COMPLETED: "quiet",
}

ENDPOINT_TONES: Mapping[str, str] = {
    EndpointState.INACTIVE: "quiet",
    EndpointState.DEPLOYING: "busy",
    EndpointState.ACTIVE: "good",
    EndpointState.UNDEPLOYING: "busy",
}

PLANE_NAMES: Mapping[str, str] = {
    "vertex": "Vertex AI",
    "gcs": "Cloud Storage",
    "cloud_run": "Cloud Run",
    "scheduler": "Cloud Scheduler",
    "vertex_endpoints": "Vertex AI endpoints",
}


def badge(label: str, tone: str, hint: str = "", mark: str = "") -> Badge:
    """A state as label, icon and tone; `mark` is a CSS class that scripts look for."""
    return Badge(label=label, tone=tone, icon=ICONS[tone], hint=hint, mark=mark)
