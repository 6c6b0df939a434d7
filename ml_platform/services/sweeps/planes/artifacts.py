"""Compare the files of our versions with their manifests, a chunk of rows at a time."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta
from functools import partial
from typing import Any

from ml_platform.cloud.answers import Absent, Unknown, ask
from ml_platform.conf import require_settings
from ml_platform.models import AwaitingRemoval, Manifest, MirroredArtifacts, TrainingRun
from ml_platform.models.database import atomic
from ml_platform.models.locking import lock_rows, update_rows
from ml_platform.models.registry.manifest import FilesState, ManifestOrigin
from ml_platform.models.sweeps.sweep import or_read
from ml_platform.services.artifacts.manifest import (
    NO_CHECKSUM,
    compare_files,
    keep_manifest,
    mark_lineages,
    state_after,
    take_manifest,
)
from ml_platform.services.findings import discrepancy
from ml_platform.services.findings.discrepancy import artifacts_of, artifacts_subject
from ml_platform.services.findings.exclusions import UNSTORED, WORKED_ON, Reading
from ml_platform.services.findings.model_rows import VERSION_COLUMNS
from ml_platform.services.operations.store import lineage_key

from .models import Compared
from .settled import unsettled_versions

ADOPTED_EVERY = timedelta(days=1)
"""The files of adopted versions are elsewhere: each folder needs a listing of its own."""


@dataclass(frozen=True, slots=True)
class Look:
    """What is known about the files of a version. `unknown` says why nothing is; `stored` means
    that they were not looked at again."""

    state: FilesState = FilesState.UNCHECKED
    difference: Mapping[str, Any] = field(default_factory=dict)
    unknown: str = ""
    stored: bool = False
    changed_at: datetime | None = None
    """When the newest file was written, of files that differ."""


Looker = Callable[[TrainingRun, Manifest | None], Look]


def compare_artifacts(reading: Reading) -> Iterator[Compared]:
    """Find versions without a saved model, and those with other files; yields each chunk.

    A run's own files are in the mirror. Those of an adopted version are listed once a day.
    """
    settings = require_settings()
    root = f"gs://{settings.BUCKET}/{settings.ARTIFACTS_PREFIX}/"
    versions = TrainingRun.objects.versions().filter(registered_at__lte=reading.sweep.started_at)
    versions = versions.only(*VERSION_COLUMNS)
    ours = unsettled_versions(reading, versions.filter(gcs_artifacts_path__startswith=root))
    for chunk in reading.chunks(ours):
        mirrored = MirroredArtifacts.objects.filter(prefix__in=[artifacts_of(run) for run in chunk])
        listed = dict(mirrored.values_list("prefix", "folders"))
        yield _compare(reading, chunk, partial(_look_in_mirror, reading, listed), in_sweeps=True)
    for chunk in reading.chunks(versions.filter(gcs_artifacts_path="")):
        adopted = [run for run in chunk if _adopted_from(run)]
        yield _compare(reading, adopted, partial(_look_at_adopted, reading), in_sweeps=False)


def compare_left(reading: Reading) -> Iterator[Compared]:
    """Find what the last removal of a deleted version's files had to leave; yields each chunk."""
    for chunk in reading.chunks(
        AwaitingRemoval.objects.filter(refused__gt=0).select_related("run")
    ):
        yield Compared([discrepancy.compare_left(waiting) for waiting in chunk], [])


def _compare(
    reading: Reading, runs: Sequence[TrainingRun], look: Looker, *, in_sweeps: bool
) -> Compared:
    """Compare these versions; `in_sweeps` is whether every sweep reads their files."""
    rows = Manifest.objects.filter(run__in=runs).defer("files")
    manifests = {row.run_id: row for row in rows}
    touched = reading.touched().lineages
    result = Compared([], [])
    looks: list[tuple[Manifest, Look]] = []
    unjudged: list[int] = []
    for run in runs:
        manifest = manifests.get(run.pk)
        key = lineage_key(project_id=run.project_id, model_name=run.model_name)
        seen = Look(unknown=WORKED_ON) if key in touched else look(run, manifest)
        if seen.unknown:
            what = f"{run.model_name} v{run.version}"
            result.leave_out(artifacts_subject(run.pk), what, seen.unknown, run.project_id)
            unjudged.append(run.pk)
            continue
        if manifest and not seen.stored:
            looks.append((manifest, seen))
        if found := discrepancy.compare_artifacts(run, manifest, seen.state, seen.difference):
            result.found.append(replace(found, changed_at=seen.changed_at))
    _keep_answers(unjudged)
    _write(reading, looks, in_sweeps=in_sweeps)
    mark_lineages({run.registered_model_id for run in runs if run.registered_model_id})
    return result


