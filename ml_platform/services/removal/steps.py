"""The steps of a removal: choose folders, read who uses them, delete those of nobody.

A folder is chosen after it was marked, and deleted only after a complete reading that began then.
A reading that was interrupted begins again. It reads PART models a minute, so that background work
leaves most of Vertex AI's 600 reads a minute to users:
https://cloud.google.com/vertex-ai/docs/quotas
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta
from functools import partial
from typing import Any, TypeVar

from ml_platform.errors import Conflict
from ml_platform.models import AwaitingRemoval
from ml_platform.services.artifacts.folders import (
    Size,
    deletable_prefix,
    delete_what_may_go,
    human_size,
)
from ml_platform.services.installation import marker
from ml_platform.services.operations.repeats import RepeatState
from ml_platform.services.operations.subjects import version_name
from ml_platform.services.operations.work import Work
from ml_platform.services.operations.workflow import Continue, Next, Outcome, Poll, Step
from ml_platform.services.removal import references
from ml_platform.text import counted

from . import waiting
from .guard import Going, users_of, why_needed
from .references import Pointers, names_of
from .refused import count_of, pass_by, place, why_left

FIRST_STEP = "list_models"
PART = 200
"""Models whose versions are read at once, and so the most that a deletion reads itself."""
PAUSE = 60.0
NAMED = 20
"""Folders whose reason an operation names; the others are in their rows."""


@dataclass(frozen=True, slots=True, kw_only=True)
class RemovalState(RepeatState):
    """What the steps of a removal hand on."""

    only: tuple[int, ...] = ()
    """The runs whose folders are asked for; empty for all."""
    folders: tuple[int, ...] = ()
    """The rows of AwaitingRemoval that are still to be judged or deleted."""
    began: str = ""
    """When the reading began."""
    read: bool = False
    """Whether it is complete."""
    models: tuple[str, ...] = ()
    """The ids of the models that are still to be read."""
    used: Mapping[str, str] = field(default_factory=dict)
    """By row, who uses the folder."""
    refused: Mapping[str, Any] = field(default_factory=dict)
    """What of the current folder could not be deleted, as `refused` keeps it."""
    freed: tuple[int, int] = (0, 0)
    """Objects and bytes deleted so far."""
    left: tuple[str, ...] = ()
    """What stays, and why."""


S = TypeVar("S", bound=RemovalState)
Chooser = Callable[[Work[Any]], Iterable[int]]
HandOver = Callable[[Work[Any]], None]


def _list_models(work: Work[S], choose: Chooser, hand_over: HandOver | None) -> Outcome:
    """Choose the folders, then list the models. With `hand_over` at most PART are read here."""
    began, folders = work.clock(), tuple(choose(work))
    work.state = replace(
        work.state,
        folders=folders,
        began=began.isoformat(),
        read=False,
        models=(),
        used={},
        refused={},
    )
    if not folders:
        return Next(note="No folder awaits its removal.")
    at_most = PART if hand_over else None
    models = references.list_models(at_most=at_most, heartbeat=work.renew_lease)
    if models is None:
        note = f"kept the artifacts for now: with more than {PART} models they go in the background"
        work.state = replace(work.state, folders=(), left=(note,))
        return Next(note=note, change=hand_over and partial(hand_over, work))
    work.state = replace(work.state, models=models)
    return Next(note=f"{counted(len(folders), 'folder')}, {counted(len(models), 'model')}.")


def _read_users(work: Work[S]) -> Outcome:
    """Read what PART models point at; with the last ones the services and our rows."""
    state = work.state
    if state.read:
        return Next(to=FIRST_STEP, note="It begins again.")
    if not state.folders:
        work.state = replace(state, read=True)
        return Next(note="Nothing to read.")
    batch, left = state.models[:PART], state.models[PART:]
    pointers = references.pointers_of_models(batch, heartbeat=work.renew_lease)
    used = {**_used(state.folders, pointers), **state.used}
    if left:
        work.state = replace(state, models=left, used=used)
        return Poll(seconds=PAUSE, note=f"{counted(len(left), 'model')} are still to be read.")
    rest = references.pointers_of_the_rest(heartbeat=work.renew_lease)
    used = {**_used(state.folders, rest), **used}
    work.state = replace(state, models=(), used=used, read=True)
    note = f"{len(used)} of {counted(len(state.folders), 'folder')} used."
    began = datetime.fromisoformat(state.began)
    return Next(
        note=note,
        change=partial(waiting.note_looked, rows=state.folders, used=used, began=began),
    )


def _used(folders: Sequence[int], pointers: Pointers) -> dict[str, str]:
    """Who uses which of the folders, among these pointers."""
    rows = AwaitingRemoval.objects.filter(pk__in=folders).select_related("run")
    found = list(rows)
    going = Going(rows={row.run_id for row in found})
    return {
        str(row.pk): f"used by {names_of(users, project_id=row.run.project_id)}"
        for row in found
        if (users := users_of(row.folder, pointers, going))
    }


def _delete(work: Work[S]) -> Outcome:
    """Delete a chunk of the first folder; only now, when no version needs it (law 8)."""
    state = work.state
    if not state.read:
        return Next(to=FIRST_STEP, note="Who else uses the artifacts was not read yet.")
    if not state.folders:
        return _end(work)
    row = AwaitingRemoval.objects.filter(pk=state.folders[0]).select_related("run").first()
    if row is None:
        work.state = replace(state, folders=state.folders[1:])
        return Continue(note="A folder is gone already.")
    if why := state.used.get(str(row.pk)) or why_needed(row.run):
        return _keep(work, row, why)
    prefix = deletable_prefix(run=row.run)
    if prefix:
        marker.require_ours(clock=work.clock)
    chunk = prefix and delete_what_may_go(prefix=prefix, after=place(state.refused))
    if chunk:
        freed = (state.freed[0] + chunk.size.objects, state.freed[1] + chunk.size.bytes)
        work.state = replace(state, freed=freed, refused=pass_by(state.refused, chunk))
        return Continue(note=f"{_size(freed)} so far")
    if why := why_left(state.refused):
        return _keep(work, row, why)
    work.state = replace(state, folders=state.folders[1:])
    change = partial(
        waiting.end, row=row.pk, run=row.run, operation=work.operation, now=work.clock()
    )
    return Continue(note=f"{_size(state.freed)} so far", change=change)


def _keep(work: Work[S], row: AwaitingRemoval, why: str) -> Continue:
    state, count = work.state, count_of(work.state.refused)
    text = f"kept {'a part of ' if count else ''}the artifacts of {version_name(row.run)}, {why}"
    named = (*state.left, text) if len(state.left) < NAMED else state.left
    work.state = replace(state, folders=state.folders[1:], refused={}, left=named)
    change = partial(
        waiting.keep,
        row=row.pk,
        reason=why,
        refused=count,
        operation=work.operation,
        now=work.clock(),
    )
    return Continue(note=text, change=change)


def _end(work: Work[S]) -> Outcome:
    """End with what is left. Who asked for these folders alone is told that they could not go."""
    state = work.state
    note = "; ".join([_size(state.freed), *state.left])
    if state.only and AwaitingRemoval.objects.filter(run__in=state.only).exists():
        raise Conflict(
            f"{note[:1].upper()}{note[1:]}.",
            code="objects_left",
            advice="Remove the cause, then repair again. The daily cleanup tries it too.",
        )
    return Next(note=note)


def _size(freed: tuple[int, int]) -> str:
    size = Size(*freed)
    return f"{counted(size.objects, 'object')}, {human_size(size.bytes)}"


def steps(*, choose: Chooser, hand_over: HandOver | None = None) -> tuple[Step, ...]:
    """The steps of a removal of the folders that `choose` returns.

    With more than PART models they are left to the background: `hand_over` opens that.
    """
    return (
        Step(
            name=FIRST_STEP,
            title="List the models that may use the artifacts",
            run=partial(_list_models, choose=choose, hand_over=hand_over),
        ),
        Step(
            name="read_users",
            title="Read who else uses the artifacts",
            run=_read_users,
            probe=FIRST_STEP,
            patience=timedelta(days=1),
        ),
        Step(
            name="artifacts",
            title="Delete the artifacts in GCS",
            run=_delete,
            probe="read_users",
        ),
    )
