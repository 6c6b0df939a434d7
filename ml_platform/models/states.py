"""The states of rows and the allowed moves between them."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from django.db import models

PERSON_NAME = 254
"""Characters of a user's name that are kept: as many as an e-mail address has."""


class ModelType(models.TextChoices):
    RETRIEVAL = "retrieval", "Retrieval"
    RANKING = "ranking", "Ranking"
    HYBRID = "hybrid", "Hybrid"
    OTHER = "other", "Other"


class RunStatus(models.TextChoices):
    PENDING = "pending", "Pending"
    SCHEDULED = "scheduled", "Scheduled"
    SUBMITTING = "submitting", "Submitting"
    RUNNING = "running", "Running"
    COMPLETED = "completed", "Completed"
    FAILED = "failed", "Failed"
    CANCELLED = "cancelled", "Cancelled"
    NOT_BLESSED = "not_blessed", "Not blessed"
    DEPLOYING = "deploying", "Deploying"
    DEPLOYED = "deployed", "Deployed"
    DEPLOY_FAILED = "deploy_failed", "Deploy failed"


RUN_MOVES: Mapping[str, frozenset[str]] = {
    RunStatus.PENDING: frozenset({RunStatus.SUBMITTING, RunStatus.CANCELLED}),
    RunStatus.SCHEDULED: frozenset({RunStatus.SUBMITTING, RunStatus.CANCELLED}),
    RunStatus.SUBMITTING: frozenset({RunStatus.RUNNING, RunStatus.CANCELLED, RunStatus.FAILED}),
    RunStatus.RUNNING: frozenset(
        {RunStatus.COMPLETED, RunStatus.NOT_BLESSED, RunStatus.CANCELLED, RunStatus.FAILED}
    ),
    RunStatus.COMPLETED: frozenset({RunStatus.DEPLOYING}),
    RunStatus.DEPLOYING: frozenset(
        {RunStatus.DEPLOYED, RunStatus.DEPLOY_FAILED, RunStatus.COMPLETED}
    ),
    RunStatus.DEPLOYED: frozenset({RunStatus.DEPLOYING, RunStatus.COMPLETED}),
    RunStatus.DEPLOY_FAILED: frozenset({RunStatus.DEPLOYING, RunStatus.COMPLETED}),
    RunStatus.NOT_BLESSED: frozenset(),
    RunStatus.FAILED: frozenset(),
    RunStatus.CANCELLED: frozenset(),
}
"""The statuses that a run may get from each status."""

LIVE_RUN_STATUSES = frozenset(
    {
        RunStatus.PENDING,
        RunStatus.SCHEDULED,
        RunStatus.SUBMITTING,
        RunStatus.RUNNING,
        RunStatus.DEPLOYING,
    }
)
"""A run that may still finish: cleanup keeps its model, because a user may need it (law 9)."""

TRAINING_RUN_STATUSES = LIVE_RUN_STATUSES - {RunStatus.DEPLOYING}
"""A run whose pipeline has not ended: it counts as running and can be cancelled."""

SUCCEEDED_RUN_STATUSES = frozenset(
    {RunStatus.COMPLETED, RunStatus.DEPLOYING, RunStatus.DEPLOYED, RunStatus.DEPLOY_FAILED}
)
"""The pipeline succeeded and its evaluator blessed the model."""

DEPLOYABLE_RUN_STATUSES = SUCCEEDED_RUN_STATUSES | {RunStatus.NOT_BLESSED}
"""The pipeline succeeded: it may be deployed if it is blessed, by its evaluator or by a person."""


def sources_of(moves: Mapping[str, frozenset[str]], target: str) -> Iterable[str]:
    """The states from which a move to `target` is allowed."""
    return [source for source, targets in moves.items() if target in targets]


class Registration(models.TextChoices):
    """Whether a run is a version of its lineage."""

    NONE = "", "Never registered"
    REGISTERED = "registered", "Registered"
    DELETING = "deleting", "Being deleted"
    DELETED = "deleted", "Deleted"
    LOST = "lost", "Lost"


HOLDS_POINTER = (Registration.REGISTERED, Registration.DELETING)
"""Exactly these runs have a Vertex pointer. A deletion clears it when Vertex AI has confirmed."""


class Approval(models.TextChoices):
    """What a person decided about a version, beside the evaluator's own verdict."""

    NONE = "", "Not decided"
    APPROVED = "approved", "Approved"
    WITHDRAWN = "withdrawn", "Withdrawn"


class RegistryState(models.TextChoices):
    """The state of a registered lineage in the last sweep that could read Vertex AI."""

    UNCHECKED = "", "Never looked"
    VERIFIED = "verified", "Verified"
    SUSPECTED = "suspected", "Not seen once"
    MISSING = "missing", "Not in Registry"
    CHANGED = "changed", "Files changed"
    FOREIGN = "foreign", "Labels changed"


class RetentionReason(models.TextChoices):
    """Why a lineage that was never registered is still needed, so it is not an orphan (law 9)."""

    RUN = "run", "a run that may still finish"
    SCHEDULE = "schedule", "an active or paused schedule"
    ENDPOINT = "endpoint", "an endpoint"
    OPERATION = "operation", "an operation"


class ScheduleState(models.TextChoices):
    ACTIVE = "active", "Active"
    PAUSED = "paused", "Paused"
    CANCELLED = "cancelled", "Cancelled"
    COMPLETED = "completed", "Completed"


