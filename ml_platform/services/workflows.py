"""The closed table of all workflows by their slugs; an operation's row names one of them."""

from __future__ import annotations

from ml_platform.services.operations.workflow import Workflow

from .cleanup import artifacts, orphans
from .deletion import steps as deletion
from .deployment import steps as deployment
from .deployment import undeploy
from .findings import decisions
from .installation import confirm
from .metrics import service_metrics
from .registration import adoption, approval, register
from .registry import aliases, relabel
from .removal import removal
from .repairs import duplicate_versions, labels, pointers, services, unmanaged_models
from .scheduling import job, platform_jobs
from .scheduling import repairs as job_repairs
from .sweeps import operation as sweeps
from .training import runs, submission

WORKFLOWS: dict[str, Workflow] = {
    workflow.slug: workflow
    for workflow in (
        submission.SUBMISSION,
        submission.CANCELLATION,
        runs.DELETION,
        register.WORKFLOW,
        adoption.WORKFLOW,
        approval.APPROVING,
        approval.WITHDRAWING,
        aliases.WORKFLOW,
        deletion.WORKFLOW,
        deployment.DEPLOY,
        deployment.REDEPLOY,
        deployment.ROLLBACK,
        undeploy.WORKFLOW,
        undeploy.DELETION,
        job.CREATION,
        job.RESUMPTION,
        job.PAUSE,
        job.END,
        platform_jobs.WORKFLOW,
        sweeps.WORKFLOW,
        relabel.WORKFLOW,
        confirm.WORKFLOW,
        decisions.IGNORING,
        decisions.REOPENING,
        decisions.CONFIRMING,
        pointers.CLEARING,
        pointers.RESTORING,
        unmanaged_models.WORKFLOW,
        duplicate_versions.WORKFLOW,
        labels.VERSION,
        labels.SERVICE,
        services.LEFTOVER,
        services.CHECK,
        job_repairs.SCHEDULE,
        job_repairs.JOB,
        orphans.ORPHAN,
        orphans.ALL_ORPHANS,
        artifacts.WORKFLOW,
        removal.WORKFLOW,
        service_metrics.WORKFLOW,
    )
}
