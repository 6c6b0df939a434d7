"""What a person may do to a run, and to the aliases that it has as a version."""

from __future__ import annotations

from collections.abc import Mapping

from ml_platform.models import Operation, TrainingRun
from ml_platform.pages.common.verb import ActionRequest, Verb, always, in_scope, nothing
from ml_platform.services.access.rights import Right
from ml_platform.services.access.scope import Scope
from ml_platform.services.training import runs as training

from .buttons import (
    reason_disabled_cancel_run,
    reason_disabled_delete_run,
    reason_disabled_submit,
)


def find_run(scope: Scope, key: str) -> TrainingRun:
    """The run of that id, if the user sees its project.

    :raises Http404: there is none, or it is another tenant's.
    """
    rows = TrainingRun.objects.select_related("registered_model", "project", "schedule")
    return in_scope(rows, scope, key)


def _rerun(run: TrainingRun, asked: ActionRequest) -> Operation:
    again = training.rerun(run=run, actor=asked.actor, now=asked.now, idempotency_key=asked.key)
    return training.submit_run(run=again, actor=asked.actor, now=asked.now)


RUN_VERBS: Mapping[str, Verb] = {
    "submit-run": Verb(
        find_run,
        always(Right.TRAIN),
        reason_disabled_submit,
        lambda run, asked: training.submit_run(run=run, actor=asked.actor, now=asked.now),
    ),
    "cancel-run": Verb(
        find_run,
        always(Right.TRAIN),
        reason_disabled_cancel_run,
        lambda run, asked: training.cancel_run(run=run, actor=asked.actor, now=asked.now),
    ),
    "rerun": Verb(find_run, always(Right.TRAIN), nothing, _rerun),
    "delete-run": Verb(
        find_run,
        always(Right.DELETE),
        reason_disabled_delete_run,
        lambda run, asked: training.delete_run(run=run, actor=asked.actor, now=asked.now),
    ),
}
