"""The history of a model, newest first: its events, those of one operation in one row."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime
from uuid import UUID

from django.urls import reverse

from ml_platform.models import Event, RegisteredModel
from ml_platform.models.states import EventKind
from ml_platform.pages.view_models.badges import badge
from ml_platform.pages.view_models.context import Values
from ml_platform.pages.view_models.serialize import operation_row
from ml_platform.pages.view_models.times import moment
from ml_platform.services.operations.liveness import why_waiting

SHOWN = 12
READ = 4 * SHOWN
"""Events that are read for so many rows: an operation has a few."""
TONES: Mapping[str, str] = {
    EventKind.VERSION_LOST: "bad",
    EventKind.FINDING_OPENED: "warn",
    EventKind.FINDING_REPAIRED: "good",
}


def history(lineage: RegisteredModel, now: datetime) -> list[Values]:
    """The newest rows of the model's history, from one query, and one more if an operation runs."""
    events = lineage.events.select_related("operation__project").order_by("-seq")[:READ]
    groups: dict[object, list[Event]] = {}
    for event in events:
        groups.setdefault(event.operation_id or event.seq, []).append(event)
    shown = list(groups.values())[:SHOWN]
    operations = [group[0].operation for group in shown if group[0].operation]
    waiting = why_waiting(operations, clock=lambda: now)
    return [_row(group, now, waiting) for group in shown]


def _row(group: list[Event], now: datetime, waiting: Mapping[UUID, str]) -> Values:
    event = group[0]
    if event.operation is not None:
        changes = [
            f"{change.get_kind_display()}: {change.subject_name}"
            for change in reversed(group)
            if not change.kind.startswith("operation_")
        ]
        why = waiting.get(event.operation.pk, "")
        row = operation_row(event.operation, now, waiting=why)
        return {**row, "changes": " · ".join(changes)}
    is_finding = event.subject_type == "finding"
    return {
        "status": badge(event.get_kind_display(), TONES.get(event.kind, "quiet")),
        "actor": event.actor_label,
        "subject": event.subject_name,
        "url": reverse("ml_platform:finding", args=[event.subject_id]) if is_finding else "",
        "at": moment(event.at, now),
    }
