"""Delete surplus versions: those with our labels whose run is another version, or was deleted.

A late upload makes them. A run must be one version at most, and a deleted version must stay
deleted, or a request that was repeated would count twice (law 7).
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from functools import partial
from typing import TypeVar

from ml_platform.cloud import vertex
from ml_platform.cloud.answers import Absent, Present
from ml_platform.cloud.names import ModelName, same_resource
from ml_platform.cloud.types import RemoteModel
from ml_platform.errors import Conflict, PlatformError
from ml_platform.models import Operation, RegisteredModel, TrainingRun
from ml_platform.models.states import FindingStatus, OperationKind, Registration
from ml_platform.services.findings.comparisons.labels import note_foreign
from ml_platform.services.findings.discrepancy import may_be_ours
from ml_platform.services.findings.kinds import FindingKind
from ml_platform.services.operations.store import Actor
from ml_platform.services.operations.subjects import subject_of_lineage
from ml_platform.services.operations.work import Work
from ml_platform.services.operations.workflow import Next, Outcome, Poll, Step, Workflow
from ml_platform.services.ownership.labels import OWNER, RUN, are_ours, is_uid
from ml_platform.services.ownership.own_resources import require_own
from ml_platform.services.registry.aliases import DEFAULT, move_default
from ml_platform.services.registry.lineages import lock_version, sync_version_cache
from ml_platform.services.registry.protection import require_all_unprotected
from ml_platform.services.registry.verification import (
    may_still_appear,
    read_versions,
    require_own_version,
    seconds_until_consistent,
)

from .steps import (
    RepairState,
    close,
    open_repair,
    read,
    require_undeployed,
    start_deletion,
    wait_for_deletion,
)

T = TypeVar("T")
FIRST_STEP = "list_versions"


@dataclass(frozen=True, slots=True, kw_only=True)
class DuplicateState(RepairState):
    """What the steps hand on."""

    name: str = ""
    """The model in Vertex AI."""
    target: str = ""
    """What is deleted next: a version, or the whole model."""
    default_to: int = 0
    """The id of the run whose version gets the alias `default` first."""
    purged: tuple[str, ...] = ()
    """Versions and models whose deletion was sent."""


def purge_surplus(
    *, registered_model: RegisteredModel, resource_name: str, actor: Actor, now: datetime
) -> Operation:
    """Delete the surplus versions of a model in Vertex AI; its other versions stay.

    :raises Invalid: that is not a resource name of a model.
    :raises CopiedModel: it is not the lineage's own model, although it may have our labels.
    :raises Busy: another operation holds the lineage.
    """
    name = ModelName.parse(resource_name).bare
    require_own(name, registered_model)
    return open_repair(
        workflow=WORKFLOW,
        subject=subject_of_lineage(registered_model),
        state=DuplicateState(name=str(name)),
        kinds=[FindingKind.SURPLUS_VERSION],
        about=resource_name,
        actor=actor,
        now=now,
    )


# ---- the steps ---------------------------------------------------------------------------------


def _list(work: Work[DuplicateState]) -> Outcome:
    """Read all versions and their labels again, and choose the next change."""
    name = ModelName.parse(work.state.name)
    require_own(name, _lineage(work))
    answer = _read(work, lambda: read_versions(name))
    if isinstance(answer, Absent):
        made_at = None if work.state.purged else _lineage(work).latest_registered_at
        if poll := may_still_appear(answer.reason, made_at, now=work.clock()):
            return poll
        return Next(to="end_surplus", note=f"{name.model_id} is gone.")
    surplus: list[RemoteModel] = []
    for run, versions in _by_run(_lineage(work), answer.value):
        if run.registration == Registration.DELETED:
            surplus += versions
        elif run.registration == Registration.REGISTERED:
            keeper = _keeper(work, run, versions)
            if isinstance(keeper, Poll | Next):
                return keeper
            surplus += [v for v in versions if v.pointer != keeper]
    return _choose(work, name, answer.value, surplus)


def _lineage(work: Work[DuplicateState]) -> RegisteredModel:
    return RegisteredModel.objects.get(pk=work.operation.subject_id)


def _by_run(
    lineage: RegisteredModel, versions: Iterable[RemoteModel]
) -> Iterator[tuple[TrainingRun, list[RemoteModel]]]:
    """Yield our versions by the run of this lineage that their label names, in order of the runs.

    A person must have labeled those that name another lineage's run; they are left out.
    """
    ours: dict[str, list[RemoteModel]] = {}
    for version in versions:
        uid = version.labels.get(RUN, "")
        if is_uid(uid) and are_ours(version.labels):
            ours.setdefault(uid, []).append(version)
    for run in lineage.training_runs.filter(uid__in=ours).order_by("pk"):
        if uploads := [v for v in ours[run.uid.hex] if may_be_ours(run, v.pointer)]:
            yield run, uploads


def _keeper(
    work: Work[DuplicateState], run: TrainingRun, versions: Sequence[RemoteModel]
) -> ModelName | Poll | Next:
    """Return the run's version. If it is gone, the lowest of the others becomes the run's."""
    pointer = ModelName.parse(run.vertex_model_resource_name).at(run.vertex_model_version)
    for version in versions:
        if same_resource(version.pointer, pointer):
            return version.pointer
    answer = _read(work, lambda: vertex.get_model(pointer))
    if isinstance(answer, Present):
        require_own_version(answer.value, run)
        return pointer
    if seconds := seconds_until_consistent(run.registered_at, now=work.clock()):
        return Poll(seconds=seconds, note=f"{pointer} is so new that it may still appear.")
    found = versions[0].pointer
    if not same_resource(found.bare, pointer.bare):
        raise Conflict(
            f"{run} points at {pointer}, which is gone; {found} has its label.",
            code="pointer_gone",
            advice="Repair the stale pointer first.",
        )
    return Next(
        to=FIRST_STEP,
        note=f"{pointer} is gone; {run} is {found.model_id}@{found.version}.",
        change=partial(_point_at, run.pk, found),
    )


def _point_at(run_id: int, found: ModelName) -> None:
    run = lock_version(run_id)
    if run.registration != Registration.REGISTERED or run.registered_model is None:
        return
    TrainingRun.objects.filter(pk=run_id).update(
        vertex_model_version=found.version,
        last_vertex_version=f"{run.vertex_model_resource_name}@{run.vertex_model_version}",
    )
    sync_version_cache(registered_model=run.registered_model)


def _choose(
    work: Work[DuplicateState],
    name: ModelName,
    versions: Sequence[RemoteModel],
    surplus: Iterable[RemoteModel],
) -> Next:
    """Choose the next version to delete, or the model if all of its versions are surplus."""
    left = [there for version in surplus if (there := _read_again(work, version))]
    if not left:
        return Next(to="end_surplus", note="No version is surplus.")
    require_undeployed(name, left)
    require_all_unprotected(left)
    numbers = {version.version for version in left}
    staying = [v for v in versions if v.version not in numbers]
    target = left[0]
    heir = _heir(name, staying) if DEFAULT in target.aliases else None
    if heir:
        work.state = replace(work.state, default_to=heir.pk)
        return Next(to="give_default", note=f"{target.pointer} is surplus and the default.")
    if not staying and (runs := _pointed_at(name)):
        raise Conflict(
            f"{runs[0].model_name} v{runs[0].version} points at {name}, which does not list it.",
            code="pointer_not_listed",
            advice="Repair the stale pointer first.",
        )
    work.state = replace(work.state, target=str(target.pointer if staying else name))
    # An earlier attempt may have moved the alias and crashed before it was recorded.
    current = _heir(name, [version for version in staying if DEFAULT in version.aliases])
    change = partial(move_default, run_id=current.pk) if current else None
    return Next(to="purge", note=f"{work.state.target} is surplus.", change=change)


def _read_again(work: Work[DuplicateState], version: RemoteModel) -> RemoteModel | None:
    """Read this version right before its deletion, None if it is not ours or is gone.

    A listing may be out of date.
    """
    answer = _read(work, lambda: vertex.get_model(version.pointer))
    if not isinstance(answer, Present):
        return None
    labels = answer.value.labels
    same = all(labels.get(key) == version.labels[key] for key in (OWNER, RUN))
    return answer.value if same and are_ours(labels) else None


def _pointed_at(name: ModelName, numbers: Collection[str] | None = None) -> list[TrainingRun]:
    where = f"/locations/{name.location}/models/{name.model_id}"
    rows = TrainingRun.objects.versions().filter(vertex_model_resource_name__endswith=where)
    if numbers is not None:
        rows = rows.filter(vertex_model_version__in=numbers)
    return list(rows.order_by("-version"))


def _heir(name: ModelName, staying: Sequence[RemoteModel]) -> TrainingRun | None:
    """Return the newest of our versions that stay; without one, Vertex AI chooses the default."""
    runs = _pointed_at(name, {version.version for version in staying})
    return runs[0] if runs else None


def _give_default(work: Work[DuplicateState]) -> Outcome:
    run = TrainingRun.objects.get(pk=work.state.default_to)
    name = ModelName.parse(run.vertex_model_resource_name).at(run.vertex_model_version)
    vertex.merge_version_aliases(name, [DEFAULT])
    change = partial(move_default, run_id=run.pk)
    return Next(to=FIRST_STEP, note=f"{name.version} is the default now.", change=change)


def _purge(work: Work[DuplicateState]) -> Outcome:
    target = ModelName.parse(work.state.target)
    require_own(target, _lineage(work))
    if str(target) not in work.state.purged:
        work.state = replace(work.state, purged=(*work.state.purged, str(target)))
    started = start_deletion(work, target)
    if started is None or started.done:
        note = f"Deleted {target}." if started else f"{target} is already gone."
        return Next(to=FIRST_STEP, note=note)
    note = f"Vertex AI deletes it, as operation {started.name.operation_id}."
    return Next(to="wait_for_purge", note=note)


def _end(work: Work[DuplicateState]) -> Outcome:
    purged = work.state.purged
    status = FindingStatus.REPAIRED if purged else FindingStatus.GONE
    return close(work, status=status, note=", ".join(purged) or "No version had to be deleted.")


def _read(work: Work[DuplicateState], call: Callable[[], T]) -> Present[T] | Absent:
    return read(call, service="Vertex AI", sent=bool(work.state.purged))


def _begin_again(work: Work[DuplicateState], error: PlatformError) -> None:
    """A retry of one that failed reads everything again."""
    work.retry_at = FIRST_STEP
    note_foreign(work, error)


WORKFLOW = Workflow(
    slug="delete-duplicate-versions",
    kind=OperationKind.CLEANUP,
    title="Delete surplus versions of {}",
    past="deleted surplus versions of {}",
    state=DuplicateState,
    steps=(
        Step(name=FIRST_STEP, title="Read all versions", run=_list, cancellable=True),
        Step(
            name="give_default",
            title="Move the default alias to a registered version",
            run=_give_default,
            probe=FIRST_STEP,
            optional=True,
        ),
        Step(name="purge", title="Delete what is surplus", run=_purge, probe=FIRST_STEP),
        Step(
            name="wait_for_purge",
            title="Wait for Vertex AI",
            run=lambda work: wait_for_deletion(
                work, to=FIRST_STEP, note=f"Deleted {work.state.target}."
            ),
            back_to=FIRST_STEP,
        ),
        Step(name="end_surplus", title="End the finding", run=_end),
    ),
    on_failure=_begin_again,
)
