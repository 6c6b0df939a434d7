"""How the databases find a page of models: by an index, whatever is searched, filtered, sorted."""

from __future__ import annotations

import re
from typing import Any

import pytest
from django.db import connection

from ml_platform.kpis import registered_models
from ml_platform.models import RegisteredModel, TrainingRun
from ml_platform.pagination import read_parts
from ml_platform.services.registry import model_list
from ml_platform.services.registry.model_list import model_filter, read_by_metric
from ml_platform.tests.factories import ProjectFactory, RegisteredModelFactory, version_of

pytestmark = pytest.mark.django_db
FILTERS: tuple[dict[str, Any], ...] = (
    {},
    {"search": "canary"},
    {"search": "ca"},
    {"tags": ["team"]},
    {"tags": ["team:search", "tier"]},
    {"search": "canary", "tags": ["team:search"]},
)
ORDERS = ("-latest_registered_at", "latest_registered_at")
BY_PARTS = "SCAN mlp_name_parts VIRTUAL TABLE INDEX 0:M"


def scans(plan: str) -> list[str]:
    """The lines of a plan that read a table from end to end, other than in the order of the list,
    which ends with the page."""
    if connection.vendor == "postgresql":
        return re.findall(r"Seq Scan on \w+", plan)
    lines = re.findall(r"\bSCAN .*", plan)
    ordered = r"SCAN \w+ USING (COVERING )?INDEX (mlp_model_newest_all|mlp_metric_sorted)"
    return [line for line in lines if not (line.startswith(BY_PARTS) or re.match(ordered, line))]


@pytest.fixture
def _planned() -> None:
    """A few rows; PostgreSQL reads so few from end to end, unless that is dear."""
    project = ProjectFactory.create()
    for number in range(20):
        run = version_of(RegisteredModelFactory.create(project=project))
        TrainingRun.objects.filter(pk=run.pk).update(metrics={"auc": number})
    if connection.vendor == "postgresql":
        with connection.cursor() as cursor:
            cursor.execute("SET LOCAL enable_seqscan = off")


@pytest.mark.usefixtures("_planned")
@pytest.mark.parametrize("filters", FILTERS, ids=str)
def test_no_page_reads_a_table_from_end_to_end(filters: dict[str, Any], monkeypatch: Any):
    rows = registered_models().filter(model_filter(**filters))
    for order in ORDERS:
        tie = "-pk" if order[0] == "-" else "pk"
        plan = rows.order_by(order, tie)[:101].explain()
        assert scans(plan) == [], (order, plan)
    plans: list[str] = []

    def explained(parts: Any, **_: Any) -> Any:
        for part, order in parts:
            sign = "-" * order.descending
            plans.append(
                part.order_by(f"{sign}{order.column}", f"{sign}{order.tie}")[:101].explain()
            )
        return read_parts(parts, size=1)

    monkeypatch.setattr(model_list, "read_parts", explained)
    for descending in (True, False):
        read_by_metric(rows, "auc", descending=descending)
    for plan in (plans[0], plans[2]):
        assert scans(plan) == [], plan


@pytest.mark.usefixtures("_planned")
def test_a_scan_is_noticed():
    plan = RegisteredModel.objects.filter(description__contains="x").explain()
    if connection.vendor == "sqlite":
        assert scans(plan)
    else:
        assert "Seq Scan" in plan
