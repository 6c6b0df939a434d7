"""Checks that a JSON value reaches Vertex AI and our database unchanged."""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from ml_platform.errors import storable

DEEPEST = 30
"""The most nested objects and lists. Protobuf reads a hundred nested messages, and an object in a
Struct takes three (its entry, the entry's value, the object in it)."""
LARGEST = 2**53
"""Numbers become floats on the wire, which hold no larger whole number exactly."""


@dataclass(frozen=True, slots=True)
class Flaw:
    """Why a value would be changed or refused; `where` is the path to it, '' for the root."""

    what: str
    advice: str
    where: str


def flaw_in(value: Any) -> Flaw | None:
    """Return the first flaw of a JSON value, at any depth."""
    left: list[tuple[Any, int, str]] = [(value, 0, "")]
    while left:
        part, depth, where = left.pop()
        for is_flawed, what, advice in _FLAWS:
            if is_flawed(part, depth):
                return Flaw(what, advice, where)
        left += _inner(part, depth + 1, where)
    return None


def _inner(part: Any, depth: int, where: str) -> Iterator[tuple[Any, int, str]]:
    if isinstance(part, dict):
        for key, inner in part.items():
            yield key, depth, where
            yield inner, depth, f"{where}.{key}" if where else str(key)
    elif isinstance(part, list):
        for number, inner in enumerate(part):
            yield inner, depth, f"{where}[{number}]"


def _is_too_deep(part: Any, depth: int) -> bool:
    return depth >= DEEPEST and isinstance(part, dict | list)


def _is_inexact(part: Any, _: int) -> bool:
    if isinstance(part, float):
        return not math.isfinite(part)
    return isinstance(part, int) and abs(part) > LARGEST


def _is_unstorable(part: Any, _: int) -> bool:
    return isinstance(part, str) and storable(part) != part


_FLAWS = (
    (
        _is_too_deep,
        f"holds lists and objects more than {DEEPEST} levels deep",
        "Flatten it, or pass it as one text.",
    ),
    (
        _is_inexact,
        "holds a number that Vertex AI cannot take exactly",
        f"Whole numbers go up to {LARGEST}; pass a larger one as text.",
    ),
    (
        _is_unstorable,
        "holds text with a NUL character or half of a surrogate pair",
        "Remove the character.",
    ),
)
