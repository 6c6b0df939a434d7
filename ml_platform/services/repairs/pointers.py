"""Repairs of pointers: record versions as lost, and point at lost versions that are back."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace
from datetime import datetime
from functools import partial
from itertools import groupby
from operator import attrgetter

from django.db.models import QuerySet

from ml_platform.cloud import vertex
from ml_platform.cloud.answers import Absent, Present
from ml_platform.cloud.names import ModelName, same_resource
from ml_platform.errors import Conflict
from ml_platform.models import Operation, RegisteredModel, TrainingRun
from ml_platform.models.states import (
    EventKind,
    FindingStatus,
    OperationKind,
    Registration,
    RegistryState,
)
from ml_platform.services.findings.kinds import FindingKind
from ml_platform.services.operations.store import Actor
from ml_platform.services.operations.subjects import subject_of_lineage
from ml_platform.services.operations.work import Work
from ml_platform.services.operations.workflow import Next, Outcome, Poll, Step, Workflow
from ml_platform.services.ownership.identification import REBORN_MARGIN
from ml_platform.services.ownership.labels import RUN, is_version_of
from ml_platform.services.registry.lineages import (
    clear_pointer,
    lock_lineage,
    lose_versions,
    record_version,
    sync_version_cache,
)
from ml_platform.services.registry.verification import (
    read_versions,
    require_listing,
    seconds_until_consistent,
)
from ml_platform.text import counted

from .steps import (
    CLOSE,
    RepairState,
    close,
    nothing_to_repair,
    open_repair,
    read,
    read_present,
)


@dataclass(frozen=True, slots=True, kw_only=True)
class PointerState(RepairState):
    """What both repairs hand on. Keys are ids of runs, as text."""

    lost: Mapping[str, str] = field(default_factory=dict)
    """Why each version that is gone is gone."""
    pointers: tuple[str, ...] = ()
    """What was cleared."""
    back: Mapping[str, str] = field(default_factory=dict)
    """The pointers of lost versions that are back."""


_GONE = (FindingKind.STALE_POINTER, FindingKind.VERSION_MISSING)
_read = partial(read, service="Vertex AI")
_read_present = partial(read_present, service="Vertex AI")


def clear_stale_pointers(
    *, registered_model: RegisteredModel, actor: Actor, now: datetime
) -> Operation:
    """Check each version by name and label; record as lost those that Vertex AI reports as gone.

    :raises Busy: another operation holds the lineage.
    """
    return _open(CLEARING, registered_model, actor, now)


def restore_lost_versions(
    *, registered_model: RegisteredModel, actor: Actor, now: datetime
) -> Operation:
    """Point again at lost versions that are back under their name, with their label.

    :raises Busy: another operation holds the lineage.
    """
    return _open(RESTORING, registered_model, actor, now)


def _open(workflow: Workflow, lineage: RegisteredModel, actor: Actor, now: datetime) -> Operation:
    return open_repair(
        workflow=workflow,
        subject=subject_of_lineage(lineage),
        state=PointerState(),
        kinds=[*_GONE, FindingKind.VERSION_MISMATCH],
        about=lineage,
        actor=actor,
        now=now,
    )


# ---- stale pointers ----------------------------------------------------------------------------


def _look_at_versions(work: Work[PointerState]) -> Outcome:
    """Read each version by its pointer. An inconclusive answer ends the repair without a change."""
    runs = list(_versions(work).order_by("vertex_model_resource_name", "version"))
    _read_present(require_listing)
    lost: dict[str, str] = {}
    for name, group in groupby(runs, attrgetter("vertex_model_resource_name")):
        lost |= _lost_of(ModelName.parse(name), list(group))
    if not lost:
        checked = counted(len(runs), "version")
        return nothing_to_repair(work, f"{checked} checked, none is gone.")
    missing = [run.registered_at for run in runs if str(run.pk) in lost]
    if wait := max(seconds_until_consistent(made, now=work.clock()) for made in missing):
        return Poll(seconds=wait, note=f"{len(lost)} missing, but new enough to appear yet.")
    work.state = replace(work.state, lost=lost)
    return Next(to="lose", note=f"{len(lost)} of {counted(len(runs), 'version')} gone.")


def _lost_of(name: ModelName, runs: Iterable[TrainingRun]) -> dict[str, str]:
    """Return why each run's version is gone, by the run's id; existing ones are left out."""
    parent = _read(lambda: vertex.get_model(name))
    if isinstance(parent, Absent):
        return {str(run.pk): parent.reason for run in runs}
    by_version = {v.version: v for v in _read_present(lambda: read_versions(name))}
    there = ((by_version.get(run.vertex_model_version), run) for run in runs)
    missing = [run for seen, run in there if seen is None or not is_version_of(seen, run)]
    reasons = {str(run.pk): _why_lost(name.at(run.vertex_model_version), run) for run in missing}
    return {pk: reason for pk, reason in reasons.items() if reason}


def _why_lost(pointer: ModelName, run: TrainingRun) -> str:
    """Return why this version is not the run's any more, '' when it is or may be.

    A version without our labels may be ours with labels that were changed. It stays, unless it
    was created after ours was registered.
    """
    answer = _read(lambda: vertex.get_model(pointer))
    if isinstance(answer, Absent):
        return answer.reason
    label, made = answer.value.labels.get(RUN, ""), answer.value.version_create_time
    reborn = made and run.registered_at and made > run.registered_at + REBORN_MARGIN
    if label != run.uid.hex and made and reborn:
        return f"{pointer} was created at {made:%Y-%m-%d %H:%M} UTC; its label {RUN} is {label!r}."
    return ""


def _record_lost(work: Work[PointerState]) -> None:
    lineage = lock_lineage(int(work.operation.subject_id))
    runs = list(_versions(work))
    gone = [run for run in runs if str(run.pk) in work.state.lost]
    pointers = tuple(f"{r.vertex_model_resource_name}@{r.vertex_model_version}" for r in gone)
    work.state = replace(work.state, pointers=pointers)
    if len(gone) == len(runs):
        lose_versions(lineage=lineage, operation=work.operation)
    else:
        for run in gone:
            clear_pointer(run=run, registration=Registration.LOST, operation=work.operation)
    sync_version_cache(registered_model=lineage)
    RegisteredModel.objects.filter(pk=lineage.pk).update(
        registry_state=RegistryState.UNCHECKED,
        registry_checked_at=work.clock(),
        registry_in_sweeps=False,
    )


# ---- lost versions that are back ---------------------------------------------------------------


def _find_lost(work: Work[PointerState]) -> Outcome:
    runs = TrainingRun.objects.filter(
        registered_model_id=int(work.operation.subject_id), registration=Registration.LOST
    ).exclude(last_vertex_version="")
    back: dict[str, str] = {}
    for run in runs.order_by("version"):
        pointer = ModelName.parse(run.last_vertex_version)
        answer = _read(partial(vertex.get_model, pointer))
        if isinstance(answer, Present) and is_version_of(answer.value, run):
            back[str(run.pk)] = str(pointer)
    if not back:
        return nothing_to_repair(work, "None of the lost versions is back.")
    work.state = replace(work.state, back=back)
    return Next(to="restore", note=f"{counted(len(back), 'version')} back.")


def _record_restored(work: Work[PointerState]) -> None:
    """Point at them again, unless the lineage points at another model by now."""
    lineage = lock_lineage(int(work.operation.subject_id))
    for run_id, pointer in work.state.back.items():
        name = ModelName.parse(pointer)
        current = lineage.vertex_model_resource_name
        if current and not same_resource(current, name.bare):
            raise Conflict(
                f"{lineage} points at {current} by now.",
                code="other_parent",
                advice=f"Delete {name.bare} in Vertex AI, or leave it.",
            )
        lost = TrainingRun.objects.filter(pk=run_id, registration=Registration.LOST)
        for run in lost:
            record_version(
                EventKind.VERSION_RESTORED,
                run=run,
                before=Registration.LOST,
                vertex_version=pointer,
                operation=work.operation,
            )
        lost.update(
            registration=Registration.REGISTERED,
            vertex_model_resource_name=str(name.bare),
            vertex_model_name=lineage.model_name,
            vertex_model_version=name.version,
            last_vertex_version="",
            registered_at=work.clock(),
        )
    sync_version_cache(registered_model=lineage)


# ---- the end -----------------------------------------------------------------------------------


def _close(work: Work[PointerState]) -> Outcome:
    """Close the findings; a version that still differs stays open, whatever else was repaired."""
    if work.state.ended_as != FindingStatus.REPAIRED or _default_is_recorded(work):
        return CLOSE.run(work)
    return close(work, status=FindingStatus.REPAIRED, kinds=_GONE)


def _default_is_recorded(work: Work[PointerState]) -> bool:
    """Whether the default version in Vertex AI is one that we recorded as that version, read now;
    without a version of ours there is nothing that may differ."""
    runs = {run.vertex_model_version: run for run in _versions(work)}
    if not runs:
        return True
    name = ModelName.parse(next(iter(runs.values())).vertex_model_resource_name)
    model = _read(lambda: vertex.get_model(name), sent=True)
    if isinstance(model, Absent):
        return False
    run = runs.get(model.value.version)
    return run is not None and is_version_of(model.value, run)


_END = replace(CLOSE, run=_close)


def _versions(work: Work[PointerState]) -> QuerySet[TrainingRun]:
    return TrainingRun.objects.versions().filter(registered_model_id=int(work.operation.subject_id))


CLEARING = Workflow(
    slug="clear-stale-pointers",
    kind=OperationKind.REPAIR,
    title="Clear the stale pointers of {}",
    past="cleared the stale pointers of {}",
    state=PointerState,
    steps=(
        Step(
            name="look_at_versions",
            title="Read each version from Vertex AI",
            run=_look_at_versions,
            cancellable=True,
        ),
        Step(
            name="lose",
            title="Clear the pointers",
            run=lambda work: Next(
                note="Pointers cleared; the history keeps them.", change=partial(_record_lost, work)
            ),
        ),
        _END,
    ),
)
RESTORING = Workflow(
    slug="restore-lost-versions",
    kind=OperationKind.REPAIR,
    title="Restore the lost versions of {}",
    past="restored the lost versions of {}",
    state=PointerState,
    steps=(
        Step(
            name="find_lost",
            title="Search for lost versions",
            run=_find_lost,
            cancellable=True,
        ),
        Step(
            name="restore",
            title="Point at them again",
            run=lambda work: Next(
                note="They are versions again.", change=partial(_record_restored, work)
            ),
        ),
        _END,
    ),
)
