"""Deletion: a plan that can be previewed, and an operation that any crash only pauses (law 5)."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from datetime import datetime
from functools import partial

from django.db import transaction
from django.db.models import F, Q

from ml_platform.cloud import vertex
from ml_platform.cloud.names import ModelName, OperationName
from ml_platform.cloud.types import RemoteModel
from ml_platform.errors import CloudAbsent, Conflict, OutcomeUnknown, PlatformError
from ml_platform.models import DeployedEndpoint, Operation, RegisteredModel, TrainingRun
from ml_platform.models.states import OperationKind, Registration

from . import worker
from .aliases import DEFAULT, note_aliases
from .artifacts import Size, deletable_prefix, delete_chunk, human_size
from .deletion_preview import DELETABLE, services_of
from .engine import Again, Done, Outcome, Recipe, Step, Wait
from .english import counted
from .labels import OWNER, RUN, is_version_of, owner
from .lineages import clear_pointer
from .mirror import unmirror_model
from .operations import (
    Actor,
    Subject,
    Work,
    answered_before,
    open_operation,
    record_refusal,
)
from .subjects import subject_of_lineage
from .verification import too_young
from .version_cache import sync_version_cache

POLL_SECONDS = 5.0


class DeployedModel(Conflict):
    """An endpoint serves the version, by our rows or as Cloud Run shows it."""

    code = "model_deployed"
    advice = "Undeploy the endpoint, then delete the version."


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

    :raises DeployedModel: an endpoint of ours serves one of them.
    :raises Busy: another operation holds the lineage.
    :raises UnsafePath: artifacts lie outside their run's own prefix.
    :raises Conflict: a run is no version of this lineage.
    """
    request = {"lineage": lineage.pk, "runs": sorted(run.pk for run in runs)}
    if known := answered_before(idempotency_key=idempotency_key, request=request):
        return known
    subject = _subject(lineage, runs)
    try:
        for run in runs:
            _require_deletable(lineage, run)
        with transaction.atomic():
            operation, new = open_operation(
                kind=OperationKind.DELETE,
                subject=subject,
                actor=actor,
                now=now,
                step="check",
                data={"runs": [run.pk for run in runs], "marked": True},
                reason=reason,
                idempotency_key=idempotency_key,
                request=request,
            )
            if new:
                _mark([run.pk for run in runs])
                worker.ring(operation)
    except PlatformError as error:
        record_refusal(
            kind=OperationKind.DELETE, subject=subject, actor=actor, now=now, error=error
        )
        raise
    return operation


def _require_deletable(lineage: RegisteredModel, run: TrainingRun) -> None:
    if run.registered_model_id != lineage.pk or run.registration not in DELETABLE:
        raise Conflict(
            f"{run} is no version of {lineage}.",
            code="no_version",
            advice="Only a registered version can be deleted.",
        )
    deletable_prefix(run=run)


def _mark(run_ids: Sequence[int]) -> None:
    """Mark before anything is destroyed; refuse while an endpoint protects one (R5).

    :raises DeployedModel: with the endpoint's name.
    """
    serving = DeployedEndpoint.objects.protecting().filter(
        Q(run__in=run_ids) | Q(intended_run__in=run_ids)
    )
    if endpoint := serving.first():
        raise DeployedModel(
            f"Cannot delete a deployed model. Endpoint {endpoint.service_name} is "
            f"{endpoint.get_state_display().lower()}."
        )
    TrainingRun.objects.filter(pk__in=run_ids, registration=Registration.REGISTERED).update(
        registration=Registration.DELETING
    )


def _unmark(work: Work) -> None:
    """What this operation marked and what still points at Vertex AI is a version again."""
    if not work.data.get("marked"):
        return
    TrainingRun.objects.filter(pk__in=work.data["runs"], registration=Registration.DELETING).update(
        registration=Registration.REGISTERED
    )


def _failed(work: Work, error: PlatformError) -> None:
    """Free what was not destroyed. A retry begins at the check, for all may have changed."""
    _unmark(work)
    data = {**work.data, "marked": False}
    Operation.objects.filter(pk=work.operation.pk).update(step="check", data=data)


# ---- the steps ---------------------------------------------------------------------------------


