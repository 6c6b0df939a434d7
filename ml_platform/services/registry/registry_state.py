"""Whether a model is in the Vertex AI Model Registry, by the newest sweeps: yes, no or unknown."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime

from django.db.models import Case, Q, TextChoices
from django.db.models.lookups import GreaterThanOrEqual

from ml_platform.models import RegisteredModel
from ml_platform.models.states import RegistryState
from ml_platform.models.sweeps.sweep import as_of

NEVER_CHECKED = "No sweep has checked it yet."
NOT_LISTED = "Not listed at two sweeps."
OTHER_LABELS = "It is in Vertex AI, but without our labels: it may not be ours any more."
OTHER_FILES = "A version does not have the files that its manifest names."
TOO_OLD = "It was last checked three audits ago or more."
NOT_SEEN_ONCE = "The newest sweep did not see it; a second sweep must confirm that it is gone."
_VERDICTS: Mapping[str, tuple[bool | None, str]] = {
    RegistryState.SUSPECTED: (None, NOT_SEEN_ONCE),
    RegistryState.MISSING: (False, NOT_LISTED),
    RegistryState.CHANGED: (False, OTHER_FILES),
    RegistryState.FOREIGN: (None, OTHER_LABELS),
}


class RegistryAnswer(TextChoices):
    """The last known state of a model in Vertex AI."""

    VERIFIED = "verified", RegistryState.VERIFIED.label
    CHANGED = "changed", RegistryState.CHANGED.label
    FOREIGN = "foreign", RegistryState.FOREIGN.label
    MISSING = "missing", RegistryState.MISSING.label
    UNKNOWN = "unknown", "Unknown"


@dataclass(frozen=True, slots=True)
class RegistryVerdict:
    """`verified` is None for unknown; `reason` is why it is not True; `at` is when Vertex AI last
    answered about the model."""

    verified: bool | None
    reason: str
    at: datetime | None

    @property
    def missing(self) -> bool:
        """Whether two sweeps did not find the model."""
        return self.reason == NOT_LISTED

    @property
    def foreign(self) -> bool:
        """Whether the model is there, but not, or no longer, with our labels."""
        return self.reason == OTHER_LABELS

    @property
    def changed(self) -> bool:
        """Whether the files of a version differ from its manifest."""
        return self.reason == OTHER_FILES


def answered_at(
    checked_at: datetime | None, *, in_sweeps: bool, began_at: datetime | None
) -> datetime | None:
    """When Vertex AI last answered about a model: by its row, or if each reading since then judged
    it so, when the newest of them began (`began_at`)."""
    if in_sweeps and checked_at is not None and began_at is not None:
        return max(checked_at, began_at)
    return checked_at


def registry_verdict(
    *, state: str, checked_at: datetime | None, unread: str, fresh_since: datetime | None
) -> RegistryVerdict:
    """The verdict on what is stored; `unread` is why the newest sweep could not read Vertex AI, and
    `fresh_since` the time before which an answer is too old.

    An older answer does not describe the present. Absence counts only at the second sweep, because
    a listing may miss a model once (law 3).
    """
    if unread:
        return RegistryVerdict(None, unread, checked_at)
    if checked_at is None or state == RegistryState.UNCHECKED:
        return RegistryVerdict(None, NEVER_CHECKED, None)
    if fresh_since is not None and checked_at < fresh_since:
        return RegistryVerdict(None, TOO_OLD, checked_at)
    return RegistryVerdict(*_VERDICTS.get(state, (True, "")), checked_at)


def verdict_of(
    lineage: RegisteredModel,
    unread: str,
    fresh_since: datetime | None,
    began_at: datetime | None = None,
) -> RegistryVerdict:
    """The verdict on a model by its row, and by when the last reading of Vertex AI began."""
    return registry_verdict(
        state=lineage.registry_state,
        checked_at=answered_at(
            lineage.registry_checked_at,
            in_sweeps=lineage.registry_in_sweeps,
            began_at=began_at,
        ),
        unread=unread,
        fresh_since=fresh_since,
    )


def registry_answered_at() -> Case:
    """`answered_at` of registered models as an expression."""
    return as_of("registry_checked_at", Q(registry_in_sweeps=True), "vertex")


def has_registry_answer(answer: str, unread: str, fresh_since: datetime | None) -> Q:
    """The same verdict as a condition on registered models; the database knows the sweeps."""
    known = Q(pk__in=[]) if unread else Q(registry_checked_at__isnull=False)
    if fresh_since is not None:
        known &= Q(GreaterThanOrEqual(registry_answered_at(), fresh_since))
    told = [each.value for each in RegistryAnswer if each != RegistryAnswer.UNKNOWN]
    if answer == RegistryAnswer.UNKNOWN:
        return ~(known & Q(registry_state__in=told))
    return known & Q(registry_state=RegistryAnswer(answer))
