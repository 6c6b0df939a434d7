"""`/`: the starting page. Reads only our database."""

from __future__ import annotations

from datetime import datetime
from typing import Any

from django.apps import apps
from django.db.models import Q, QuerySet
from django.http import HttpRequest, HttpResponse

from ml_platform import kpis, status
from ml_platform.actions.system import may_check
from ml_platform.conf import project_model
from ml_platform.models import Operation
from ml_platform.models.archived_project import in_archive
from ml_platform.models.clock import database_now
from ml_platform.models.prepared import Prepared
from ml_platform.models.states import LIVE_OPERATION_STATUSES
from ml_platform.pages.common.queries import FRAGMENT, Listed
from ml_platform.pages.layout import caller_of, fragment, page, render_page
from ml_platform.pages.operations.views import newest_operations
from ml_platform.pages.projects import may_create
from ml_platform.pages.view_models import serialize
from ml_platform.pages.view_models.charts import history_chart
from ml_platform.pages.view_models.context import Values
from ml_platform.pages.view_models.count_strip import read_truth
from ml_platform.services.access.scope import Scope, all_projects
from ml_platform.services.operations.liveness import read_liveness
from ml_platform.text import counted

CARDS = 12
RECENT_SHOWN = 8
ARCHIVED, USED = "archived", "used"
LIVE, ENDED = "live", "ended"


@page
def start(request: HttpRequest) -> HttpResponse:
    """Show the five counts, the assets, the project cards and the newest operations."""
    now, caller = database_now(), caller_of(request)
    scope = caller.scope
    if request.GET.get(FRAGMENT) == "running":
        return fragment(request, "running", {"rows": _shown(LIVE, scope, now)})
    by_kind = kpis.open_findings(scope.limit)
    archived = request.GET.get("archived", "") == "yes"
    cards, pager = PROJECTS.numbered(
        request,
        ARCHIVED if archived else USED,
        size=CARDS,
        parameter="projects",
        projects=scope.limit,
    )
    traffic = kpis.traffic([card.pk for card in cards], today=now.date())
    found = {
        "truth": read_truth(scope.limit, by_kind, now),
        "may_check": may_check(caller),
        # It is about the work of all tenants.
        "status": status.line(read_liveness(now=now), by_kind) if scope.everything else (),
        "assets": serialize.asset_figures(kpis.assets(scope.limit)),
        "chart": history_chart(
            kpis.history(today=now.date(), projects=scope.limit),
            kpis.drift_history(today=now.date(), projects=scope.limit),
        ),
        "cards": tuple(
            serialize.project_card(card, traffic.get(card.project_id), now)
            for card in kpis.project_cards(cards)
        ),
        "cards_pager": pager,
        "archived": archived,
        "in_archive": _told_archived(scope),
        "may_create": may_create(caller),
        "running": _shown(LIVE, scope, now),
        "recent": _shown(ENDED, scope, now),
    }
    return render_page(request, "start", found, findings_open=sum(by_kind.values()))


def _shown(which: str, scope: Scope, now: datetime) -> list[Values]:
    return serialize.operation_rows(_operations(which, projects=scope.limit), now)


def _told_archived(scope: Scope) -> str:
    """`2 archived, with 3 models`: the cards of the others and these make up the counts above."""
    if not (hidden := PROJECTS.total(ARCHIVED, projects=scope.limit)):
        return ""
    models = kpis.registered_models(in_archive(scope.projects, archived=True)).count()
    return f"{hidden:,} archived, with {counted(models, 'model')}"


def _projects(which: str, *, projects: Any) -> QuerySet[Any]:
    rows = all_projects()
    rows = rows if projects is None else rows.filter(pk__in=projects)
    return in_archive(rows, archived=which == ARCHIVED)


PROJECTS: Listed[Any] = Listed(apps.get_model(project_model()), _projects)


@Prepared
def _operations(which: str, *, projects: Any) -> QuerySet[Operation]:
    rows = newest_operations()
    rows = rows if projects is None else rows.filter(project__in=projects)
    live = Q(status__in=LIVE_OPERATION_STATUSES)
    return rows.filter(live if which == LIVE else ~live)[:RECENT_SHOWN]
