"""Delete surplus versions: those with our labels whose run is another version, or was deleted.

A late upload makes them. A run is one version at most, and a deleted version stays deleted (law 7).
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator, Sequence
from datetime import datetime
from functools import partial

from django.db import transaction

from ml_platform.cloud import vertex
from ml_platform.cloud.answers import Absent, Present, Unknown, ask
from ml_platform.cloud.names import ModelName, OperationName, same_resource
from ml_platform.cloud.types import RemoteModel
from ml_platform.errors import CloudAbsent, Conflict, PlatformError
from ml_platform.models import Operation, RegisteredModel, TrainingRun
from ml_platform.models.states import FindingStatus, OperationKind, Registration
from ml_platform.services.findings.discrepancy import may_be_ours
from ml_platform.services.findings.kinds import FindingKind
from ml_platform.services.findings.store import end_findings, link_findings
from ml_platform.services.operations import worker
from ml_platform.services.operations.store import Actor, open_operation
from ml_platform.services.operations.subjects import subject_of_lineage
from ml_platform.services.operations.work import Work
from ml_platform.services.operations.workflow import Next, Outcome, Poll, Step, Workflow
from ml_platform.services.registry.aliases import DEFAULT, move_default
from ml_platform.services.registry.labels import OWNER, RUN, is_uid, owner
from ml_platform.services.registry.lineages import lock_version, sync_version_cache
from ml_platform.services.registry.ownership import require_own
from ml_platform.services.registry.protection import require_all_unprotected
from ml_platform.services.registry.verification import read_versions, seconds_until_consistent

from .unread import unread

FIRST_STEP = "list_versions"


def purge_surplus(
    *, registered_model: RegisteredModel, resource_name: str, actor: Actor, now: datetime
) -> Operation:
    """Delete the surplus versions of a model in Vertex AI; its other versions stay.

    :raises Invalid: that is not a resource name of a model.
    :raises CopiedModel: it is not the lineage's own model, whatever its labels say.
    :raises Busy: another operation holds the lineage.
    """
    name = ModelName.parse(resource_name).bare
    require_own(name, registered_model)
    with transaction.atomic():
        operation, _ = open_operation(
            workflow=WORKFLOW,
            subject=subject_of_lineage(registered_model),
            actor=actor,
            now=now,
            data={"name": str(name)},
        )
        kinds = [FindingKind.SURPLUS_VERSION]
        link_findings(operation=operation, kinds=kinds, subject=resource_name)
        worker.enqueue(operation)
    return operation


# ---- the steps ---------------------------------------------------------------------------------


def _list(work: Work) -> Outcome:
    """Read all versions and their labels again, and choose the next change."""
    name = ModelName.parse(work.data["name"])
    require_own(name, _lineage(work))
    answer = ask(lambda: read_versions(name))
    if isinstance(answer, Absent):
        return Next(to="end_surplus", note=f"{name.model_id} is gone.")
    if not isinstance(answer, Present):
        raise _unread(work, answer)
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


def _lineage(work: Work) -> RegisteredModel:
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
        if version.labels.get(OWNER) == owner() and is_uid(uid):
            ours.setdefault(uid, []).append(version)
    for run in lineage.training_runs.filter(uid__in=ours).order_by("pk"):
        if uploads := [v for v in ours[run.uid.hex] if may_be_ours(run, v.pointer)]:
            yield run, uploads


def _keeper(
    work: Work, run: TrainingRun, versions: Sequence[RemoteModel]
) -> ModelName | Poll | Next:
    """Return the run's version. If it is gone, the lowest of the others becomes the run's."""
    pointer = ModelName.parse(run.vertex_model_resource_name).at(run.vertex_model_version)
    for version in versions:
        if same_resource(version.pointer, pointer):
            return version.pointer
    answer = ask(lambda: vertex.get_model(pointer))
    if isinstance(answer, Unknown):
        raise _unread(work, answer)
    if isinstance(answer, Present) and answer.value.labels.get(RUN) == run.uid.hex:
        return pointer
    if seconds := seconds_until_consistent(run.registered_at, now=work.clock()):
        return Poll(seconds=seconds, note=f"{pointer} is so new that it may still appear.")
    found = versions[0].pointer
    if not same_resource(found.bare, pointer.bare):
        raise Conflict(
            f"{run} points at {pointer}, which is gone; {found} carries its label.",
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
    work: Work,
    name: ModelName,
    versions: Sequence[RemoteModel],
    surplus: Iterable[RemoteModel],
) -> Next:
    """Choose the next version to delete, or the model if all of its versions are surplus."""
    left = [there for version in surplus if (there := _read_again(work, version))]
    if not left:
        return Next(to="end_surplus", note="Nothing is surplus.")
    if any(version.deployed for version in left):
        raise Conflict(
            f"A Vertex AI endpoint serves a surplus version of {name}.",
            code="model_deployed",
            advice="Undeploy it there first.",
        )
    require_all_unprotected(left)
    numbers = {version.version for version in left}
    staying = [v for v in versions if v.version not in numbers]
    target = left[0]
    if not staying:
        _require_unpointed(name)
        work.data["target"] = str(name)
    elif DEFAULT in target.aliases and (heir := _heir(name, staying)):
        work.data["default_to"] = heir.pk
        return Next(to="give_default", note=f"{target.pointer} is surplus and the default.")
    else:
        work.data["target"] = str(target.pointer)
    # An earlier attempt may have moved the alias and crashed before it was recorded.
    held = _heir(name, [version for version in staying if DEFAULT in version.aliases])
    change = partial(move_default, run_id=held.pk) if held else None
    return Next(to="purge", note=f"{work.data['target']} is surplus.", change=change)


def _read_again(work: Work, version: RemoteModel) -> RemoteModel | None:
    """Read this version right before its deletion, None if it is no longer ours or there.

    A listing may be out of date.
    """
    answer = ask(lambda: vertex.get_model(version.pointer))
    if isinstance(answer, Unknown):
        raise _unread(work, answer)
    if not isinstance(answer, Present):
        return None
    there = answer.value
    same = all(there.labels.get(key) == version.labels[key] for key in (OWNER, RUN))
    return there if same else None


def _pointed_at(name: ModelName, numbers: Collection[str] | None = None) -> list[TrainingRun]:
    where = f"/locations/{name.location}/models/{name.model_id}"
    rows = TrainingRun.objects.versions().filter(vertex_model_resource_name__endswith=where)
    if numbers is not None:
        rows = rows.filter(vertex_model_version__in=numbers)
    return list(rows.order_by("-version"))


def _require_unpointed(name: ModelName) -> None:
    """Refuse to delete a whole model that one of our versions points at, listed or not."""
    if runs := _pointed_at(name):
        raise Conflict(
            f"{runs[0].model_name} v{runs[0].version} points at {name}, which does not list it.",
            code="pointer_not_listed",
            advice="Repair the stale pointer first.",
        )


def _heir(name: ModelName, staying: Sequence[RemoteModel]) -> TrainingRun | None:
    """Return the newest of our versions that stay; without one, Vertex AI chooses the default."""
    runs = _pointed_at(name, {version.version for version in staying})
    return runs[0] if runs else None


def _give_default(work: Work) -> Outcome:
    run = TrainingRun.objects.get(pk=work.data["default_to"])
    name = ModelName.parse(run.vertex_model_resource_name).at(run.vertex_model_version)
    vertex.merge_version_aliases(name, [DEFAULT])
    change = partial(move_default, run_id=run.pk)
    return Next(to=FIRST_STEP, note=f"{name.version} is the default now.", change=change)


def _purge(work: Work) -> Outcome:
    target = ModelName.parse(work.data["target"])
    require_own(target, _lineage(work))
    purged = work.data.setdefault("purged", [])
    if str(target) not in purged:
        purged.append(str(target))
    delete = vertex.delete_model_version if target.version else vertex.delete_model
    try:
        started = delete(target)
    except CloudAbsent:
        return Next(to=FIRST_STEP, note=f"{target} is already gone.")
    work.remote_operation = str(started.name)
    if started.error:
        raise started.error
    if started.done:
        return Next(to=FIRST_STEP, note=f"Deleted {target}.")
    note = f"Vertex AI has begun, as operation {started.name.operation_id}."
    return Next(to="wait_for_purge", note=note)


def _wait(work: Work) -> Outcome:
    answer = ask(lambda: vertex.get_operation(OperationName.parse(work.remote_operation)))
    if isinstance(answer, Absent):
        return Next(to=FIRST_STEP, note="Vertex AI no longer has the operation.")
    if not isinstance(answer, Present):
        raise _unread(work, answer)
    if not answer.value.done:
        return Poll(note="Vertex AI is still deleting it.")
    if answer.value.error:
        raise answer.value.error
    return Next(to=FIRST_STEP, note=f"Deleted {work.data['target']}.")


def _end(work: Work) -> Outcome:
    purged = work.data.get("purged", [])
    status = FindingStatus.REPAIRED if purged else FindingStatus.GONE
    change = partial(end_findings, operation=work.operation, status=status, now=work.clock())
    return Next(note=", ".join(purged) or "There was nothing to delete.", change=change)


def _unread(work: Work, answer: Absent | Unknown) -> PlatformError:
    return unread(answer, service="Vertex AI", sent="purged" in work.data)


def _begin_again(work: Work, error: PlatformError) -> None:
    """A retry of one that failed reads everything again."""
    del error
    Operation.objects.filter(pk=work.operation.pk).update(step=FIRST_STEP)


WORKFLOW = Workflow(
    slug="delete-duplicate-versions",
    kind=OperationKind.CLEANUP,
    title="Delete surplus versions of {}",
    past="deleted surplus versions of {}",
    steps=(
        Step(name=FIRST_STEP, title="Read all versions", run=_list, cancellable=True),
        Step(
            name="give_default",
            title="Give the default alias to a version of ours",
            run=_give_default,
            probe=FIRST_STEP,
            optional=True,
        ),
        Step(name="purge", title="Delete what is surplus", run=_purge, probe=FIRST_STEP),
        Step(name="wait_for_purge", title="Wait for Vertex AI", run=_wait, back_to=FIRST_STEP),
        Step(name="end_surplus", title="End the finding", run=_end),
    ),
    on_failure=_begin_again,
)
