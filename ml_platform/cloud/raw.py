"""Reads raw protobuf messages, which is eight times faster than through proto-plus."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import fields
from datetime import UTC, datetime
from enum import StrEnum
from typing import Any, ClassVar, TypeVar

from ml_platform.errors import storable

E = TypeVar("E", bound=StrEnum)


def unwrap(message: Any) -> Any:
    """Return the raw message inside a proto-plus wrapper; anything else is returned unchanged."""
    pb = getattr(type(message), "pb", None)
    return pb(message) if pb else message


def clean(value: Any) -> Any:
    """Return a text, or the texts in a tuple or mapping, in a form that both databases can store.

    Any other value is returned unchanged.
    """
    if isinstance(value, StrEnum):  # ours, not Google's
        return value
    if isinstance(value, str):
        return storable(value)
    if isinstance(value, tuple):
        return tuple(clean(item) for item in value)
    if isinstance(value, Mapping):
        return {clean(key): clean(item) for key, item in value.items()}
    return value


class RemoteValue:
    """Base of values from Google; their texts can be stored in both databases.

    `addresses` are fields that stay unchanged: a changed address would name something else.
    """

    __slots__ = ()
    addresses: ClassVar[frozenset[str]] = frozenset()

    def __post_init__(self) -> None:
        for each in fields(self):  # type: ignore[arg-type]
            value = getattr(self, each.name)
            if each.name not in self.addresses and (cleaned := clean(value)) != value:
                object.__setattr__(self, each.name, cleaned)


def read_utf8(content: bytes) -> str:
    """Return the text of a file, without a byte order mark.

    :raises ValueError: it is not UTF-8, or has NUL characters, which PostgreSQL cannot store.
    """
    if b"\0" in content:
        raise ValueError("NUL")
    return content.decode("utf-8-sig")


def read_time(message: Any, field: str) -> datetime | None:
    """Return a timestamp field as an aware datetime, None when it is unset."""
    if not message.HasField(field):
        return None
    when: datetime = getattr(message, field).ToDatetime(tzinfo=UTC)
    return when


def enum_name(message: Any, field: str) -> str:
    """Return the name of an enum field's value, '' for a number that this library does not know."""
    values = message.DESCRIPTOR.fields_by_name[field].enum_type.values_by_number
    known = values.get(getattr(message, field))
    return known.name if known else ""


def read_enum(message: Any, field: str, ours: type[E], unknown: E, *, prefix: str = "") -> E:
    """Return our value of the same name without Google's prefix, or `unknown`."""
    name = enum_name(message, field).removeprefix(prefix).lower()
    return ours(name) if name in set(ours) else unknown
