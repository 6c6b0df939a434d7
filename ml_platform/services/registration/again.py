"""The repair of a finding that something serves a run that is no version: register it again."""

from __future__ import annotations

from datetime import datetime

from ml_platform.models import Finding, Operation, RegisteredModel, TrainingRun
from ml_platform.models.states import Approval
from ml_platform.services.findings.kinds import FindingKind
from ml_platform.services.findings.store import link_findings
from ml_platform.services.operations.store import Actor

from .register import NotRegistrable, register_run, require_unregistered


def register_served(
    *, finding: Finding, registered_model: RegisteredModel, actor: Actor, now: datetime
) -> Operation:
    """Open the registration of the run that the finding names: a person asks for it (law 4), and it
    stays one version (law 7). An approval that it has stays. What serves is not changed.

    :raises NotRegistrable: the run may not become a version, or is one by now.
    """
    run = finding.run
    if run is None:
        raise NotRegistrable("The run that is served was deleted.", advice="Undeploy the endpoint.")
    require_again(run)
    operation = register_run(run=run, actor=actor, now=now, force_reason=_approved_for(run))
    kinds = [FindingKind.SERVING_UNVERIFIED]
    link_findings(operation=operation, kinds=kinds, subject=finding.subject)
    return operation


def require_again(run: TrainingRun) -> None:
    """Check that `register_served` would register the run.

    :raises NotRegistrable: it would not; the message gives the reason.
    """
    require_unregistered(run, force_reason=_approved_for(run))


def _approved_for(run: TrainingRun) -> str:
    return run.approval_reason if run.approval == Approval.APPROVED else ""
