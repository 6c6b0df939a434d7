"""`/operations/`: the list of operations. Reads only our database."""

from __future__ import annotations

from django.http import HttpRequest, HttpResponse
from django.utils import timezone

from ml_platform.models.states import OperationStatus
from ml_platform.pages.common.paging import numbered_page
from ml_platform.pages.common.parameters import tabs_of
from ml_platform.pages.layout import open_count, page, render_page
from ml_platform.pages.view_models import serialize
from ml_platform.pages.view_models.context import OperationsPage
from ml_platform.services.access.scope import scope_of

from .operation import operations_of

OPERATIONS_A_PAGE = 50
OPERATION_TABS: dict[str, tuple[str, list[str]]] = {
    "all": ("All", []),
    "live": ("Running", [OperationStatus.PENDING, OperationStatus.RUNNING]),
    "failed": ("Failed", [OperationStatus.FAILED]),
}


@page
def operations(request: HttpRequest) -> HttpResponse:
    """The list of operations, the newest first."""
    now, scope = timezone.now(), scope_of(request.user)
    tabs, statuses = tabs_of(request, OPERATION_TABS)
    rows = operations_of(scope)
    if statuses:
        rows = rows.filter(status__in=statuses).exclude(step="")  # a refused request has no step
    shown, pager = numbered_page(rows, request, size=OPERATIONS_A_PAGE)
    found = OperationsPage(tabs=tabs, rows=serialize.operation_rows(shown, now), pager=pager)
    return render_page(request, "operations", found, findings_open=open_count(scope))
