"""Fields of Google's messages that the local cloud could only store: it refuses them instead."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import grpc

from ..core.errors import CloudError


def refuse_set(message: Any, fields: Iterable[str]) -> None:
    """UNIMPLEMENTED when a plain protobuf message has one of these fields set to something."""
    held = {descriptor.name for descriptor, value in message.ListFields() if _says(value)}
    for field in fields:
        if field in held:
            kind = message.DESCRIPTOR.name
            raise CloudError(
                grpc.StatusCode.UNIMPLEMENTED,
                f"{kind}.{field} is not supported by the local cloud.",
            )


def _says(value: Any) -> bool:
    return not hasattr(value, "ByteSize") or value.ByteSize() > 0
