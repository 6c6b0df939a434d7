"""Read the pushed models of all runs with one listing, a folder at a time."""

from __future__ import annotations

import re
from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any

from ml_platform.cloud import storage
from ml_platform.conf import require_settings
from ml_platform.models import Manifest, TrainingRun
from ml_platform.models.clock import database_now
from ml_platform.models.registry.manifest import ManifestOrigin
from ml_platform.services.artifacts.folders import newest_folder
from ml_platform.services.artifacts.manifest import Taken, compare_files, manifest_of
from ml_platform.services.findings.discrepancy import artifacts_of
from ml_platform.services.ownership.labels import is_uid

PUSHED = "pushed_model/"
_FILE = re.compile(rf"(.*?/){PUSHED}([^/]+)/(.+)", re.DOTALL)
COLUMNS = ("uid", "gcs_artifacts_path", "manifest__folder", "manifest__digest")


@dataclass(slots=True)
class PushedModels:
    """The pushed models of a run; `folders` is what the mirror has of each, by its number."""

    prefix: str
    """gs://bucket/key/ of the run."""
    run: TrainingRun | None
    """The version that has this prefix."""
    folders: dict[str, dict[str, Any]] = field(default_factory=dict)
    newest: Taken | None = None
    """The newest folder, with its list of files, for a version that has no manifest yet."""

    @property
    def manifest(self) -> Manifest | None:
        """The manifest of the version, without its list of files."""
        return getattr(self.run, "manifest", None)

    def add(self, taken: Taken) -> None:
        """Note the next folder; it is compared if the version's manifest is of it."""
        manifest, number = self.manifest, taken.folder.rstrip("/").rpartition("/")[2]
        seen = {"digest": taken.digest, "files": taken.count, "bytes": taken.bytes}
        if manifest and manifest.folder == taken.folder and manifest.digest != taken.digest:
            manifest.refresh_from_db(fields=["files"])
            seen["difference"] = compare_files(manifest.files, taken)
            seen["changed_at"] = taken.changed_at.isoformat() if taken.changed_at else ""
        if not taken.has_model:
            return
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


def _versions(prefixes: Collection[str]) -> dict[str, TrainingRun]:
    """The versions that have these prefixes, with their manifests but not the lists."""
    names = {prefix.rstrip("/").rpartition("/")[2] for prefix in prefixes}
    uids = [name for name in names if is_uid(name)]
    keys = [int(name) for name in names if name.isascii() and name.isdecimal() and len(name) < 19]
    rows = TrainingRun.objects.versions().select_related("manifest").only(*COLUMNS)
    found = [*rows.filter(uid__in=uids), *(rows.filter(pk__in=keys) if keys else ())]
    return {artifacts_of(run): run for run in found if artifacts_of(run) in prefixes}


def _with_manifests(done: Sequence[PushedModels]) -> list[PushedModels]:
    """Take the manifests of the versions that have none; returns the runs with a saved model."""
    new = [
        manifest_of(one.run, one.newest, ManifestOrigin.SWEEP, database_now())
        for one in done
        if one.run and not one.manifest and one.newest and one.newest.digest
    ]
    new.sort(key=lambda row: row.run_id)  # a sweep beside this one inserts them in the same order
    Manifest.objects.bulk_create(new, ignore_conflicts=True)
    for one in done:
        one.newest = None  # frees its list of files
    return [one for one in done if one.folders]
