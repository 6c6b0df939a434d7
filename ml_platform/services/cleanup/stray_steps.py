"""The steps of a cleanup that look for strays, name them, and delete them if asked."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime
from functools import partial

from ml_platform.services.operations.log import Tell, keep, say
from ml_platform.services.operations.work import Heartbeat, Work
from ml_platform.services.operations.workflow import Continue, Next, Outcome, Step
from ml_platform.services.registry import refusals
from ml_platform.services.registry.refusals import quoted, unquoted
from ml_platform.text import counted, in_one_line

from .stray_folders import UsersUnread, delete_chunk_of, find_strays, reason_to_keep

FIRST_STEP = "find_strays"
SHOWN = 1000
"""Strays that one cleanup names and deletes; the others are counted, and the next one sees them."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Strays:
    """What a look found: the first SHOWN, how many there are, or why nothing can be said."""

    shown: Sequence[str] = ()
    total: int = 0
    unknown: str = ""

    @property
    def lines(self) -> Iterable[str]:
        """A line for each that is shown, and how many more there are."""
        if self.unknown:
            return [f"Kept all that may belong to no run: {self.unknown}"]
        more = self.total - len(self.shown)
        said = [f"{in_one_line(stray)} belongs to no run." for stray in self.shown]
        return [*said, f"… and {more} more that belong to no run."] if more else said


def look_for_strays(*, every_version: bool, heartbeat: Heartbeat = lambda: None) -> Strays:
    """Find the strays; when somebody could not be asked nothing is called one (law 3)."""
    shown: list[str] = []
    total = 0
    try:
        for total, stray in enumerate(
            find_strays(every_version=every_version, heartbeat=heartbeat), 1
        ):
            if total <= SHOWN:
                shown.append(stray)
    except UsersUnread as error:
        return Strays(unknown=str(error))
    return Strays(shown=shown, total=total)


def _find(work: Work, tell: Tell) -> Outcome:
    found = look_for_strays(every_version=work.data["delete_strays"], heartbeat=work.renew_lease)
    deleted = work.data.get("strays_deleted", 0)
    refusals.forget_folder(work.data)
    work.data |= {
        "strays": [in_one_line(stray) for stray in found.shown],
        "strays_left": [quoted(s) for s in found.shown] if work.data["delete_strays"] else [],
        "strays_found": found.total + deleted,
        "strays_unknown": found.unknown,
    }
    keep(work.data, found.lines)
    say(tell, found.lines)
    return Next(note=found.unknown or f"{counted(found.total, 'stray')}.")


def _delete(work: Work, tell: Tell) -> Outcome:
    """Judge the next stray, then delete it chunk by chunk."""
    left = work.data["strays_left"]
    if not left:
        deleted = work.data.get("strays_deleted", 0)
        said = [f"{counted(deleted, 'stray')} deleted", refusals.in_all(work.data)]
        return Next(note=f"{'; '.join(filter(None, said))}.")
    stray, before = unquoted(left[0]), datetime.fromisoformat(work.data["ended_before"])
    if work.data.get("strays_judged") != left[0]:
        if reason := reason_to_keep(stray, before=before, heartbeat=work.renew_lease):
            return _after(work, tell, f"Kept {in_one_line(stray)}: {reason}")
        work.data["strays_judged"] = left[0]
    if chunk := delete_chunk_of(stray, before=before, after=refusals.place(work.data)):
        refusals.pass_by(work.data, chunk)
        return Continue(note=f"{in_one_line(stray)}: {counted(chunk.size.objects, 'object')}")
    if refused := refusals.end_folder(work.data, stray):
        return _after(work, tell, f"Kept {in_one_line(stray)}: {refused}")
    work.data["strays_deleted"] = work.data.get("strays_deleted", 0) + 1
    return _after(work, tell, f"Deleted {in_one_line(stray)}.")


def _after(work: Work, tell: Tell, line: str) -> Outcome:
    work.data["strays_left"] = work.data["strays_left"][1:]
    keep(work.data, [line])
    say(tell, [line])
    return Continue(note=line)


def steps(*, tell: Tell = lambda line: None) -> tuple[Step, ...]:
    """The steps; `tell` hears a line for each stray."""
    return (
        Step(
            name=FIRST_STEP, title="Look for what belongs to no run", run=partial(_find, tell=tell)
        ),
        # Taken up again it starts with the look: what Vertex AI said is of the same run of it.
        Step(
            name="delete_strays",
            title="Delete what belongs to no run, if asked",
            run=partial(_delete, tell=tell),
            probe=FIRST_STEP,
        ),
    )
