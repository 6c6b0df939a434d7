"""The closed table of all workflows by their slugs; an operation's row names one of them."""

from __future__ import annotations

from ml_platform.services.operations.workflow import Workflow

from .cleanup import artifacts, orphans
from .deletion import steps as deletion
from .deployment import adopt_service, undeploy
from .deployment import steps as deployment
from .findings import decisions
from .importing import context as importing
from .installation import confirm
from .metrics import service_metrics
from .ownership import uid_labels
from .people import anonymisation
from .projects import archive
from .projects import changes as projects
from .registration import adoption, approval, more_versions, register
from .registry import aliases, tags
from .removal import removal
from .repairs import aliases as alias_repairs
from .repairs import (
    changed_services,
    duplicate_versions,
    files,
    labels,
    leftovers,
    pointers,
    service_labels,
    services,
    unmanaged_models,
)
from .scheduling import job, platform_jobs, takeover
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
        more_versions.WORKFLOW,
        adopt_service.WORKFLOW,
        approval.APPROVING,
        approval.WITHDRAWING,
        aliases.WORKFLOW,
        tags.WORKFLOW,
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
        takeover.WORKFLOW,
        platform_jobs.WORKFLOW,
        sweeps.WORKFLOW,
        uid_labels.WORKFLOW,
        projects.CREATING,
        projects.RENAMING,
        projects.ADDING,
        projects.REMOVING,
        archive.ARCHIVING,
        archive.UNARCHIVING,
        confirm.WORKFLOW,
        decisions.IGNORING,
        decisions.REOPENING,
        decisions.CONFIRMING,
        pointers.CLEARING,
        pointers.RESTORING,
        unmanaged_models.WORKFLOW,
        duplicate_versions.WORKFLOW,
        alias_repairs.TAKE_OVER,
        alias_repairs.PUT_BACK,
        labels.WORKFLOW,
        service_labels.WORKFLOW,
        files.WORKFLOW,
        leftovers.WORKFLOW,
        services.WORKFLOW,
        changed_services.WORKFLOW,
        job_repairs.SCHEDULE,
        job_repairs.JOB,
        orphans.ORPHAN,
        orphans.ALL_ORPHANS,
        artifacts.WORKFLOW,
        anonymisation.WORKFLOW,
        removal.WORKFLOW,
        service_metrics.WORKFLOW,
        importing.IMPORT,
    )
}
