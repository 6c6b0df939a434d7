"""Each kind of operation and the recipe that carries it out."""

from __future__ import annotations

from collections.abc import Mapping

from ml_platform.errors import PlatformError
from ml_platform.models.states import OperationKind

from . import (
    adoption,
    aliases,
    artifact_cleanup,
    checking,
    deletion_steps,
    deploy_steps,
    orphans,
    platform_job,
    reconciliation,
    registration,
    run_submission,
    schedule_job,
    service_metrics,
    service_repairs,
    surplus,
    undeployment,
)
from .engine import Recipe
from .operations import Work


def _cleanup_failed(work: Work, error: PlatformError) -> None:
    artifact_cleanup.restore(work, error)
    surplus.begin_again(work)
    service_repairs.begin_again(work)


RECIPES: Mapping[str, Recipe] = {
    OperationKind.SUBMIT: run_submission.RECIPE,
    OperationKind.CANCEL: run_submission.CANCELLATION,
    OperationKind.SCHEDULE: Recipe(steps=(*platform_job.STEPS, *schedule_job.RECIPE.steps)),
    OperationKind.REGISTER: registration.RECIPE,
    OperationKind.ALIAS: aliases.RECIPE,
    OperationKind.DELETE: deletion_steps.RECIPE,
    OperationKind.DEPLOY: deploy_steps.RECIPE,
    OperationKind.REDEPLOY: deploy_steps.RECIPE,
    OperationKind.UNDEPLOY: undeployment.RECIPE,
    OperationKind.ADOPT: adoption.RECIPE,
    OperationKind.REPAIR: reconciliation.RECIPE,
    OperationKind.SWEEP: checking.RECIPE,
    OperationKind.METRICS: service_metrics.RECIPE,
    OperationKind.CLEANUP: Recipe(
        steps=(
            *surplus.STEPS,
            *service_repairs.LEFTOVER_STEPS,
            *artifact_cleanup.STEPS,
            *orphans.RECIPE.steps,
        ),
        on_failure=_cleanup_failed,
    ),
}
