"""Find and delete strays: folders and objects directly below the artifacts root, all unused.

They belong to no run, and no adopted version, no model in Vertex AI and no service on Cloud Run
refers to them, whether ours, another installation's or without an owner: our rows alone do not
prove that files are unused (law 8).
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from datetime import datetime
from functools import partial
from typing import TypeVar
from uuid import UUID

from ml_platform.cloud import storage
from ml_platform.cloud.answers import Present, ask
from ml_platform.cloud.types import RemoteObject
from ml_platform.conf import require_settings
from ml_platform.errors import CloudUnavailable
from ml_platform.models import TrainingRun
from ml_platform.services.artifacts.folders import CHUNK, Chunk, UnsafePath, delete_found
from ml_platform.services.installation import marker
from ml_platform.services.operations.log import WriteLine, logged, write_lines
from ml_platform.services.operations.work import Heartbeat, Work
from ml_platform.services.operations.workflow import Continue, Next, Outcome, Step
from ml_platform.services.ownership.labels import is_uid
from ml_platform.services.removal.guard import why_used
from ml_platform.services.removal.references import Pointers, read_pointers
from ml_platform.services.removal.refused import place, quoted, unquoted
from ml_platform.text import counted, in_one_line

from .state import ArtifactState, end_folder, pass_by, report

FIRST_STEP = "find_strays"
SHOWN = 1000
"""Strays that one cleanup names and deletes; it counts the others, and the next one takes them."""
S = TypeVar("S", bound=ArtifactState)


class UsersUnread(CloudUnavailable):
    """What uses files could not be read completely. No file is called a stray then,
    because a file whose users are unknown may be in use (law 3)."""

    code = "users_unread"
    advice = "No stray was deleted. The next cleanup tries again."


def find_strays(*, every_version: bool, heartbeat: Heartbeat = lambda: None) -> Iterator[str]:
    """Yield the URI of each stray; that of a folder ends with a slash.

    What uses files is read only once it is needed. Rows are read after the listing: the row of a
    run exists before its folder, so every listed folder of a run is recognised. `every_version`
    also reads the versions of each model that are not its default; a deletion needs that.

    :raises UsersUnread: what uses files could not be read, so no file may be called a stray.
    """
    settings = require_settings()
    root = f"{settings.ARTIFACTS_PREFIX}/"
    users: Present[Pointers] | None = None
    for page in storage.list_children(settings.BUCKET, root):
        heartbeat()
        names = [name for child in page if (name := child.removeprefix(root)).rstrip("/")]
        names = [name for name in names if name != marker.NAME]
        runs = _runs(names)
        for name in names:
            if name.rstrip("/") in runs:
                continue
            users = users or _users(every_version, heartbeat)
            stray = f"gs://{settings.BUCKET}/{root}{name}"
            if not why_used(stray, users):
                yield stray


def _users(every_version: bool, heartbeat: Heartbeat) -> Present[Pointers]:  # noqa: FBT001
    answer = ask(lambda: read_pointers(every_version=every_version, heartbeat=heartbeat))
    if not isinstance(answer, Present):
        raise UsersUnread(answer.reason)
    return answer


def reason_to_keep(stray: str, *, before: datetime, heartbeat: Heartbeat = lambda: None) -> str:
    """Return why a stray is kept, '' if it may be deleted; reads all of its objects."""
    bucket, key = _place_of(stray)
    if _runs([key.rstrip("/").rpartition("/")[2]]):
        return "it is a run's by now."
    if not storage.is_sendable(stray):
        return "its name is not valid Unicode, so no request can contain it."
    for page in storage.list_objects(bucket, key):
        heartbeat()
        for item in page:
            if _is_in(item.name, key) and not _is_older(item, before):
                return f"{in_one_line(item.name)} was written at {item.updated:%Y-%m-%d %H:%M} UTC."
    return ""


def delete_chunk_of(stray: str, *, before: datetime, after: str = "") -> Chunk | None:
    """Delete up to a chunk of a stray's objects that are older than `before` and have names after
    `after`; returns None if no object is left.

    :raises CloudUnavailable: some objects could not be deleted; the others are.
    """
    bucket, key = _place_of(stray)
    pages = storage.list_objects(bucket, key, after=after, page_size=CHUNK)
    below = ([i for i in page if _is_in(i.name, key) and _is_older(i, before)] for page in pages)
    old = next((page for page in below if page), None)
    return None if old is None else delete_found(old, bucket=bucket, at=repr(stray))


def _place_of(stray: str) -> tuple[str, str]:
    """Return its bucket and name; the name may have any form that Cloud Storage allows."""
    settings = require_settings()
    root = f"gs://{settings.BUCKET}/{settings.ARTIFACTS_PREFIX}/"
    name = stray.removeprefix(root)
    if not stray.startswith(root) or not name.rstrip("/"):
        raise UnsafePath(f"{stray!r} is not directly below {root}.")
    return settings.BUCKET, f"{settings.ARTIFACTS_PREFIX}/{name}"


def _is_in(name: str, key: str) -> bool:
    return name.startswith(key) if key.endswith("/") else name == key


def _is_older(item: RemoteObject, before: datetime) -> bool:
    return item.updated is not None and item.updated < before


def _runs(names: list[str]) -> set[str]:
    """Return the names that are a run's: its uid in hex, or its id."""
    bare = [name.rstrip("/") for name in names]
    uids = {UUID(hex=name) for name in bare if is_uid(name)}
    ids = [int(name) for name in bare if name.isascii() and name.isdigit() and len(name) < 19]
    known = TrainingRun.objects.filter(uid__in=uids).values_list("uid", flat=True)
    numbers = TrainingRun.objects.filter(pk__in=ids).values_list("pk", flat=True)
    return {uid.hex for uid in known} | {str(number) for number in numbers}


