"""The registry's memory: models, versions, aliases and deployments as rows of the store."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import replace
from datetime import datetime
from typing import Any

import grpc

from ...core.core import Core
from ...core.errors import CloudError, invalid, not_found, precondition
from ...core.operations import OperationFailed
from . import rules
from .index import ModelIndex, entry_of
from .rules import DEFAULT, Behavior, Model, Parent

MODEL, VERSION, DEPLOYMENT, TOMB = "model", "model.version", "deployment", "model.tomb"
EVALUATION = "model.evaluation"
PLACE = "projects/{project}/locations/{location}"
NAME = f"{PLACE}/models/{{model}}"


class Registry:
    """Reads and writes that keep a model, its versions and its aliases together."""

    def __init__(self, core: Core) -> None:
        self._core, self._store = core, core.store
        self.index = ModelIndex(core.store)
        self.behavior = Behavior()

    def place(self, parent: str, field: str = "parent") -> str:
        """`projects/NUMBER/locations/L` of a request's parent."""
        return self._core.names.numbered(self._core.names.locate(parent, PLACE, field=field))

    def name_of(self, name: str, version: str = "") -> str:
        """`projects/NUMBER/locations/L/models/ID[@VERSION]`."""
        return f"{name}{version and '@' + version}"

    def versions(self, name: str) -> Iterator[Any]:
        """The versions of a model as they are stored, oldest first."""
        for _, blob in self._store.list(VERSION, f"{name}@"):
            yield Model.FromString(blob)

    def new_parent(self, name: str, display_name: str, description: str) -> Parent:
        """A model without versions, not stored yet; an earlier life may have used some numbers."""
        now, used = self._core.clock.now().isoformat(), int(self._store.get(TOMB, name) or 0)
        return Parent(display_name, description, now, now, self._revision(), used)

    def touched(self, parent: Parent, **changes: Any) -> Parent:
        """The same with changes, updated now, with another etag."""
        return parent.touched(self._core.clock.now(), self._revision(), **changes)

    def save(self, name: str, parent: Parent, *versions: Any) -> None:
        """Store a model with versions of it that changed, and what lists look up."""
        with self._store.transaction():
            self._store.put(MODEL, name, parent.dump())
            for version in versions:
                blob = version.SerializeToString()
                self._store.put(VERSION, f"{name}@{version.version_id}", blob)
            number = parent.aliases[DEFAULT]
            written = [version for version in versions if version.version_id == number]
            default = (written or [self.version(name, parent, number, fallback=True)])[0]
            entry = entry_of(rules.render(parent, default, name, ()))
            self.index.put(name.rpartition("/models/")[0], name, entry)

    def save_version(self, name: str, parent: Parent, version: Any) -> None:
        """Store a change of a version: its own time moves, and the model's etag."""
        version.version_update_time.FromDatetime(self._core.clock.now())
        self.save(name, replace(parent, revision=self._revision()), version)

    def add_version(
        self, name: str, parent: Parent, number: str, model: Any, aliases: Iterable[str]
    ) -> None:
        """Store a new version with the time of its model's last update; records no effect."""
        now = datetime.fromisoformat(parent.updated)
        stored = Model()
        stored.CopyFrom(model)
        stored.version_id = number
        stored.version_create_time.FromDatetime(now)
        stored.version_update_time.FromDatetime(now)
        last = max(parent.last_version, int(number))
        aliases = rules.with_aliases(parent.aliases, number, aliases)
        self.save(name, replace(parent, last_version=last, aliases=aliases), stored)

    def default(self, name: str) -> Any:
        """A model with its default version as it is answered; None when it is not there."""
        blob = self._store.get(MODEL, name)
        if blob is None:
            return None
        parent = Parent.load(blob)
        return self.render(name, parent, self.version(name, parent, DEFAULT, fallback=True))

    def defaults(self, names: Sequence[str]) -> list[Any]:
        """As `default` for many, in their order: two statements unless some are deployed."""
        found = self._store.get_many(MODEL, names)
        parents = {name: Parent.load(blob) for name, blob in found.items()}
        versioned = {name: f"{name}@{parents[name].aliases[DEFAULT]}" for name in parents}
        blobs = self._store.get_many(VERSION, list(versioned.values()))
        if len(blobs) < len(names) or self._store.count(DEPLOYMENT):
            return [self.default(name) for name in names]
        return [
            rules.render(parents[name], Model.FromString(blobs[versioned[name]]), name, ())
            for name in names
        ]

    def publish(self, name: str, model: Any, *, new: bool) -> str:
        """Store a model as the first version of a new one or as the next; answers its number."""
        if new:
            parent = self.new_parent(name, model.display_name, model.description)
        else:
            parent = self.touched(self.need(name))
        if not self.behavior.labels_per_version:
            parent = replace(parent, labels=parent.labels | dict(model.labels))
            model.labels.clear()
        number = str(parent.last_version + 1)
        aliases = [*model.version_aliases, *([] if parent.aliases else [DEFAULT])]
        self.add_version(name, parent, number, model, aliases)
        self._core.effects.record(
            self.name_of(name, number),
            labels=dict(model.labels),
            detail={"version": number, "artifact_uri": model.artifact_uri},
        )
        return number

    def target(self, request: Any) -> str:
        """The model that an upload or a copy will be a version of: the parent's or a new name."""
        place = self.place(request.parent)
        if not request.parent_model:
            name = f"{place}/models/{request.model_id or self._new_id()}"
            if not self.behavior.exists_in_lro:
                self.refuse_existing(name)
            return name
        name, _ = self.split(request.parent_model, "parent_model")
        if not name.startswith(f"{place}/"):
            raise invalid("parent_model", "The parent model is not in the location of the parent.")
        self.need(name)
        return name

    def start(self, kind: str, name: str, request: Any, metadata: Any) -> Any:
        """Start an operation on a model."""
        now, number = self._core.clock.now(), self._store.next_id("vertex.operation")
        metadata.generic_metadata.create_time = metadata.generic_metadata.update_time = now
        return self._core.operations.start(
            kind,
            type(request).serialize(request),
            name=f"{name}/operations/{number}",
            metadata=type(metadata).pb(metadata),
        )

    def _revision(self) -> int:
        return self._store.next_id("model.revision")

    def remove_version(self, name: str, number: str) -> None:
        """Delete a version; `default` moves to the newest that remains."""
        parent = self.need(name)
        version = self.version(name, parent, number)
        self.refuse_version_delete(name, number)
        aliases = {alias: held for alias, held in parent.aliases.items() if held != number}
        left = [v.version_id for v in self.versions(name) if v.version_id != number]
        aliases.setdefault(DEFAULT, max(left, key=int))
        with self._store.transaction():
            self._store.delete(VERSION, f"{name}@{number}")
            self._drop_evaluations(f"{name}@{number}")
            self.save(name, self.touched(parent, aliases=aliases))
        self._core.effects.record(
            self.name_of(name, number),
            labels=dict(version.labels),
            detail={"versions": [_removed(version)]},
        )

    def remove(self, name: str) -> None:
        """Delete a model with all its versions; its id is free again."""
        self.refuse_deployed(name)
        parent, gone = self.need(name), list(self.versions(name))
        with self._store.transaction():
            for version in gone:
                self._store.delete(VERSION, f"{name}@{version.version_id}")
                self._drop_evaluations(f"{name}@{version.version_id}")
            self.index.drop(name)
            self._store.delete(MODEL, name)
            if not self.behavior.versions_restart:
                self._store.put(TOMB, name, str(parent.last_version).encode())
        self._core.effects.record(
            self.name_of(name),
            labels=dict(gone[-1].labels),
            detail={"versions": [_removed(version) for version in gone]},
        )

    def seed(
        self, name: str, display_name: str, description: str, items: list[dict[str, Any]]
    ) -> str:
        """Write versions with given numbers; the default is the last or the one with that alias."""
        self.refuse_existing(name)
        parent = replace(self.new_parent(name, display_name, description), last_version=0)
        with_default = [item for item in items if DEFAULT in item["aliases"]]
        for item in items:
            model = Model(artifact_uri=item["artifact_uri"])
            model.labels.update(item["labels"])
            rules.settle(model)
            default = [DEFAULT] if item is (with_default or items)[-1] else []
            # Lists read the default version: until it is written, the newest one stands in.
            first = [] if parent.aliases else [DEFAULT]
            aliases = [*item["aliases"], *default, *first]
            self.add_version(name, parent, str(item["version"]), model, aliases)
            parent = self.need(name)
        return name

    def split(self, name: str, field: str = "name") -> tuple[str, str]:
        """(name with the project's number, version or alias or '') of a model's name."""
        parts = self._core.names.locate(name, NAME, field=field)
        model_id, at, version = parts["model"].partition("@")
        if not model_id or (at and not version):
            raise invalid(field, "Invalid Model resource name.")
        return f"{self._core.names.numbered(parts)}/models/{model_id}", version

    def need(self, name: str) -> Parent:
        """The model; NOT_FOUND without it."""
        blob = self._store.get(MODEL, name)
        if blob is None:
            raise not_found("The Model does not exist.")
        return Parent.load(blob)

    def version(self, name: str, parent: Parent, wanted: str, *, fallback: bool = False) -> Any:
        """A version by number or alias as it is stored; NOT_FOUND without it."""
        number = parent.aliases.get(wanted, wanted)
        blob = self._store.get(VERSION, f"{name}@{number}")
        if blob is None and fallback:
            # A stale read hides the newest version: the one before it answers.
            seen = [blob for _, blob in self._store.list(VERSION, f"{name}@")]
            blob = seen[-1] if seen else None
        if blob is None:
            raise not_found("The Model version does not exist.")
        return Model.FromString(blob)

    def render(self, name: str, parent: Parent, version: Any, number: str = "") -> Any:
        """The Model as it is answered, under its bare name or with `@number`."""
        prefix = f"{name}@{version.version_id}/"
        deployed = [
            (blob.decode(), name.rpartition("/")[2])
            for name, blob in self._store.list(DEPLOYMENT, prefix)
        ]
        return rules.render(parent, version, self.name_of(name, number), deployed)

    def _drop_evaluations(self, versioned: str) -> None:
        for evaluation, _ in list(self._store.list(EVALUATION, f"{versioned}/")):
            self._store.delete(EVALUATION, evaluation)

    def _new_id(self) -> str:
        """A numeric id as Vertex gives them."""
        number = self._store.next_id(MODEL)
        return str(int(hashlib.sha256(f"model {number}".encode()).hexdigest()[:15], 16) + 10**17)

    def refuse_existing(self, name: str) -> None:
        """ALREADY_EXISTS when the id is taken."""
        if self._store.get(MODEL, name) is not None:
            raise CloudError(
                grpc.StatusCode.ALREADY_EXISTS,
                f"Model {name} already exists.",
            )

    def refuse_existing_in_lro(self, name: str) -> None:
        """The same as the error of the operation, although its call succeeded."""
        try:
            self.refuse_existing(name)
        except CloudError as error:
            raise OperationFailed(error.code, error.message) from None

    def refuse_deployed(self, name: str, version: str = "") -> None:
        """FAILED_PRECONDITION while an endpoint serves the version (any version, without one)."""
        prefix = f"{name}@{version}/" if version else f"{name}@"
        endpoints = sorted({blob.decode() for _, blob in self._store.list(DEPLOYMENT, prefix)})
        if endpoints:
            raise precondition(
                f'The Model "{self.name_of(name, version)}" is deployed or being deployed at '
                f"the following Endpoint(s): {', '.join(endpoints)}. "
                "Please undeploy the model before retry."
            )

    def refuse_version_delete(self, name: str, version: str) -> None:
        """FAILED_PRECONDITION for the only version and for one that is deployed."""
        self.refuse_deployed(name, version)
        if sum(1 for _ in self._store.list(VERSION, f"{name}@")) == 1:
            raise precondition(
                "Deleting the only version in the Model is not allowed. Use DeleteModel instead."
            )
        held = self.need(name).aliases.get(DEFAULT)
        if held == version and not self.behavior.default_moves:
            raise precondition("The default version cannot be deleted.")


def _removed(version: Any) -> dict[str, Any]:
    return {
        "version": version.version_id,
        "labels": dict(version.labels),
        "artifact_uri": version.artifact_uri,
    }
