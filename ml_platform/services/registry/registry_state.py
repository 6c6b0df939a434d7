"""Is a lineage in the Vertex AI Model Registry? What the newest sweeps say: yes, no or unknown."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime

from ml_platform.models.states import RegistryState

NEVER_LOOKED = "No sweep has looked at it yet."
NOT_LISTED = "Not listed at two sweeps."
NOT_SEEN_ONCE = "The newest sweep did not see it; only a second look proves that it is gone."


@dataclass(frozen=True, slots=True)
class RegistryVerdict:
    """`verified` is None for unknown, `reason` says why it is not True; `at` is when the last look
    was that said anything."""

    verified: bool | None
    reason: str
    at: datetime | None


def registry_verdict(*, state: str, checked_at: datetime | None, unread: str) -> RegistryVerdict:
    """Judge what is stored of a lineage; `unread` is why the newest sweep did not read Vertex AI.

    Absence counts at the second look, and no older look speaks for a plane unread since (law 3).
    """
    if unread:
        return RegistryVerdict(None, unread, checked_at)
    if checked_at is None or state == RegistryState.UNCHECKED:
        return RegistryVerdict(None, NEVER_LOOKED, None)
    if state == RegistryState.SUSPECTED:
        return RegistryVerdict(None, NOT_SEEN_ONCE, checked_at)
    if state == RegistryState.MISSING:
        return RegistryVerdict(verified=False, reason=NOT_LISTED, at=checked_at)
    return RegistryVerdict(verified=True, reason="", at=checked_at)
