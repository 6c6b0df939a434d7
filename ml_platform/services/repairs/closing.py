"""The last step of a repair: its findings end."""

from __future__ import annotations

from dataclasses import dataclass
from functools import partial

from ml_platform.models.states import FindingKind, FindingStatus
from ml_platform.services.findings.store import ENDED_AS, end_findings
from ml_platform.services.operations.state import State
from ml_platform.services.operations.work import Work
from ml_platform.services.operations.workflow import Next, Outcome, Step

SETTLED_BY_A_LOOK = (
    FindingKind.STALE_POINTER,
    FindingKind.SERVICE_MISSING,
    FindingKind.SERVICE_MISMATCH,
)
"""Kinds that are gone when a repair has looked and all was as our rows say."""


@dataclass(frozen=True, slots=True, kw_only=True)
class RepairState(State):
    """What every repair of a finding remembers."""

    ended_as: str = ""
    """The status of its findings at the end: `repaired`, or `gone` when nothing was wrong."""


def _close(work: Work[RepairState]) -> Outcome:
    """Close repaired findings; if nothing was wrong, only kinds that a re-check can settle."""
    # The state is None for a repair whose state is not typed yet.
    state: RepairState | None = work.state
    ended_as = work.data.get("ended_as", "") if state is None else state.ended_as
    status = FindingStatus(ended_as or FindingStatus.REPAIRED)
    kinds = list(FindingKind) if status == FindingStatus.REPAIRED else list(SETTLED_BY_A_LOOK)
    now = work.clock()
    end = partial(end_findings, operation=work.operation, status=status, now=now, kinds=kinds)
    return Next(note=ENDED_AS[status], change=end)


CLOSE = Step(name="close", title="End the finding", run=_close)