# ---- the steps -----------------------------------------------------------------------------------


def look_for_strays(state: S, write_line: WriteLine, heartbeat: Heartbeat = lambda: None) -> S:
    """Find the files that belong to no run; returns the state that names them.

    No file is called a stray unless everything that uses files was read, because a file whose users
    are unknown may be in use (law 3).
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
    write_lines(write_line, lines)
    return replace(
        logged(state, lines),
        strays=names,
        strays_left=tuple(map(quoted, shown)) if state.delete_strays else (),
        strays_found=total + state.strays_deleted,
        strays_unknown=unknown,
    )


def _find(work: Work[ArtifactState], write_line: WriteLine) -> Outcome:
    state = replace(work.state, refused={})
    work.state = look_for_strays(state, write_line, heartbeat=work.renew_lease)
    total = work.state.strays_found - work.state.strays_deleted
    return Next(note=work.state.strays_unknown or f"{counted(total, 'stray')}.")


def _delete(work: Work[ArtifactState], write_line: WriteLine) -> Outcome:
    """Check the next stray, then delete it chunk by chunk."""
    state = work.state
    if not state.strays_left:
        parts = [f"{counted(state.strays_deleted, 'stray')} deleted", state.refusals]
        return Next(note=f"{'; '.join(filter(None, parts))}.")
    first, before = state.strays_left[0], datetime.fromisoformat(state.ended_before)
    stray = unquoted(first)
    if state.strays_judged != first:
        if reason := reason_to_keep(stray, before=before, heartbeat=work.renew_lease):
            return _after(work, write_line, f"Kept {in_one_line(stray)}: {reason}")
        work.state = replace(state, strays_judged=first)
    marker.require_ours(clock=work.clock)
    if chunk := delete_chunk_of(stray, before=before, after=place(state.refused)):
        work.state = pass_by(work.state, chunk)
        return Continue(note=f"{in_one_line(stray)}: {counted(chunk.size.objects, 'object')}")
    work.state, refused = end_folder(work.state, stray)
    if refused:
        return _after(work, write_line, f"Kept {in_one_line(stray)}: {refused}")
    work.state = replace(work.state, strays_deleted=state.strays_deleted + 1)
    return _after(work, write_line, f"Deleted {in_one_line(stray)}.")


def _after(work: Work[ArtifactState], write_line: WriteLine, line: str) -> Outcome:
    report(work, write_line, line)
    work.state = replace(work.state, strays_left=work.state.strays_left[1:])
    return Continue(note=line)


def steps(*, write_line: WriteLine = lambda line: None) -> tuple[Step, ...]:
    """Return the steps; `write_line` receives a line for each stray."""
    return (
        Step(
            name=FIRST_STEP,
            title="Find files that belong to no run",
            run=partial(_find, write_line=write_line),
        ),
        # When it is resumed, it reads again what uses files: an earlier answer may be out of date.
        Step(
            name="delete_strays",
            title="Delete files that belong to no run, if requested",
            run=partial(_delete, write_line=write_line),
            probe=FIRST_STEP,
        ),
    )
