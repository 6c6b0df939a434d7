"""All actions, by their names."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from . import findings, operations
from .action import Action

ACTIONS: Mapping[str, Action[Any, Any]] = {
    action.name: action for noun in (findings, operations) for action in noun.ACTIONS
}
