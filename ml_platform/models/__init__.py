"""The tables, their states, constraints and querysets. No module here calls Google."""

from __future__ import annotations

from .api_token import ApiToken, IdempotentResponse
from .archived_project import ArchivedProject
from .endpoints.deployed_endpoint import DeployedEndpoint
from .endpoints.endpoint_traffic import EndpointTraffic
from .endpoints.service_metrics import ServiceDailyMetrics
from .event import Event
from .installation import Installation
from .operation import Operation
from .project import Project, key_field
from .registry.awaiting_removal import AwaitingRemoval
from .registry.listed_model import ListedModel
from .registry.manifest import Manifest
from .registry.model_count import ModelCount
from .registry.model_tag import ModelTag
from .registry.model_words import ModelMetric, ModelName
from .registry.registered_model import RegisteredModel
from .registry.training_run import TrainingRun
from .registry.training_schedule import TrainingSchedule
from .registry.verification_count import VerificationCount
from .snapshots import snapshot
from .sweeps.daily_count import DailyCount
from .sweeps.finding import Finding
from .sweeps.mirror import (
    MirroredArtifacts,
    MirroredEndpoint,
    MirroredJob,
    MirroredModel,
    MirroredService,
)
from .sweeps.sweep import Sweep

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
    "ListedModel",
    "Manifest",
    "MirroredArtifacts",
    "MirroredEndpoint",
    "MirroredJob",
    "MirroredModel",
    "MirroredService",
    "ModelCount",
    "ModelMetric",
    "ModelName",
    "ModelTag",
    "Operation",
    "Project",
    "RegisteredModel",
    "ServiceDailyMetrics",
    "Sweep",
    "TrainingRun",
    "TrainingSchedule",
    "VerificationCount",
    "key_field",
    "snapshot",
]
