"""The last step of a repair: its findings end."""

from __future__ import annotations

from dataclasses import dataclass
from functools import partial

from ml_platform.models.states import FindingStatus
from ml_platform.services.findings.kinds import FindingKind
from ml_platform.services.findings.store import ENDED_AS, end_findings
from ml_platform.services.operations.state import State
from ml_platform.services.operations.work import Work
from ml_platform.services.operations.workflow import Next, Outcome, Step


@dataclass(frozen=True, slots=True, kw_only=True)
class RepairState(State):
    """What every repair of a finding remembers."""

    ended_as: str = ""
    """The status of its findings at the end: `repaired`, or `gone` when nothing was wrong."""


def _close(work: Work[RepairState]) -> Outcome:
    """Close repaired findings. If nothing was wrong, close only what a re-check settles."""
    # The state is None for a repair whose state is not typed yet.
    state: RepairState | None = work.state
    ended_as = work.data.get("ended_as", "") if state is None else state.ended_as
    status = FindingStatus(ended_as or FindingStatus.REPAIRED)
    kinds = [
        kind
        for kind in FindingKind
        if status == FindingStatus.REPAIRED
        or (kind.facts.repair and kind.facts.repair.settled_by_recheck)
    ]
    now = work.clock()
    end = partial(end_findings, operation=work.operation, status=status, now=now, kinds=kinds)
    return Next(note=ENDED_AS[status], change=end)


CLOSE = Step(name="close", title="End the finding", run=_close)