def _check(work: Work) -> Outcome:
    runs = _runs(work)
    serving = services_of(runs)
    if serving:
        raise DeployedModel(
            f"Cannot delete a deployed model. Cloud Run serves it as {serving[0].service_id}."
        )
    work.data["marked"] = True
    return Done(note="No endpoint serves it.", change=partial(_mark, [run.pk for run in runs]))


def _look(work: Work) -> Outcome:
    """See what of the versions is left in Vertex AI and choose the next thing to delete."""
    for run in _runs(work):
        if run.registration not in (Registration.DELETING, Registration.REGISTERED):
            continue
        pointer = ModelName.parse(run.vertex_model_resource_name).at(run.vertex_model_version)
        try:
            model = vertex.get_model(pointer)
        except CloudAbsent as absent:
            if wait := _may_yet_show(work, run):
                return Wait(seconds=wait, note=f"{absent} It is so new that it may yet show.")
            return Again(note=f"{pointer} is gone.", change=partial(_forget, work, run.pk))
        if not is_version_of(model, run):
            note = f"{pointer} is another run's model now; this run's version is gone."
            return Again(note=note, change=partial(_forget, work, run.pk))
        return _choose(work, pointer)
    return Done(to="artifacts", note="Nothing of it is left in Vertex AI.")


def _may_yet_show(work: Work, run: TrainingRun) -> float:
    """Seconds for which NOT_FOUND of this version proves nothing; 0 once its deletion was sent."""
    return 0.0 if "sent" in work.data else too_young(run.registered_at, now=work.clock())


def _choose(work: Work, pointer: ModelName) -> Done | Wait:
    """Delete one version, or the model if the whole listing holds nothing but what goes."""
    doomed = {run.uid.hex for run in _runs(work)}
    versions = [v for page in vertex.list_model_versions(pointer.bare) for v in page]
    if wait := _hides_siblings(work, pointer, {v.version for v in versions}):
        return Wait(seconds=wait, note="The listing does not show every version of ours yet.")
    ours = [v for v in versions if v.labels.get(OWNER) == owner()]
    staying = [v for v in ours if v.labels.get(RUN) not in doomed]
    alone = len(ours) == len(versions) and not staying
    pointer = _copy_of(work, pointer, ours) or pointer
    work.data["target"] = str(pointer.bare if alone else pointer)
    held = next((v for v in versions if v.version == pointer.version), None)
    if held and DEFAULT in held.aliases and staying:
        newest = max(staying, key=lambda version: int(version.version))
        work.data["default_to"] = str(newest.pointer)
        return Done(note=f"{pointer} is there and is the default.")
    # An earlier try may have moved the alias without living to write it down.
    heir = next((v.pointer for v in staying if DEFAULT in v.aliases), None)
    change = partial(_note_default, heir) if heir else None
    return Done(to="delete", note=f"{work.data['target']} is there.", change=change)


def _copy_of(work: Work, pointer: ModelName, ours: Sequence[RemoteModel]) -> ModelName | None:
    """A version that a late upload made of a run that goes: it goes first, or nobody would know."""
    runs = {run.uid.hex: run.vertex_model_version for run in _runs(work)}
    copies = (v for v in ours if v.version != runs.get(v.labels.get(RUN, ""), v.version))
    return next((copy.pointer for copy in copies if copy.name == pointer.bare), None)


def _hides_siblings(work: Work, pointer: ModelName, listed: Collection[str]) -> float:
    """Seconds until a listing must show each sibling of ours; without one it may be too early to
    take the version for the only one, and delete the model with it."""
    siblings = TrainingRun.objects.versions().filter(vertex_model_resource_name=str(pointer.bare))
    unseen = siblings.exclude(vertex_model_version__in=listed)
    return max((too_young(run.registered_at, now=work.clock()) for run in unseen), default=0.0)


def _move_default(work: Work) -> Outcome:
    name = ModelName.parse(work.data["default_to"])
    vertex.merge_version_aliases(name, [DEFAULT])
    return Done(note=f"{name.version} is the default now.", change=partial(_note_default, name))


def _note_default(name: ModelName) -> None:
    heir = TrainingRun.objects.filter(
        vertex_model_resource_name=str(name.bare), vertex_model_version=name.version
    ).first()
    if heir:
        note_aliases(run=heir, aliases=sorted({*heir.aliases, DEFAULT}))


