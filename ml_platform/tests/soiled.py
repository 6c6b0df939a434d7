"""A local cloud that says text which PostgreSQL cannot keep.

Its answers are its own, with a NUL character (in JSON half of a surrogate pair, too) put behind the
texts in them on their way over the wire.
"""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Callable, Collection
from functools import partial
from typing import Any

import pytest
from google.protobuf.message import Message

from ml_platform.localcloud.core.interceptor import Gate

CLEAN = frozenset(
    # What addresses a thing, and what says what it is, ...
    {"name", "kind", "version_id", "next_page_token", "nextPageToken", "type_url"}
    # ... and the numbers and times that JSON has as texts.
    | {"size", "generation", "updated", "timeCreated", "retentionDurationSeconds"}
)


def soil_the_wire(patch: pytest.MonkeyPatch, *only: str) -> None:
    """From now on no answer of a local cloud is clean, or no field of these names."""
    serve = Gate.__call__

    def dirty(do: Callable[[], Any]) -> Any:
        answer = do()
        if not hasattr(answer, "body"):
            return _soil(answer, only)
        if answer.content_type.startswith("application/json"):
            text = json.dumps(_soil_json(json.loads(answer.body), only))
            return dataclasses.replace(answer, body=text.encode())
        return answer

    def gate(self: Gate, method: str, request: object, do: Any, **options: Any) -> Any:
        return serve(self, method, request, partial(dirty, do), **options)

    patch.setattr(Gate, "__call__", gate)


def _is_soiled(name: str, only: Collection[str]) -> bool:
    return name in only if only else name not in CLEAN


def _soil(message: Any, only: Collection[str]) -> Any:
    raw = type(message).pb(message) if hasattr(type(message), "pb") else message
    for field in raw.DESCRIPTOR.fields:
        value = getattr(raw, field.name)
        if field.message_type is None:
            if field.type == field.TYPE_STRING and _is_soiled(field.name, only):
                _soil_text(raw, field, value)
        elif field.message_type.GetOptions().map_entry:
            _soil_map(value, _is_soiled(field.name, only))
        elif not isinstance(value, Message):
            for item in value:
                _soil(item, only)
        elif raw.HasField(field.name):
            _soil(value, only)
    return message


def _soil_text(raw: Any, field: Any, value: Any) -> None:
    if not isinstance(value, str):
        value[:] = [f"{item}\0" for item in value]
    elif field.containing_oneof is None or raw.HasField(field.name):
        setattr(raw, field.name, f"{value}\0")


def _soil_map(value: Any, wanted: bool) -> None:
    for key, item in list(value.items()):
        if wanted and isinstance(item, str):
            del value[key]
            value[f"{key}\0"] = f"{item}\0"


def _soil_json(value: Any, only: Collection[str], key: str = "") -> Any:
    match value:
        case str() if _is_soiled(key, only):
            return f"{value}\0\ud83d"
        case dict():
            return {inner: _soil_json(item, only, inner) for inner, item in value.items()}
        case list():
            return [_soil_json(item, only, key) for item in value]
    return value
