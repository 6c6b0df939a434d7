"""The gRPC side: a service's wiring is read off Google's own client, errors become statuses."""

from __future__ import annotations

import re
from collections.abc import Callable
from functools import partial
from typing import Any, NoReturn

import grpc
from google.iam.v1 import iam_policy_pb2
from google.longrunning import operations_pb2
from google.protobuf import empty_pb2
from grpc_status import rpc_status

from ..core.errors import CloudError
from ..core.interceptor import Gate
from ..core.operations import Operations
from ..core.pages import page
from .loopback import is_loopback, refusal

__all__ = ["CloudError", "methods", "page", "wire", "wire_operations"]

# method name -> (decode the request, encode the response)
Wiring = dict[str, tuple[Callable[[bytes], Any], Callable[[Any], bytes]]]
_REASON = "x-goog-request-reason"
_PLAIN: dict[str, Any] = {
    "SetIamPolicy": iam_policy_pb2.SetIamPolicyRequest,
    "GetIamPolicy": iam_policy_pb2.GetIamPolicyRequest,
    "TestIamPermissions": iam_policy_pb2.TestIamPermissionsRequest,
}


class _Recorder(grpc.Channel):
    """A channel on which a client only leaves the paths and types of its calls."""

    def __init__(self) -> None:
        self.paths: dict[str, tuple[Any, Any]] = {}

    def unary_unary(
        self,
        method: Any,
        request_serializer: Any = None,
        response_deserializer: Any = None,
        **_: Any,
    ) -> Any:
        self.paths[method] = (request_serializer, response_deserializer)

    def _not_recorded(self, *_: Any, **__: Any) -> Any:
        return None

    unary_stream = stream_unary = stream_stream = _not_recorded
    subscribe = unsubscribe = _not_recorded

    def close(self) -> None:
        """No channel was open."""

    def __enter__(self) -> _Recorder:
        return self

    def __exit__(self, *_: object) -> None:
        return None


def methods(transport_cls: Any, service: str) -> Wiring:
    """The unary methods of `service` (its full proto name), read off a GAPIC gRPC transport.

    The two private names below are pinned by a test: the transport's channel is wrapped in a
    logging interceptor (google-cloud-aiplatform 2.x), behind which nothing would be recorded.
    """
    recorder = _Recorder()
    transport = transport_cls(channel=recorder)
    vars(transport).update(_logged_channel=recorder, _stubs={})
    for name in dir(transport_cls):
        if isinstance(getattr(transport_cls, name), property) and name != "operations_client":
            getattr(transport, name)
    prefix = f"/{service}/"
    return {
        method: (_decoder(method, request), _encoder(response))
        for path, (request, response) in recorder.paths.items()
        if (method := path.removeprefix(prefix)) != path
    }


def wire(
    gate: Gate, transport_cls: Any, service: str, implementation: object
) -> grpc.GenericRpcHandler:
    """Serve `implementation.upload_model(request)` as `UploadModel`, and so on, behind the gate.

    What the implementation lacks answers UNIMPLEMENTED.
    """
    return _serve(gate, service, methods(transport_cls, service), implementation)


def wire_operations(gate: Gate, operations: Operations) -> grpc.GenericRpcHandler:
    """Serve `google.longrunning.Operations`, which each client calls on its service's channel."""
    pb2 = operations_pb2
    types = {
        "GetOperation": (pb2.GetOperationRequest, pb2.Operation),
        "ListOperations": (pb2.ListOperationsRequest, pb2.ListOperationsResponse),
        "CancelOperation": (pb2.CancelOperationRequest, empty_pb2.Empty),
        "DeleteOperation": (pb2.DeleteOperationRequest, empty_pb2.Empty),
        "WaitOperation": (pb2.WaitOperationRequest, pb2.Operation),
    }
    wiring: Wiring = {
        name: (request.FromString, response.SerializeToString)
        for name, (request, response) in types.items()
    }
    return _serve(gate, "google.longrunning.Operations", wiring, operations)


def _serve(
    gate: Gate, service: str, wiring: Wiring, implementation: object
) -> grpc.GenericRpcHandler:
    handlers = {}
    for method, (decode, encode) in wiring.items():
        name = f"{service.rpartition('.')[2]}.{method}"
        do = getattr(implementation, _snake(method), None)
        if do is not None:
            gate.faults.know(name)
        handlers[method] = grpc.unary_unary_rpc_method_handler(
            _handler(gate, name, do or partial(_lacking, name)),
            request_deserializer=decode,
            response_serializer=encode,
        )
    return grpc.method_handlers_generic_handler(service, handlers)


def _lacking(name: str, _: Any) -> NoReturn:
    raise CloudError(grpc.StatusCode.UNIMPLEMENTED, f"The local cloud does not have {name}.")


def _handler(
    gate: Gate, method: str, do: Callable[[Any], Any]
) -> Callable[[Any, grpc.ServicerContext], Any]:
    def handle(request: Any, context: grpc.ServicerContext) -> Any:
        metadata = dict(context.invocation_metadata())
        try:
            _check_authority(context)
            return gate(
                method,
                request,
                lambda: do(request),
                reason=str(metadata.get(_REASON, "")),
                on_gone=context.add_callback,
                locked=method != "Operations.WaitOperation",
            )
        except CloudError as error:
            _abort(context, error)

    return handle


def _check_authority(context: grpc.ServicerContext) -> None:
    """PERMISSION_DENIED for a call to another host; Google's own names are served over TLS only.

    gRPC's public interface does not expose the authority; a test pins the private name.
    """
    authority = context._rpc_event.call_details.host.decode("latin-1")  # type: ignore[attr-defined] # noqa: SLF001
    if is_loopback(authority):
        return
    over_tls = "ssl_session_reused" in context.auth_context()
    if not (over_tls and authority.partition(":")[0].endswith(".googleapis.com")):
        raise CloudError(grpc.StatusCode.PERMISSION_DENIED, refusal(authority))


def _abort(context: grpc.ServicerContext, error: CloudError) -> NoReturn:
    context.abort_with_status(rpc_status.to_status(error.status()))
    raise AssertionError("abort_with_status always raises")


def _snake(name: str) -> str:
    return re.sub(r"(?<=[a-z0-9])(?=[A-Z])", "_", name).lower()


def _decoder(method: str, serializer: Any) -> Callable[[bytes], Any]:
    """The counterpart of the client's request serializer.

    A proto-plus class is found by its serializer; a plain protobuf method does not name its class.
    """
    owner = getattr(serializer, "__self__", None)
    decode: Callable[[bytes], Any] = (
        _PLAIN[method].FromString if owner is None else owner.deserialize
    )
    return decode


def _encoder(deserializer: Any) -> Callable[[Any], bytes]:
    """The counterpart of the client's response deserializer."""
    owner = getattr(deserializer, "__self__", None)
    if owner is not None and hasattr(owner, "serialize"):
        return owner.serialize  # type: ignore[no-any-return]
    return lambda message: message.SerializeToString()
