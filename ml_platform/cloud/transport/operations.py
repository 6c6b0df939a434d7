"""Google's long-running operations: started and read by name, never waited for."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from ml_platform.cloud.names import ModelName, OperationName, ServiceName
from ml_platform.cloud.types import RemoteOperation

from . import channels
from .errors import from_status

if TYPE_CHECKING:
    from google.longrunning.operations_pb2 import Operation

_UPLOAD = "google.cloud.aiplatform.v1.UploadModelOperationMetadata"


def start(method: str, request: dict[str, Any]) -> RemoteOperation:
    """Call `method`, without waiting for the operation that it starts."""
    return channels.rpc(method, request, lambda answer: _read_operation(method, answer.operation))


def get_operation(name: OperationName, *, method: str) -> RemoteOperation:
    """Return the state of an operation; its errors name `method`.

    :raises CloudAbsent: Google no longer keeps it (after weeks); its outcome is unknown.
    """
    request, service = {"name": channels.checked(name)}, method.partition(".")[0]

    def read(raw: Operation) -> RemoteOperation:
        uploads = raw.metadata.TypeName() == _UPLOAD
        return _read_operation("ModelService.UploadModel" if uploads else method, raw)

    return channels.rpc("Operations.GetOperation", request, read, service=service)


def _read_operation(method: str, raw: Operation) -> RemoteOperation:
    failed = raw.HasField("error")
    return RemoteOperation(
        name=OperationName.parse(raw.name),
        done=raw.done,
        error=from_status(method, raw.error.code, raw.error.message) if failed else None,
        result=_read_result(raw) if raw.HasField("response") else None,
    )


def _read_result(raw: Operation) -> ModelName | ServiceName | None:
    """The name of what was created or updated; None for deletions, whose response is Empty."""
    kind = raw.response.TypeName()
    if kind == "google.cloud.aiplatform.v1.UploadModelResponse":
        from google.cloud.aiplatform_v1.types.model_service import UploadModelResponse

        model = UploadModelResponse.deserialize(raw.response.value)
        return ModelName.parse(model.model).at(model.model_version_id)
    if kind == "google.cloud.run.v2.Service":
        from google.cloud.run_v2.types.service import Service

        return ServiceName.parse(Service.deserialize(raw.response.value).name)
    return None
