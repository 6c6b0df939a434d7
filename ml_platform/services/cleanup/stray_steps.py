"""The steps of a cleanup that look for strays, report them, and delete them if requested."""

from __future__ import annotations

from dataclasses import replace
from datetime import datetime
from functools import partial
from typing import TypeVar

from ml_platform.services.operations.log import Tell, logged, say
from ml_platform.services.operations.work import Heartbeat, Work
from ml_platform.services.operations.workflow import Continue, Next, Outcome, Step
from ml_platform.text import counted, in_one_line

from .state import ArtifactState, end_folder, pass_by, place, quoted, unquoted
from .stray_folders import UsersUnread, delete_chunk_of, find_strays, reason_to_keep

FIRST_STEP = "find_strays"
SHOWN = 1000
"""Strays that one cleanup names and deletes; it counts the others, and the next one takes them."""
S = TypeVar("S", bound=ArtifactState)


def look_for_strays(state: S, tell: Tell, heartbeat: Heartbeat = lambda: None) -> S:
    """Find what belongs to no run; returns the state that knows it.

    Nothing is called a stray unless everything that uses files was read: what is unknown may be in
    use (law 3).
    """
    shown: list[str] = []
    total, unknown = 0, ""
    found = find_strays(every_version=state.delete_strays, heartbeat=heartbeat)
    try:
        for total, stray in enumerate(found, 1):
            shown += [stray] if total <= SHOWN else []
    except UsersUnread as error:
        shown, total, unknown = [], 0, str(error)
    names = tuple(in_one_line(stray) for stray in shown)
    lines = [f"{name} belongs to no run." for name in names]
    if unknown:
        lines = [f"Kept all that may belong to no run: {unknown}"]
    elif total > SHOWN:
        lines.append(f"… and {total - SHOWN} more that belong to no run.")
    say(tell, lines)
    return replace(
        logged(state, lines),
        strays=names,
        strays_left=tuple(map(quoted, shown)) if state.delete_strays else (),
        strays_found=total + state.strays_deleted,
        strays_unknown=unknown,
    )


def _find(work: Work[ArtifactState], tell: Tell) -> Outcome:
    state = replace(work.state, refused={})
    work.state = look_for_strays(state, tell, heartbeat=work.renew_lease)
    total = work.state.strays_found - work.state.strays_deleted
    return Next(note=work.state.strays_unknown or f"{counted(total, 'stray')}.")


def _delete(work: Work[ArtifactState], tell: Tell) -> Outcome:
    """Check the next stray, then delete it chunk by chunk."""
    state = work.state
    if not state.strays_left:
        said = [f"{counted(state.strays_deleted, 'stray')} deleted", state.refusals]
        return Next(note=f"{'; '.join(filter(None, said))}.")
    first, before = state.strays_left[0], datetime.fromisoformat(state.ended_before)
    stray = unquoted(first)
    if state.strays_judged != first:
        if reason := reason_to_keep(stray, before=before, heartbeat=work.renew_lease):
            return _after(work, tell, f"Kept {in_one_line(stray)}: {reason}")
        work.state = replace(state, strays_judged=first)
    if chunk := delete_chunk_of(stray, before=before, after=place(state)):
        work.state = pass_by(work.state, chunk)
        return Continue(note=f"{in_one_line(stray)}: {counted(chunk.size.objects, 'object')}")
    work.state, refused = end_folder(work.state, stray)
    if refused:
        return _after(work, tell, f"Kept {in_one_line(stray)}: {refused}")
    work.state = replace(work.state, strays_deleted=state.strays_deleted + 1)
    return _after(work, tell, f"Deleted {in_one_line(stray)}.")


def _after(work: Work[ArtifactState], tell: Tell, line: str) -> Outcome:
    state = logged(work.state, [line])
    work.state = replace(state, strays_left=state.strays_left[1:])
    say(tell, [line])
    return Continue(note=line)


def steps(*, tell: Tell = lambda line: None) -> tuple[Step, ...]:
    """Return the steps; `tell` receives a line for each stray."""
    return (
        Step(
            name=FIRST_STEP, title="Look for what belongs to no run", run=partial(_find, tell=tell)
        ),
        # When it is resumed, it reads again what uses files: an earlier answer may be out of date.
        Step(
            name="delete_strays",
            title="Delete what belongs to no run, if asked",
            run=partial(_delete, tell=tell),
            probe=FIRST_STEP,
        ),
    )
