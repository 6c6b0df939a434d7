"""Vertex AI ModelService: models, their versions and aliases, as in the real registry."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from functools import partial
from typing import Any, Protocol

import grpc
from google.cloud.aiplatform_v1.types import model_service as wire_types
from google.cloud.aiplatform_v1.types.operation import DeleteOperationMetadata
from google.protobuf import empty_pb2

from ..core.core import Core
from ..core.errors import CloudError, invalid, precondition
from ..core.filters import compile_filter, compile_order, sort
from ..core.operations import OperationFailed
from ..core.pages import page, start_of
from . import model_rules as rules
from .model_rules import DEFAULT, Model, Parent
from .model_store import MODEL, VERSION, Behavior, Registry

_PARENT = "projects/{project}/locations/{location}"
_MODEL_FILTER = ("model", "display_name", "labels", "base_model_name")
_MODEL_ORDER = ("display_name", "create_time", "update_time")
Numbered = Iterator[tuple[int, Any]]


class Directory(Protocol):
    """What the registry needs from Cloud Storage."""

    def has_any(self, uri: str) -> bool:
        """Whether an object exists below `gs://bucket/path`."""


class ModelService:
    """The registry over the store. Names are answered with the project's number."""

    def __init__(self, core: Core, storage: Directory) -> None:
        self._core, self._store, self._storage = core, core.store, storage
        self._registry = Registry(core)
        core.operations.on("model.upload", self._land_upload)
        core.operations.on("model.delete", self._land_delete)
        core.operations.on("model.delete_version", self._land_delete_version)

    @property
    def behavior(self) -> Behavior:
        """Switches for what Google does not document; `LocalCloud.reset` sets them back."""
        return self._registry.behavior

    def reset(self) -> None:
        """The expected behavior again."""
        self._registry.behavior = Behavior()

    def seed(
        self,
        model_id: str,
        *,
        display_name: str,
        versions: Iterable[int | Mapping[str, Any]] = (1,),
        labels: Mapping[str, str] | None = None,
        artifact_uri: str = "",
        description: str = "",
    ) -> str:
        """Put a model there as if it had always been, ungated; answers its resource name.

        A version is a number, or a mapping with `version` and its own `labels`, `artifact_uri`,
        `aliases`. The last one becomes the default unless another one has that alias.
        ValueError for an id or versions that no model can have, ALREADY_EXISTS for one there is.
        """
        defaults = {"labels": dict(labels or {}), "artifact_uri": artifact_uri, "aliases": []}
        items = [
            defaults | ({"version": one} if isinstance(one, int) else dict(one)) for one in versions
        ]
        rules.check_seed(model_id, items)
        with self._core.lock:
            return self._registry.seed(model_id, display_name, description, items)

    # ---- upload

    def upload_model(self, request: Any) -> Any:
        """A new model, or with `parent_model` a new version of one."""
        pb_request = wire_types.UploadModelRequest.pb(request)
        self._core.names.locate(pb_request.parent, _PARENT, field="parent")
        rules.check_upload(pb_request)
        if pb_request.parent_model:
            model_id, _ = self._registry.split(pb_request.parent_model, "parent_model")
            if pb_request.model_id not in ("", model_id):
                raise invalid("model_id", "The model ID is not that of parent_model.")
            self._registry.need(model_id)
        else:
            model_id = pb_request.model_id or self._registry.new_id()
            if not self.behavior.exists_in_lro:
                self._registry.refuse_existing(model_id)
        uri = pb_request.model.artifact_uri
        if uri and not self._storage.has_any(uri):
            raise precondition(f'The directory "{uri}" does not exist or is empty.')
        pb_request.model_id = model_id
        return self._start(
            "model.upload", model_id, request, wire_types.UploadModelOperationMetadata()
        )

    def _land_upload(self, payload: bytes) -> Any:
        pb_request = wire_types.UploadModelRequest.meta.pb.FromString(payload)
        model_id, now = pb_request.model_id, self._core.clock.now()
        if pb_request.parent_model:
            parent = self._registry.need(model_id)
        else:
            self._refuse_existing_in_lro(model_id)
            stamp = now.isoformat()
            last = self._registry.last_used(model_id)
            parent = Parent(
                pb_request.model.display_name, pb_request.model.description, stamp, stamp, last
            )
        parent = parent.touched(now)
        if not self.behavior.labels_per_version:
            parent = parent.touched(now, labels=parent.labels | dict(pb_request.model.labels))
            pb_request.model.labels.clear()
        version = str(parent.last_version + 1)
        aliases = [*pb_request.model.version_aliases, *([] if parent.aliases else [DEFAULT])]
        self._registry.write(model_id, parent, version, pb_request.model, aliases)
        self._core.effects.record(
            self._registry.name_of(model_id, version),
            labels=dict(pb_request.model.labels),
            detail={"version": version, "artifact_uri": pb_request.model.artifact_uri},
        )
        response = wire_types.UploadModelResponse(
            model=self._registry.name_of(model_id), model_version_id=version
        )
        return wire_types.UploadModelResponse.pb(response)

    def _refuse_existing_in_lro(self, model_id: str) -> None:
        try:
            self._registry.refuse_existing(model_id)
        except CloudError as error:
            raise OperationFailed(error.code, error.message) from None

    # ---- read

    def get_model(self, request: Any) -> Any:
        """Bare: the default version. `@version` or `@alias`: that one."""
        model_id, wanted = self._registry.split(request.name)
        parent = self._registry.need(model_id)
        version = self._registry.version(model_id, parent, wanted or DEFAULT, fallback=not wanted)
        return self._registry.render(model_id, parent, version)

    def list_models(self, request: Any) -> Any:
        """One entry for each model, with its default version."""
        pb_request = wire_types.ListModelsRequest.pb(request)
        self._core.names.locate(pb_request.parent, _PARENT, field="parent")
        found, token = self._page(pb_request, self._models, _MODEL_FILTER, _MODEL_ORDER)
        response = wire_types.ListModelsResponse.meta.pb()
        response.models.extend(found)
        response.next_page_token = token
        return response

    def list_model_versions(self, request: Any) -> Any:
        """Names include the version: `models/ID@VERSION`."""
        pb_request = wire_types.ListModelVersionsRequest.pb(request)
        model_id, _ = self._registry.split(pb_request.name)
        parent = self._registry.need(model_id)

        def versions(after: int) -> Numbered:
            for seq, name, blob in self._store.rows(VERSION, f"{model_id}@", after):
                version = Model.FromString(blob)
                yield seq, self._registry.render(model_id, parent, version, name.partition("@")[2])

        found, token = self._page(pb_request, versions, ("labels",), ("create_time", "update_time"))
        response = wire_types.ListModelVersionsResponse.meta.pb()
        response.models.extend(found)
        response.next_page_token = token
        return response

    def _models(self, after: int) -> Numbered:
        for seq, model_id, blob in self._store.rows(MODEL, after=after):
            parent = Parent.load(blob)
            version = self._registry.version(model_id, parent, DEFAULT, fallback=True)
            yield seq, self._registry.render(model_id, parent, version)

    def _page(
        self, pb_request: Any, read: Any, fields: tuple[str, ...], orders: tuple[str, ...]
    ) -> tuple[list[Any], str]:
        keep = compile_filter(pb_request.filter, fields)
        order = compile_order(pb_request.order_by, orders)
        rows = read(0 if order else start_of(pb_request))
        kept = (row for row in rows if keep(partial(_field, row[1])))
        if order:
            ordered = sort([model for _, model in kept], order, _order_key)
            kept = (row for row in enumerate(ordered, start=1))
        found, token = page(kept, pb_request)
        return [rules.masked(model, pb_request.read_mask.paths) for model in found], token

    # ---- change

    def update_model(self, request: Any) -> Any:
        """Labels of a bare name belong to the model, of `@version` to that version."""
        pb_request = wire_types.UpdateModelRequest.pb(request)
        model_id, wanted = self._registry.split(pb_request.model.name.removesuffix("@-"))
        paths = list(pb_request.update_mask.paths)
        rules.check_update(paths, of_version=bool(wanted))
        parent = self._registry.need(model_id)
        version = self._registry.version(model_id, parent, wanted or DEFAULT)
        etag = pb_request.model.etag
        if etag and etag != self._registry.render(model_id, parent, version, wanted).etag:
            raise CloudError(grpc.StatusCode.ABORTED, "The etag does not match: read it again.")
        rules.check_labels(pb_request.model.labels)
        if "display_name" in paths:
            rules.check_display_name(pb_request.model.display_name)
        if wanted:
            self._update_version(model_id, version, pb_request)
        else:
            parent = self._update_parent(model_id, parent, pb_request)
        self._core.effects.record(
            self._registry.name_of(model_id, wanted), labels=dict(pb_request.model.labels)
        )
        return self._registry.render(model_id, parent, version, wanted and version.version_id)

    def _update_version(self, model_id: str, version: Any, pb_request: Any) -> None:
        if "labels" in pb_request.update_mask.paths:
            version.labels.clear()
            version.labels.update(pb_request.model.labels)
        if "version_description" in pb_request.update_mask.paths:
            version.version_description = pb_request.model.version_description
        version.version_update_time.FromDatetime(self._core.clock.now())
        self._store.put(VERSION, f"{model_id}@{version.version_id}", version.SerializeToString())

    def _update_parent(self, model_id: str, parent: Parent, pb_request: Any) -> Parent:
        values = {
            "display_name": pb_request.model.display_name,
            "description": pb_request.model.description,
            "labels": dict(pb_request.model.labels),
        }
        changes = {path: values[path] for path in pb_request.update_mask.paths}
        parent = parent.touched(self._core.clock.now(), **changes)
        self._store.put(MODEL, model_id, parent.dump())
        return parent

    def merge_version_aliases(self, request: Any) -> Any:
        """Add aliases (they move here), remove those with a leading `-`."""
        model_id, wanted = self._registry.split(request.name)
        if not wanted:
            raise invalid("name", "A version ID must be included.")
        parent = self._registry.need(model_id)
        version = self._registry.version(model_id, parent, wanted)
        aliases = rules.merge_aliases(
            parent.aliases, version.version_id, list(request.version_aliases)
        )
        parent = parent.touched(self._core.clock.now(), aliases=aliases)
        self._store.put(MODEL, model_id, parent.dump())
        self._core.effects.record(
            self._registry.name_of(model_id, version.version_id),
            labels=dict(version.labels),
            detail={"aliases": parent.aliases_of(version.version_id)},
        )
        return self._registry.render(model_id, parent, version, version.version_id)

    # ---- delete

    def delete_model(self, request: Any) -> Any:
        """The model with all its versions; refused while any of them is deployed."""
        model_id, wanted = self._registry.split(request.name)
        if wanted:
            raise invalid("name", "Invalid Model resource name: use DeleteModelVersion.")
        self._registry.need(model_id)
        self._registry.refuse_deployed(model_id)
        pb_request = wire_types.DeleteModelRequest(name=self._registry.name_of(model_id))
        return self._start("model.delete", model_id, pb_request, DeleteOperationMetadata())

    def delete_model_version(self, request: Any) -> Any:
        """One version; the only one is refused, `default` moves to the newest that remains."""
        model_id, wanted = self._registry.split(request.name)
        if not wanted:
            raise invalid("name", "A version ID must be included.")
        parent = self._registry.need(model_id)
        number = self._registry.version(model_id, parent, wanted).version_id
        self._registry.refuse_version_delete(model_id, number)
        pb_request = wire_types.DeleteModelVersionRequest(
            name=self._registry.name_of(model_id, number)
        )
        return self._start("model.delete_version", model_id, pb_request, DeleteOperationMetadata())

    def _land_delete(self, payload: bytes) -> Any:
        name = wire_types.DeleteModelRequest.deserialize(payload).name
        self._registry.remove(self._registry.split(name)[0])
        return empty_pb2.Empty()

    def _land_delete_version(self, payload: bytes) -> Any:
        name = wire_types.DeleteModelVersionRequest.deserialize(payload).name
        self._registry.remove_version(*self._registry.split(name))
        return empty_pb2.Empty()

    def _start(self, kind: str, model_id: str, request: Any, metadata: Any) -> Any:
        now, number = self._core.clock.now(), self._store.next_id("vertex.operation")
        metadata.generic_metadata.create_time = metadata.generic_metadata.update_time = now
        return self._core.operations.start(
            kind,
            type(request).serialize(request),
            name=f"{self._registry.name_of(model_id)}/operations/{number}",
            metadata=type(metadata).pb(metadata),
        )


def _field(model: Any, field: str) -> Any:
    if field == "model":
        return model.name.rpartition("/")[2]
    if field == "base_model_name":
        return model.base_model_source.model_garden_source.public_model_name
    return dict(model.labels) if field == "labels" else getattr(model, field)


def _order_key(model: Any, field: str) -> str:
    value = getattr(model, field)
    return value if isinstance(value, str) else f"{value.seconds:020}.{value.nanos:09}"
