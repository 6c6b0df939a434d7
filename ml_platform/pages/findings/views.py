"""`/registry-health/`: the counts, findings and sweeps. Reads only our database."""

from __future__ import annotations

from django.db.models import QuerySet
from django.http import HttpRequest, HttpResponse
from django.utils import timezone

from ml_platform import kpis
from ml_platform.actions.system import may_check
from ml_platform.models import Finding, Sweep
from ml_platform.models.states import FindingStatus
from ml_platform.pages.common.paging import numbered_page
from ml_platform.pages.common.parameters import tabs_of
from ml_platform.pages.layout import page, render_page
from ml_platform.pages.requests import caller_of
from ml_platform.pages.view_models import serialize
from ml_platform.pages.view_models.context import HealthPage
from ml_platform.pages.view_models.count_strip import truth_strip
from ml_platform.services.access.scope import Scope
from ml_platform.services.findings.kinds import worst_first

FINDINGS_A_PAGE = 50
SWEEPS_SHOWN = 20
FINDING_TABS: dict[str, tuple[str, list[str]]] = {
    "open": ("Open", [FindingStatus.OPEN]),
    "ignored": ("Ignored", [FindingStatus.IGNORED]),
    "ended": ("Ended", [FindingStatus.REPAIRED, FindingStatus.GONE]),
}


@page
def registry_health(request: HttpRequest) -> HttpResponse:
    """Show the four counts, one page of findings and the newest sweeps."""
    now, caller = timezone.now(), caller_of(request)
    scope = caller.scope
    by_kind = kpis.open_findings(scope.limit)
    tabs, statuses = tabs_of(request, FINDING_TABS)
    shown, pager = numbered_page(
        _findings(scope).filter(status__in=statuses), request, size=FINDINGS_A_PAGE
    )
    counts = kpis.four_counts(scope.limit)
    found = HealthPage(
        truth=truth_strip(counts=counts, findings=by_kind, now=now),
        may_check=may_check(caller),
        tabs=tabs,
        healthy=not by_kind and tabs[0].current and not counts.vertex_reason,
        groups=serialize.finding_groups(shown, now),
        pager=pager,
        sweeps=tuple(
            serialize.sweep_row(sweep, now, named=scope.everything)
            for sweep in Sweep.objects.with_state(now=now).order_by("-id")[:SWEEPS_SHOWN]
        ),
    )
    return render_page(request, "registry_health", found, findings_open=sum(by_kind.values()))


def _findings(scope: Scope) -> QuerySet[Finding]:
    """The findings, worst first; those of no project only for users who see every project."""
    rows = scope.only(Finding.objects.select_related("project"))
    return rows.order_by(worst_first(), "title", "pk")
