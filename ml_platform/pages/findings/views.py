"""`/registry-health/`: counts, findings and sweeps; and one finding with the preview of its repair.

Both pages read only our database.
"""

from __future__ import annotations

from uuid import uuid4

from django.http import HttpRequest, HttpResponse
from django.urls import reverse

from ml_platform import kpis
from ml_platform.actions.caller import Caller
from ml_platform.actions.findings import (
    ADOPT,
    DELETE_UNMANAGED,
    IGNORE,
    REOPEN,
    REPAIR,
    find_finding,
)
from ml_platform.actions.system import may_check
from ml_platform.models import Finding, Sweep
from ml_platform.models.clock import database_now
from ml_platform.models.states import FindingStatus
from ml_platform.pages.common.buttons import button, is_offered, offered
from ml_platform.pages.common.queries import numbered_page, tabs_of
from ml_platform.pages.layout import caller_of, page, render_page
from ml_platform.pages.training.registry_table import model_url
from ml_platform.pages.view_models import serialize
from ml_platform.pages.view_models.context import Button, Link, Values
from ml_platform.pages.view_models.count_strip import read_truth
from ml_platform.services.findings.kinds import facts_of, worst_first
from ml_platform.services.repairs.reconciliation import is_safe

FINDINGS_A_PAGE = 50
SWEEPS_SHOWN = 20
PROJECTS_SHOWN = 500
FINDING_TABS: dict[str, tuple[str, list[str]]] = {
    "open": ("Open", [FindingStatus.OPEN]),
    "ignored": ("Ignored", [FindingStatus.IGNORED]),
    "ended": ("Ended", [FindingStatus.REPAIRED, FindingStatus.GONE]),
}
RECHECKED_FIRST = "The repair checks the current state first. If that is unclear, nothing changes."
RECORDS_ONLY = "Nothing is changed in Google Cloud."


@page
def registry_health(request: HttpRequest) -> HttpResponse:
    """Show the five counts, one page of findings and the newest sweeps."""
    now, caller = database_now(), caller_of(request)
    scope = caller.scope
    by_kind = kpis.open_findings(scope.limit)
    tabs, statuses = tabs_of(request, FINDING_TABS)
    # Findings of no project are only for users who see every project.
    findings = scope.only(Finding.objects.select_related("project")).filter(status__in=statuses)
    shown, pager = numbered_page(
        findings.order_by(worst_first(), "title", "pk"), request, size=FINDINGS_A_PAGE
    )
    truth = read_truth(scope.limit, by_kind, now)
    found = {
        "truth": truth,
        "may_check": may_check(caller),
        "tabs": tabs,
        # Whether the planes agree; only on the tab of open findings.
        "healthy": not by_kind and tabs[0].current and not truth["unknown"],
        "groups": serialize.finding_groups(shown, now),
        "pager": pager,
        "sweeps": [
            serialize.sweep_row(sweep, now, named=scope.everything)
            for sweep in Sweep.objects.with_state(now=now).order_by("-id")[:SWEEPS_SHOWN]
        ],
    }
    return render_page(request, "registry_health", found, findings_open=sum(by_kind.values()))


@page
def finding(request: HttpRequest, finding_id: int) -> HttpResponse:
    """A finding, the preview of its repair, and the other choices."""
    caller = caller_of(request)
    row = find_finding(caller, finding_id)
    lineage = row.registered_model
    found = {
        "row": serialize.finding_row(row, database_now()),
        "model": Link(text=lineage.model_name, url=model_url(lineage.pk)) if lineage else None,
        "preview": _preview(row) if row.status == FindingStatus.OPEN else [],
        "repair": _repair(caller, row),
        "ignore": ignore_button(caller, row),
        "choosing": _choosing(caller, row),
    }
    return render_page(request, "finding", found)


def _preview(row: Finding) -> list[str]:
    """What the repair does, in order; for a finding without one, what a user can do."""
    repair = facts_of(row).repair
    if repair is None or not is_safe(row):
        return [row.repair]
    return [RECHECKED_FIRST, row.repair, *([] if repair.changes_production else [RECORDS_ONLY])]


def _repair(caller: Caller, row: Finding) -> Button | None:
    repair = facts_of(row).repair
    if repair is None or not is_offered(REPAIR, row):
        return None
    return button(
        caller, REPAIR, row, repair.button, name=f"{repair.button}: {row.title}", tone="main"
    )


def ignore_button(caller: Caller, row: Finding) -> Button | None:
    """Ignore a finding, for a reason; or reopen it."""
    buttons = offered(
        caller,
        IGNORE,
        row,
        "Ignore…",
        name=f"Ignore: {row.title}",
        reason="Why is it left as it is?",
    ) or offered(caller, REOPEN, row, "Count it again", name=f"Count again: {row.title}")
    return next(iter(buttons), None)


def _choosing(caller: Caller, row: Finding) -> Values | None:
    """The two choices for an unmanaged model."""
    if ADOPT.refusal(caller, row):
        return None
    name = str(row.evidence.get("display_name", ""))
    owned = bool(row.evidence.get("vertex_label_mlp_owner"))
    adopt_url, delete_url = (
        reverse("ml_platform:do", args=[action.name, row.pk])
        for action in (ADOPT, DELETE_UNMANAGED)
    )
    return {
        "name": name,
        "suggested": name.lower(),
        "projects": [
            {"value": str(project.pk), "label": str(project)}
            for project in caller.scope.projects[:PROJECTS_SHOWN]
        ],
        "adopt_url": adopt_url,
        # Only its owner may delete it, in Google's console.
        "delete_url": "" if owned else delete_url,
        "key": uuid4().hex,
    }
