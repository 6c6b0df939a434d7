"""How raw protobuf messages are read; they read eight times faster than proto-plus's wrappers."""

from __future__ import annotations

from datetime import UTC, datetime
from enum import StrEnum
from typing import Any, TypeVar

E = TypeVar("E", bound=StrEnum)


def unwrap(message: Any) -> Any:
    """Return the raw message inside a proto-plus wrapper."""
    return type(message).pb(message)


def read_time(message: Any, field: str) -> datetime | None:
    """Return a timestamp field as an aware datetime, None when it is unset."""
    if not message.HasField(field):
        return None
    when: datetime = getattr(message, field).ToDatetime(tzinfo=UTC)
    return when


def enum_name(message: Any, field: str) -> str:
    """Return the name of an enum field's value, '' for a number this library does not know yet."""
    values = message.DESCRIPTOR.fields_by_name[field].enum_type.values_by_number
    known = values.get(getattr(message, field))
    return known.name if known else ""


def read_enum(message: Any, field: str, ours: type[E], unknown: E, *, prefix: str = "") -> E:
    """Return our value of the same name (without Google's prefix), else `unknown`."""
    name = enum_name(message, field).removeprefix(prefix).lower()
    return ours(name) if name in set(ours) else unknown
