"""Aliases of versions: stored as Vertex AI last answered, and moved there on request."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass
from datetime import datetime
from functools import partial

from django.utils.module_loading import import_string

from ml_platform.cloud import vertex
from ml_platform.cloud.names import ModelName, check_alias
from ml_platform.errors import CloudAbsent, Conflict, Invalid
from ml_platform.models import Operation, TrainingRun
from ml_platform.models.database import atomic
from ml_platform.models.locking import lock_rows
from ml_platform.models.states import OperationKind, Registration
from ml_platform.services.access.rights import Right
from ml_platform.services.operations import worker
from ml_platform.services.operations.history import refusals_recorded
from ml_platform.services.operations.state import State
from ml_platform.services.operations.store import Actor, answered_before, open_operation
from ml_platform.services.operations.subjects import run_of, subject_of_version
from ml_platform.services.operations.work import Work
from ml_platform.services.operations.workflow import Next, Outcome, Step, Workflow

from .protection import changed_of, require_unmoved, require_unmoved_now
from .verification import may_still_appear, require_own_version

DEFAULT = "default"
_NOTE_FOREIGN = "ml_platform.services.findings.comparisons.labels.note_foreign"


@dataclass(frozen=True, slots=True, kw_only=True)
class AliasState(State):
    """The requested changes."""

    change: tuple[str, ...] = ()
    """In Vertex AI's form: aliases to add, and with a minus those to remove."""
    administers: bool = False
    """It changes a protected alias, which the requesting user may move or remove."""


def set_aliases(
    *,
    run: TrainingRun,
    add: Collection[str] = (),
    remove: Collection[str] = (),
    actor: Actor,
    now: datetime,
    administers: bool = False,
    idempotency_key: str = "",
) -> Operation:
    """Add aliases to a version, which moves them from the versions that had them; remove others.

    Moving or removing a protected one needs `administers`. A refusal is recorded.

    :raises Invalid: an alias does not fit Vertex AI's pattern, or `default` would be removed:
        exactly one version must have it, so add it to another one.
    :raises Conflict: the run is not a version.
    :raises RightMissing: a version has a protected alias that this would take from it.
    """
    subject = subject_of_version(run)
    kept = refusals_recorded(workflow=WORKFLOW, subject=subject, actor=actor, now=now)
    with kept, atomic():
        change = _change(add, remove)
        request = {"run": run.pk, "change": change}
        if known := answered_before(idempotency_key=idempotency_key, request=request):
            return known
        require_version(run)
        if not administers:
            require_unmoved(run, change)
        operation, _ = open_operation(
            workflow=WORKFLOW,
            subject=subject,
            actor=actor,
            now=now,
            state=AliasState(change=change, administers=administers and bool(changed_of(change))),
            idempotency_key=idempotency_key,
            request=request,
        )
        worker.enqueue(operation)
    return operation


def _change(add: Collection[str], remove: Collection[str]) -> tuple[str, ...]:
    """The aliases in Vertex AI's form: those to remove have a minus."""
    for alias in (*add, *remove):
        check_alias(alias)
    if DEFAULT in remove:
        raise Invalid("The alias default cannot be removed.", advice="Add it to another version.")
    return (*sorted(set(add)), *(f"-{alias}" for alias in sorted(set(remove) - set(add))))


def require_version(run: TrainingRun) -> None:
    """Check that a run is a version: only versions have aliases.

    :raises Conflict: it is not.
    """
    if run.registration != Registration.REGISTERED:
        raise Conflict(f"{run} is not a version.", advice="Only a registered version has aliases.")


def _merge(work: Work[AliasState]) -> Outcome:
    """Move them only if the version's labels name the run: another may have taken its place."""
    run = run_of(work.operation)
    require_version(run)
    name = ModelName.parse(run.vertex_model_resource_name).at(run.vertex_model_version)
    try:
        version = vertex.get_model(name)
    except CloudAbsent as absent:
        if poll := may_still_appear(absent, run.registered_at, now=work.clock()):
            return poll
        raise
    require_own_version(version, run)
    if not work.state.administers:
        require_unmoved_now(version, work.state.change)
    model = vertex.merge_version_aliases(name, work.state.change)
    held = sorted(model.aliases)
    return Next(note=", ".join(held), change=partial(note_aliases, run=run, aliases=held))


def note_aliases(*, run: TrainingRun, aliases: Sequence[str], taken: Collection[str] = ()) -> None:
    """Record, in the caller's transaction, that this version has exactly these aliases now.

    Those in `taken` are on versions of no run, so none of its siblings has them either.
    """
    gone = {*aliases, *taken}
    siblings = TrainingRun.objects.versions().filter(registered_model=run.registered_model_id)
    lock_rows(siblings)
    for sibling in siblings.exclude(aliases=[]):
        kept = [alias for alias in sibling.aliases if alias not in gone]
        TrainingRun.objects.filter(pk=sibling.pk).update(aliases=kept)
    TrainingRun.objects.filter(pk=run.pk).update(aliases=list(aliases))


def record_alias(alias: str, *, lineage_id: int, run_id: int | None) -> None:
    """Record, in the caller's transaction, that this version of the lineage has the alias; with
    None, that none of its versions has it."""
    versions = TrainingRun.objects.versions().filter(registered_model=lineage_id)
    lock_rows(versions)
    for run in versions:
        held = {*run.aliases} - {alias} | ({alias} if run.pk == run_id else set())
        if held != {*run.aliases}:
            TrainingRun.objects.filter(pk=run.pk).update(aliases=sorted(held))


def move_default(*, run_id: int) -> None:
    """Record, in the caller's transaction, that the default alias moved to this version."""
    run = TrainingRun.objects.get(pk=run_id)
    note_aliases(run=run, aliases=sorted({*run.aliases, DEFAULT}))


def _right(operation: Operation) -> Right:
    return Right.ADMINISTER if AliasState.load(operation.data).administers else Right.DEPLOY


WORKFLOW = Workflow(
    slug="change-aliases",
    kind=OperationKind.ALIAS,
    title="Change the aliases of {}",
    past="changed the aliases of {}",
    state=AliasState,
    right=_right,
    steps=(Step(name="merge", title="Move the aliases in Vertex AI", run=_merge, probe="merge"),),
    # By its dotted path, because the package of the findings imports this one.
    on_failure=lambda work, error: import_string(_NOTE_FOREIGN)(work, error),
)
