"""`/registry-health/`: counts, findings and sweeps; and one finding with the preview of its repair.

Both pages read only our database.
"""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime
from uuid import uuid4

from django.db.models import QuerySet
from django.http import HttpRequest, HttpResponse
from django.urls import reverse

from ml_platform import kpis
from ml_platform.actions.caller import Caller
from ml_platform.actions.findings import (
    ADOPT,
    CONFIRM,
    DELETE_UNMANAGED,
    IGNORE,
    REOPEN,
    REPAIR,
    find_finding,
)
from ml_platform.actions.system import may_check
from ml_platform.models import (
    DeployedEndpoint,
    Finding,
    MirroredEndpoint,
    MirroredModel,
    MirroredService,
    Sweep,
)
from ml_platform.models.archived_project import in_archive
from ml_platform.models.clock import database_now
from ml_platform.models.states import FindingStatus, ModelType
from ml_platform.models.sweeps.sweep import or_read
from ml_platform.pages.common.buttons import button, is_offered, offered
from ml_platform.pages.common.queries import numbered_page, tabs_of
from ml_platform.pages.layout import caller_of, page, render_page
from ml_platform.pages.training.registry_table import model_url
from ml_platform.pages.view_models import serialize
from ml_platform.pages.view_models.context import Button, Link, Values
from ml_platform.pages.view_models.count_strip import read_truth
from ml_platform.pages.view_models.times import moment
from ml_platform.services.findings.kinds import worst_first
from ml_platform.services.registration.vertex_facts import (
    CREATOR,
    PROJECT,
    label_of,
    proposed_name,
    type_of,
)
from ml_platform.services.repairs.reconciliation import repairs_of

FINDINGS_A_PAGE = 50
SWEEPS_SHOWN = 20
PROJECTS_SHOWN = 500
ENDPOINTS_SHOWN = 100
FINDING_TABS: dict[str, tuple[str, list[str]]] = {
    "open": ("Open", [FindingStatus.OPEN]),
    "ignored": ("Ignored", [FindingStatus.IGNORED]),
    "ended": ("Ended", [FindingStatus.REPAIRED, FindingStatus.GONE]),
}
RECHECKED_FIRST = "The repair checks the current state first. If that is unclear, nothing changes."
READ_AT_ADOPTION = (
    "Its metrics, dates, description and labels are read from Vertex AI; the operation says what "
    "Vertex AI does not tell."
)
NOT_JUDGED = "Its versions are not judged: approve one to deploy it. Its files stay where they are."
SERVICES_SHOWN = 100
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
        "times": serialize.drift_figures(kpis.drift_times(now=now, projects=scope.limit)),
        "healthy": not by_kind and tabs[0].current and not truth["unknown"],
        "groups": serialize.finding_groups(shown, now),
        "pager": pager,
        "endpoints": _endpoints(now) if scope.everything else [],
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
        "repairs": _repairs(caller, row),
        "ignore": ignore_button(caller, row),
        "choosing": _choosing(caller, row),
    }
    return render_page(request, "finding", found)


def _endpoints(now: datetime) -> list[Values]:
    """The Vertex AI endpoints of the newest reading, with what they serve."""
    rows = MirroredEndpoint.objects.annotate(last_seen_at=or_read("seen_at", "vertex_endpoints"))
    return [
        {
            "name": str(row),
            "deployed": [
                f"{one['model'].rpartition('/')[2] or 'a model without a name'}"
                f"@{one['version'] or '?'} ({one['percent']} %)"
                for one in row.deployed
            ],
            "created": moment(row.remote_created_at, now),
            "seen": moment(row.last_seen_at, now),
        }
        for row in rows.order_by("display_name", "pk")[:ENDPOINTS_SHOWN]
    ]


def _preview(row: Finding) -> list[str]:
    """What the repair does, in order; for a finding without one, what a user can do."""
    possible = repairs_of(row)
    if not possible:
        return [row.repair]
    records_only = not any(repair.changes_production for repair in possible)
    return [RECHECKED_FIRST, row.repair, *([RECORDS_ONLY] if records_only else [])]


def _repairs(caller: Caller, row: Finding) -> list[Button]:
    if not is_offered(REPAIR, (row, "")):  # whether its plane is believed is told in the tooltip
        return _confirm(caller, row)
    [facts] = REPAIR.facts([row], None, caller)
    return [
        button(
            caller,
            REPAIR,
            row,
            repair.button,
            name=f"{repair.button}: {row.title}",
            tone="plain" if number else "main",
            fields=(("repair", repair.slug),),
            facts=facts,
        )
        for number, repair in enumerate(repairs_of(row))
    ]


def _confirm(caller: Caller, row: Finding) -> list[Button]:
    """Confirm an alarm about a whole plane."""
    return offered(
        caller,
        CONFIRM,
        row,
        "Confirm that they are gone",
        name=f"Confirm: {row.title}",
        confirm=f"{row.title}. Is this true?\nThe next sweep makes a finding for each.",
        tone="danger",
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


def _services_of_nobody() -> QuerySet[MirroredService, str]:
    """The services that no label and no endpoint claims: one of them may serve the model."""
    known = DeployedEndpoint.objects.values("service_name")
    services = MirroredService.objects.filter(owner="", theirs=False)
    free = services.exclude(service_name__in=known).order_by("service_name")
    return free.values_list("service_name", flat=True)[:SERVICES_SHOWN]


def _told(labels: Mapping[str, str]) -> list[str]:
    """What its labels tell, what they do not, and what an adoption reads beside them."""
    told = {"type": type_of(labels), "author": label_of(labels, CREATOR)}
    known = ", ".join(f"the {what} {value}" for what, value in told.items() if value)
    unknown = " and ".join(f"the {what}" for what, value in told.items() if not value)
    says = [f"Its labels tell {known}."] if known else []
    if unknown:
        says.append(f"Unknown: {unknown}.")
    return [*says, READ_AT_ADOPTION, NOT_JUDGED]


def _choosing(caller: Caller, row: Finding) -> Values | None:
    """The two choices for an unmanaged model."""
    if ADOPT.refusal(caller, row):
        return None
    name = str(row.evidence.get("display_name", ""))
    mirrored = MirroredModel.objects.filter(resource_name=row.subject).first()
    labels = mirrored.labels if mirrored else {}
    told_type, project = type_of(labels), label_of(labels, PROJECT)
    owned = bool(row.evidence.get("vertex_label_mlp_owner"))
    adopt_url, delete_url = (
        reverse("ml_platform:do", args=[action.name, row.pk])
        for action in (ADOPT, DELETE_UNMANAGED)
    )
    return {
        "name": name,
        "suggested": proposed_name(name),
        "projects": [
            {
                "value": str(each.pk),
                "label": str(each),
                "chosen": bool(project) and proposed_name(str(each)) == proposed_name(project),
            }
            for each in in_archive(caller.scope.projects, archived=False)[:PROJECTS_SHOWN]
        ],
        "types": [
            {"value": value, "label": label, "chosen": value == told_type}
            for value, label in ModelType.choices
        ],
        "services": list(_services_of_nobody()),
        "told": _told(labels),
        "adopt_url": adopt_url,
        # Only its owner may delete it, in Google's console.
        "delete_url": "" if owned else delete_url,
        "key": uuid4().hex,
    }
