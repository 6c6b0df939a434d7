"""The words, tones and shapes of every state, as tables; a state is never told by color alone."""

from __future__ import annotations

from collections.abc import Mapping

from ml_platform.models.serving_status import ServingStatus
from ml_platform.models.states import (
    EndpointState,
    FindingKind,
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
"""The shape of each tone."""

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

FINDING_TONES: Mapping[str, str] = {
    FindingKind.STALE_POINTER: "bad",
    FindingKind.VERSION_MISMATCH: "bad",
    FindingKind.ARTIFACTS_MISSING: "bad",
    FindingKind.UNMANAGED: "warn",
    FindingKind.ORPHAN: "quiet",
    FindingKind.SURPLUS_VERSION: "warn",
    FindingKind.LEFTOVER_SERVICE: "warn",
    FindingKind.SERVICE_MISSING: "bad",
    FindingKind.SERVICE_MISMATCH: "bad",
}

FINDING_MEANINGS: Mapping[str, str] = {
    FindingKind.STALE_POINTER: "We point at a model that Vertex AI does not have.",
    FindingKind.VERSION_MISMATCH: "Vertex AI holds another version than we recorded.",
    FindingKind.ARTIFACTS_MISSING: "A registered version has no files to serve.",
    FindingKind.UNMANAGED: "Vertex AI holds a model that nobody registered here.",
    FindingKind.ORPHAN: "A name that was never registered and that nothing needs.",
    FindingKind.SURPLUS_VERSION: "Vertex AI holds a run a second time, or a deleted one again.",
    FindingKind.LEFTOVER_SERVICE: "Cloud Run has a service of ours that no endpoint needs.",
    FindingKind.SERVICE_MISSING: "An endpoint is active and Cloud Run has no such service.",
    FindingKind.SERVICE_MISMATCH: "A service serves another version than its endpoint says.",
}

FINDING_NOTES: Mapping[str, tuple[str, str]] = {
    FindingKind.UNMANAGED: ("{n} only in Vertex AI", "{n} only in Vertex AI"),
    FindingKind.STALE_POINTER: ("{n} points at nothing", "{n} point at nothing"),
    FindingKind.VERSION_MISMATCH: ("{n} version differs", "{n} versions differ"),
    FindingKind.ARTIFACTS_MISSING: ("{n} without artifacts", "{n} without artifacts"),
    FindingKind.ORPHAN: ("{n} never registered", "{n} never registered"),
    FindingKind.SURPLUS_VERSION: ("{n} surplus version", "{n} surplus versions"),
    FindingKind.LEFTOVER_SERVICE: ("{n} leftover service", "{n} leftover services"),
    FindingKind.SERVICE_MISSING: ("{n} service missing", "{n} services missing"),
    FindingKind.SERVICE_MISMATCH: ("{n} serves another", "{n} serve another"),
}
"""What findings of a kind say on the truth strip: for one, and for more."""

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
}


def badge(label: str, tone: str, hint: str = "", mark: str = "") -> Badge:
    """A state as word, shape and tone; `mark` is a class for a state with a look of its own."""
    return Badge(label=label, tone=tone, icon=ICONS[tone], hint=hint, mark=mark)


def counted(number: int, one: str, many: str = "") -> str:
    """`1 model`, `2,100 models`."""
    return f"{number:,} {one if number == 1 else many or one + 's'}"
