"""Models: change the aliases of a version and the tags of a model, delete versions."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from django.db.models import QuerySet

from ml_platform.errors import NotFound
from ml_platform.models import Operation, RegisteredModel, TrainingRun
from ml_platform.services.access.rights import Right
from ml_platform.services.deletion import steps as deletion_steps
from ml_platform.services.deletion.delete import delete_versions, subject_of_deletion
from ml_platform.services.deletion.plan import DeletionPlan, require_unblocked
from ml_platform.services.deletion.preview import DELETABLE, plan_by_rows
from ml_platform.services.operations.locks import Locks, read_locks
from ml_platform.services.operations.retry_cancel import right_for
from ml_platform.services.operations.subjects import subject_of_lineage, subject_of_version
from ml_platform.services.registry import aliases as alias_change
from ml_platform.services.registry import tags as tag_change
from ml_platform.services.registry.aliases import require_version, set_aliases

from .action import Action
from .caller import Caller

if TYPE_CHECKING:
    from .inputs import AliasesIn, AliasFormIn, DeletePlanIn, DeleteVersionsIn, TagsIn


RUNS = TrainingRun.objects.select_related("registered_model", "project", "schedule")


def find_model(caller: Caller, key: object) -> RegisteredModel:
    """The model of that key."""
    return caller.find(RegisteredModel.objects.select_related("project", "latest_run"), key)


def find_run(caller: Caller, key: object) -> TrainingRun:
    """The training run of that key, which may be a version."""
    return caller.find(RUNS, key)


def version_of(model: RegisteredModel, number: int) -> TrainingRun:
    """The version of that number.

    :raises NotFound: the model has none.
    """
    run = _numbered(model).filter(version=number).first()
    if run is None:
        raise NotFound(f"{model} has no version {number}.", advice="List its versions.")
    return run


def newest_of(model: RegisteredModel) -> TrainingRun | None:
    """The newest version; of a model whose versions are all gone, the last it had."""
    if model.latest_run_id is not None:
        return _numbered(model).get(pk=model.latest_run_id)
    return _numbered(model).order_by("-version").first()


def _numbered(model: RegisteredModel) -> QuerySet[TrainingRun]:
    return RUNS.filter(registered_model=model, version__isnull=False)


# ---- aliases -------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class AliasFacts:
    """The facts of a change of aliases."""

    run: TrainingRun
    locks: Locks


def _of_versions(runs: Sequence[TrainingRun], _: object, __: Caller) -> list[AliasFacts]:
    locks = read_locks([run.registered_model for run in runs if run.registered_model])
    return [AliasFacts(run, locks) for run in runs]


def _require_version(facts: AliasFacts) -> None:
    require_version(facts.run)
    if facts.run.registered_model is not None:
        name = f"{facts.run.model_name} v{facts.run.version}"
        facts.locks.require_free(name, facts.run.registered_model)


def _set_aliases(facts: AliasFacts, given: AliasesIn | AliasFormIn, caller: Caller) -> Operation:
    operation = set_aliases(
        run=facts.run,
        add=given.add,
        remove=given.remove,
        actor=caller.actor,
        now=caller.now(),
        administers=caller.has(Right.ADMINISTER),
        idempotency_key=caller.key,
    )
    caller.require(right_for(operation))
    return operation


SET_ALIASES: Action[TrainingRun, Operation] = Action(
    name="alias-run",
    right=Right.DEPLOY,
    find=find_run,
    facts=_of_versions,
    require=_require_version,
    input="AliasFormIn",
    run=_set_aliases,
    history=lambda facts: (alias_change.WORKFLOW, subject_of_version(facts.run)),
)


# ---- tags ----------------------------------------------------------------------------------------


def _set_tags(model: RegisteredModel, given: TagsIn, caller: Caller) -> Operation:
    return tag_change.set_tags(
        model=model, add=given.add, remove=given.remove, actor=caller.actor, now=caller.now()
    )


SET_TAGS: Action[RegisteredModel, Operation] = Action(
    name="tag-model",
    right=Right.TRAIN,
    find=find_model,
    require=tag_change.require_registered,
    input="TagsIn",
    run=_set_tags,
    on_page=False,
    history=lambda model: (tag_change.WORKFLOW, subject_of_lineage(model)),
)


# ---- deletion ------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True, kw_only=True)
class DeletionFacts:
    """The facts of a deletion: its plan from our rows."""

    lineage: RegisteredModel
    runs: Sequence[TrainingRun]
    plan: DeletionPlan


def doomed_runs(
    model: RegisteredModel, given: DeleteVersionsIn | DeletePlanIn | None
) -> list[TrainingRun]:
    """The versions to delete: by their numbers, by the plan that was shown, or all.

    :raises NotFound: the model has no version of that number.
    """
    if ids := getattr(given, "runs", None):
        return list(model.training_runs.filter(pk__in=ids).order_by("version"))
    numbers = getattr(given, "versions", "all")
    if numbers != "all":
        return [version_of(model, number) for number in sorted(set(numbers))]
    return list(model.training_runs.filter(registration__in=DELETABLE).order_by("version"))


def _facts(
    models: Sequence[RegisteredModel], given: DeleteVersionsIn | None, _: Caller
) -> list[DeletionFacts]:
    locks = read_locks(models)
    asked = [(model, doomed_runs(model, given)) for model in models]
    return [
        DeletionFacts(
            lineage=model, runs=runs, plan=plan_by_rows(lineage=model, runs=runs, locks=locks)
        )
        for model, runs in asked
    ]


def _delete(facts: DeletionFacts, given: DeleteVersionsIn, caller: Caller) -> Operation:
    return delete_versions(
        lineage=facts.lineage,
        runs=facts.runs,
        actor=caller.actor,
        now=caller.now(),
        reason=given.reason,
        idempotency_key=caller.key,
    )


DELETE_VERSIONS: Action[RegisteredModel, Operation] = Action(
    name="delete-model",
    right=Right.DELETE,
    find=find_model,
    facts=_facts,
    require=lambda facts: require_unblocked(facts.plan),
    input="DeletePlanIn",
    run=_delete,
    history=lambda facts: (deletion_steps.WORKFLOW, subject_of_deletion(facts.lineage, facts.runs)),
)
ACTIONS: tuple[Action[Any, Any], ...] = (SET_ALIASES, SET_TAGS, DELETE_VERSIONS)
