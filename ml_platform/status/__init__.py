"""Whether the platform can work: its settings, its database, Google's APIs, workers and jobs."""

from __future__ import annotations

from .item import Item, State, Status
from .read import line, read_status

__all__ = ["Item", "State", "Status", "line", "read_status"]
