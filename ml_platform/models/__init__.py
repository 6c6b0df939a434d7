"""What we remember: tables, states, constraints and querysets. This room knows no cloud."""

from __future__ import annotations

from .api_token import ApiToken, KeptAnswer
from .deployed_endpoint import DeployedEndpoint
from .operation import Operation
from .project import Project
from .registered_model import RegisteredModel
from .service_metrics import ServiceDay
from .sweep import Finding, MirroredArtifacts, MirroredModel, MirroredService, Sweep
from .training_run import TrainingRun
from .training_schedule import TrainingSchedule

__all__ = [
    "ApiToken",
    "DeployedEndpoint",
    "Finding",
    "KeptAnswer",
    "MirroredArtifacts",
    "MirroredModel",
    "MirroredService",
    "Operation",
    "Project",
    "RegisteredModel",
    "ServiceDay",
    "Sweep",
    "TrainingRun",
    "TrainingSchedule",
]
