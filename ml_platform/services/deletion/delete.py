"""Requests to delete versions. A deletion can be previewed and resumes after a crash (law 5)."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime

from ml_platform.models import Operation, RegisteredModel, TrainingRun
from ml_platform.models.database import atomic
from ml_platform.services.operations import worker
from ml_platform.services.operations.history import refusals_recorded
from ml_platform.services.operations.locks import NO_LOCKS
from ml_platform.services.operations.store import Actor, Subject, answered_before, open_operation
from ml_platform.services.operations.subjects import subject_of_lineage

from .plan import require_unblocked
from .preview import plan_by_rows
from .state import DeletionState, mark_deleting, sent_before
from .steps import WORKFLOW


def delete_versions(
    *,
    lineage: RegisteredModel,
    runs: Sequence[TrainingRun],
    actor: Actor,
    now: datetime,
    reason: str = "",
    idempotency_key: str = "",
) -> Operation:
    """Open the deletion of some versions of a lineage, or of all of them. A refusal is recorded.

    :raises DeployedModel: one of our endpoints serves one of them.
    :raises Busy: another operation holds the lineage.
    :raises ProtectedAlias: one has a protected alias.
    :raises UnsafePath: artifacts lie outside their run's own prefix.
    :raises Conflict: there is no run, or one is not a version of this lineage.
    """
    ids = sorted(run.pk for run in runs)
    request = {"lineage": lineage.pk, "runs": ids}
    if known := answered_before(idempotency_key=idempotency_key, request=request):
        return known
    subject = subject_of_deletion(lineage, runs)
    refusals = refusals_recorded(
        workflow=WORKFLOW, subject=subject, actor=actor, now=now, reason=reason
    )
    with refusals, atomic():
        require_unblocked(plan_by_rows(lineage=lineage, runs=runs, locks=NO_LOCKS))
        operation, new = open_operation(
            workflow=WORKFLOW,
            subject=subject,
            actor=actor,
            now=now,
            state=DeletionState(runs=tuple(ids), marked=True, sent=sent_before(ids)),
            reason=reason,
            idempotency_key=idempotency_key,
            request=request,
        )
        if new:
            mark_deleting(ids)
            worker.enqueue(operation)
    return operation


def subject_of_deletion(lineage: RegisteredModel, runs: Sequence[TrainingRun]) -> Subject:
    """The subject of the deletion of these versions."""
    numbers = ", ".join(f"v{run.version}" for run in runs)
    return subject_of_lineage(lineage, name=f"{lineage.model_name} {numbers}".strip()[:255])
