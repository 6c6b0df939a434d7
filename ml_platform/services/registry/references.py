"""Who points at files below the artifacts root: asked before any of them is deleted (law 8).

One reading of Vertex AI, Cloud Run and our rows answers for any number of folders. Whoever points
into a folder uses all of it, and so does whoever points at what holds it: a model's address is a
folder, and nobody but its owner knows which objects they read.
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
from ml_platform.cloud.types import RemoteModel, RemoteService
from ml_platform.conf import require_settings
from ml_platform.errors import CloudAbsent
from ml_platform.models import TrainingRun
from ml_platform.services.operations.work import Heartbeat
from ml_platform.services.registry.labels import is_uid
from ml_platform.services.registry.verification import read_versions

from .labels import RUN

EVERYTHING = ""
"""The name of the root itself: what lies there lies in no folder, so every folder may be its."""
SHOWN = 3
"""Pointers that are named; the others are counted."""
_ADDRESS = re.compile(
    r"(?:gs://|/gcs/|https://storage\.(?:googleapis|cloud\.google)\.com/)[^\s\"'`,;<>|(){}\[\]]+"
)
_UID = re.compile(r"(?<![0-9a-f])[0-9a-f]{32}(?![0-9a-f])")


@dataclass(frozen=True, slots=True, kw_only=True)
class Pointer:
    """One who points at files."""

    who: str
    run_uid: str = ""
    """The run that its label names, or whose row it is; '' for what others made."""
    row: int | None = None
    """Id of the run whose row it is."""
    version: ModelName | None = None
    """Its name and number, if it is a version in Vertex AI."""


@dataclass(frozen=True, slots=True)
class Pointers:
    """Who points below the artifacts root, by the name directly below it."""

    by_name: dict[str, list[Pointer]] = field(default_factory=lambda: defaultdict(list))

    def at(self, address: str) -> list[Pointer]:
        """Who points at a folder or object directly below the root, into it or at what holds it."""
        names = {_name(address), EVERYTHING}
        return [pointer for name in names if name is not None for pointer in self._of(name)]

    def add(self, uri: str, pointer: Pointer) -> None:
        """Note that somebody points at this address, wherever it lies."""
        if (name := _name(uri)) is not None:
            self.by_name[name].append(pointer)

    def _of(self, name: str) -> Sequence[Pointer]:
        return self.by_name.get(name, ())


def read_pointers(*, every_version: bool = True, heartbeat: Heartbeat = lambda: None) -> Pointers:
    """Ask everybody who may point there: our rows, Vertex AI and Cloud Run.

    Without `every_version` only the default version of each model is read, which is not enough for
    whoever deletes.

    :raises CloudUnavailable: one could not be read completely, so that nothing is known.
    """
    found = Pointers()
    for uri, pointer in chain(
        _of_models(every_version, heartbeat), _of_services(heartbeat), _of_runs()
    ):
        found.add(uri, pointer)
    return found


def name_below(*, uri: str, bucket: str, root: str) -> str | None:
    """The name directly below `bucket/root/` in which `uri` lies; None when it lies elsewhere.

    It is EVERYTHING for the root itself and for what holds it.
    """
    below, path = f"{bucket}/{root}", uri.removeprefix("gs://").rstrip("/") + "/"
    if path.startswith(below):
        return path.removeprefix(below).partition("/")[0]
    return EVERYTHING if below.startswith(path) else None


def is_there(pointer: Pointer) -> bool:
    """Whether a version is in Vertex AI; a listing may yet show what has just been deleted."""
    if pointer.version is None:
        return True
    try:
        vertex.get_model(pointer.version)
    except CloudAbsent:
        return False
    return True


def names_of(pointers: Iterable[Pointer], *, project_id: Any = None) -> str:
    """Say who they are; what is another project's is not named to somebody of `project_id`."""
    pointers = list(pointers)
    elsewhere = _of_other_projects(pointers, project_id)
    found = {
        "a model of another project" if pointer.run_uid in elsewhere else pointer.who
        for pointer in pointers
    }
    names, more = sorted(found)[:SHOWN], len(found) - SHOWN
    return ", ".join(names) + (f" and {more} more" if more > 0 else "")


def _of_other_projects(pointers: Iterable[Pointer], project_id: Any) -> set[str]:
    if project_id is None:
        return set()
    uids = {pointer.run_uid for pointer in pointers if is_uid(pointer.run_uid)}
    others = TrainingRun.objects.filter(uid__in=uids).exclude(project_id=project_id)
    return {uid.hex for uid in others.values_list("uid", flat=True)}


def _name(uri: str) -> str | None:
    settings = require_settings()
    return name_below(uri=uri, bucket=settings.BUCKET, root=f"{settings.ARTIFACTS_PREFIX}/")


# ---- Vertex AI ---------------------------------------------------------------------------------


def _of_models(every_version: bool, heartbeat: Heartbeat) -> Iterator[tuple[str, Pointer]]:  # noqa: FBT001
    for page in vertex.list_models():
        for model in page:
            heartbeat()
            for version in [model, *(_versions(model) if every_version else ())]:
                if version.artifact_uri:
                    yield version.artifact_uri, _version_pointer(version)


def _versions(model: RemoteModel) -> list[RemoteModel]:
    """All versions of a model; none of one that was deleted since it was listed."""
    try:
        return read_versions(model.name)
    except CloudAbsent:
        return []


def _version_pointer(version: RemoteModel) -> Pointer:
    return Pointer(
        who=f"model {version.name.model_id}@{version.version} in Vertex AI",
        run_uid=version.labels.get(RUN, ""),
        version=version.pointer,
    )


# ---- Cloud Run ---------------------------------------------------------------------------------


def _of_services(heartbeat: Heartbeat) -> Iterator[tuple[str, Pointer]]:
    for page in cloud_run.list_services():
        for service in page:
            heartbeat()
            pointer = Pointer(
                who=f"service {service.service_id} on Cloud Run",
                run_uid=service.labels.get(RUN, ""),
            )
            for uri in _addresses(_texts(service)):
                yield uri, pointer


def _texts(service: RemoteService) -> list[str]:
    """What is told to its newest revision, and to each other one that requests may reach."""
    texts = list(service.texts)
    for revision in set(service.serving) - {service.latest_created_revision}:
        try:
            texts += cloud_run.get_revision(service.service_id, revision).texts
        except CloudAbsent:  # a revision that is gone reads nothing
            continue
    return texts


def _addresses(texts: Collection[str]) -> Iterator[str]:
    """Addresses in Cloud Storage, however they are written, and folders named after a run."""
    settings = require_settings()
    for text in texts:
        for match in _ADDRESS.finditer(text):
            yield re.sub(r"^(/gcs/|https://[^/]+/)", "gs://", match[0])
        for uid in _UID.findall(text):
            yield f"gs://{settings.BUCKET}/{settings.ARTIFACTS_PREFIX}/{uid}"


# ---- our rows ----------------------------------------------------------------------------------


def _of_runs() -> Iterator[tuple[str, Pointer]]:
    """Where runs say that something of theirs lies that is not in the folder of their own name."""
    rows = TrainingRun.objects.values_list(
        "uid", "pk", "model_name", "gcs_artifacts_path", "parameters__adopted_from"
    )
    for uid, pk, model_name, path, adopted_from in rows.iterator():
        for uri in (path, adopted_from):
            if isinstance(uri, str) and uri and _name(uri) not in (uid.hex, str(pk)):
                yield uri, Pointer(who=f"{model_name} run {pk}", run_uid=uid.hex, row=pk)
