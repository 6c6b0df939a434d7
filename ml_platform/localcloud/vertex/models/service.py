"""Vertex AI ModelService: models, their versions and aliases, as in the real registry."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from google.cloud.aiplatform_v1.types import model_service as wire_types
from google.cloud.aiplatform_v1.types.operation import DeleteOperationMetadata
from google.protobuf import empty_pb2

from ...core.core import Core
from ...core.errors import invalid, precondition
from . import rules
from .evaluations import ModelEvaluations
from .lists import ModelLists
from .rules import DEFAULT, Behavior
from .store import Registry
from .transfers import Directory, ModelTransfers


class ModelService:
    """The registry over the store. Names are answered with the project's number."""

    def __init__(self, core: Core, storage: Directory) -> None:
        self._core, self._storage = core, storage
        self._registry = registry = Registry(core)
        lists, transfers = ModelLists(core, registry), ModelTransfers(core, registry, storage)
        evaluations = ModelEvaluations(core, registry)
        self.list_models, self.list_model_versions = lists.list_models, lists.list_model_versions
        self.copy_model, self.export_model = transfers.copy_model, transfers.export_model
        self.import_model_evaluation = evaluations.import_model_evaluation
        self.get_model_evaluation = evaluations.get_model_evaluation
        self.list_model_evaluations = evaluations.list_model_evaluations
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
            name = f"{self._core.names.vertex_parent}/models/{model_id}"
            return self._registry.seed(name, display_name, description, items)

    # ---- upload

    def upload_model(self, request: Any) -> Any:
        """A new model, or with `parent_model` a new version of one."""
        pb_request = wire_types.UploadModelRequest.pb(request)
        rules.check_upload(pb_request)
        name = self._registry.target(pb_request)
        model_id = name.rpartition("/")[2]
        if pb_request.model_id not in ("", model_id):
            raise invalid("model_id", "The model ID is not that of parent_model.")
        uri = pb_request.model.artifact_uri
        if uri and not self._storage.has_any(uri):
            raise precondition(f'The directory "{uri}" does not exist or is empty.')
        pb_request.model_id = model_id
        metadata = wire_types.UploadModelOperationMetadata()
        return self._registry.start("model.upload", name, request, metadata)

    def _land_upload(self, payload: bytes) -> Any:
        pb_request = wire_types.UploadModelRequest.meta.pb.FromString(payload)
        place, new = self._registry.place(pb_request.parent), not pb_request.parent_model
        name = f"{place}/models/{pb_request.model_id}"
        if new:
            self._registry.refuse_existing_in_lro(name)
        rules.settle(pb_request.model)
        number = self._registry.publish(name, pb_request.model, new=new)
        return wire_types.UploadModelResponse.meta.pb(model=name, model_version_id=number)

    # ---- read

    def get_model(self, request: Any) -> Any:
        """Bare: the default version. `@version` or `@alias`: that one."""
        name, wanted = self._registry.split(request.name)
        parent = self._registry.need(name)
        version = self._registry.version(name, parent, wanted or DEFAULT, fallback=not wanted)
        return self._registry.render(name, parent, version)

    # ---- change

    def update_model(self, request: Any) -> Any:
        """A bare name (or `@-`) is the model, `@version` that version; labels are of both.

        Labels of the model replace those of its default version too (python-aiplatform#3049).
        """
        pb_request = wire_types.UpdateModelRequest.pb(request)
        name, wanted = self._registry.split(pb_request.model.name.removesuffix("@-"))
        paths = set(pb_request.update_mask.paths)
        rules.check_update(paths, of_version=bool(wanted))
        parent = self._registry.need(name)
        version = self._registry.version(name, parent, wanted or DEFAULT)
        parent.check_etag(pb_request.model.etag)
        rules.check_labels(pb_request.model.labels)
        if "display_name" in paths:
            rules.check_display_name(pb_request.model.display_name)
        if "labels" in paths:
            version.labels.clear()
            version.labels.update(pb_request.model.labels)
        if wanted:
            if "version_description" in paths:
                version.version_description = pb_request.model.version_description
            self._registry.save_version(name, parent, version)
        else:
            parent = self._registry.touched(parent, **rules.changes(pb_request.model, paths))
            self._registry.save(name, parent, version)
        number = wanted and version.version_id
        self._core.effects.record(
            self._registry.name_of(name, wanted), labels=dict(pb_request.model.labels)
        )
        return self._registry.render(name, self._registry.need(name), version, number)

    def merge_version_aliases(self, request: Any) -> Any:
        """Add aliases (they move here), remove those with a leading `-`."""
        name, wanted = self._registry.split(request.name)
        if not wanted:
            raise invalid("name", "A version ID must be included.")
        parent = self._registry.need(name)
        version = self._registry.version(name, parent, wanted)
        number = version.version_id
        aliases = rules.merge_aliases(parent.aliases, number, list(request.version_aliases))
        parent = self._registry.touched(parent, aliases=aliases)
        self._registry.save(name, parent)
        self._core.effects.record(
            self._registry.name_of(name, number),
            labels=dict(version.labels),
            detail={"aliases": parent.aliases_of(number)},
        )
        return self._registry.render(name, parent, version, number)

    # ---- delete

    def delete_model(self, request: Any) -> Any:
        """The model with all its versions; refused while any of them is deployed."""
        name, wanted = self._registry.split(request.name)
        if wanted:
            raise invalid("name", "Invalid Model resource name: use DeleteModelVersion.")
        self._registry.need(name)
        self._registry.refuse_deployed(name)
        pb_request = wire_types.DeleteModelRequest(name=self._registry.name_of(name))
        return self._registry.start("model.delete", name, pb_request, DeleteOperationMetadata())

    def delete_model_version(self, request: Any) -> Any:
        """One version; the only one is refused, `default` moves to the newest that remains."""
        name, wanted = self._registry.split(request.name)
        if not wanted:
            raise invalid("name", "A version ID must be included.")
        parent = self._registry.need(name)
        number = self._registry.version(name, parent, wanted).version_id
        self._registry.refuse_version_delete(name, number)
        pb_request = wire_types.DeleteModelVersionRequest(name=self._registry.name_of(name, number))
        return self._registry.start(
            "model.delete_version", name, pb_request, DeleteOperationMetadata()
        )

    def _land_delete(self, payload: bytes) -> Any:
        name = wire_types.DeleteModelRequest.deserialize(payload).name
        self._registry.remove(self._registry.split(name)[0])
        return empty_pb2.Empty()

    def _land_delete_version(self, payload: bytes) -> Any:
        name = wire_types.DeleteModelVersionRequest.deserialize(payload).name
        self._registry.remove_version(*self._registry.split(name))
        return empty_pb2.Empty()
