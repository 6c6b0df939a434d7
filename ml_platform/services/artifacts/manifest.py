"""Manifests: which files a version has, and how the files of today differ (law 12).

The digest is the beginning of the SHA-256 of one line for each file, in the order in which Cloud
Storage lists them (by name: https://cloud.google.com/storage/docs/json_api/v1/objects/list): the
JSON list of the name below the folder, the size in bytes and the CRC32C that Cloud Storage computed
itself. So a manifest costs listings only. CRC32C finds accidents; somebody who wants to can make
other bytes with the same one.
"""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Collection, Mapping
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

from django.db.models import Case, Q

from ml_platform.cloud import storage
from ml_platform.cloud.names import ObjectPath
from ml_platform.cloud.types import RemoteObject
from ml_platform.errors import CloudAbsent, CloudUnavailable, storable
from ml_platform.models import Manifest, RegisteredModel, TrainingRun
from ml_platform.models.locking import update_rows
from ml_platform.models.registry.manifest import DIFFERING, FilesState, ManifestOrigin
from ml_platform.models.states import HOLDS_POINTER, RegistryState
from ml_platform.models.sweeps.sweep import as_of
from ml_platform.text import in_one_line

from .folders import MODEL_FILE

DIGEST_LENGTH = 40
"""Hexadecimal digits of the SHA-256: a label's value has at most 63 characters."""
KEPT = 10_000
"""A longer list of files is not kept: its digest still finds a change, but no file is named."""
NAMED = 5
"""How many files a difference names, of each sort."""
NO_CHECKSUM = "Cloud Storage listed a file without its checksum"
_WORDS = ("changed", "missing", "added")

File = tuple[str, int, str, int]
"""Name below the folder, size, CRC32C, generation: the last one is evidence, not identity."""


@dataclass(slots=True)
class Taken:
    """The files of one folder as a listing shows them; `add` them in its order."""

    folder: str
    """gs://bucket/key/"""
    count: int = 0
    bytes: int = 0
    has_model: bool = False
    changed_at: datetime | None = None
    """When the newest of them was written."""
    files: list[File] | None = field(default_factory=list)
    """None if there are more than KEPT."""
    _hash: Any = field(default_factory=hashlib.sha256)
    _complete: bool = True

    def add(self, name: str, item: RemoteObject) -> None:
        """Add the next file; `name` is its name below the folder."""
        self.count += 1
        self.bytes += item.size
        self.has_model = self.has_model or name == MODEL_FILE
        if item.updated and (self.changed_at is None or item.updated > self.changed_at):
            self.changed_at = item.updated
        self._complete = self._complete and bool(item.crc32c)
        self._hash.update(json.dumps([name, item.size, item.crc32c]).encode() + b"\n")
        if self.files is None or self.count > KEPT:
            self.files = None
        else:
            self.files.append((storable(name), item.size, item.crc32c, item.generation))

    @property
    def digest(self) -> str:
        """The digest of the list; '' if a checksum is missing, so that nothing is known."""
        return self._hash.hexdigest()[:DIGEST_LENGTH] if self._complete else ""


def take_manifest(uri: str, *, needs: str = MODEL_FILE) -> Taken:
    """List the files of a folder: a call for each thousand. One of them must be `needs`; adopted
    models may have any files.

    :raises Invalid: it is not the URI of a folder in Cloud Storage.
    :raises CloudAbsent: Cloud Storage could list the folder, and the file is not in it.
    :raises CloudUnavailable: a file was listed without its checksum.
    """
    folder = ObjectPath.parse(uri).folder
    taken = Taken(str(folder))
    for page in storage.list_objects(folder.bucket, folder.key):
        for item in page:
            if name := item.name.removeprefix(folder.key):
                taken.add(name, item)
    if not (taken.has_model if needs else taken.count):
        raise CloudAbsent(f"Cloud Storage has no {folder}{needs}.")
    if not taken.digest:
        raise CloudUnavailable(f"{NO_CHECKSUM} in {folder}.", code="no_checksum")
    return taken


def manifest_of(run_id: int, taken: Taken, origin: ManifestOrigin, now: datetime) -> Manifest:
    """A new row of a run's manifest, not saved."""
    return Manifest(
        run_id=run_id,
        folder=taken.folder,
        digest=taken.digest,
        file_count=taken.count,
        total_bytes=taken.bytes,
        files=taken.files,
        origin=origin,
        taken_at=now,
        state=FilesState.VERIFIED,
        checked_at=now,
    )


