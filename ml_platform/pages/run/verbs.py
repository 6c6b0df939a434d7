"""What a person may do to a run, and to the aliases that it has as a version."""

from __future__ import annotations

from collections.abc import Mapping

from ml_platform.errors import Invalid
from ml_platform.models import Operation, TrainingRun
from ml_platform.pages.common.verb import ActionRequest, Verb, always, in_scope, nothing
from ml_platform.services.access.rights import Right
from ml_platform.services.access.scope import Scope
from ml_platform.services.registry import aliases
from ml_platform.services.training import runs as training

from .buttons import (
    reason_disabled_alias,
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


def _set_aliases(run: TrainingRun, asked: ActionRequest) -> Operation:
    """Change what the person changed; an alias that came meanwhile stays."""
    if not {"aliases", "was"} <= asked.form.keys():
        raise Invalid(
            "The form is not whole. Nothing was changed.",
            code="form_incomplete",
            advice="Open it again; a field that is lost would take all aliases away.",
        )
    wanted, was = _names(asked.form["aliases"]), _names(asked.form["was"])
    if wanted == was:
        raise Invalid(
            "These are the aliases that it has.",
            code="no_change",
            advice="Add one, or take one away that is not default.",
        )
    return aliases.set_aliases(
        run=run,
        add=wanted - was,
        remove=was - wanted,
        actor=asked.actor,
        now=asked.now,
        administers=asked.administers,
        idempotency_key=asked.key,
    )


def _names(text: str) -> set[str]:
    return set(text.replace(",", " ").split())


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
    "alias-run": Verb(find_run, always(Right.DEPLOY), reason_disabled_alias, _set_aliases),
}
