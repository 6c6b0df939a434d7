"""Google's long-running operations as values: asked for by name, never waited for."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from ml_platform.cloud.names import ModelName, OperationName, ServiceName
from ml_platform.cloud.types import RemoteOperation

from . import channels
from .errors import from_status

if TYPE_CHECKING:
    from google.longrunning.operations_pb2 import Operation

_UPLOAD = "google.cloud.aiplatform.v1.UploadModelOperationMetadata"


def start(method: str, kind: str, send_name: str, request: dict[str, Any]) -> RemoteOperation:
    """Start what `method` does through the client's method `send_name`; do not wait for its end."""
    future = channels.rpc(method, getattr(channels.client(kind), send_name), request)
    return _read_operation(method, future.operation)


def get_operation(kind: str, name: OperationName, *, method: str) -> RemoteOperation:
    """Return how an operation stands now; `method` is what its errors are told as.

    :raises CloudAbsent: Google has forgotten it, as it may after weeks; its outcome is unknown.
    """
    send = channels.client(kind).get_operation
    raw = channels.rpc("Operations.GetOperation", send, {"name": channels.checked(name)})
    uploads = raw.metadata.TypeName() == _UPLOAD
    return _read_operation("ModelService.UploadModel" if uploads else method, raw)


def _read_operation(method: str, raw: Operation) -> RemoteOperation:
    failed = raw.HasField("error")
    return RemoteOperation(
        name=OperationName.parse(raw.name),
        done=raw.done,
        error=from_status(method, raw.error.code, raw.error.message) if failed else None,
        result=_read_result(raw) if raw.HasField("response") else None,
    )


def _read_result(raw: Operation) -> ModelName | ServiceName | None:
    """Name what was made. The answers of deletions (Empty) name nothing."""
    kind = raw.response.TypeName()
    if kind == "google.cloud.aiplatform.v1.UploadModelResponse":
        from google.cloud.aiplatform_v1.types.model_service import UploadModelResponse

        model = UploadModelResponse.deserialize(raw.response.value)
        return ModelName.parse(model.model).at(model.model_version_id)
    if kind == "google.cloud.run.v2.Service":
        from google.cloud.run_v2.types.service import Service

        return ServiceName.parse(Service.deserialize(raw.response.value).name)
    return None