def _write(reading: Reading, looks: Collection[tuple[Manifest, Look]], *, in_sweeps: bool) -> None:
    """Record what was seen, with its time."""
    if not looks:
        return
    at = {"checked_at": reading.sweep.started_at, "in_sweeps": in_sweeps}
    changed: list[Manifest] = []
    for row, seen in looks:
        if (row.state, row.difference) != (seen.state, seen.difference):
            row.state, row.difference = seen.state, dict(seen.difference)
            changed.append(row)
    with atomic():
        rows = Manifest.objects.filter(pk__in=[row.pk for row, _ in looks])
        lock_rows(rows)
        Manifest.objects.bulk_update(changed, ["state", "difference"])
        rows.update(**at)


def _keep_answers(unjudged: Collection[int]) -> None:
    """Note when the files that this sweep does not judge were compared last: the end of the sweep
    makes the time of the others newer."""
    rows = Manifest.objects.filter(run__in=unjudged, in_sweeps=True)
    if unjudged:
        update_rows(rows, checked_at=or_read("checked_at", "gcs"), in_sweeps=False)


# ---- the files of our own runs -------------------------------------------------------------------


def _look_in_mirror(
    reading: Reading,
    listed: Mapping[str, Mapping[str, Any] | None],
    run: TrainingRun,
    manifest: Manifest | None,
) -> Look:
    prefix = artifacts_of(run)
    folders = listed.get(prefix, {})
    if prefix in reading.unstored["gcs"] or folders is None:
        return Look(unknown=UNSTORED)
    if not folders:
        return Look(FilesState.MISSING)
    if manifest is None:
        return Look()
    seen = folders.get(manifest.folder.rstrip("/").rpartition("/")[2])
    if seen is None:
        return Look(FilesState.MISSING)
    if not seen["digest"]:
        return Look(unknown=NO_CHECKSUM)
    if seen["digest"] == manifest.digest:
        return Look(FilesState.VERIFIED)
    difference = seen.get("difference", {})
    changed = seen.get("changed_at")
    return Look(
        state_after(difference),
        difference,
        changed_at=datetime.fromisoformat(changed) if changed else None,
    )


# ---- the files of adopted versions ---------------------------------------------------------------


def _adopted_from(run: TrainingRun) -> str:
    """The folder of an adopted version in Cloud Storage, '' if it has none there."""
    uri = str(run.parameters.get("adopted_from", ""))
    return uri if uri.startswith("gs://") else ""


def _look_at_adopted(reading: Reading, run: TrainingRun, manifest: Manifest | None) -> Look:
    last = manifest.checked_at if manifest else None
    if manifest and last and last > reading.now - ADOPTED_EVERY:
        return Look(FilesState(manifest.state), manifest.difference, stored=True)
    reading.heartbeat()
    answer = ask(lambda: take_manifest(_adopted_from(run), needs=""))
    if isinstance(answer, Unknown):
        return Look(unknown=answer.reason)
    if isinstance(answer, Absent):
        return Look(FilesState.MISSING if manifest else FilesState.UNCHECKED)
    taken = answer.value
    if manifest is None:
        with atomic():
            keep_manifest(run, taken, ManifestOrigin.SWEEP, reading.sweep.started_at)
        return Look()
    if taken.digest == manifest.digest:
        return Look(FilesState.VERIFIED)
    difference = compare_files(manifest.files, taken)
    return Look(state_after(difference), difference, changed_at=taken.changed_at)
