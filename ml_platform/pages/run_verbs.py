"""What a person may do to a run, and to the aliases that it has as a version."""

from __future__ import annotations

from collections.abc import Mapping

from ml_platform.errors import Invalid
from ml_platform.models import Operation, TrainingRun
from ml_platform.services import aliases, training
from ml_platform.services.access import Scope
from ml_platform.services.rights import Right

from .run_buttons import why_not_alias, why_not_cancel_run, why_not_delete_run, why_not_submit
from .verb import Asked, Verb, always, in_scope, nothing


def find_run(scope: Scope, key: str) -> TrainingRun:
    """The run of that id, if the user sees its project.

    :raises Http404: there is none, or it is another tenant's.
    """
    rows = TrainingRun.objects.select_related("registered_model", "project", "schedule")
    return in_scope(rows, scope, key)


def _rerun(run: TrainingRun, asked: Asked) -> Operation:
    again = training.rerun(run=run, actor=asked.actor, now=asked.now, idempotency_key=asked.key)
    return training.submit_run(run=again, actor=asked.actor, now=asked.now)


def _set_aliases(run: TrainingRun, asked: Asked) -> Operation:
    """Change what the person changed; an alias that came meanwhile stays."""
    wanted, was = _names(asked.form.get("aliases", "")), _names(asked.form.get("was", ""))
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
        idempotency_key=asked.key,
    )


def _names(text: str) -> set[str]:
    return set(text.replace(",", " ").split())


RUN_VERBS: Mapping[str, Verb] = {
    "submit-run": Verb(
        find_run,
        always(Right.TRAIN),
        why_not_submit,
        lambda run, asked: training.submit_run(run=run, actor=asked.actor, now=asked.now),
    ),
    "cancel-run": Verb(
        find_run,
        always(Right.TRAIN),
        why_not_cancel_run,
        lambda run, asked: training.cancel_run(run=run, actor=asked.actor, now=asked.now),
    ),
    "rerun": Verb(find_run, always(Right.TRAIN), nothing, _rerun),
    "delete-run": Verb(
        find_run,
        always(Right.DELETE),
        why_not_delete_run,
        lambda run, asked: training.delete_run(run=run, actor=asked.actor, now=asked.now),
    ),
    "alias-run": Verb(find_run, always(Right.DEPLOY), why_not_alias, _set_aliases),
}
