"""References to files below the artifacts root. They are read before a file is deleted, because our
rows alone do not prove that a file is unused (law 8).

One reading of Vertex AI, Cloud Run and our rows answers for any number of folders. A pointer into a
folder, or to a folder above it, uses all of it: a model's address is a folder, and only its owner
knows which objects are read.
"""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Collection, Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from itertools import chain
from typing import Any

from ml_platform.cloud import cloud_run, vertex
from ml_platform.cloud.names import ModelName
from ml_platform.cloud.transport.channels import location_path
from ml_platform.cloud.types import RemoteModel, RemoteService
from ml_platform.conf import require_settings
from ml_platform.errors import CloudAbsent
from ml_platform.models import TrainingRun
from ml_platform.services.operations.work import Heartbeat
from ml_platform.services.ownership.labels import RUN, is_uid
from ml_platform.services.registry.verification import read_versions

EVERYTHING = ""
"""Marks the artifacts root; a model stored there may use any folder below it."""
SHOWN = 3
"""Pointers that a message names; the others are counted."""
_ADDRESS = re.compile(
    r"(?:gs://|/gcs/|https://storage\.(?:googleapis|cloud\.google)\.com/)[^\s\"'`,;<>|(){}\[\]]+"
)
_UID = re.compile(r"(?<![0-9a-f])[0-9a-f]{32}(?![0-9a-f])")


@dataclass(frozen=True, slots=True, kw_only=True)
class Pointer:
    """A model, service or run that points at files.

    `run_uid` is the run that its label names or whose row it is, '' for resources of others; `row`
    is the id of the run if it is one of our rows; `version` is the name of a version in Vertex AI.
    """

    who: str
    run_uid: str = ""
    row: int | None = None
    version: ModelName | None = None


@dataclass(frozen=True, slots=True)
class Pointers:
    """What points below the artifacts root, by the name directly below it."""

    by_name: dict[str, list[Pointer]] = field(default_factory=lambda: defaultdict(list))
    _there: dict[ModelName, bool] = field(default_factory=dict)

    def at(self, address: str) -> list[Pointer]:
        """What points at this folder or object directly below the root, into it or above it."""
        names = {_name(address), EVERYTHING} - {None}
        return [pointer for name in names for pointer in self.by_name.get(name or "", ())]

    def is_there(self, pointer: Pointer) -> bool:
        """Whether a version is in Vertex AI; a listing may still show one that was just deleted.

        Each version is read once.
        """
        version = pointer.version
        if version is None:
            return True
        if version not in self._there:
            self._there[version] = _exists(version)
        return self._there[version]

    def keep(self, found: Iterable[tuple[str, Pointer]]) -> Pointers:
        """Add those that point below the artifacts root; returns these pointers."""
        for uri, pointer in found:
            if (name := _name(uri)) is not None:
                self.by_name[name].append(pointer)
        return self


def read_pointers(*, every_version: bool = True, heartbeat: Heartbeat = lambda: None) -> Pointers:
    """Read everything that may point there: Vertex AI, Cloud Run and our rows.

    Without `every_version` only the default version of each model is read. That is not enough
    before a deletion.

    :raises CloudUnavailable: one of them could not be read completely, so references are unknown.
    """
    models = _of_models(every_version, heartbeat)
    return Pointers().keep(chain(models, _of_services(heartbeat), _of_runs()))


def list_models(*, at_most: int | None, heartbeat: Heartbeat) -> tuple[str, ...] | None:
    """The ids of all models of the location; None if there are more than `at_most`.

    :raises CloudUnavailable: the listing is not complete.
    """
    found: list[str] = []
    for page in vertex.list_models(page_size=100):
        heartbeat()
        found += [model.name.model_id for model in page]
        if at_most is not None and len(found) > at_most:
            return None
    return tuple(found)


def pointers_of_models(model_ids: Sequence[str], *, heartbeat: Heartbeat) -> Pointers:
    """What all versions of these models point at; one call for each model.

    :raises CloudUnavailable: one could not be read completely.
    """
    return Pointers().keep(_of_versions(model_ids, heartbeat))


def pointers_of_the_rest(*, heartbeat: Heartbeat) -> Pointers:
    """What the services on Cloud Run and our rows point at.

    :raises CloudUnavailable: the services could not be read completely.
    """
    return Pointers().keep(chain(_of_services(heartbeat), _of_runs()))


def name_below(*, uri: str, bucket: str, root: str) -> str | None:
    """The name directly below `bucket/root/` that contains `uri`; None if it is elsewhere.

    It is EVERYTHING for the root itself and for folders above it.
    """
    below, path = f"{bucket}/{root}", uri.removeprefix("gs://").rstrip("/") + "/"
    if path.startswith(below):
        return path.removeprefix(below).partition("/")[0]
    return EVERYTHING if below.startswith(path) else None


