"""The last step of a repair: its findings end."""

from __future__ import annotations

from functools import partial

from ml_platform.models.states import FindingStatus
from ml_platform.services.findings.kinds import FindingKind
from ml_platform.services.findings.store import ENDED_AS, end_findings
from ml_platform.services.operations.work import Work
from ml_platform.services.operations.workflow import Next, Outcome, Step


def _close(work: Work) -> Outcome:
    """Close repaired findings. If nothing was wrong, close only what a re-check settles."""
    status = FindingStatus(work.data.get("ended_as", FindingStatus.REPAIRED))
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