def keep_manifest(run: TrainingRun, taken: Taken, origin: ManifestOrigin, now: datetime) -> None:
    """Record, in the caller's transaction, that these are the files of the run's version."""
    row = manifest_of(run.pk, taken, origin, now)
    columns = [each for each in Manifest._meta.concrete_fields if not each.primary_key]  # noqa: SLF001
    values = {each.attname: getattr(row, each.attname) for each in columns}
    Manifest.objects.update_or_create(run_id=values.pop("run_id"), defaults=values)


def trust_label(run: TrainingRun, digest: str) -> None:
    """Record, in the caller's transaction, the digest in the label of a version that an earlier try
    uploaded. If the files changed since, their names of then are not known."""
    if re.fullmatch(f"[0-9a-f]{{{DIGEST_LENGTH}}}", digest):
        other = Manifest.objects.filter(run=run).exclude(digest=digest)
        update_rows(other, digest=digest, files=None)


def digest_of(run: TrainingRun) -> str:
    """The digest of the run's manifest, '' for none."""
    found = Manifest.objects.filter(run=run).values_list("digest", flat=True)
    return found.first() or ""


def manifest_for(run: TrainingRun, taken: Taken) -> Manifest | None:
    """The manifest of the version. A sweep has guessed which folder Vertex AI has for a version
    without one: a manifest that it took of another folder does not count."""
    row = Manifest.objects.filter(run=run).first()
    guessed = row and row.origin == ManifestOrigin.SWEEP and row.folder != taken.folder
    return None if guessed else row


def difference_from_manifest(run: TrainingRun, taken: Taken) -> str:
    """How these files differ from the version's manifest, in words; '' if they do not."""
    row = manifest_for(run, taken)
    if row is None or row.digest == taken.digest:
        return ""
    return difference_text(compare_files(row.files, taken))


def compare_files(was: list[File] | None, taken: Taken) -> dict[str, Any]:
    """How the files differ from a manifest's list: by word, their number and the first names.

    It is empty if one of the two lists was too long to keep.
    """
    if was is None or taken.files is None:
        return {}
    before = {name: (size, crc32c) for name, size, crc32c, _ in was}
    after = {name: (size, crc32c) for name, size, crc32c, _ in taken.files}
    names = {
        "changed": [name for name in before if after.get(name, before[name]) != before[name]],
        "missing": [name for name in before if name not in after],
        "added": [name for name in after if name not in before],
    }
    return {
        word: {"count": len(found), "names": found[:NAMED]}
        for word, found in names.items()
        if found
    }


def state_after(difference: Mapping[str, Any]) -> FilesState:
    """Incomplete if files are missing and nothing else differs, otherwise changed."""
    return FilesState.INCOMPLETE if set(difference) == {"missing"} else FilesState.CHANGED


def difference_text(difference: Mapping[str, Any]) -> str:
    """`changed: saved_model.pb; missing: variables/a and 3 more`."""
    if not difference:
        return "the digest of its files differs"
    return "; ".join(_sort(word, difference[word]) for word in _WORDS if word in difference)


def _sort(word: str, found: Mapping[str, Any]) -> str:
    names = ", ".join(in_one_line(name) for name in found["names"])
    more = found["count"] - len(found["names"])
    return f"{word}: {names}" + (f" and {more:,} more" if more else "")


def files_checked_at(run: str = "") -> Case:
    """When the files of a version were last compared; `run` is the path to it, with its `__`."""
    compared = {f"{run}manifest__in_sweeps": True, f"{run}registration__in": HOLDS_POINTER}
    return as_of(f"{run}manifest__checked_at", Q(**compared), "gcs")


def with_other_files(lineages: Collection[int]) -> set[int]:
    """Those of the registered models that have a version whose files were last found to differ."""
    versions = TrainingRun.objects.versions().filter(
        registered_model__in=lineages, manifest__state__in=DIFFERING
    )
    return set(versions.values_list("registered_model", flat=True))


def mark_lineages(lineages: Collection[int]) -> None:
    """Correct the state of registered models that a sweep verified, by the states of their
    manifests."""
    differing = with_other_files(lineages)
    rows = RegisteredModel.objects.registered()
    for pks, found, state in (
        (differing, RegistryState.VERIFIED, RegistryState.CHANGED),
        (set(lineages) - differing, RegistryState.CHANGED, RegistryState.VERIFIED),
    ):
        update_rows(rows.filter(pk__in=pks, registry_state=found), registry_state=state)
