"""`/registry-health/findings/<id>/`: what a repair would do, before it is done."""

from __future__ import annotations

from uuid import uuid4

from django.http import HttpRequest, HttpResponse
from django.urls import reverse
from django.utils import timezone

from ml_platform.actions.caller import Caller
from ml_platform.actions.findings import (
    ADOPT,
    DELETE_UNMANAGED,
    IGNORE,
    REOPEN,
    REPAIR,
    find_finding,
)
from ml_platform.models import Finding
from ml_platform.models.states import FindingStatus
from ml_platform.pages.common.buttons import button, is_offered
from ml_platform.pages.layout import open_count, page, render_page
from ml_platform.pages.model.rows import Choosing, FindingPage
from ml_platform.pages.requests import caller_of
from ml_platform.pages.training.registry_table import model_url
from ml_platform.pages.view_models import serialize
from ml_platform.pages.view_models.context import Button, Link
from ml_platform.pages.view_models.rows import Choice
from ml_platform.services.findings.kinds import facts_of
from ml_platform.services.repairs.reconciliation import is_safe

PROJECTS_SHOWN = 500
RECHECKED_FIRST = "The repair checks the current state first. If that is unclear, nothing changes."
RECORDS_ONLY = "Nothing is changed in Google Cloud."


@page
def finding(request: HttpRequest, finding_id: int) -> HttpResponse:
    """A finding, the preview of its repair, and the other choices."""
    caller = caller_of(request)
    row = find_finding(caller, finding_id)
    lineage = row.registered_model
    found = FindingPage(
        row=serialize.finding_row(row, timezone.now()),
        model=Link(text=lineage.model_name, url=model_url(lineage.pk)) if lineage else None,
        preview=_preview(row) if row.status == FindingStatus.OPEN else (),
        repair=_repair(caller, row),
        ignore=ignore_button(caller, row),
        choosing=_choosing(caller, row),
    )
    return render_page(request, "finding", found, findings_open=open_count(caller.scope))


def _preview(row: Finding) -> tuple[str, ...]:
    """What the repair does, in order; for a finding without one, what a person can do."""
    repair = facts_of(row).repair
    if repair is None or not is_safe(row):
        return (row.repair,)
    return (RECHECKED_FIRST, row.repair, *(() if repair.changes_production else (RECORDS_ONLY,)))


def _repair(caller: Caller, row: Finding) -> Button | None:
    repair = facts_of(row).repair
    if repair is None or not is_offered(REPAIR, row):
        return None
    return button(
        caller, REPAIR, row, repair.button, name=f"{repair.button}: {row.title}", tone="main"
    )


def ignore_button(caller: Caller, row: Finding) -> Button | None:
    """Leave a finding as it is, for a reason; or count it again."""
    if is_offered(IGNORE, row):
        return button(
            caller,
            IGNORE,
            row,
            "Ignore…",
            name=f"Ignore: {row.title}",
            reason="Why is it left as it is?",
        )
    if is_offered(REOPEN, row):
        return button(caller, REOPEN, row, "Count it again", name=f"Count again: {row.title}")
    return None


def _choosing(caller: Caller, row: Finding) -> Choosing | None:
    """The two choices for a model that nobody manages."""
    if ADOPT.refusal(caller, row):
        return None
    name = str(row.evidence.get("display_name", ""))
    labelled = row.evidence.get("vertex_label_mlp_owner")
    return Choosing(
        name=name,
        suggested=name.lower(),
        projects=tuple(
            Choice(value=str(project.pk), label=str(project), chosen=False)
            for project in caller.scope.projects[:PROJECTS_SHOWN]
        ),
        adopt_url=reverse("ml_platform:do", args=[ADOPT.name, row.pk]),
        delete_url=""
        if labelled
        else reverse("ml_platform:do", args=[DELETE_UNMANAGED.name, row.pk]),
        key=uuid4().hex,
    )
