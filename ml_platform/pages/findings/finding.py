"""`/registry-health/findings/<id>/`: what a repair would do, before it is done."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from uuid import uuid4

from django.http import HttpRequest, HttpResponse
from django.urls import reverse
from django.utils import timezone

from ml_platform.models import Finding
from ml_platform.models.states import FindingKind, FindingStatus
from ml_platform.pages.common.buttons import Permissions
from ml_platform.pages.layout import open_count, page, permissions_of, render_page
from ml_platform.pages.model.rows import Choosing, FindingPage
from ml_platform.pages.training.registry_table import model_url
from ml_platform.pages.view_models import serialize
from ml_platform.pages.view_models.context import Button, Link
from ml_platform.pages.view_models.rows import Choice
from ml_platform.services.access.rights import Right
from ml_platform.services.access.scope import Scope, scope_of

from .verbs import find_finding, reason_disabled_choose, reason_disabled_repair

PROJECTS_SHOWN = 500
LOOKS_FIRST = "It looks again first. An answer that proves nothing changes nothing."
NOTHING_REMOTE = "Nothing is deleted in Vertex AI or in Cloud Storage."


@page
def finding(request: HttpRequest, finding_id: int) -> HttpResponse:
    """A finding, the preview of its repair, and the other choices."""
    scope, permissions = scope_of(request.user), permissions_of(request)
    row = find_finding(scope, str(finding_id))
    lineage = row.registered_model
    found = FindingPage(
        row=serialize.finding_row(row, timezone.now()),
        model=Link(text=lineage.model_name, url=model_url(lineage.pk)) if lineage else None,
        preview=_preview(row) if row.status == FindingStatus.OPEN else (),
        repair=_repair(permissions, row),
        ignore=ignore_button(permissions, row),
        choosing=_choosing(scope, permissions, row),
    )
    return render_page(request, "finding", found, findings_open=open_count(scope))


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


def _repair(permissions: Permissions, row: Finding) -> Button | None:
    if reason_disabled_repair(row):
        return None
    return permissions.button(
        "repair-finding",
        row.pk,
        REPAIRS.get(row.kind, "Repair"),
        name=f"{REPAIRS.get(row.kind, 'Repair')}: {row.title}",
        right=Right.ADMINISTER,
        tone="main",
    )


def ignore_button(permissions: Permissions, row: Finding) -> Button | None:
    """Leave a finding as it is, for a reason; or count it again."""
    if row.status == FindingStatus.OPEN:
        return permissions.button(
            "ignore-finding",
            row.pk,
            "Ignore…",
            name=f"Ignore: {row.title}",
            right=Right.ADMINISTER,
            reason="Why is it left as it is?",
        )
    if row.status == FindingStatus.IGNORED:
        return permissions.button(
            "reopen-finding",
            row.pk,
            "Count it again",
            name=f"Count again: {row.title}",
            right=Right.ADMINISTER,
        )
    return None


def _choosing(scope: Scope, permissions: Permissions, row: Finding) -> Choosing | None:
    """The two things a person may choose for a model that nobody manages."""
    if reason_disabled_choose(row) or Right.ADMINISTER not in permissions.rights:
        return None
    name = str(row.evidence.get("display_name", ""))
    labelled = row.evidence.get("vertex_label_mlp_owner")
    return Choosing(
        name=name,
        suggested=name.lower(),
        projects=tuple(
            Choice(value=str(project.pk), label=str(project), chosen=False)
            for project in scope.projects[:PROJECTS_SHOWN]
        ),
        adopt_url=reverse("ml_platform:do", args=["adopt-finding", row.pk]),
        delete_url="" if labelled else reverse("ml_platform:do", args=["delete-unmanaged", row.pk]),
        key=uuid4().hex,
    )
