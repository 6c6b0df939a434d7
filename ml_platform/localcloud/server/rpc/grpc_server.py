"""The gRPC side: a service's wiring is read off Google's own client, errors become statuses."""

from __future__ import annotations

import re
import traceback
from collections.abc import Callable, Mapping
from functools import partial
from typing import Any, NamedTuple, NoReturn

import grpc
from google.cloud.location import locations_pb2
from google.iam.v1 import iam_policy_pb2
from google.longrunning import operations_pb2
from google.protobuf import empty_pb2
from google.protobuf.message import Message
from grpc_status import rpc_status

from ...core.errors import CloudError
from ...core.faults.orders import OnGone
from ...core.interceptor import Gate
from ...core.lists.pages import page
from ...core.operations import Operations
from ..loopback import is_loopback, refusal

__all__ = [
    "CloudError",
    "Method",
    "Service",
    "bind",
    "bind_locations",
    "bind_operations",
    "call",
    "methods",
    "page",
    "wire",
]

# method name -> (decode the request, encode the response, the response's protobuf class)
Wiring = dict[str, tuple[Callable[[bytes], Any], Callable[[Any], bytes], type[Message]]]
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
        return lambda *_, **__: None  # the client wraps what it gets

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
        method: (_decoder(method, request), *_encoder(response))
        for path, (request, response) in recorder.paths.items()
        if (method := path.removeprefix(prefix)) != path
    }


class Method(NamedTuple):
    """A unary method: its name at the gate, its types on the wire and what serves it."""

    name: str
    decode: Callable[[bytes], Any]
    encode: Callable[[Any], bytes]
    answer: type[Message]
    do: Callable[[Any], Any]


class Service(NamedTuple):
    """A service of the cloud, by its full proto name, with every method that its client calls."""

    name: str
    transport: Any
    methods: dict[str, Method]


def bind(gate: Gate, transport_cls: Any, service: str, implementation: object) -> Service:
    """Serve `implementation.upload_model(request)` as `UploadModel`, and so on, behind the gate.

    What the implementation lacks answers UNIMPLEMENTED.
    """
    wiring = methods(transport_cls, service)
    return Service(service, transport_cls, _bound(gate, service, wiring, implementation))


def bind_operations(gate: Gate, operations: Operations) -> Service:
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
        name: (request.FromString, response.SerializeToString, response)
        for name, (request, response) in types.items()
    }
    service = "google.longrunning.Operations"
    return Service(service, None, _bound(gate, service, wiring, operations))


def bind_locations(gate: Gate, locations: object) -> Service:
    """`google.cloud.location.Locations`, which clients call on their service's channel."""
    pb2 = locations_pb2
    types = {
        "GetLocation": (pb2.GetLocationRequest, pb2.Location),
        "ListLocations": (pb2.ListLocationsRequest, pb2.ListLocationsResponse),
    }
    wiring: Wiring = {
        name: (request.FromString, response.SerializeToString, response)
        for name, (request, response) in types.items()
    }
    service = "google.cloud.location.Locations"
    return Service(service, None, _bound(gate, service, wiring, locations))


def wire(gate: Gate, service: Service) -> grpc.GenericRpcHandler:
    """The handlers of a service for a gRPC server."""
    handlers = {
        name: grpc.unary_unary_rpc_method_handler(
            _handler(gate, method),
            request_deserializer=method.decode,
            response_serializer=method.encode,
        )
        for name, method in service.methods.items()
    }
    return grpc.method_handlers_generic_handler(service.name, handlers)


def call(
    gate: Gate, method: Method, request: Any, headers: Mapping[str, str], on_gone: OnGone | None
) -> Any:
    """Lead a call through the gate, whether it came by gRPC or by REST. Raises CloudError."""
    return gate(
        method.name,
        request,
        lambda: method.do(request),
        reason=headers.get(_REASON, ""),
        headers=headers,
        on_gone=on_gone,
        locked=method.name != "Operations.WaitOperation",
    )


def _bound(gate: Gate, service: str, wiring: Wiring, implementation: object) -> dict[str, Method]:
    found = {}
    for method, (decode, encode, answer) in wiring.items():
        name = f"{service.rpartition('.')[2]}.{method}"
        do = getattr(implementation, _snake(method), None)
        if do is not None:
            gate.faults.know(name)
        found[method] = Method(name, decode, encode, answer, do or partial(_unserved, name))
    return found


def _unserved(name: str, request: Any) -> NoReturn:
    del request
    raise CloudError(grpc.StatusCode.UNIMPLEMENTED, f"The local cloud does not serve {name}.")


def _handler(gate: Gate, method: Method) -> Callable[[Any, grpc.ServicerContext], Any]:
    def handle(request: Any, context: grpc.ServicerContext) -> Any:
        metadata = {key: str(text) for key, text in context.invocation_metadata()}
        try:
            _check_authority(context)
            return call(gate, method, request, metadata, context.add_callback)
        except CloudError as error:
            _abort(context, error)
        except Exception:  # noqa: BLE001
            # Our own fault: shown here, and answered as Google's servers answer theirs.
            traceback.print_exc()
            _abort(context, CloudError(grpc.StatusCode.INTERNAL, "Internal error encountered."))

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


def _encoder(deserializer: Any) -> tuple[Callable[[Any], bytes], type[Message]]:
    """The counterpart of the client's response deserializer, and the class that it reads."""
    owner = deserializer.__self__
    if hasattr(owner, "serialize"):
        return owner.serialize, owner.pb()
    return lambda message: message.SerializeToString(), owner
