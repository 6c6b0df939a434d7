"""Signals for what is committed. A host connects receivers to them in the `ready` of an app.

A receiver is called as `receiver(sender, event, **kwargs)`, with `event` a `Happened`, by a worker.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any
from uuid import UUID

from django.dispatch import Signal

from ml_platform.models.states import EventKind


@dataclass(frozen=True, slots=True, kw_only=True)
class Happened:
    """What a receiver gets as `event`: one committed change."""

    id: int
    """Never used twice: a receiver with effects outside the database can drop what it has seen."""
    kind: EventKind
    at: datetime
    project_id: Any
    """Key of the project; None for what belongs to no project."""
    subject_type: str
    """trainingrun, registeredmodel, deployedendpoint, finding …"""
    subject_id: str
    subject_name: str
    model_id: int | None
    """Key of the RegisteredModel that the subject belongs to; the row may be gone."""
    operation_id: UUID | None
    actor: str
    """Name of who caused it, '' if nobody did."""
    origin: str
    """page, api, command, scheduler, worker or sweep."""
    before: Mapping[str, Any]
    after: Mapping[str, Any]
    """The changed fields, as the history shows them."""


model_registered = Signal()
version_lost = Signal()
deployed = Signal()
undeployed = Signal()
deleted = Signal()
drift_found = Signal()
drift_repaired = Signal()
operation_failed = Signal()
run_ended = Signal()

SIGNALS: Mapping[str, Signal] = {
    EventKind.MODEL_REGISTERED: model_registered,
    EventKind.VERSION_LOST: version_lost,
    EventKind.DEPLOYED: deployed,
    EventKind.UNDEPLOYED: undeployed,
    EventKind.VERSION_DELETED: deleted,
    EventKind.MODEL_DELETED: deleted,
    EventKind.RUN_DELETED: deleted,
    EventKind.FINDING_OPENED: drift_found,
    EventKind.FINDING_REOPENED: drift_found,
    EventKind.FINDING_REPAIRED: drift_repaired,
    EventKind.OPERATION_FAILED: operation_failed,
    EventKind.RUN_ENDED: run_ended,
}
"""The signal of each kind of event that has one."""
