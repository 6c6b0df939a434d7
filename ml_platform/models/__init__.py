"""The tables, their states, constraints and querysets. No module here calls Google."""

from __future__ import annotations

from .api_token import ApiToken, IdempotentResponse
from .archived_project import ArchivedProject
from .awaiting_removal import AwaitingRemoval
from .daily_count import DailyCount
from .deployed_endpoint import DeployedEndpoint
from .endpoint_traffic import EndpointTraffic
from .event import Event
from .installation import Installation
from .manifest import Manifest
from .operation import Operation
from .project import Project, key_field
from .registered_model import RegisteredModel
from .service_metrics import ServiceDailyMetrics
from .snapshots import snapshot
from .sweep import (
    Finding,
    MirroredArtifacts,
    MirroredEndpoint,
    MirroredJob,
    MirroredModel,
    MirroredService,
    Sweep,
)
from .training_run import TrainingRun
from .training_schedule import TrainingSchedule

__all__ = [
    "ApiToken",
    "ArchivedProject",
    "AwaitingRemoval",
    "DailyCount",
    "DeployedEndpoint",
    "EndpointTraffic",
    "Event",
    "Finding",
    "IdempotentResponse",
    "Installation",
    "Manifest",
    "MirroredArtifacts",
    "MirroredEndpoint",
    "MirroredJob",
    "MirroredModel",
    "MirroredService",
    "Operation",
    "Project",
    "RegisteredModel",
    "ServiceDailyMetrics",
    "Sweep",
    "TrainingRun",
    "TrainingSchedule",
    "key_field",
    "snapshot",
]
