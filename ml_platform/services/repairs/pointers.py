"""Repairs of pointers: versions that Vertex AI lost are recorded so, and pointed at when back."""

from __future__ import annotations

from collections.abc import Iterable
from datetime import datetime
from functools import partial
from itertools import groupby
from operator import attrgetter

from django.db import transaction
from django.db.models import QuerySet

from ml_platform.cloud import vertex
from ml_platform.cloud.answers import Absent, Present, Unknown, ask
from ml_platform.cloud.names import ModelName, same_resource
from ml_platform.errors import Conflict, PlatformError
from ml_platform.models import Operation, RegisteredModel, TrainingRun
from ml_platform.models.locking import lock_rows
from ml_platform.models.states import (
    EventKind,
    FindingKind,
    FindingStatus,
    OperationKind,
    Registration,
    RegistryState,
)
from ml_platform.services.findings.compare_models import REBORN_MARGIN
from ml_platform.services.findings.store import link_findings
from ml_platform.services.operations import worker
from ml_platform.services.operations.engine import Next, Outcome, Poll, Step
from ml_platform.services.operations.store import Actor, Work, open_operation
from ml_platform.services.operations.subjects import subject_of_lineage
from ml_platform.services.registry.labels import RUN, is_version_of
from ml_platform.services.registry.lineages import (
    clear_pointer,
    lose_versions,
    record_version,
    sync_version_cache,
)
from ml_platform.services.registry.verification import read_versions, seconds_until_consistent
from ml_platform.text import counted


def clear_stale_pointers(
    *, registered_model: RegisteredModel, actor: Actor, now: datetime
) -> Operation:
    """Look at each version by name and label; record as lost those that Vertex AI says are gone.

    :raises Busy: another operation holds the lineage.
    """
    return _open(registered_model, "look_at_versions", actor, now)


def restore_lost_versions(
    *, registered_model: RegisteredModel, actor: Actor, now: datetime
) -> Operation:
    """Point again at lost versions that are back under their name with their label.

    :raises Busy: another operation holds the lineage.
    """
    return _open(registered_model, "find_lost", actor, now)


def _open(lineage: RegisteredModel, step: str, actor: Actor, now: datetime) -> Operation:
    with transaction.atomic():
        operation, _ = open_operation(
            kind=OperationKind.REPAIR,
            subject=subject_of_lineage(lineage),
            actor=actor,
            now=now,
            step=step,
        )
        kinds = [FindingKind.STALE_POINTER, FindingKind.VERSION_MISMATCH]
        link_findings(operation=operation, kinds=kinds, lineage=lineage)
        worker.enqueue(operation)
    return operation


# ---- stale pointers ----------------------------------------------------------------------------


def _look_at_versions(work: Work) -> Outcome:
    """Ask for each pointer; an answer that proves nothing ends the repair, with nothing changed."""
    runs = list(_versions(work).order_by("vertex_model_resource_name", "version"))
    _require_listing()
    lost: dict[str, str] = {}
    for name, group in groupby(runs, attrgetter("vertex_model_resource_name")):
        lost |= _lost_of(ModelName.parse(name), list(group))
    if not lost:
        work.data["ended_as"] = FindingStatus.GONE
        return Next(
            to="close", note=f"{counted(len(runs), 'version')} looked at, nothing gone; all stay."
        )
    if wait := _may_yet_show(work, [run for run in runs if str(run.pk) in lost]):
        return Poll(seconds=wait, note=f"{len(lost)} missing, so new that they may yet show.")
    work.data["lost"] = lost
    return Next(to="lose", note=f"{len(lost)} of {counted(len(runs), 'version')} gone.")


def _may_yet_show(work: Work, missing: Iterable[TrainingRun]) -> float:
    """Seconds until NOT_FOUND proves something of each of these versions."""
    return max(
        (seconds_until_consistent(run.registered_at, now=work.clock()) for run in missing),
        default=0.0,
    )


def _require_listing() -> None:
    """The positive control: NOT_FOUND counts only beside a listing of the same location."""
    answer = ask(lambda: next(iter(vertex.list_models(page_size=1))))
    if not isinstance(answer, Present):
        raise _unavailable(answer)


def _lost_of(name: ModelName, runs: Iterable[TrainingRun]) -> dict[str, str]:
    """Why each run's version is gone, by the run's id; those that are there are left out."""
    parent = ask(lambda: vertex.get_model(name))
    if isinstance(parent, Unknown):
        raise _unavailable(parent)
    if isinstance(parent, Absent):
        return {str(run.pk): parent.reason for run in runs}
    versions = ask(lambda: read_versions(name))
    if not isinstance(versions, Present):
        raise _unavailable(versions)
    by_version = {v.version: v for v in versions.value}
    there = ((by_version.get(run.vertex_model_version), run) for run in runs)
    missing = [run for seen, run in there if seen is None or not is_version_of(seen, run)]
    reasons = {str(run.pk): _why_lost(name.at(run.vertex_model_version), run) for run in missing}
    return {pk: reason for pk, reason in reasons.items() if reason}