def names_of(pointers: Iterable[Pointer], *, project_id: Any = None) -> str:
    """Their names for a message in `project_id`, without resources of other projects."""
    who = {(pointer.who, pointer.run_uid) for pointer in pointers}
    elsewhere = _of_other_projects({uid for _, uid in who}, project_id)
    found = {"a model of another project" if uid in elsewhere else name for name, uid in who}
    names, more = sorted(found)[:SHOWN], len(found) - SHOWN
    return ", ".join(names) + (f" and {more} more" if more > 0 else "")


def _of_other_projects(run_uids: Collection[str], project_id: Any) -> set[str]:
    if project_id is None:
        return set()
    runs = TrainingRun.objects.filter(uid__in=filter(is_uid, run_uids))
    others = runs.exclude(project_id=project_id)
    return {uid.hex for uid in others.values_list("uid", flat=True)}


def _name(uri: str) -> str | None:
    settings = require_settings()
    return name_below(uri=uri, bucket=settings.BUCKET, root=f"{settings.ARTIFACTS_PREFIX}/")


# ---- Vertex AI ---------------------------------------------------------------------------------


def _of_models(every_version: bool, heartbeat: Heartbeat) -> Iterator[tuple[str, Pointer]]:  # noqa: FBT001
    for page in vertex.list_models():
        for model in page:
            heartbeat()
            yield from _artifacts_of([model, *(_versions(model.name) if every_version else ())])


def _of_versions(model_ids: Sequence[str], heartbeat: Heartbeat) -> Iterator[tuple[str, Pointer]]:
    for model_id in model_ids:
        heartbeat()
        name = ModelName.parse(f"{location_path()}/models/{model_id}")
        yield from _artifacts_of(_versions(name))


def _artifacts_of(versions: Iterable[RemoteModel]) -> Iterator[tuple[str, Pointer]]:
    for version in versions:
        if version.artifact_uri:
            yield (
                version.artifact_uri,
                Pointer(
                    who=f"model {version.name.model_id}@{version.version} in Vertex AI",
                    run_uid=version.labels.get(RUN, ""),
                    version=version.pointer,
                ),
            )


def _versions(name: ModelName) -> list[RemoteModel]:
    """All versions of a model; none if it was deleted since it was listed."""
    try:
        return read_versions(name)
    except CloudAbsent:
        return []


def _exists(version: ModelName) -> bool:
    try:
        vertex.get_model(version)
    except CloudAbsent:
        return False
    return True


# ---- Cloud Run ---------------------------------------------------------------------------------


def _of_services(heartbeat: Heartbeat) -> Iterator[tuple[str, Pointer]]:
    for page in cloud_run.list_services():
        for service in page:
            heartbeat()
            pointer = Pointer(
                who=f"service {service.service_id} on Cloud Run",
                run_uid=service.labels.get(RUN, ""),
            )
            for uri in addresses_of(_texts(service)):
                yield uri, pointer


def _texts(service: RemoteService) -> list[str]:
    """The configuration of its newest revision and of each other one that gets requests."""
    texts = list(service.texts)
    for revision in set(service.serving) - {service.latest_created_revision}:
        try:
            texts += cloud_run.get_revision(service.service_id, revision).texts
        except CloudAbsent:  # a deleted revision reads no files
            continue
    return texts


def addresses_of(texts: Collection[str]) -> Iterator[str]:
    """Addresses in Cloud Storage, in each way to write them, and folders named after a run."""
    settings = require_settings()
    for text in texts:
        for match in _ADDRESS.finditer(text):
            yield re.sub(r"^(/gcs/|https://[^/]+/)", "gs://", match[0])
        for uid in _UID.findall(text):
            yield f"gs://{settings.BUCKET}/{settings.ARTIFACTS_PREFIX}/{uid}"


# ---- our rows ----------------------------------------------------------------------------------


def _of_runs() -> Iterator[tuple[str, Pointer]]:
    """Artifact URIs of runs outside the run's own folder."""
    rows = TrainingRun.objects.values_list(
        "uid", "pk", "model_name", "gcs_artifacts_path", "parameters__adopted_from"
    )
    for uid, pk, model_name, path, adopted_from in rows.iterator():
        for uri in (path, adopted_from):
            if isinstance(uri, str) and uri and _name(uri) not in (uid.hex, str(pk)):
                yield uri, Pointer(who=f"{model_name} run {pk}", run_uid=uid.hex, row=pk)
