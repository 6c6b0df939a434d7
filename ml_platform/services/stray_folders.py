"""Folders below the artifacts root that belong to no run: found page by page, deleted if asked."""

from __future__ import annotations

from collections.abc import Iterator
from uuid import UUID

from ml_platform.cloud import storage
from ml_platform.cloud.names import ObjectPath
from ml_platform.conf import require_settings
from ml_platform.models import TrainingRun

from .artifacts import Size, UnsafePath, delete_chunk

SHOWN = 1000
"""Folders that one cleanup names and deletes; the next one sees the rest."""


def find_strays() -> Iterator[str]:
    """Folders directly below the root that bear no run's name, as gs:// with a closing slash.

    A run's row is there before its folder, so a folder that was listed before its row was looked
    for belongs to it.
    """
    settings = require_settings()
    root = f"{settings.ARTIFACTS_PREFIX}/"
    for page in storage.list_prefixes(settings.BUCKET, root):
        names = [folder.removeprefix(root).rstrip("/") for folder in page]
        known = _known(names)
        yield from (f"gs://{settings.BUCKET}/{root}{name}/" for name in names if name not in known)


def delete_chunk_of(folder: str) -> Size:
    """Delete a chunk of a folder that belongs to no run; an empty result means none is left.

    :raises UnsafePath: it is no folder directly below the root, or a run's by now.
    """
    settings = require_settings()
    root = f"gs://{settings.BUCKET}/{settings.ARTIFACTS_PREFIX}/"
    name = folder.removeprefix(root).removesuffix("/")
    if folder != f"{root}{name}/" or not name or "/" in name or _known([name]):
        raise UnsafePath(f"{folder!r} is no folder of no run directly below {root}.")
    return delete_chunk(prefix=ObjectPath.parse(folder))


def _known(names: list[str]) -> set[str]:
    """Those that are a run's: its uid in hex, or its id."""
    uids = {uid for name in names if (uid := _uid(name))}
    ids = [int(name) for name in names if name.isascii() and name.isdigit() and len(name) < 19]
    found = TrainingRun.objects.filter(uid__in=uids).values_list("uid", flat=True)
    known = {uid.hex for uid in found}
    return known | {
        str(pk) for pk in TrainingRun.objects.filter(pk__in=ids).values_list("pk", flat=True)
    }


def _uid(name: str) -> UUID | None:
    if len(name) != 32 or set(name) - set("0123456789abcdef"):
        return None
    return UUID(hex=name)
