"""`/registry-health/findings/<id>/`: what a repair would do, before it is done."""

from __future__ import annotations

from collections.abc import Callable, Mapping
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
from ml_platform.models.states import FindingKind, FindingStatus
from ml_platform.pages.common.buttons import button, is_offered
from ml_platform.pages.layout import open_count, page, render_page
from ml_platform.pages.model.rows import Choosing, FindingPage
from ml_platform.pages.requests import caller_of
from ml_platform.pages.training.registry_table import model_url
from ml_platform.pages.view_models import serialize
from ml_platform.pages.view_models.context import Button, Link
from ml_platform.pages.view_models.rows import Choice

PROJECTS_SHOWN = 500
LOOKS_FIRST = "It looks again first. An answer that proves nothing changes nothing."
NOTHING_REMOTE = "Nothing is deleted in Vertex AI or in Cloud Storage."


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


def _of_orphan(row: Finding) -> tuple[str, ...]:
    return (LOOKS_FIRST, row.repair, NOTHING_REMOTE)


def _of_pointer(row: Finding) -> tuple[str, ...]:
    lineage = row.registered_model
    count = lineage.total_versions if lineage else 0
    which = "the version" if count == 1 else f"each of the {count} versions"
    return (
        f"It asks Vertex AI for {which} by name and label.",
        row.repair,
        NOTHING_REMOTE,
    )


REPAIRS: Mapping[str, str] = {
    FindingKind.ORPHAN: "Delete the orphan",
    FindingKind.STALE_POINTER: "Clear the pointers",
    FindingKind.VERSION_MISMATCH: "Correct the pointers",
    FindingKind.SURPLUS_VERSION: "Delete what is surplus",
    FindingKind.LEFTOVER_SERVICE: "Delete the service",
    FindingKind.SERVICE_MISSING: "Record what is there",
    FindingKind.SERVICE_MISMATCH: "Record what it serves",
}
"""What the button of a repair says that it does."""
PREVIEWS: Mapping[str, Callable[[Finding], tuple[str, ...]]] = {
    FindingKind.ORPHAN: _of_orphan,
    FindingKind.STALE_POINTER: _of_pointer,
}
"""What a repair of a kind would do, in the order in which it does it; else its own sentence."""


def _preview(row: Finding) -> tuple[str, ...]:
    told = PREVIEWS.get(row.kind)
    return told(row) if told else (row.repair,)


def _repair(caller: Caller, row: Finding) -> Button | None:
    if not is_offered(REPAIR, row):
        return None
    label = REPAIRS.get(row.kind, "Repair")
    return button(caller, REPAIR, row, label, name=f"{label}: {row.title}", tone="main")


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
