"""Read the pushed models of all runs with one listing, a folder at a time."""

from __future__ import annotations

import re
from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass, field
from itertools import chain
from typing import Any, NamedTuple

from ml_platform.cloud import storage
from ml_platform.conf import require_settings
from ml_platform.models import Manifest, TrainingRun
from ml_platform.models.clock import database_now
from ml_platform.models.registry.manifest import ManifestOrigin
from ml_platform.services.artifacts.folders import newest_folder
from ml_platform.services.artifacts.manifest import Taken, compare_files, manifest_of
from ml_platform.services.ownership.labels import is_uid

PUSHED = "pushed_model/"
_FILE = re.compile(rf"(.*?/){PUSHED}([^/]+)/(.+)", re.DOTALL)


class Recorded(NamedTuple):
    """A version as our tables have it, with its manifest but not the list of its files."""

    run_id: int
    path: str
    manifest_id: int | None
    folder: str | None
    digest: str | None

    @property
    def prefix(self) -> str:
        """Its folder, as the mirror writes it."""
        return f"{self.path.rstrip('/')}/"


@dataclass(slots=True)
class PushedModels:
    """The pushed models of a run; `folders` is what the mirror has of each, by its number."""

    prefix: str
    """gs://bucket/key/ of the run."""
    version: Recorded | None
    """The version that has this prefix."""
    manifest_digest: str = ""
    """The digest of the folder that its manifest names."""
    folders: dict[str, dict[str, Any]] = field(default_factory=dict)
    newest: Taken | None = None
    """The newest folder, with its list of files, for a version that has no manifest yet."""

    def add(self, taken: Taken) -> None:
        """Note the next folder; it is compared if the version's manifest is of it."""
        if not taken.has_model:
            return
        number = taken.folder.rstrip("/").rpartition("/")[2]
        seen = {"digest": taken.digest, "files": taken.count, "bytes": taken.bytes}
        if self.version and self.version.folder == taken.folder:
            self.manifest_digest = taken.digest
            if self.version.digest != taken.digest:
                rows = Manifest.objects.filter(run=self.version.run_id)
                files = rows.values_list("files", flat=True).first()
                seen["difference"] = compare_files(files, taken)
                seen["changed_at"] = taken.changed_at.isoformat() if taken.changed_at else ""
        self.folders[number] = seen
        if newest_folder(self.folders) == number:
            self.newest = taken


def read_pushed_models() -> Iterator[list[PushedModels]]:
    """Yield the runs that have a saved model, as many as a page of the listing completes.

    A version without a manifest gets one: it proves what the files are from now on.
    """
    current: PushedModels | None = None
    for folders in _folders():
        done: list[PushedModels] = []
        versions = _versions({_prefix(taken) for taken in folders})
        for taken in folders:
            prefix = _prefix(taken)
            if current is None or current.prefix != prefix:
                done += [current] if current else []
                current = PushedModels(prefix, versions.get(prefix))
            current.add(taken)
        yield _with_manifests(done)
    if current:
        yield _with_manifests([current])


def _prefix(taken: Taken) -> str:
    return taken.folder.removesuffix("/").rpartition(PUSHED)[0]


def _folders() -> Iterator[list[Taken]]:
    """Yield the folders that each page completes. A listing is in the order of the names, so the
    files of a folder follow each other."""
    settings = require_settings()
    root = f"{settings.ARTIFACTS_PREFIX}/"
    current: Taken | None = None
    for page in storage.list_objects(settings.BUCKET, root, glob=f"{root}**/{PUSHED}*/**"):
        done: list[Taken] = []
        for item in page:
            if not (found := _FILE.fullmatch(item.name)):
                continue
            prefix, number, name = found.groups()
            folder = f"gs://{settings.BUCKET}/{prefix}{PUSHED}{number}/"
            if current is None or current.folder != folder:
                done += [current] if current else []
                current = Taken(folder)
            current.add(name, item)
        yield done
    if current:
        yield [current]


def _versions(prefixes: Collection[str]) -> dict[str, Recorded]:
    """The versions that have these prefixes."""
    names = {prefix.rstrip("/").rpartition("/")[2] for prefix in prefixes}
    uids = [name for name in names if is_uid(name)]
    keys = [int(name) for name in names if name.isascii() and name.isdecimal() and len(name) < 19]
    columns = ("pk", "gcs_artifacts_path", "manifest__pk", "manifest__folder", "manifest__digest")
    rows = TrainingRun.objects.versions().values_list(*columns)
    by_uid, by_key = rows.filter(uid__in=uids), rows.filter(pk__in=keys)  # none asks nothing
    versions = (Recorded(*row) for row in chain(by_uid, by_key))
    return {one.prefix: one for one in versions if one.prefix in prefixes}


def _with_manifests(done: Sequence[PushedModels]) -> list[PushedModels]:
    """Take the manifests of the versions that have none; returns the runs with a saved model."""
    new: list[Manifest] = []
    for one in done:
        if one.version and not one.version.manifest_id and one.newest and one.newest.digest:
            one.manifest_digest = one.newest.digest
            taken_at = database_now()
            new.append(manifest_of(one.version.run_id, one.newest, ManifestOrigin.SWEEP, taken_at))
    new.sort(key=lambda row: row.run_id)  # a sweep beside this one inserts them in the same order
    if new:
        Manifest.objects.bulk_create(new, ignore_conflicts=True)
    for one in done:
        one.newest = None  # frees its list of files
    return [one for one in done if one.folders]
