"""`/`: the starting page. Reads only our database."""

from __future__ import annotations

from django.http import HttpRequest, HttpResponse

from ml_platform import kpis, status
from ml_platform.actions.system import may_check
from ml_platform.models.archived_project import in_archive
from ml_platform.models.clock import database_now
from ml_platform.models.registry.model_count import count_models
from ml_platform.models.states import LIVE_OPERATION_STATUSES
from ml_platform.pages.common.queries import numbered_page
from ml_platform.pages.layout import caller_of, page, render_page
from ml_platform.pages.operations.views import operations_of
from ml_platform.pages.projects import may_create
from ml_platform.pages.view_models import serialize
from ml_platform.pages.view_models.charts import history_chart
from ml_platform.pages.view_models.count_strip import read_truth
from ml_platform.services.access.scope import Scope
from ml_platform.services.operations.liveness import read_liveness
from ml_platform.text import counted

CARDS = 12
RECENT_SHOWN = 8


@page
def start(request: HttpRequest) -> HttpResponse:
    """Show the five counts, the assets, the project cards and the newest operations."""
    now, caller = database_now(), caller_of(request)
    scope = caller.scope
    by_kind = kpis.open_findings(scope.limit)
    archived = request.GET.get("archived", "") == "yes"
    shown = in_archive(scope.projects, archived=archived)
    cards, pager = numbered_page(shown, request, size=CARDS, parameter="projects")
    traffic = kpis.traffic([card.pk for card in cards], today=now.date())
    rows = operations_of(scope)
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
        "running": serialize.operation_rows(rows.live()[:RECENT_SHOWN], now),
        "recent": serialize.operation_rows(
            rows.exclude(status__in=LIVE_OPERATION_STATUSES)[:RECENT_SHOWN], now
        ),
    }
    return render_page(request, "start", found, findings_open=sum(by_kind.values()))


def _told_archived(scope: Scope) -> str:
    """`2 archived, with 3 models`: the cards of the others and these make up the counts above."""
    hidden = in_archive(scope.projects, archived=True)
    if not (number := hidden.count()):
        return ""
    models = count_models(hidden)
    return f"{number:,} archived, with {counted(models, 'model')}"
