"""Restore: bring back the recorded files of a version, where Cloud Storage still has them (law 12).

A version is its files, so other bytes are never accepted as the version. What can be brought back
is a noncurrent version (https://cloud.google.com/storage/docs/using-versioned-objects#restore) or a
soft-deleted object (https://cloud.google.com/storage/docs/use-soft-deleted-objects#restore) with
the size and the checksum of the manifest. Files that were added stay: they are of others (law 13).
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator, Mapping
from dataclasses import dataclass, replace
from datetime import datetime
from functools import partial
from itertools import chain

from ml_platform.cloud import storage
from ml_platform.cloud.answers import Absent, Present, ask
from ml_platform.cloud.names import ObjectPath
from ml_platform.cloud.types import RemoteObject
from ml_platform.errors import CloudAbsent, CloudConflict, Conflict, NotFound
from ml_platform.models import Manifest, Operation, RegisteredModel, TrainingRun
from ml_platform.models.registry.manifest import FilesState
from ml_platform.models.states import OperationKind, Registration
from ml_platform.services.artifacts.folders import run_prefix
from ml_platform.services.artifacts.manifest import File, Taken, mark_lineages, take_manifest
from ml_platform.services.findings.discrepancy import artifacts_subject
from ml_platform.services.findings.kinds import FindingKind
from ml_platform.services.installation import marker
from ml_platform.services.operations.store import Actor
from ml_platform.services.operations.subjects import subject_of_lineage, version_name
from ml_platform.services.operations.work import Work
from ml_platform.services.operations.workflow import Continue, Next, Outcome, Step, Workflow
from ml_platform.text import counted, in_one_line

from .steps import CLOSE, RepairState, nothing_to_repair, open_repair, read

KINDS = (
    FindingKind.ARTIFACTS_MISSING,
    FindingKind.ARTIFACTS_CHANGED,
    FindingKind.ARTIFACTS_INCOMPLETE,
)
BATCH = 100
"""Files brought back between two readings of the folder."""
OTHER_WAYS = (
    "Put the recorded files back, roll back to another version, or train again. Other bytes become "
    "a version of their own only by registering them."
)


class NotRestorable(Conflict):
    """The recorded files cannot be brought back; nothing was changed."""

    code = "not_restorable"
    advice = OTHER_WAYS


@dataclass(frozen=True, slots=True, kw_only=True)
class RestoreState(RepairState):
    """What the restoration of a version's files remembers."""

    run: int = 0
    waiting: tuple[tuple[str, int, int, bool], ...] = ()
    """Of each file: its name in the bucket, the generation to bring back, the live generation that
    it replaces (0 for none), and whether it is soft-deleted."""
    restored: int = 0


def restore_files(
    *, run: TrainingRun, registered_model: RegisteredModel, actor: Actor, now: datetime
) -> Operation:
    """Bring back the files of the version's manifest, if Cloud Storage still has all of them.

    :raises NotRestorable: no list of files was recorded, or they are not in the run's own folder.
    :raises Busy: another operation holds the lineage.
    """
    _manifest(run)
    return open_repair(
        workflow=WORKFLOW,
        subject=subject_of_lineage(registered_model, name=version_name(run)),
        state=RestoreState(run=run.pk),
        kinds=KINDS,
        about=artifacts_subject(run.pk),
        actor=actor,
        now=now,
    )


def _manifest(run: TrainingRun) -> Manifest:
    row = Manifest.objects.filter(run=run).first()
    if row is None or row.files is None:
        why = "no manifest of it was recorded" if row is None else "its list of files was not kept"
        raise NotRestorable(f"The files of {version_name(run)} are not known: {why}.")
    if not row.folder.startswith(run.gcs_artifacts_path or str(run_prefix(run=run))):
        raise NotRestorable(
            f"The files of {version_name(run)} are in {row.folder}, a folder of others.",
            advice="Restore them there: the platform writes only into folders of its own runs.",
        )
    return row


# ---- the steps ---------------------------------------------------------------------------------


def _look(work: Work[RestoreState]) -> Outcome:
    """Compare all files with the manifest, and find where each that differs can come from."""
    run = _run(work)
    if run.registration != Registration.REGISTERED:
        return nothing_to_repair(work, f"{run} is no version now.")
    manifest = _manifest(run)
    answer = read(lambda: take_manifest(manifest.folder, needs=""), service="Cloud Storage")
    taken = Taken(manifest.folder) if isinstance(answer, Absent) else answer.value
    if taken.digest == manifest.digest:
        return _verified(work, manifest)
    waiting = _plan(manifest, taken)
    marker.require_ours(clock=work.clock)
    work.state = replace(work.state, waiting=tuple(waiting[:BATCH]))
    return Next(note=f"Cloud Storage still has {counted(len(waiting), 'recorded file')}.")


def _verified(work: Work[RestoreState], manifest: Manifest) -> Next:
    count = work.state.restored
    note = f"The files in {manifest.folder} are those of the manifest"
    done = (
        Next(to="close", note=f"{note}: {counted(count, 'file')} brought back.")
        if count
        else nothing_to_repair(work, f"{note}.")
    )
    return replace(done, change=partial(_seen, manifest, work.clock()))


