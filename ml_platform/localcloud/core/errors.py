"""The exceptions of the local cloud; CloudError becomes a Google error in the client's answer."""

from __future__ import annotations

from collections.abc import Sequence

import grpc
from google.protobuf import any_pb2
from google.protobuf.message import Message
from google.rpc import status_pb2


class CloudError(Exception):
    """An answer that is an error: a gRPC status code, a message and `google.rpc` details."""

    def __init__(
        self, code: grpc.StatusCode, message: str, details: Sequence[Message] = ()
    ) -> None:
        super().__init__(message)
        self.code = code
        self.message = message
        self.details = tuple(details)

    def status(self) -> status_pb2.Status:
        """The same error as `google.rpc.Status`, as in long-running operations."""
        status = status_pb2.Status(code=self.code.value[0], message=self.message)
        for detail in self.details:
            packed = any_pb2.Any()
            packed.Pack(detail)
            status.details.append(packed)
        return status


class Unusable(ValueError):
    """An option of the local cloud is invalid."""


class PortBusy(OSError):
    """Another process uses the port that the local cloud should listen on."""


def invalid(field: str, message: str) -> CloudError:
    """INVALID_ARGUMENT in the wording of Vertex's validator (seen in recorded real traffic)."""
    text = f"List of found errors:\t1.Field: {field}; Message: {message}\t"
    return CloudError(grpc.StatusCode.INVALID_ARGUMENT, text)


def not_found(message: str) -> CloudError:
    """NOT_FOUND: the resource itself is not there."""
    return CloudError(grpc.StatusCode.NOT_FOUND, message)


def precondition(message: str) -> CloudError:
    """FAILED_PRECONDITION: the current state does not allow the call."""
    return CloudError(grpc.StatusCode.FAILED_PRECONDITION, message)
