"""The state that the steps of a workflow share: a frozen dataclass, stored as {"v": 1, ...}."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, fields
from typing import Any, ClassVar, Self

VERSION_KEY = "v"


@dataclass(frozen=True, slots=True, kw_only=True)
class State:
    """Base of the states. Every field has a default, because an older row may lack it.

    Fields hold JSON values: texts, numbers, booleans, None, mappings, and tuples for lists. A
    release that adds a field which others must understand raises VERSION: a worker leaves states
    of a newer version to a worker of a newer release. Rows written before states had a version
    are read as they are: the fields have the names of their keys.
    """

    VERSION: ClassVar[int] = 1

    other: Mapping[str, Any] = field(default_factory=dict)
    """Keys that this release does not know, stored again for the release that wrote them."""

    @classmethod
    def load(cls, data: Mapping[str, Any]) -> Self:
        """Read a state that `dump` wrote."""
        names = {f.name for f in fields(cls)} - {"other"}
        known = {name: _frozen(value) for name, value in data.items() if name in names}
        other = {k: v for k, v in data.items() if k not in names and k != VERSION_KEY}
        return cls(**known, other=other)

    def dump(self) -> dict[str, Any]:
        """The state as the operation's row stores it, without fields that have their default."""
        blank = type(self)()
        values = {f.name: getattr(self, f.name) for f in fields(self) if f.name != "other"}
        changed = {k: value for k, value in values.items() if value != getattr(blank, k)}
        return {VERSION_KEY: self.VERSION, **self.other, **changed}


def version_of(data: Mapping[str, Any]) -> int:
    """The version of a stored state; rows of the first releases have none."""
    version = data.get(VERSION_KEY, 0)
    return version if isinstance(version, int) else 0


def _frozen(value: Any) -> Any:
    return tuple(_frozen(item) for item in value) if isinstance(value, list) else value
