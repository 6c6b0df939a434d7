"""Each kind of operation and the recipe that carries it out."""

from __future__ import annotations

from collections.abc import Mapping

from ml_platform.errors import PlatformError
from ml_platform.models.states import OperationKind
from ml_platform.services.operations.engine import Workflow
from ml_platform.services.operations.store import Work

from .cleanup import artifacts as artifact_cleanup
from .cleanup import orphans
from .deletion import steps as deletion_steps
from .deployment import steps as deploy_steps
from .deployment import undeploy as undeployment
from .metrics import service_metrics
from .registration import adoption
from .registration import register as registration
from .registry import aliases
from .repairs import duplicate_versions as surplus
from .repairs import reconciliation
from .repairs import services as service_repairs
from .scheduling import job as schedule_job
from .scheduling import platform_jobs as platform_job
from .sweeps import operation as checking
from .training import submission as run_submission


def _cleanup_failed(work: Work, error: PlatformError) -> None:
    artifact_cleanup.restore(work, error)
    surplus.begin_again(work)
    service_repairs.begin_again(work)


WORKFLOWS: Mapping[str, Workflow] = {
    OperationKind.SUBMIT: run_submission.WORKFLOW,
    OperationKind.CANCEL: run_submission.CANCELLATION,
    OperationKind.SCHEDULE: Workflow(steps=(*platform_job.STEPS, *schedule_job.WORKFLOW.steps)),
    OperationKind.REGISTER: registration.WORKFLOW,
    OperationKind.ALIAS: aliases.WORKFLOW,
    OperationKind.DELETE: deletion_steps.WORKFLOW,
    OperationKind.DEPLOY: deploy_steps.WORKFLOW,
    OperationKind.REDEPLOY: deploy_steps.WORKFLOW,
    OperationKind.UNDEPLOY: undeployment.WORKFLOW,
    OperationKind.ADOPT: adoption.WORKFLOW,
    OperationKind.REPAIR: reconciliation.WORKFLOW,
    OperationKind.SWEEP: checking.WORKFLOW,
    OperationKind.METRICS: service_metrics.WORKFLOW,
    OperationKind.CLEANUP: Workflow(
        steps=(
            *surplus.STEPS,
            *service_repairs.LEFTOVER_STEPS,
            *artifact_cleanup.STEPS,
            *orphans.WORKFLOW.steps,
        ),
        on_failure=_cleanup_failed,
    ),
}
