"""One function for each page: read, serialize, render. Reading only, and never a call to Google."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from datetime import datetime

from django.db.models import Case, IntegerField, QuerySet, Value, When
from django.http import HttpRequest, HttpResponse
from django.utils import timezone

from ml_platform import kpis
from ml_platform.models import Finding, Operation, Sweep
from ml_platform.models.states import LIVE_OPERATION_STATUSES, FindingStatus, OperationStatus
from ml_platform.pages.common import serialize
from ml_platform.pages.common.badges import FINDING_TONES
from ml_platform.pages.common.charts import history_chart
from ml_platform.pages.common.context import (
    HealthPage,
    OperationRow,
    OperationsPage,
    StartPage,
    Tab,
)
from ml_platform.pages.common.paging import page_of
from ml_platform.pages.layout import open_count, page, render_page
from ml_platform.pages.operations.operation import operations_of
from ml_platform.services.access.scope import Scope, scope_of

from .count_strip import truth_strip

CARDS = 12
RECENT_SHOWN = 8
FINDINGS_A_PAGE = 50
OPERATIONS_A_PAGE = 50
SWEEPS_SHOWN = 20

FINDING_TABS: dict[str, tuple[str, list[str]]] = {
    "open": ("Open", [FindingStatus.OPEN]),
    "ignored": ("Ignored", [FindingStatus.IGNORED]),
    "ended": ("Ended", [FindingStatus.REPAIRED, FindingStatus.GONE]),
}
OPERATION_TABS: dict[str, tuple[str, list[str]]] = {
    "all": ("All", []),
    "live": ("Running", [OperationStatus.PENDING, OperationStatus.RUNNING]),
    "failed": ("Failed", [OperationStatus.FAILED]),
}


@page
def start(request: HttpRequest) -> HttpResponse:
    """`/`: do the four counts agree?"""
    now, scope = timezone.now(), scope_of(request.user)
    by_kind = kpis.open_findings(scope.limit)
    cards, pager = page_of(scope.projects, request, size=CARDS, parameter="projects")
    traffic = kpis.traffic([card.pk for card in cards], today=now.date())
    rows = operations_of(scope)
    found = StartPage(
        truth=truth_strip(counts=kpis.four_counts(scope.limit), findings=by_kind, now=now),
        may_check=scope.everything,
        assets=serialize.asset_figures(kpis.assets(scope.limit)),
        chart=history_chart(
            kpis.history(today=now.date(), projects=scope.limit),
            kpis.drift_history(today=now.date(), projects=scope.limit),
        ),
        cards=tuple(
            serialize.project_card(card, traffic.get(card.project_id), now)
            for card in kpis.project_cards(cards)
        ),
        cards_pager=pager,
        running=_operation_rows(rows.live()[:RECENT_SHOWN], now),
        recent=_operation_rows(
            rows.exclude(status__in=LIVE_OPERATION_STATUSES)[:RECENT_SHOWN], now
        ),
    )
    return render_page(request, "start", found, findings_open=sum(by_kind.values()))


@page
def registry_health(request: HttpRequest) -> HttpResponse:
    """`/registry-health/`: what is wrong, and what repairs it?"""
    now, scope = timezone.now(), scope_of(request.user)
    by_kind = kpis.open_findings(scope.limit)
    tabs, statuses = _tabs(request, FINDING_TABS)
    shown, pager = page_of(
        _findings(scope).filter(status__in=statuses), request, size=FINDINGS_A_PAGE
    )
    counts = kpis.four_counts(scope.limit)
    found = HealthPage(
        truth=truth_strip(counts=counts, findings=by_kind, now=now),
        may_check=scope.everything,
        tabs=tabs,
        healthy=not by_kind and tabs[0].current and not counts.vertex_reason,
        groups=serialize.finding_groups(shown, now),
        pager=pager,
        sweeps=tuple(
            serialize.sweep_row(sweep, now)
            for sweep in Sweep.objects.order_by("-id")[:SWEEPS_SHOWN]
        ),
    )
    return render_page(request, "registry_health", found, findings_open=sum(by_kind.values()))


@page
def operations(request: HttpRequest) -> HttpResponse:
    """`/operations/`: what was done, by whom?"""
    now, scope = timezone.now(), scope_of(request.user)
    tabs, statuses = _tabs(request, OPERATION_TABS)
    rows = operations_of(scope)
    rows = rows.filter(status__in=statuses) if statuses else rows
    shown, pager = page_of(rows, request, size=OPERATIONS_A_PAGE)
    found = OperationsPage(tabs=tabs, rows=_operation_rows(shown, now), pager=pager)
    return render_page(request, "operations", found, findings_open=open_count(scope))


def _findings(scope: Scope) -> QuerySet[Finding]:
    """Findings worst first; what belongs to no project, only for those who
    see everything."""
    order = Case(
        *(When(kind=kind, then=Value(i)) for i, kind in enumerate(FINDING_TONES)),
        default=Value(len(FINDING_TONES)),
        output_field=IntegerField(),
    )
    rows = Finding.objects.select_related("project")
    if scope.limit is not None:
        rows = rows.filter(project__in=scope.limit.values("pk"))
    return rows.order_by(order, "title", "pk")


def _operation_rows(rows: Iterable[Operation], now: datetime) -> tuple[OperationRow, ...]:
    return tuple(serialize.operation_row(row, now) for row in rows)


def _tabs(
    request: HttpRequest, table: Mapping[str, tuple[str, list[str]]]
) -> tuple[tuple[Tab, ...], list[str]]:
    """The choices of a list, and the statuses of the chosen one; the first is the default."""
    chosen = request.GET.get("status", "")
    if chosen not in table:
        chosen = next(iter(table))
    tabs = tuple(
        Tab(label=label, url=f"?status={name}", current=name == chosen)
        for name, (label, _) in table.items()
    )
    return tabs, table[chosen][1]
