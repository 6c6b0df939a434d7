"""All actions, by their names."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from . import endpoints, findings, models, operations, projects, runs, schedules, system
from .action import Action

NOUNS = (runs, schedules, models, endpoints, findings, operations, projects, system)
ACTIONS: Mapping[str, Action[Any, Any]] = {
    action.name: action for noun in NOUNS for action in noun.ACTIONS
}
