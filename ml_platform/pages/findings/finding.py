"""`/registry-health/findings/<id>/`: what a repair would do, before it is done."""

from __future__ import annotations

from uuid import uuid4

from django.http import HttpRequest, HttpResponse
from django.urls import reverse
from django.utils import timezone

from ml_platform.models import Finding
from ml_platform.models.states import FindingStatus
from ml_platform.pages.common.buttons import Permissions
from ml_platform.pages.layout import open_count, page, permissions_of, render_page
from ml_platform.pages.model.rows import Choosing, FindingPage
from ml_platform.pages.training.registry_table import model_url
from ml_platform.pages.view_models import serialize
from ml_platform.pages.view_models.context import Button, Link
from ml_platform.pages.view_models.rows import Choice
from ml_platform.services.access.scope import Scope, scope_of
from ml_platform.services.findings.kinds import facts_of
from ml_platform.services.repairs.reconciliation import is_safe

from .verbs import find_finding, reason_disabled_choose, reason_disabled_repair

PROJECTS_SHOWN = 500
RECHECKED_FIRST = "The repair checks the current state first. If that is unclear, nothing changes."
RECORDS_ONLY = "Nothing is changed in Google Cloud."


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


def _preview(row: Finding) -> tuple[str, ...]:
    """What the repair does, in order; for a finding without one, what a person can do."""
    repair = facts_of(row).repair
    if repair is None or not is_safe(row):
        return (row.repair,)
    return (RECHECKED_FIRST, row.repair, *(() if repair.changes_production else (RECORDS_ONLY,)))


def _repair(permissions: Permissions, row: Finding) -> Button | None:
    facts = facts_of(row)
    if facts.repair is None or reason_disabled_repair(row):
        return None
    return permissions.button(
        "repair-finding",
        row.pk,
        facts.repair.button,
        name=f"{facts.repair.button}: {row.title}",
        right=facts.right,
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
            right=facts_of(row).right,
            reason="Why is it left as it is?",
        )
    if row.status == FindingStatus.IGNORED:
        return permissions.button(
            "reopen-finding",
            row.pk,
            "Count it again",
            name=f"Count again: {row.title}",
            right=facts_of(row).right,
        )
    return None


def _choosing(scope: Scope, permissions: Permissions, row: Finding) -> Choosing | None:
    """The two things a person may choose for a model that nobody manages."""
    if reason_disabled_choose(row) or facts_of(row).right not in permissions.rights:
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
