"""A run's artifacts in GCS, and the guard that keeps every deletion inside its run (law 8)."""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from ml_platform.cloud import storage
from ml_platform.cloud.names import ObjectPath
from ml_platform.cloud.types import DeletedObject, DeleteOutcome, RemoteObject
from ml_platform.conf import require_settings
from ml_platform.errors import CloudDenied, CloudUnavailable, Invalid
from ml_platform.models import TrainingRun
from ml_platform.text import counted

MODEL_FILE = "saved_model.pb"
CHUNK = 500
"""Objects deleted between two commits: five batch requests of a hundred."""
COUNTED = 20_000
"""Objects a preview counts before it says "more than"."""


class UnsafePath(Invalid):
    """The path is not exactly the run's own prefix; nothing below it is ever deleted."""

    code = "unsafe_path"
    advice = "Correct gcs_artifacts_path of the run, or remove the objects by hand."


@dataclass(frozen=True, slots=True)
class Size:
    """How many objects and bytes a prefix holds; `complete` is false where counting stopped."""

    objects: int
    bytes: int
    complete: bool = True


def newest_folder(names: Iterable[str]) -> str | None:
    """The version directory with the highest number, as it is written; None without one."""
    numbered = [name for name in names if name.isascii() and name.isdecimal()]
    return max(numbered, key=int, default=None)


def run_prefix(*, run: TrainingRun) -> ObjectPath:
    """The prefix that a run of this installation writes to."""
    settings = require_settings()
    return ObjectPath(settings.BUCKET, f"{settings.ARTIFACTS_PREFIX}/{run.uid.hex}/")


def guard(*, path: str, bucket: str, root: str, own: frozenset[str]) -> ObjectPath:
    """Return `path` if it is `gs://bucket/root/<one of own>/`, with one closing slash added.

    :raises UnsafePath: it is anything else: a bucket, another bucket, another run, a part of one.
    """
    match = re.fullmatch(r"gs://([^/]+)/(.+?)/([A-Za-z0-9_-]+)/?", path)
    if not match or match.group(1, 2) != (bucket, root) or match.group(3) not in own:
        raise UnsafePath(f"{path!r} is not the run's own folder below gs://{bucket}/{root}/.")
    return ObjectPath(bucket, f"{root}/{match.group(3)}/")


def deletable_prefix(*, run: TrainingRun) -> ObjectPath | None:
    """The prefix to delete with the run, None if it has no artifacts of ours.

    :raises UnsafePath: what the row says is not what the run's own ids say.
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
    """What went of some objects, and what Cloud Storage refused to delete.

    `passed` is the last name when nothing went: the next chunk is looked for behind it.
    """

    size: Size
    refused: tuple[DeletedObject, ...] = ()
    passed: str = ""


def delete_chunk(*, prefix: ObjectPath) -> Size | None:
    """Delete up to CHUNK objects below a prefix; returns what went, None when none was left.

    Each goes only in the generation that was listed. Repeat it until nothing is left.

    :raises CloudDenied: Cloud Storage refused to delete some objects; the others are deleted.
    :raises CloudUnavailable: some objects could not be deleted; the others are.
    """
    chunk = delete_what_may_go(prefix=prefix)
    if chunk and chunk.refused:
        raise _left(CloudDenied, chunk.refused, at=str(prefix))
    return chunk.size if chunk else None


def delete_what_may_go(*, prefix: ObjectPath, after: str = "") -> Chunk | None:
    """Delete up to CHUNK objects of names behind `after`; what is refused is named, not raised.

    :raises CloudUnavailable: some objects could not be deleted; the others are.
    """
    pages = storage.list_objects(prefix.bucket, prefix.key, after=after, page_size=CHUNK)
    below = ([item for item in page if item.name.startswith(prefix.key)] for page in pages)
    found = next((page for page in below if page), None)
    return None if found is None else delete_found(found, bucket=prefix.bucket, at=str(prefix))


def delete_found(found: Sequence[RemoteObject], *, bucket: str, at: str) -> Chunk:
    """Delete these objects of a bucket, each in the generation that was listed; `at` is said.

    :raises CloudUnavailable: some objects could not be deleted; the others are.
    """
    results = storage.delete_objects(bucket, [(item.name, item.generation) for item in found])
    by = {outcome: [r for r in results if r.outcome == outcome] for outcome in DeleteOutcome}
    if failed := by[DeleteOutcome.FAILED]:
        raise _left(CloudUnavailable, failed, at=at)
    went = {result.name for result in by[DeleteOutcome.DELETED]}
    refused = tuple(by[DeleteOutcome.REFUSED])
    return Chunk(
        size=Size(len(went), sum(item.size for item in found if item.name in went)),
        refused=refused,
        passed="" if went or by[DeleteOutcome.CHANGED] else found[-1].name,
    )


def _left(
    category: type[CloudUnavailable], left: Sequence[DeletedObject], *, at: str
) -> CloudUnavailable:
    return category(
        f"{counted(len(left), 'object')} at {at} could not be deleted, "
        f"the first one {left[0].name!r}: {left[0].reason}",
        code="objects_left",
        advice="The rest is deleted when the operation goes on.",
    )


def human_size(count: float) -> str:
    """Bytes in the unit a person would use: 84 MB."""
    for unit in ("bytes", "kB", "MB", "GB"):
        if count < 1000:
            return f"{count:.0f} {unit}"
        count /= 1000
    return f"{count:.1f} TB"
