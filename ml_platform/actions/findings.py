"""Findings: repair, ignore or reopen one, adopt or delete an unmanaged model, confirm an alarm."""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING, Any

from ml_platform.errors import Invalid
from ml_platform.models import Finding, Operation
from ml_platform.models.states import FindingStatus
from ml_platform.services.access.rights import Right
from ml_platform.services.findings.decisions import (
    confirm_plane,
    ignore_finding,
    reopen_finding,
    require_alarm,
    require_status,
)
from ml_platform.services.registration.adoption import adopt_model
from ml_platform.services.repairs.reconciliation import (
    repair_finding,
    require_choice,
    require_repairable,
    why_planes_unbelieved,
)
from ml_platform.services.repairs.unmanaged_models import delete_unmanaged_model

from .action import Action
from .caller import Caller

if TYPE_CHECKING:
    from .inputs import AdoptIn, RepairNameIn, TypedNameIn


def find_finding(caller: Caller, key: object) -> Finding:
    """The finding of that key."""
    rows = Finding.objects.select_related("registered_model", "run", "project")
    return caller.find(rows, key)


def _repair(facts: tuple[Finding, str], given: RepairNameIn | None, caller: Caller) -> Operation:
    return repair_finding(
        finding=facts[0],
        actor=caller.actor,
        now=caller.now(),
        repair=given.repair if given else "",
    )


def _adopt(finding: Finding, given: AdoptIn, caller: Caller) -> Operation:
    if not given.project or not given.model_name:
        raise Invalid(
            "An adoption needs the project and the name that the model gets.",
            code="adopt_needs_name",
            advice="Give project and model_name.",
        )
    return adopt_model(
        resource_name=finding.subject,
        project=caller.find_project(given.project),
        model_name=given.model_name,
        model_type=given.model_type,
        service_name=given.service_name,
        actor=caller.actor,
        now=caller.now(),
    )


def _delete(finding: Finding, given: TypedNameIn | None, caller: Caller) -> Operation:
    """A form asks for the model's name; the API and commands name it by its finding."""
    if given is not None and given.name != str(finding.evidence.get("display_name", "")):
        raise Invalid(
            "The name typed is not the model's. Nothing was deleted.",
            code="name_differs",
            advice="Type it exactly as shown above the field.",
        )
    return delete_unmanaged_model(
        resource_name=finding.subject,
        actor=caller.actor,
        now=caller.now(),
        project_id=finding.project_id,
    )


REPAIR: Action[Finding, Operation] = Action(
    name="repair-finding",
    right=Right.ADMINISTER,
    find=find_finding,
    facts=lambda findings, _, __: list(zip(findings, why_planes_unbelieved(findings), strict=True)),
    require=lambda facts: require_repairable(*facts),
    input="RepairNameIn",
    run=_repair,
)
"""Its facts are the finding, and why its plane is not believed now."""
ADOPT: Action[Finding, Operation] = Action(
    name="adopt-finding",
    right=Right.ADMINISTER,
    find=find_finding,
    require=require_choice,
    input="AdoptIn",
    run=_adopt,
)
DELETE_UNMANAGED: Action[Finding, Operation] = Action(
    name="delete-unmanaged",
    right=Right.ADMINISTER,
    find=find_finding,
    require=require_choice,
    input="TypedNameIn",
    run=_delete,
)
IGNORE: Action[Finding, Operation] = Action(
    name="ignore-finding",
    right=Right.ADMINISTER,
    find=find_finding,
    require=partial(require_status, wanted=FindingStatus.OPEN),
    input="IgnoreIn",
    run=lambda finding, given, caller: ignore_finding(
        finding=finding, reason=given.reason, actor=caller.actor, now=caller.now()
    ),
)
REOPEN: Action[Finding, Operation] = Action(
    name="reopen-finding",
    right=Right.ADMINISTER,
    find=find_finding,
    require=partial(require_status, wanted=FindingStatus.IGNORED),
    run=lambda finding, _, caller: reopen_finding(
        finding=finding, actor=caller.actor, now=caller.now()
    ),
)
CONFIRM: Action[Finding, Operation] = Action(
    name="confirm-plane",
    right=Right.ADMINISTER,
    find=find_finding,
    require=require_alarm,
    run=lambda finding, _, caller: confirm_plane(
        finding=finding, actor=caller.actor, now=caller.now()
    ),
)
ACTIONS: tuple[Action[Any, Any], ...] = (REPAIR, ADOPT, DELETE_UNMANAGED, IGNORE, REOPEN, CONFIRM)
