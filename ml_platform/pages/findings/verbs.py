"""What can be done about a finding: its safe repair, a person's choice, or a reason to leave it."""

from __future__ import annotations

from collections.abc import Mapping

from ml_platform.errors import Conflict, Invalid
from ml_platform.models import Finding, Operation
from ml_platform.models.states import FindingStatus
from ml_platform.pages.common.verb import ActionRequest, Verb, always, in_scope
from ml_platform.services.access.rights import Right
from ml_platform.services.access.scope import Scope
from ml_platform.services.findings.kinds import facts_of
from ml_platform.services.findings.store import ignore_finding, reopen_finding
from ml_platform.services.registration.adoption import adopt_model
from ml_platform.services.repairs import reconciliation
from ml_platform.services.repairs.unmanaged_models import delete_unmanaged_model


def find_finding(scope: Scope, key: str) -> Finding:
    """The finding of that id, if the user sees its project.

    :raises Http404: there is none, or it is another tenant's.
    """
    rows = Finding.objects.select_related("registered_model", "run", "project")
    return in_scope(rows, scope, key)


def reason_disabled_repair(finding: Finding) -> str:
    """What stands against repairing a finding."""
    if finding.status != FindingStatus.OPEN:
        return f"It is {finding.get_status_display().lower()}."
    return "" if reconciliation.is_safe(finding) else "No repair of it is safe by itself."


def reason_disabled_choose(finding: Finding) -> str:
    """What stands against adopting or deleting a model that nobody manages."""
    if finding.status != FindingStatus.OPEN:
        return f"It is {finding.get_status_display().lower()}."
    return "" if facts_of(finding).needs_choice else "It is a model of ours."


def _open(finding: Finding) -> str:
    return "" if finding.status == FindingStatus.OPEN else "It is not open any more."


def _ignore(finding: Finding, asked: ActionRequest) -> None:
    ignore_finding(finding=finding, reason=asked.reason, actor=asked.actor, now=asked.now)


def _reopen(finding: Finding, asked: ActionRequest) -> None:
    reopen_finding(finding=finding, reason=asked.reason, actor=asked.actor, now=asked.now)


def _require_choice(finding: Finding) -> None:
    if why := reason_disabled_choose(finding):
        raise Conflict(
            f"{finding.title}: {why}", code="no_choice", advice="Look at the finding again."
        )


def _adopt(finding: Finding, asked: ActionRequest) -> Operation:
    _require_choice(finding)
    chosen = asked.form.get("project", "")
    if not chosen:
        raise Invalid(
            "Choose the project that gets it.",
            code="no_project",
            advice="It becomes a model of that project.",
        )
    return adopt_model(
        resource_name=finding.subject,
        project=asked.scope.find_project(chosen),
        model_name=asked.form.get("model_name", "").strip(),
        actor=asked.actor,
        now=asked.now,
    )


def _delete_unmanaged(finding: Finding, asked: ActionRequest) -> Operation:
    _require_choice(finding)
    if asked.form.get("name", "").strip() != str(finding.evidence.get("display_name", "")):
        raise Invalid(
            "The name typed is not the model's. Nothing was deleted.",
            code="name_differs",
            advice="Type it as it stands above the field.",
        )
    return delete_unmanaged_model(
        resource_name=finding.subject,
        actor=asked.actor,
        now=asked.now,
        project_id=finding.project_id,
    )


FINDING_VERBS: Mapping[str, Verb] = {
    "repair-finding": Verb(
        find_finding,
        always(Right.ADMINISTER),
        reason_disabled_repair,
        lambda finding, asked: reconciliation.repair_finding(
            finding=finding, actor=asked.actor, now=asked.now
        ),
    ),
    "ignore-finding": Verb(find_finding, always(Right.ADMINISTER), _open, _ignore),
    "reopen-finding": Verb(
        find_finding,
        always(Right.ADMINISTER),
        lambda finding: "" if finding.status == FindingStatus.IGNORED else "It is not ignored.",
        _reopen,
    ),
    "adopt-finding": Verb(find_finding, always(Right.ADMINISTER), reason_disabled_choose, _adopt),
    "delete-unmanaged": Verb(
        find_finding, always(Right.ADMINISTER), reason_disabled_choose, _delete_unmanaged
    ),
}