LIVE_SCHEDULE_STATES = (ScheduleState.ACTIVE, ScheduleState.PAUSED)


class Frequency(models.TextChoices):
    ONCE = "once", "Once"
    HOURLY = "hourly", "Hourly"
    DAILY = "daily", "Daily"
    WEEKLY = "weekly", "Weekly"
    MONTHLY = "monthly", "Monthly"


class EndpointState(models.TextChoices):
    INACTIVE = "inactive", "Inactive"
    DEPLOYING = "deploying", "Deploying"
    ACTIVE = "active", "Active"
    UNDEPLOYING = "undeploying", "Undeploying"


class ServingStatus(models.TextChoices):
    """An active endpoint serves the newest deployable version, only older ones are served, or none
    is."""

    DEPLOYED = "deployed", "Deployed"
    OUTDATED = "outdated", "Outdated"
    IDLE = "idle", "Idle"


PROTECTING_ENDPOINT_STATES = (
    EndpointState.DEPLOYING,
    EndpointState.ACTIVE,
    EndpointState.UNDEPLOYING,
)
"""An endpoint in one of these states protects its version from deletion."""


class OperationKind(models.TextChoices):
    SUBMIT = "submit", "Submit run"
    CANCEL = "cancel", "Cancel run"
    REGISTER = "register", "Register"
    DEPLOY = "deploy", "Deploy"
    UNDEPLOY = "undeploy", "Undeploy"
    REDEPLOY = "redeploy", "Redeploy"
    DELETE = "delete", "Delete"
    ADOPT = "adopt", "Adopt"
    REPAIR = "repair", "Repair"
    CLEANUP = "cleanup", "Clean up"
    SCHEDULE = "schedule", "Schedule"
    ALIAS = "alias", "Move alias"
    IGNORE = "ignore", "Ignore finding"
    UNIGNORE = "unignore", "Reopen finding"
    APPROVE = "approve", "Approve version"
    WITHDRAW = "withdraw", "Withdraw approval"
    TAG = "tag", "Change tags"
    PROJECT = "project", "Change project"
    METRICS = "metrics", "Collect metrics"
    SWEEP = "sweep", "Check"


class OperationStatus(models.TextChoices):
    PENDING = "pending", "Waiting"
    RUNNING = "running", "Running"
    SUCCEEDED = "succeeded", "Succeeded"
    FAILED = "failed", "Failed"
    CANCELLED = "cancelled", "Cancelled"


LIVE_OPERATION_STATUSES = (OperationStatus.PENDING, OperationStatus.RUNNING)


class EventKind(models.TextChoices):
    """Every kind of event, with its title."""

    OPERATION_STARTED = "operation_started", "Operation started"
    OPERATION_RETRIED = "operation_retried", "Operation retried"
    OPERATION_SUCCEEDED = "operation_succeeded", "Operation succeeded"
    OPERATION_FAILED = "operation_failed", "Operation failed"
    OPERATION_CANCELLED = "operation_cancelled", "Operation cancelled"
    OPERATION_REFUSED = "operation_refused", "Refused"
    RUN_ENDED = "run_ended", "Training run ended"
    RUN_DELETED = "run_deleted", "Training run deleted"
    MODEL_REGISTERED = "model_registered", "Version registered"
    MODEL_DELETED = "model_deleted", "Orphan deleted"
    VERSION_LOST = "version_lost", "Version lost"
    VERSION_RESTORED = "version_restored", "Version restored"
    VERSION_DELETED = "version_deleted", "Version deleted"
    VERSION_APPROVED = "version_approved", "Version approved"
    APPROVAL_WITHDRAWN = "approval_withdrawn", "Approval withdrawn"
    TAGS_CHANGED = "tags_changed", "Tags changed"
    DEPLOYED = "deployed", "Deployed"
    UNDEPLOYED = "undeployed", "Undeployed"
    ENDPOINT_DELETED = "endpoint_deleted", "Endpoint deleted"
    FINDING_OPENED = "finding_opened", "Finding opened"
    FINDING_CLOSED = "finding_closed", "Finding closed"
    FINDING_REPAIRED = "finding_repaired", "Finding repaired"
    FINDING_IGNORED = "finding_ignored", "Finding ignored"
    FINDING_REOPENED = "finding_reopened", "Finding reopened"
    PROJECT_CREATED = "project_created", "Project created"
    PROJECT_RENAMED = "project_renamed", "Project renamed"
    PROJECT_ARCHIVED = "project_archived", "Project archived"
    PROJECT_UNARCHIVED = "project_unarchived", "Project unarchived"
    MEMBER_ADDED = "member_added", "Member added"
    MEMBER_REMOVED = "member_removed", "Member removed"


class SweepStatus(models.TextChoices):
    RUNNING = "running", "Running"
    COMPLETE = "complete", "Complete"
    PARTIAL = "partial", "A plane could not be read"
    INTERRUPTED = "interrupted", "Did not finish"


FINISHED_SWEEP_STATUSES = (SweepStatus.COMPLETE, SweepStatus.PARTIAL)


class FindingStatus(models.TextChoices):
    OPEN = "open", "Open"
    IGNORED = "ignored", "Ignored"
    REPAIRED = "repaired", "Repaired"
    GONE = "gone", "No longer seen"


STANDING_FINDING_STATUSES = (FindingStatus.OPEN, FindingStatus.IGNORED)
