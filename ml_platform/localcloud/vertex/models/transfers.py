"""CopyModel and ExportModel."""

from __future__ import annotations

from typing import Any, Protocol

import grpc
from google.cloud.aiplatform_v1.types import model_service as wire_types

from ...core.core import Core
from ...core.errors import CloudError, invalid, not_found, precondition
from ...core.operations import OperationFailed
from . import rules
from .rules import DEFAULT
from .store import Registry


class Directory(Protocol):
    """What the registry needs from Cloud Storage."""

    def has_any(self, uri: str) -> bool:
        """Whether an object exists below `gs://bucket/path`."""

    def has_bucket(self, bucket: str) -> bool:
        """Whether there is such a bucket."""

    def names(self, bucket: str, prefix: str = "") -> list[str]:
        """The names of all objects under a prefix, in order."""

    def read(self, bucket: str, name: str) -> bytes | None:
        """The bytes of an object."""

    def write(self, bucket: str, name: str, data: bytes) -> int:
        """Write an object."""


class ModelTransfers:
    """Models into other models and into Cloud Storage."""

    def __init__(self, core: Core, registry: Registry, storage: Directory) -> None:
        self._core, self._registry, self._storage = core, registry, storage
        core.operations.on("model.copy", self._land_copy)
        core.operations.on("model.export", self._land_export)

    def copy_model(self, request: Any) -> Any:
        """A new model, or with `parent_model` a new version of one.

        Without its aliases, evaluations, encryption and deployments, from any project and location
        (cloud.google.com/vertex-ai/docs/model-registry/copy-model). PERMISSION_DENIED for a caller
        who may not read the source.
        """
        pb_request = wire_types.CopyModelRequest.pb(request)
        rules.check_model_id(pb_request.model_id)
        if pb_request.custom_service_account:
            raise CloudError(
                grpc.StatusCode.UNIMPLEMENTED,
                "The local cloud does not copy models by custom_service_account.",
            )
        with self._core.names.within(pb_request.source_model):
            source, _ = self._registry.split(pb_request.source_model, "source_model")
            self._core.iam.require("aiplatform.models.get", source)
        name = self._registry.target(pb_request)
        if not pb_request.parent_model:
            pb_request.model_id = name.rpartition("/")[2]
        metadata = wire_types.CopyModelOperationMetadata()
        return self._registry.start("model.copy", name, request, metadata)

    def _land_copy(self, payload: bytes) -> Any:
        pb_request = wire_types.CopyModelRequest.meta.pb.FromString(payload)
        with self._core.names.within(pb_request.source_model):
            model = self._copied(pb_request.source_model)
        if pb_request.HasField("encryption_spec"):
            model.encryption_spec.CopyFrom(pb_request.encryption_spec)
        new = not pb_request.parent_model
        if new:
            name = f"{self._registry.place(pb_request.parent)}/models/{pb_request.model_id}"
            self._registry.refuse_existing_in_lro(name)
        else:
            name, _ = self._registry.split(pb_request.parent_model, "parent_model")
        number = self._registry.publish(name, model, new=new)
        return wire_types.CopyModelResponse.meta.pb(model=name, model_version_id=number)

    def _copied(self, source_model: str) -> Any:
        """A missing source ends the operation, not the call (magic-modules#12074)."""
        source, wanted = self._registry.split(source_model, "source_model")
        try:
            parent = self._registry.need(source)
            version = self._registry.version(source, parent, wanted or DEFAULT)
        except CloudError as error:
            raise OperationFailed(error.code, error.message) from None
        model = self._registry.render(source, parent, version)
        for field in ("version_aliases", "encryption_spec", "deployed_models"):
            model.ClearField(field)
        model.model_source_info.copy = True
        model.original_model_info.model = self._registry.name_of(source, version.version_id)
        return model

    def export_model(self, request: Any) -> Any:
        """Copy the artifact into a new directory below the destination.

        `gs://BUCKET/model-ID/FORMAT/TIME` (cloud.google.com/vertex-ai/docs/export).
        """
        pb_request = wire_types.ExportModelRequest.pb(request)
        name, wanted = self._registry.split(pb_request.name)
        parent = self._registry.need(name)
        version = self._registry.version(name, parent, wanted or DEFAULT)
        output = pb_request.output_config
        format_id = _format(name, version, output)
        bucket, path = _destination(output.artifact_destination.output_uri_prefix)
        if not self._storage.has_bucket(bucket):
            raise not_found(f"The bucket {bucket} does not exist.")
        when = self._core.clock.now().isoformat(timespec="milliseconds").partition("+")[0]
        model_id = name.rpartition("/")[2]
        uri = f"gs://{bucket}/{path}model-{model_id}/{format_id}/{when}Z"
        landed = wire_types.ExportModelRequest(name=f"{name}@{version.version_id}")
        landed.output_config.artifact_destination.output_uri_prefix = uri
        metadata = wire_types.ExportModelOperationMetadata()
        metadata.output_info.artifact_output_uri = uri
        return self._registry.start("model.export", name, landed, metadata)

    def _land_export(self, payload: bytes) -> Any:
        pb_request = wire_types.ExportModelRequest.meta.pb.FromString(payload)
        name, number = self._registry.split(pb_request.name)
        version = self._registry.version(name, self._registry.need(name), number)
        bucket, path = _parts(version.artifact_uri)
        target, into = _parts(pb_request.output_config.artifact_destination.output_uri_prefix)
        for source in self._storage.names(bucket, path):
            data = self._storage.read(bucket, source)
            if data is not None:
                self._storage.write(target, into + source.removeprefix(path), data)
        self._core.effects.record(f"gs://{target}/{into}")
        return wire_types.ExportModelResponse.meta.pb()


def _format(name: str, version: Any, output: Any) -> str:
    """The requested format, or the first one that the model has (python-aiplatform#194)."""
    if output.HasField("image_destination"):
        raise CloudError(
            grpc.StatusCode.UNIMPLEMENTED, "The local cloud does not export container images."
        )
    formats = [one.id for one in version.supported_export_formats]
    format_id: str = output.export_format_id or (formats or [""])[0]
    if format_id not in formats:
        raise precondition(
            f"Exporting artifact for model `{name}` in format `{format_id}` is not supported."
        )
    return format_id


def _destination(prefix: str) -> tuple[str, str]:
    field = "output_config.artifact_destination"
    if not prefix.startswith("gs://") or not _parts(prefix)[0]:
        raise invalid(field, "The output URI prefix must be a gs:// directory.")
    return _parts(prefix)


def _parts(uri: str) -> tuple[str, str]:
    """Bucket and path of a directory; the path ends with a slash or is empty."""
    bucket, _, path = uri.removeprefix("gs://").partition("/")
    return bucket, path.rstrip("/") + "/" if path.strip("/") else ""