def _delete(work: Work) -> Outcome:
    target = ModelName.parse(work.data["target"])
    work.data["sent"] = True
    delete = vertex.delete_model_version if target.version else vertex.delete_model
    try:
        started = delete(target)
    except CloudAbsent:
        return Done(to="look", note=f"{target} was gone already.")
    work.remote_operation = str(started.name)
    if started.error:
        raise started.error
    if started.done:
        return Done(to="look", note=f"Deleted {target}.")
    return Done(note=str(started.name))


def _wait(work: Work) -> Outcome:
    try:
        state = vertex.get_operation(OperationName.parse(work.remote_operation))
    except CloudAbsent as forgotten:
        return Done(to="look", note=str(forgotten))
    if not state.done:
        return Wait(seconds=POLL_SECONDS, note="Vertex AI is still at it.")
    if state.error and not isinstance(state.error, OutcomeUnknown):
        raise state.error
    return Done(to="look", note=f"Deleted {work.data['target']}.")


def _forget(work: Work, run_id: int) -> None:
    """The version is gone from Vertex AI: clear it, mark its endpoints, recount the lineage."""
    run = TrainingRun.objects.select_for_update().get(pk=run_id)
    lineage = RegisteredModel.objects.select_for_update().get(training_runs=run_id)
    if work.data.get("target") == run.vertex_model_resource_name:
        unmirror_model(name=ModelName.parse(run.vertex_model_resource_name))
    clear_pointer(run=run, registration=Registration.DELETED)
    DeployedEndpoint.objects.filter(run=run).update(model_deleted=True)
    sync_version_cache(registered_model=lineage)
    if not lineage.total_versions:
        RegisteredModel.objects.filter(pk=lineage.pk).update(generation=F("generation") + 1)


def _artifacts(work: Work) -> Outcome:
    """Delete the artifacts chunk by chunk; only now, when no version needs them (law 8)."""
    done = Size(*work.data.get("freed", (0, 0)))
    for run in _runs(work):
        prefix = deletable_prefix(run=run)
        if prefix is None:
            continue
        chunk = delete_chunk(prefix=prefix)
        if chunk.objects:
            done = Size(done.objects + chunk.objects, done.bytes + chunk.bytes)
            work.data["freed"] = (done.objects, done.bytes)
            return Again(note=f"{counted(done.objects, 'object')}, {human_size(done.bytes)} so far")
    return Done(
        note=f"{counted(done.objects, 'object')}, {human_size(done.bytes)}",
        change=partial(_tombstone_lost, work),
    )


def _tombstone_lost(work: Work) -> None:
    """A lost version had nothing to delete in Vertex AI; without artifacts it is deleted too."""
    lost = TrainingRun.objects.filter(pk__in=work.data["runs"], registration=Registration.LOST)
    DeployedEndpoint.objects.filter(run__in=lost).update(model_deleted=True)
    lost.update(registration=Registration.DELETED)


# ---- what they read ----------------------------------------------------------------------------


def _runs(work: Work) -> list[TrainingRun]:
    return list(TrainingRun.objects.filter(pk__in=work.data["runs"]).order_by("-version"))


def _subject(lineage: RegisteredModel, runs: Sequence[TrainingRun]) -> Subject:
    numbers = ", ".join(f"v{run.version}" for run in runs)
    return subject_of_lineage(lineage, name=f"{lineage.model_name} {numbers}"[:255])


RECIPE = Recipe(
    steps=(
        Step(
            name="check",
            title="Check that no endpoint serves it",
            run=_check,
            cancellable=True,
        ),
        Step(name="look", title="Look what is in Vertex AI", run=_look),
        Step(
            name="move_default",
            title="Move the default alias",
            run=_move_default,
            look_up="look",
        ),
        Step(name="delete", title="Delete in Vertex AI", run=_delete, look_up="look"),
        Step(name="wait", title="Wait for Vertex AI", run=_wait),
        Step(name="artifacts", title="Delete the artifacts in GCS", run=_artifacts),
    ),
    on_failure=_failed,
    on_cancel=_unmark,
)
