"""Strays: folders and objects directly below the artifacts root in which nothing of anybody lies.

Not a run's, and not where anybody points: no version that was adopted, no model in Vertex AI and no
service on Cloud Run, be it ours, another installation's or nobody's (law 8).
"""

from __future__ import annotations

from collections.abc import Iterator
from datetime import datetime
from uuid import UUID

from ml_platform.cloud import storage
from ml_platform.cloud.answers import Present, ask
from ml_platform.cloud.types import RemoteObject
from ml_platform.conf import require_settings
from ml_platform.errors import CloudUnavailable
from ml_platform.models import TrainingRun
from ml_platform.services.operations.work import Heartbeat
from ml_platform.services.registry.artifacts import CHUNK, Chunk, UnsafePath, delete_found
from ml_platform.services.registry.labels import is_uid
from ml_platform.services.registry.references import Pointers, read_pointers
from ml_platform.text import in_one_line


class UsersUnread(CloudUnavailable):
    """Who uses files could not be read completely, so nothing may be called a stray (law 3)."""

    code = "users_unread"
    advice = "Nothing that may belong to no run was touched. The next cleanup looks again."


def find_strays(*, every_version: bool, heartbeat: Heartbeat = lambda: None) -> Iterator[str]:
    """What is a stray, as gs://; a folder ends with a slash.

    Who points there is read after the first page that has something to ask about. A run's
    row is there before its folder, so a folder that was listed before its row was looked for
    belongs to it. `every_version` also reads the versions of each model that are not its default,
    as whoever deletes must.

    :raises UsersUnread: nothing may be called a stray.
    """
    settings = require_settings()
    root = f"{settings.ARTIFACTS_PREFIX}/"
    users: Pointers | None = None
    for page in storage.list_children(settings.BUCKET, root):
        heartbeat()
        names = [name for child in page if (name := child.removeprefix(root)).rstrip("/")]
        runs = _runs(names)
        strays = [name for name in names if name.rstrip("/") not in runs]
        if strays and users is None:
            users = _users(every_version, heartbeat)
        for name in strays:
            stray = f"gs://{settings.BUCKET}/{root}{name}"
            if users is not None and not users.at(stray):
                yield stray


def _users(every_version: bool, heartbeat: Heartbeat) -> Pointers:  # noqa: FBT001
    read = ask(lambda: read_pointers(every_version=every_version, heartbeat=heartbeat))
    if not isinstance(read, Present):
        raise UsersUnread(read.reason)
    return read.value


def reason_to_keep(stray: str, *, before: datetime, heartbeat: Heartbeat = lambda: None) -> str:
    """What stands against deleting a stray, '' when nothing does; reads all of its objects."""
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
    """Delete up to a chunk of a stray's objects that are older than that and of names behind
    `after`; None when none is left.

    :raises CloudUnavailable: some objects could not be deleted; the others are.
    """
    bucket, key = _place_of(stray)
    pages = storage.list_objects(bucket, key, after=after, page_size=CHUNK)
    below = ([i for i in page if _is_in(i.name, key) and _is_older(i, before)] for page in pages)
    old = next((page for page in below if page), None)
    return None if old is None else delete_found(old, bucket=bucket, at=repr(stray))


def _place_of(stray: str) -> tuple[str, str]:
    """Its bucket and name. It was listed, so it has any name that Cloud Storage allows."""
    settings = require_settings()
    root = f"gs://{settings.BUCKET}/{settings.ARTIFACTS_PREFIX}/"
    name = stray.removeprefix(root)
    if not stray.startswith(root) or not name.rstrip("/"):
        raise UnsafePath(f"{stray!r} does not lie directly below {root}.")
    return settings.BUCKET, f"{settings.ARTIFACTS_PREFIX}/{name}"


def _is_in(name: str, key: str) -> bool:
    return name.startswith(key) if key.endswith("/") else name == key


def _is_older(item: RemoteObject, before: datetime) -> bool:
    return item.updated is not None and item.updated < before


def _runs(names: list[str]) -> set[str]:
    """Those that are a run's: its uid in hex, or its id."""
    bare = [name.rstrip("/") for name in names]
    uids = {UUID(hex=name) for name in bare if is_uid(name)}
    ids = [int(name) for name in bare if name.isascii() and name.isdigit() and len(name) < 19]
    found = TrainingRun.objects.filter(uid__in=uids).values_list("uid", flat=True)
    known = {uid.hex for uid in found}
    return known | {
        str(pk) for pk in TrainingRun.objects.filter(pk__in=ids).values_list("pk", flat=True)
    }
