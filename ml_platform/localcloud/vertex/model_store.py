"""The registry's memory: models, versions, aliases and deployments as rows of the store."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from datetime import datetime
from typing import Any

import grpc

from ..core.core import Core
from ..core.errors import CloudError, invalid, not_found, precondition
from . import model_rules as rules
from .model_rules import DEFAULT, Model, Parent

MODEL, VERSION, DEPLOYMENT, TOMB = "model", "model.version", "deployment", "model.tomb"
NAME = "projects/{project}/locations/{location}/models/{model}"


@dataclass
class Behavior:
    """Where Google's behavior is not documented: set each to the other answer and test both."""

    exists_in_lro: bool = False  # ALREADY_EXISTS ends the operation instead of the call
    versions_restart: bool = True  # an id that is used again starts at version 1
    default_moves: bool = True  # deleting the default version moves the alias, else refused
    labels_per_version: bool = True  # the labels of an upload belong to its version


class Registry:
    """Reads and writes that keep a model, its versions and its aliases together."""

    def __init__(self, core: Core) -> None:
        self._core, self._store = core, core.store
        self.behavior = Behavior()

    def name_of(self, model_id: str, version: str = "") -> str:
        """`projects/NUMBER/locations/L/models/ID[@VERSION]`."""
        return f"{self._core.names.vertex_parent}/models/{model_id}{version and '@' + version}"

    def versions(self, model_id: str) -> Iterator[Any]:
        """The versions of a model as they are stored, oldest first."""
        for _, blob in self._store.list(VERSION, f"{model_id}@"):
            yield Model.FromString(blob)

    def last_used(self, model_id: str) -> int:
        """The highest version an earlier life of this id reached (0 when that is forgotten)."""
        return int(self._store.get(TOMB, model_id) or 0)

    def write(
        self, model_id: str, parent: Parent, version: str, model: Any, aliases: Iterable[str]
    ) -> None:
        """Store a version with the time of its model's last update; records no effect."""
        now = datetime.fromisoformat(parent.updated)
        stored = Model()
        stored.CopyFrom(model)
        stored.version_id = version
        stored.version_create_time.FromDatetime(now)
        stored.version_update_time.FromDatetime(now)
        parent = parent.touched(
            now,
            last_version=max(parent.last_version, int(version)),
            aliases=parent.aliases | dict.fromkeys(aliases, version),
        )
        with self._store.transaction():
            self._store.put(MODEL, model_id, parent.dump())
            self._store.put(VERSION, f"{model_id}@{version}", stored.SerializeToString())

    def remove_version(self, model_id: str, number: str) -> None:
        """Delete a version; `default` moves to the newest that remains."""
        parent = self.need(model_id)
        version = self.version(model_id, parent, number)
        self.refuse_version_delete(model_id, number)
        aliases = {alias: held for alias, held in parent.aliases.items() if held != number}
        left = [v.version_id for v in self.versions(model_id) if v.version_id != number]
        aliases.setdefault(DEFAULT, max(left, key=int))
        parent = parent.touched(self._core.clock.now(), aliases=aliases)
        with self._store.transaction():
            self._store.delete(VERSION, f"{model_id}@{number}")
            self._store.put(MODEL, model_id, parent.dump())
        self._core.effects.record(
            self.name_of(model_id, number),
            labels=dict(version.labels),
            detail={"versions": [_removed(version)]},
        )

    def remove(self, model_id: str) -> None:
        """Delete a model with all its versions; its id is free again."""
        self.refuse_deployed(model_id)
        parent, gone = self.need(model_id), list(self.versions(model_id))
        with self._store.transaction():
            for version in gone:
                self._store.delete(VERSION, f"{model_id}@{version.version_id}")
            self._store.delete(MODEL, model_id)
            if not self.behavior.versions_restart:
                self._store.put(TOMB, model_id, str(parent.last_version).encode())
        self._core.effects.record(
            self.name_of(model_id),
            labels=dict(gone[-1].labels),
            detail={"versions": [_removed(version) for version in gone]},
        )

    def seed(
        self, model_id: str, display_name: str, description: str, items: list[dict[str, Any]]
    ) -> str:
        """Write versions with given numbers; the default is the last or the one with that alias."""
        self.refuse_existing(model_id)
        now = self._core.clock.now()
        parent = Parent(display_name, description, now.isoformat(), now.isoformat())
        with_default = [item for item in items if DEFAULT in item["aliases"]]
        for item in items:
            model = Model(artifact_uri=item["artifact_uri"])
            model.labels.update(item["labels"])
            aliases = {*item["aliases"]} | (
                {DEFAULT} if item is (with_default or items)[-1] else set()
            )
            self.write(model_id, parent, str(item["version"]), model, aliases)
            parent = self.need(model_id)
        return self.name_of(model_id)

    def split(self, name: str, field: str = "name") -> tuple[str, str]:
        """(model id, version or alias or '') of one of our resource names."""
        parts = self._core.names.locate(name, NAME, field=field)
        model_id, at, version = parts["model"].partition("@")
        if not model_id or (at and not version):
            raise invalid(field, "Invalid Model resource name.")
        return model_id, version

    def need(self, model_id: str) -> Parent:
        """The model; NOT_FOUND without it."""
        blob = self._store.get(MODEL, model_id)
        if blob is None:
            raise not_found("The Model does not exist.")
        return Parent.load(blob)

    def version(self, model_id: str, parent: Parent, wanted: str, *, fallback: bool = False) -> Any:
        """A version by number or alias as it is stored; NOT_FOUND without it."""
        number = parent.aliases.get(wanted, wanted)
        blob = self._store.get(VERSION, f"{model_id}@{number}")
        if blob is None and fallback:
            # A stale read hides the newest version: the one before it answers.
            seen = [blob for _, blob in self._store.list(VERSION, f"{model_id}@")]
            blob = seen[-1] if seen else None
        if blob is None:
            raise not_found("The Model version does not exist.")
        return Model.FromString(blob)

    def render(self, model_id: str, parent: Parent, version: Any, number: str = "") -> Any:
        """The Model as it is answered, under its bare name or with `@number`."""
        prefix = f"{model_id}@{version.version_id}/"
        deployed = [
            (blob.decode(), name.rpartition("/")[2])
            for name, blob in self._store.list(DEPLOYMENT, prefix)
        ]
        return rules.render(parent, version, self.name_of(model_id, number), deployed)

    def new_id(self) -> str:
        """A numeric id as Vertex gives them."""
        number = self._store.next_id(MODEL)
        return str(int(hashlib.sha256(f"model {number}".encode()).hexdigest()[:15], 16) + 10**17)

    def refuse_existing(self, model_id: str) -> None:
        """ALREADY_EXISTS when the id is taken."""
        if self._store.get(MODEL, model_id) is not None:
            raise CloudError(
                grpc.StatusCode.ALREADY_EXISTS,
                f"Model {self.name_of(model_id)} already exists.",
            )

    def refuse_deployed(self, model_id: str, version: str = "") -> None:
        """FAILED_PRECONDITION while an endpoint serves the version (any version, without one)."""
        prefix = f"{model_id}@{version}/" if version else f"{model_id}@"
        endpoints = sorted({blob.decode() for _, blob in self._store.list(DEPLOYMENT, prefix)})
        if endpoints:
            raise precondition(
                f'The Model "{self.name_of(model_id, version)}" is deployed or being deployed at '
                f"the following Endpoint(s): {', '.join(endpoints)}. "
                "Please undeploy the model before retry."
            )

    def refuse_version_delete(self, model_id: str, version: str) -> None:
        """FAILED_PRECONDITION for the only version and for one that is deployed."""
        self.refuse_deployed(model_id, version)
        if sum(1 for _ in self._store.list(VERSION, f"{model_id}@")) == 1:
            raise precondition(
                "Deleting the only version in the Model is not allowed. Use DeleteModel instead."
            )
        held = self.need(model_id).aliases.get(DEFAULT)
        if held == version and not self.behavior.default_moves:
            raise precondition("The default version cannot be deleted.")


def _removed(version: Any) -> dict[str, Any]:
    return {
        "version": version.version_id,
        "labels": dict(version.labels),
        "artifact_uri": version.artifact_uri,
    }
