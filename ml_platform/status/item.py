"""What the status is made of."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum


class State(StrEnum):
    """What was found out about one thing. What could not be found out is not fine."""

    FINE = "fine"
    ATTENTION = "attention"
    UNKNOWN = "unknown"
    UNUSED = "unused"


@dataclass(frozen=True, slots=True, kw_only=True)
class Item:
    """One thing that the platform needs."""

    name: str
    """Stable; programs know it by this."""
    title: str
    state: State
    detail: str
    advice: str = ""
    at: datetime | None = None
    """When it was last seen at work, or since when it waits."""
    permission: str = ""
    """The IAM permission that its call to Google needs."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Status:
    """All of them; `live` if Google was asked."""

    now: datetime
    live: bool
    items: Sequence[Item]

    @property
    def state(self) -> State:
        """What surely needs a person goes before what is unknown."""
        found = {item.state for item in self.items}
        return next((one for one in (State.ATTENTION, State.UNKNOWN) if one in found), State.FINE)
