"""The steps of a deletion: check, read and delete in Vertex AI until none is left, then free the
model and delete the files."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Sequence
from dataclasses import replace
from functools import partial

from ml_platform.cloud import vertex
from ml_platform.cloud.names import ModelName, OperationName
from ml_platform.cloud.types import RemoteModel, RemoteOperation
from ml_platform.errors import (
    CloudAbsent,
    CloudConflict,
    CloudUnavailable,
    Conflict,
    OutcomeUnknown,
    PlatformError,
)
from ml_platform.models import AwaitingRemoval, TrainingRun
from ml_platform.models.database import atomic
from ml_platform.models.states import OperationKind
from ml_platform.services.access.rights import Right
from ml_platform.services.findings.comparisons.labels import note_foreign
from ml_platform.services.installation import marker
from ml_platform.services.operations.repeats import note_end, require_hope
from ml_platform.services.operations.work import Work
from ml_platform.services.operations.workflow import Continue, Next, Outcome, Poll, Step, Workflow
from ml_platform.services.ownership.labels import RUN, are_ours
from ml_platform.services.registry.aliases import DEFAULT, note_aliases
from ml_platform.services.registry.protection import require_all_unprotected, why_protected
from ml_platform.services.registry.verification import (
    ForeignVersion,
    is_another,
    read_versions,
    seconds_until_consistent,
)
from ml_platform.services.removal import steps as removal
from ml_platform.services.removal.removal import hand_over
from ml_platform.services.serving.polling import tolerate_denied_after_send

from .plan import served_on_cloud_run
from .preview import DELETABLE, refused_versions, require_deletable, services_of
from .state import (
    DeletionState,
    about_to_send,
    end_in_vertex,
    folders_of,
    is_sent,
    mark_deleting,
    not_sent,
    note_default,
    pointer_of,
    record_version_deleted,
    runs_of,
    siblings_of,
    unmark_deleting,
)

LISTING_SECONDS = 30.0
"""Until the versions are listed again, after the listing missed a model that exists."""


def _check(work: Work[DeletionState]) -> Outcome:
    runs = runs_of(work)
    serving = services_of(runs)
    if serving:
        raise served_on_cloud_run(serving[0])
    refused = refused_versions(runs).values()
    if foreign := [error for error in refused if isinstance(error, ForeignVersion)]:
        raise ForeignVersion.of(*foreign)
    for error in refused:
        raise error
    _require_unprotected(work, runs)
    marker.require_ours(clock=work.clock)
    work.state = replace(work.state, marked=True)
    return Next(
        note="No endpoint serves it, no alias protects it.",
        change=partial(mark_deleting, [run.pk for run in runs]),
    )


def _require_unprotected(work: Work[DeletionState], runs: Sequence[TrainingRun]) -> None:
    """Read the aliases before anything is deleted; the plan gets the protected ones."""
    doomed = {run.uid.hex for run in runs}
    by_pointer = {pointer_of(run): run for run in runs if run.registration in DELETABLE}
    for name in {pointer.bare for pointer in by_pointer}:
        try:
            with tolerate_denied_after_send(bool(work.state.sent)):
                versions = read_versions(name)
        except CloudAbsent:
            continue
        for version in versions:
            run = by_pointer.get(name.at(version.version))
            if run is None and version.labels.get(RUN) not in doomed:
                continue
            if run and why_protected("", version.aliases):
                with atomic():
                    note_aliases(run=run, aliases=sorted(version.aliases))
            require_all_unprotected([version])


def _look(work: Work[DeletionState]) -> Outcome:
    """Read which versions are left in Vertex AI and choose the next deletion.

    A lost version is read at its last name, because it may exist there.
    """
    for run in runs_of(work):
        if run.registration not in DELETABLE:
            continue
        pointer = pointer_of(run)
        try:
            with tolerate_denied_after_send(bool(work.state.sent)):
                model = vertex.get_model(pointer)
        except CloudAbsent as absent:
            # Before its deletion was sent, NOT_FOUND of a new version proves nothing.
            young = seconds_until_consistent(run.registered_at, now=work.clock())
            if young and not is_sent(work, pointer):
                return Poll(seconds=young, note=f"{absent} It is so new that it may still appear.")
            gone = f"{pointer} is gone."
        else:
            gone = f"Another model has the place of {pointer}." if is_another(model, run) else ""
        if gone:
            not_sent(work, str(pointer))
            return Continue(note=gone, change=partial(record_version_deleted, work, run.pk))
        require_deletable(model, run)
        require_all_unprotected([model])
        return _choose(work, pointer)
    work.state = replace(work.state, sent=())
    change = partial(end_in_vertex, work, folders_of(work))
    return Next(to=removal.FIRST_STEP, note="Nothing of it is left in Vertex AI.", change=change)


def _choose(work: Work[DeletionState], pointer: ModelName) -> Next | Poll:
    """Delete one version, or the model if all the listed versions are to be deleted."""
    doomed = {run.uid.hex for run in runs_of(work)}
    require_hope(work, tried=f"The deletion of {work.state.target}", left=f"{pointer} is there.")
    try:
        with tolerate_denied_after_send(bool(work.state.sent)):
            versions = [v for page in vertex.list_model_versions(pointer.bare) for v in page]
    except CloudAbsent as absent:  # the version was just read, so its model exists
        return Poll(seconds=LISTING_SECONDS, note=f"{absent} {pointer} is there.")
    if wait := _hides_siblings(work, pointer, {v.version for v in versions}):
        return Poll(seconds=wait, note="The listing does not show all our versions yet.")
    ours = [v for v in versions if are_ours(v.labels)]
    pointed_at = set(
        siblings_of(pointer)
        .exclude(pk__in=work.state.runs)
        .values_list("vertex_model_version", flat=True)
    )
    # A version that another of our rows points at stays, whatever its label.
    staying = [v for v in ours if v.labels.get(RUN) not in doomed or v.version in pointed_at]
    # One that lost the label of its run may be anybody's by now, so it gets no alias of us.
    heirs = [v for v in staying if v.labels.get(RUN)]
    alone = len(ours) == len(versions) and not staying
    pointer = _copy_of(work, pointer, [v for v in ours if v not in staying]) or pointer
    require_all_unprotected(v for v in versions if alone or v.version == pointer.version)
    held = next((v for v in versions if v.version == pointer.version), None)
    is_default = held is not None and DEFAULT in held.aliases
    work.state = replace(
        work.state,
        target=str(pointer.bare if alone else pointer),
        only_theirs_stay=is_default and not heirs and not alone,
    )
    if is_default and heirs:
        newest = max(heirs, key=lambda version: int(version.version))
        work.state = replace(work.state, default_to=str(newest.pointer))
        return Next(note=f"{pointer} is there and is the default.")
    marker.require_ours(clock=work.clock)
    about_to_send(work)
    # An earlier attempt may have moved the alias and died before it recorded that.
    heir = next((v.pointer for v in staying if DEFAULT in v.aliases), None)
    change = partial(note_default, heir) if heir else None
    return Next(to="delete", note=f"{work.state.target} is there.", change=change)


def _copy_of(
    work: Work[DeletionState], pointer: ModelName, ours: Sequence[RemoteModel]
) -> ModelName | None:
    """A version that a late upload made of a run to delete. It is deleted first, because afterwards
    no row refers to it."""
    for run in runs_of(work):
        own = pointer_of(run).version if run.registration in DELETABLE else ""
        for version in ours:
            mine = version.labels.get(RUN) == run.uid.hex and version.name == pointer.bare
            if mine and version.version != own:
                return version.pointer
    return None


def _hides_siblings(
    work: Work[DeletionState], pointer: ModelName, listed: Collection[str]
) -> float:
    """Seconds until a listing must show each of our other versions. Without one the version might
    seem to be the only one, and the model would be deleted with it."""
    unseen = siblings_of(pointer).exclude(vertex_model_version__in=listed)
    return max(
        (seconds_until_consistent(run.registered_at, now=work.clock()) for run in unseen),
        default=0.0,
    )


def _move_default(work: Work[DeletionState]) -> Outcome:
    name = ModelName.parse(work.state.default_to)
    vertex.merge_version_aliases(name, [DEFAULT])
    about_to_send(work)
    return Next(note=f"{name.version} is the default now.", change=partial(note_default, name))


def _delete(work: Work[DeletionState]) -> Outcome:
    target = ModelName.parse(work.state.target)
    delete = vertex.delete_model_version if target.version else vertex.delete_model
    try:
        started = delete(target)
    except CloudAbsent:
        return Next(to="look", note=f"{target} no longer existed.")
    except OutcomeUnknown:
        raise
    except PlatformError as error:
        raise _refused(work, error) from error
    work.remote_operation = str(started.name)
    return _ended(work, started) if started.done else Next(note=str(started.name))


def _refused(work: Work[DeletionState], error: PlatformError) -> PlatformError:
    """Record that Vertex AI has refused this deletion; an earlier one may still happen.

    It keeps a default version, and we do not move the alias to a version that we do not own.
    """
    if not work.state.again:
        not_sent(work, work.state.target)
    if not (isinstance(error, CloudConflict) and work.state.only_theirs_stay):
        return error
    return Conflict(
        f"{work.state.target} is the default version, and no other of our versions stays: {error}",
        code="default_version",
        advice="Give the alias default to another version in Vertex AI, then retry.",
    )


def _wait(work: Work[DeletionState]) -> Outcome:
    try:
        with tolerate_denied_after_send(bool(work.state.sent)):
            state = vertex.get_operation(OperationName.parse(work.remote_operation))
    except CloudAbsent as forgotten:
        return Next(to="look", note=str(forgotten))
    if not state.done:
        return Poll(note="Vertex AI is still working on it.")
    return _ended(work, state)


def _ended(work: Work[DeletionState], state: RemoteOperation) -> Next:
    note_end(work, state.error)
    if state.error and not isinstance(state.error, OutcomeUnknown):
        refused = _refused(work, state.error)
        if not isinstance(refused, CloudUnavailable):  # to read it again would not change it
            raise refused
    return Next(to="look", note=str(state.error or f"Deleted {work.state.target}."))


def _own_folders(work: Work[DeletionState]) -> Iterable[int]:
    folders = AwaitingRemoval.objects.filter(operation=work.operation)
    return folders.order_by("-run__version").values_list("pk", flat=True)


def _failed(work: Work[DeletionState], error: PlatformError) -> None:
    """Free what was not deleted. A retry starts at the check, because all may have changed."""
    if work.state.ended_in_vertex:
        work.retry_at = removal.FIRST_STEP
        return
    unmark_deleting(work)
    work.state = replace(work.state, marked=False)
    work.retry_at = "check"
    note_foreign(work, error)


WORKFLOW = Workflow(
    slug="delete-versions",
    kind=OperationKind.DELETE,
    title="Delete {}",
    past="deleted {}",
    state=DeletionState,
    right=Right.DELETE,
    steps=(
        Step(
            name="check",
            title="Check that nothing forbids it",
            run=_check,
            cancellable=True,
        ),
        Step(name="look", title="Read the versions in Vertex AI", run=_look),
        Step(
            name="move_default",
            title="Move the default alias",
            run=_move_default,
            probe="look",
            optional=True,
        ),
        Step(name="delete", title="Delete in Vertex AI", run=_delete, probe="look"),
        Step(name="wait", title="Wait for Vertex AI", run=_wait),
        *removal.steps(choose=_own_folders, hand_over=hand_over),
    ),
    on_failure=_failed,
    on_cancel=unmark_deleting,
)
