"""A run's artifacts in GCS, and the check that each deletion stays inside the run's own folder."""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from ml_platform.cloud import storage
from ml_platform.cloud.names import ObjectPath
from ml_platform.cloud.types import DeletedObject, DeleteOutcome, RemoteObject
from ml_platform.conf import require_settings
from ml_platform.errors import CloudUnavailable, Invalid
from ml_platform.models import TrainingRun
from ml_platform.text import counted

MODEL_FILE = "saved_model.pb"
CHUNK = 500
"""Objects deleted between two commits: five batch requests of a hundred."""
COUNTED = 20_000
"""The number of objects from which a preview reports "more than"."""


class UnsafePath(Invalid):
    """The path is not exactly the run's own prefix, so no object below it is deleted."""

    code = "unsafe_path"
    advice = "Correct gcs_artifacts_path of the run, or delete the objects manually."


@dataclass(frozen=True, slots=True)
class Size:
    """How many objects and bytes a prefix holds; `complete` is false if counting stopped early."""

    objects: int
    bytes: int
    complete: bool = True


def newest_folder(names: Iterable[str]) -> str | None:
    """The folder name that is the highest number; None if no name is a number."""
    numbered = [name for name in names if name.isascii() and name.isdecimal()]
    return max(numbered, key=int, default=None)


def run_prefix(*, run: TrainingRun) -> ObjectPath:
    """The prefix that a run of this installation writes to."""
    settings = require_settings()
    return ObjectPath(settings.BUCKET, f"{settings.ARTIFACTS_PREFIX}/{run.uid.hex}/")


def guard(*, path: str, bucket: str, root: str, own: frozenset[str]) -> ObjectPath:
    """Return `path`, with one closing slash, if it is `gs://bucket/root/<one of own>`.

    The closing slash is required: `runs/1` would match the files of `runs/10` too (law 8).

    :raises UnsafePath: it is anything else: a bucket, another bucket, another run, a part of one.
    """
    match = re.fullmatch(r"gs://([^/]+)/(.+?)/([A-Za-z0-9_-]+)/?", path)
    if not match or match.group(1, 2) != (bucket, root) or match.group(3) not in own:
        raise UnsafePath(f"{path!r} is not the run's own folder below gs://{bucket}/{root}/.")
    return ObjectPath(bucket, f"{root}/{match.group(3)}/")


def deletable_prefix(*, run: TrainingRun) -> ObjectPath | None:
    """The prefix to delete with the run; None if it has no artifacts here.

    :raises UnsafePath: the path in the row is not the folder that the run's ids name.
    """
    if not run.gcs_artifacts_path:
        return None
    settings = require_settings()
    return guard(
        path=run.gcs_artifacts_path,
        bucket=settings.BUCKET,
        root=settings.ARTIFACTS_PREFIX,
        own=frozenset({run.uid.hex, str(run.pk)}),
    )


def measure(*, prefix: ObjectPath) -> Size:
    """Count the objects and bytes below a prefix, up to COUNTED objects."""
    objects = size = 0
    for page in storage.list_objects(prefix.bucket, prefix.key):
        objects += len(page)
        size += sum(found.size for found in page)
        if objects >= COUNTED:
            return Size(objects, size, complete=False)
    return Size(objects, size)


@dataclass(frozen=True, slots=True)
class Chunk:
    """What was deleted of some objects, and what Cloud Storage refused to delete.

    If no object was deleted, `passed` is the last name: the next chunk starts after it.
    """

    size: Size
    refused: tuple[DeletedObject, ...] = ()
    passed: str = ""


def delete_what_may_go(*, prefix: ObjectPath, after: str = "") -> Chunk | None:
    """Delete up to CHUNK objects with names after `after`; returns what is refused, too.

    Only the listed generation of each is deleted. None means that no object is left after `after`.

    :raises CloudUnavailable: some objects could not be deleted; the others are.
    """
    pages = storage.list_objects(prefix.bucket, prefix.key, after=after, page_size=CHUNK)
    below = ([item for item in page if item.name.startswith(prefix.key)] for page in pages)
    found = next((page for page in below if page), None)
    return None if found is None else delete_found(found, bucket=prefix.bucket, at=str(prefix))


def delete_found(found: Sequence[RemoteObject], *, bucket: str, at: str) -> Chunk:
    """Delete these objects of a bucket in the generation that was listed; messages name `at`.

    :raises CloudUnavailable: some objects could not be deleted; the others are.
    """
    results = storage.delete_objects(bucket, [(item.name, item.generation) for item in found])
    by = {outcome: [r for r in results if r.outcome == outcome] for outcome in DeleteOutcome}
    if failed := by[DeleteOutcome.FAILED]:
        raise _left(failed, at=at)
    went = {result.name for result in by[DeleteOutcome.DELETED]}
    return Chunk(
        size=Size(len(went), sum(item.size for item in found if item.name in went)),
        refused=tuple(by[DeleteOutcome.REFUSED]),
        passed="" if went or by[DeleteOutcome.CHANGED] else found[-1].name,
    )


def _left(left: Sequence[DeletedObject], *, at: str) -> CloudUnavailable:
    return CloudUnavailable(
        f"{counted(len(left), 'object')} at {at} could not be deleted, "
        f"the first one {left[0].name!r}: {left[0].reason}",
        code="objects_left",
        advice="The remaining objects are deleted when the operation continues.",
    )


def human_size(count: float) -> str:
    """Bytes in a readable unit: 84 MB."""
    for unit in ("bytes", "kB", "MB", "GB"):
        if count < 1000:
            return f"{count:.0f} {unit}"
        count /= 1000
    return f"{count:.1f} TB"