def _seen(manifest: Manifest, now: datetime) -> None:
    Manifest.objects.filter(pk=manifest.pk, digest=manifest.digest).update(
        state=FilesState.VERIFIED, difference={}, checked_at=now, in_sweeps=False
    )
    run = manifest.run
    if not run.gcs_artifacts_path:
        TrainingRun.objects.filter(pk=run.pk).update(gcs_artifacts_path=str(run_prefix(run=run)))
    mark_lineages([run.registered_model_id] if run.registered_model_id else [])


def _plan(manifest: Manifest, taken: Taken) -> list[tuple[str, int, int, bool]]:
    """What to bring back from where, for every file that differs.

    :raises NotRestorable: a file was added, or of one nothing is left.
    """
    folder = ObjectPath.parse(manifest.folder).folder
    live = {name: (size, crc32c, number) for name, size, crc32c, number in taken.files or ()}
    recorded: list[File] = [(n, s, c, g) for n, s, c, g in manifest.files or ()]
    if taken.files is None or (added := sorted(live.keys() - {name for name, *_ in recorded})):
        what = _some(added) if taken.files else f"{counted(taken.count, 'file')} are there"
        raise NotRestorable(
            f"Files were added to {folder}: {what}.",
            advice="Delete or move them, then repair again. The platform deletes no file of others "
            "to make a version whole.",
        )
    wanted = [file for file in recorded if live.get(file[0], ())[:2] != file[1:3]]
    kept, unread = _kept(folder, wanted)
    if lacking := [name for name, *_ in wanted if name not in kept]:
        raise NotRestorable(
            f"Cloud Storage has no version of {_some(lacking)} with the recorded checksum, neither "
            f"noncurrent nor soft-deleted{unread}."
        )
    return [
        (f"{folder.key}{name}", kept[name][0], live.get(name, (0, "", 0))[2], kept[name][1])
        for name, *_ in wanted
    ]


def _some(names: Collection[str]) -> str:
    first, *more = [in_one_line(name) for name in names]
    return f"{first} and {len(more):,} more" if more else first


def _kept(
    folder: ObjectPath, wanted: Collection[File]
) -> tuple[Mapping[str, tuple[int, bool]], str]:
    """Where the wanted files can come from: (generation, whether it is soft-deleted) by name; and
    why the soft-deleted ones are not known. The recorded generation is preferred."""
    noncurrent = storage.list_objects(folder.bucket, folder.key, versions=True)
    found = {name: (number, False) for name, number in _matching(folder, wanted, noncurrent)}
    if len(found) == len(wanted):
        return found, ""
    answer = ask(lambda: list(storage.list_objects(folder.bucket, folder.key, soft_deleted=True)))
    if not isinstance(answer, Present):
        return found, f" (these could not be listed: {answer.reason})"
    soft = {name: (number, True) for name, number in _matching(folder, wanted, answer.value)}
    return soft | found, ""


def _matching(
    folder: ObjectPath, wanted: Collection[File], pages: Iterable[Iterable[RemoteObject]]
) -> Iterator[tuple[str, int]]:
    """The name and generation of what has the size and checksum of a wanted file; of several
    generations of a file the recorded one is last."""
    files = {f"{folder.key}{file[0]}": file for file in wanted}
    recorded: list[tuple[str, int]] = []
    for item in chain.from_iterable(pages):
        name, size, crc32c, generation = files.get(item.name, ("", -1, "", 0))
        if (item.size, item.crc32c) == (size, crc32c):
            yield name, item.generation
            recorded += [(name, generation)] if item.generation == generation else []
    yield from recorded


def _restore(work: Work[RestoreState]) -> Outcome:
    """Bring back the next file, if nobody has changed it since it was read."""
    (name, generation, live, soft), *left = work.state.waiting
    bucket = ObjectPath.parse(_manifest(_run(work)).folder).bucket
    bring = storage.restore_soft_deleted if soft else storage.copy_generation
    try:
        bring(bucket, name, generation, over=live)
    except CloudAbsent as gone:  # it has expired since it was listed
        raise CloudConflict(str(gone)) from gone
    work.state = replace(work.state, waiting=tuple(left), restored=work.state.restored + 1)
    note = f"{in_one_line(name)} is again what it was in generation {generation}."
    return Continue(note=note) if left else Next(to="look", note=note)


def _run(work: Work[RestoreState]) -> TrainingRun:
    run = TrainingRun.objects.filter(pk=work.state.run).first()
    if run is None:
        raise NotFound("The run of this version was deleted.")
    return run


WORKFLOW = Workflow(
    slug="restore-files",
    kind=OperationKind.REPAIR,
    title="Restore the files of {}",
    past="restored the files of {}",
    state=RestoreState,
    steps=(
        Step(
            name="look",
            title="Compare the files with the manifest",
            run=_look,
            cancellable=True,
        ),
        Step(
            name="restore",
            title="Bring back the recorded files",
            run=_restore,
            probe="look",
            back_to="look",
        ),
        CLOSE,
    ),
)