def _why_lost(pointer: ModelName, run: TrainingRun) -> str:
    """Why this very version is not the run's any more, '' when it is or nothing proves that.

    One without our labels may be ours whose labels somebody took away or changed: it stays, unless
    it was made after ours was registered.
    """
    answer = ask(lambda: vertex.get_model(pointer))
    if isinstance(answer, Unknown):
        raise _unavailable(answer)
    if isinstance(answer, Absent):
        return answer.reason
    said, made = answer.value.labels.get(RUN, ""), answer.value.version_create_time
    reborn = made and run.registered_at and made > run.registered_at + REBORN_MARGIN
    if said != run.uid.hex and made and reborn:
        return f"{pointer} was made at {made:%Y-%m-%d %H:%M} UTC; its label {RUN} is {said!r}."
    return ""


def _unavailable(answer: Absent | Unknown) -> PlatformError:
    """Not temporary to the engine: a repair that cannot be sure ends, and is asked for anew."""
    return PlatformError(
        answer.reason,
        code="cloud_unavailable",
        advice="Nothing was changed. Repair again when Vertex AI answers.",
    )


def _lose(work: Work) -> Outcome:
    return Next(
        to="close", note="Pointers cleared, kept in the history.", change=partial(_lost, work)
    )


def _lost(work: Work) -> None:
    lineage = _locked(work)
    lock_rows(_versions(work))
    runs = list(_versions(work))
    gone = [run for run in runs if str(run.pk) in work.data["lost"]]
    work.data["pointers"] = [
        f"{r.vertex_model_resource_name}@{r.vertex_model_version}" for r in gone
    ]
    if len(gone) == len(runs):
        lose_versions(lineage=lineage, operation=work.operation)
    else:
        for run in gone:
            clear_pointer(run=run, registration=Registration.LOST, operation=work.operation)
    sync_version_cache(registered_model=lineage)
    RegisteredModel.objects.filter(pk=lineage.pk).update(
        registry_state=RegistryState.UNCHECKED, registry_checked_at=work.clock()
    )
    work.data["ended_as"] = FindingStatus.REPAIRED
    Operation.objects.filter(pk=work.operation.pk).update(data=work.data)


# ---- lost versions that are back ---------------------------------------------------------------


def _find_lost(work: Work) -> Outcome:
    runs = TrainingRun.objects.filter(
        registered_model_id=int(work.operation.subject_id), registration=Registration.LOST
    ).exclude(last_vertex_version="")
    back: dict[str, str] = {}
    named = [(ModelName.parse(run.last_vertex_version), run) for run in runs.order_by("version")]
    for pointer, run in named:
        answer = ask(partial(vertex.get_model, pointer))
        if isinstance(answer, Unknown):
            raise _unavailable(answer)
        if isinstance(answer, Present) and is_version_of(answer.value, run):
            back[str(run.pk)] = str(pointer)
    if not back:
        work.data["ended_as"] = FindingStatus.GONE
        return Next(to="close", note="None of the lost versions is there.")
    work.data["back"] = back
    return Next(to="restore", note=f"{counted(len(back), 'version')} back.")


def _restore(work: Work) -> Outcome:
    return Next(to="close", note="They are versions again.", change=partial(_restored, work))


def _restored(work: Work) -> None:
    """Point at them again, unless the lineage has a model of its own by now."""
    lineage = _locked(work)
    lock_rows(TrainingRun.objects.filter(pk__in=work.data["back"]))
    for run_id, pointer in work.data["back"].items():
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
    work.data["ended_as"] = FindingStatus.REPAIRED
    Operation.objects.filter(pk=work.operation.pk).update(data=work.data)


def _versions(work: Work) -> QuerySet[TrainingRun]:
    return TrainingRun.objects.versions().filter(registered_model_id=int(work.operation.subject_id))


def _locked(work: Work) -> RegisteredModel:
    return RegisteredModel.objects.select_for_update(no_key=True).get(pk=work.operation.subject_id)


STEPS = (
    Step(
        name="look_at_versions",
        title="Ask Vertex AI for each version",
        run=_look_at_versions,
        cancellable=True,
    ),
    Step(name="lose", title="Clear the pointers", run=_lose),
    Step(
        name="find_lost",
        title="Look for lost versions",
        run=_find_lost,
        cancellable=True,
    ),
    Step(name="restore", title="Point at them again", run=_restore),
)
