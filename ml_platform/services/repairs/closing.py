"""The last step of a repair: its findings end."""

from __future__ import annotations

from functools import partial

from ml_platform.models.states import FindingKind, FindingStatus
from ml_platform.services.findings.store import ENDED_AS, end_findings
from ml_platform.services.operations.work import Work
from ml_platform.services.operations.workflow import Next, Outcome, Step

SETTLED_BY_A_LOOK = (
    FindingKind.STALE_POINTER,
    FindingKind.SERVICE_MISSING,
    FindingKind.SERVICE_MISMATCH,
)
"""Kinds that are gone when a repair has looked and all was as our rows say."""


def _close(work: Work) -> Outcome:
    """Close repaired findings; if nothing was wrong, only kinds that a re-check can settle."""
    status = FindingStatus(work.data.get("ended_as", FindingStatus.REPAIRED))
    kinds = list(FindingKind) if status == FindingStatus.REPAIRED else list(SETTLED_BY_A_LOOK)
    now = work.clock()
    end = partial(end_findings, operation=work.operation, status=status, now=now, kinds=kinds)
    return Next(note=ENDED_AS[status], change=end)


CLOSE = Step(name="close", title="End the finding", run=_close)
