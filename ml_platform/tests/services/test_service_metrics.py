"""Metrics by day: read once, gaps filled, what cannot be read left for the next time."""

from __future__ import annotations

from datetime import UTC, date, datetime, timedelta
from typing import TYPE_CHECKING, Any

import pytest

from ml_platform import kpis
from ml_platform.models import DeployedEndpoint, Event, Operation, ServiceDailyMetrics
from ml_platform.services.deployment.endpoint_state import record_stopped
from ml_platform.services.deployment.undeploy import delete_endpoint
from ml_platform.services.metrics.service_metrics import (
    MetricsReport,
    collect_metrics,
    daily_totals,
)
from ml_platform.services.metrics.unread_days import DAYS_BACK
from ml_platform.services.operations.engine import advance
from ml_platform.services.operations.retry_cancel import retry_operation
from ml_platform.services.operations.store import Subject, open_operation
from ml_platform.services.workflows import WORKFLOWS
from ml_platform.tests.factories import (
    DeployedEndpointFactory,
    ProjectFactory,
    RegisteredModelFactory,
    version_of,
)

from .world import ANA, Clock, settle

if TYPE_CHECKING:
    from ml_platform.localcloud import LocalCloud

pytestmark = pytest.mark.django_db
NOW = datetime(2026, 3, 10, 2, tzinfo=UTC)
TODAY = NOW.date()


def a_service(name: str, days: int = 3) -> DeployedEndpoint:
    lineage = RegisteredModelFactory.create()
    endpoint: DeployedEndpoint = DeployedEndpointFactory.create(
        registered_model=lineage,
        run=version_of(lineage),
        serving=True,
        service_name=name,
        deployed_at=NOW - timedelta(days=days),
    )
    return endpoint


def collect(now: datetime = NOW, **options: Any) -> MetricsReport:
    return collect_metrics(actor=ANA, clock=lambda: now, **options)


def ago(days: int) -> date:
    return TODAY - timedelta(days=days)


def test_each_day_that_is_over_is_read_once(cloud: LocalCloud):
    endpoint = a_service("chern")
    cloud.monitoring.seed(
        "chern",
        ago(2),
        requests=240,
        errors=24,
        p50=30.0,
        p95=90.0,
        cpu=0.4,
        memory=0.5,
        instances=3,
    )
    report = collect()
    assert (report.services, report.days, report.unknown) == (1, 3, ())
    assert cloud.effects.count("MetricService.ListTimeSeries") == 7
    day = ServiceDailyMetrics.objects.get(day=ago(2))
    assert (day.endpoint, day.project) == (endpoint, endpoint.project)
    assert (day.requests, day.errors, day.instances) == (240, 24, 3)
    assert day.latency_p50 == pytest.approx(30, rel=0.1)
    assert day.latency_p95 == pytest.approx(90, rel=0.1)
    assert 0.4 <= (day.cpu or 0) < 0.6  # the highest of the day
    assert 0.5 <= (day.memory or 0) < 0.7
    empty = ServiceDailyMetrics.objects.get(day=ago(1))
    assert (empty.requests, empty.latency_p50, empty.complete) == (None, None, True)
    cloud.effects.reset()
    assert collect().days == 0
    assert cloud.effects.count("*") == 0
    assert ServiceDailyMetrics.objects.count() == 3


def test_a_gap_is_filled_by_the_next_run(cloud: LocalCloud):
    a_service("chern")
    for days in (1, 2, 3):
        cloud.monitoring.seed("chern", ago(days), requests=days)
    collect()
    ServiceDailyMetrics.objects.filter(day=ago(2)).delete()
    assert collect().days == 1
    assert ServiceDailyMetrics.objects.get(day=ago(2)).requests == 2
    tomorrow = collect(NOW + timedelta(days=1))
    assert (tomorrow.days, ServiceDailyMetrics.objects.count()) == (1, 4)


def test_what_cannot_be_read_is_unknown_and_read_the_next_time(cloud: LocalCloud):
    a_service("one")
    a_service("two")
    cloud.monitoring.seed("one", ago(1), requests=5)
    cloud.faults.order("MetricService.ListTimeSeries", "error", code="PERMISSION_DENIED")
    report = collect()
    assert (report.services, report.days, len(report.unknown)) == (2, 3, 1)
    assert report.unknown[0].startswith("one: ")
    assert report.summary == "Read 3 days of 2 active services, 1 unknown."
    assert not ServiceDailyMetrics.objects.filter(service_name="one", complete=True).exists()
    # What one service had is not the total of both, neither in a sum nor as the worst.
    assert [set(day.values()) - {day["day"]} for day in daily_totals(today=TODAY)] == [{None}] * 3
    two = DeployedEndpoint.objects.get(service_name="two").project
    DeployedEndpoint.objects.update(project=two)
    ServiceDailyMetrics.objects.update(project=two)
    assert kpis.traffic(None, today=TODAY)[two.pk].days[-3:] == (None, None, None)
    assert collect().days == 3
    assert [day["requests"] for day in daily_totals(today=TODAY)] == [None, None, 5]
    assert kpis.traffic(None, today=TODAY)[two.pk].days[-1] == 5
    assert ServiceDailyMetrics.objects.get(service_name="one", day=ago(1)).requests == 5


def test_only_active_services_are_read_and_no_further_back_than_monitoring_keeps(
    cloud: LocalCloud,
):
    a_service("old", days=400)
    stopped = a_service("stopped")
    DeployedEndpoint.objects.filter(pk=stopped.pk).update(is_active=False)
    report = collect()
    assert (report.services, report.days) == (1, DAYS_BACK)


def test_a_rehearsal_asks_nobody(cloud: LocalCloud):
    a_service("chern")
    lines: list[str] = []
    assert collect(dry_run=True, write_line=lines.append).days == 3
    assert lines == ["Would read 3 days of chern."]
    assert collect(dry_run=True).summary == "Would read 3 days of 1 active service."
    assert (ServiceDailyMetrics.objects.count(), Operation.objects.count()) == (0, 0)
    assert cloud.effects.count("*") == 0


def test_a_collection_is_in_the_history(cloud: LocalCloud):
    collect()
    operation = Operation.objects.get()
    assert (operation.kind, operation.actor_label) == ("metrics", "ana")
    assert operation.steps[0]["note"] == "Read 0 days of 0 active services."


def test_one_key_reads_once_and_is_answered_twice(cloud: LocalCloud):
    a_service("chern")
    first = collect(idempotency_key="tick")
    cloud.effects.reset()
    ServiceDailyMetrics.objects.all().delete()
    again = collect(idempotency_key="tick")
    assert (again.days, again.operation) == (first.days, first.operation)
    assert cloud.effects.count("*") == 0


def test_a_collection_that_could_read_nothing_has_failed_and_may_be_retried(cloud: LocalCloud):
    a_service("chern")
    cloud.faults.order("MetricService.*", "error", code="PERMISSION_DENIED", times=None)
    lines: list[str] = []
    operation = collect(write_line=lines.append).operation
    assert operation
    assert (operation.status, operation.error_code) == ("failed", "nothing_read")
    assert operation.data["lines"] == lines
    assert lines[0].startswith("Unknown: chern: ")
    cloud.faults.clear()
    retry_operation(operation=operation, actor=ANA)
    settle(Clock(now=NOW))
    operation.refresh_from_db()
    assert operation.status == "succeeded"
    assert ServiceDailyMetrics.objects.count() == 3


def test_another_worker_goes_on_with_the_services_that_are_left(cloud: LocalCloud):
    for name in ("one", "two"):
        a_service(name)
    operation, _ = open_operation(
        workflow=WORKFLOWS["collect-metrics"],
        subject=Subject(type="metrics", id="", name="resource metrics"),
        actor=ANA,
        now=NOW,
    )
    advance(operation_id=operation.pk, workflows=WORKFLOWS, clock=lambda: NOW, steps=1)
    assert set(ServiceDailyMetrics.objects.values_list("service_name", flat=True)) == {"one"}
    settle(Clock(now=NOW))
    assert set(ServiceDailyMetrics.objects.values_list("service_name", flat=True)) == {"one", "two"}


def test_totals_are_of_all_services_or_of_some_projects():
    one, two = a_service("one"), a_service("two")
    common = {"day": ago(1), "complete": True, "read_at": NOW}
    for endpoint, requests, p50 in ((one, 300, 10.0), (two, 100, 50.0)):
        ServiceDailyMetrics.objects.create(
            service_name=endpoint.service_name,
            project=endpoint.project,
            requests=requests,
            errors=requests // 10,
            latency_p50=p50,
            latency_p95=p50 * 2,
            instances=1,
            **common,
        )
    (total,) = daily_totals(today=TODAY)
    assert (total["requests"], total["errors"], total["instances"]) == (400, 40, 2)
    assert (total["latency_p50"], total["latency_p95"], total["cpu"]) == (20.0, 100.0, None)
    theirs = type(one.project).objects.filter(pk=one.project_id)
    assert [row["requests"] for row in daily_totals(today=TODAY, projects=theirs)] == [300]
    nobody = ProjectFactory.create()
    none = daily_totals(today=TODAY, projects=type(nobody).objects.filter(pk=nobody.pk))
    assert none == []
    assert daily_totals(today=TODAY + timedelta(days=60)) == []


# ---- unknown is not zero -----------------------------------------------------------------------


def days_of(*services: tuple[int | None, float | None]) -> list[dict[str, Any]]:
    """The totals of one day of these services: requests and median of each."""
    ServiceDailyMetrics.objects.all().delete()
    project = ProjectFactory.create()
    for number, (requests, p50) in enumerate(services):
        ServiceDailyMetrics.objects.create(
            service_name=f"s{number}", project=project, day=ago(1), complete=True, read_at=NOW,
            requests=requests, errors=requests, latency_p50=p50,
        )  # fmt: skip
    return daily_totals(today=TODAY)


@pytest.mark.parametrize(
    ("services", "requests", "median"),
    [
        # Nine tenths of the requests have no median: they do not make it ten times smaller.
        ([(10, 100.0), (90, None)], 100, 100.0),
        ([(300, 10.0), (100, 50.0), (1000, None)], 1400, 20.0),
        # One service needs no weight.
        ([(None, 80.0)], None, 80.0),
        ([(0, 80.0)], 0, 80.0),
        # Of two without weights nothing can be said.
        ([(None, 80.0), (None, 20.0)], None, None),
        ([(0, 80.0), (0, 20.0)], 0, None),
        ([(None, None)], None, None),
        ([(7, None), (None, None)], 7, None),
    ],
)
def test_a_median_is_over_the_services_that_have_one(services, requests, median):
    [total] = days_of(*services)
    assert (total["requests"], total["errors"], total["latency_p50"]) == (
        requests, requests, median,
    )  # fmt: skip


def test_the_last_day_of_a_service_that_was_undeployed_is_read(cloud: LocalCloud):
    stopped = a_service("stopped")
    cloud.monitoring.seed("stopped", ago(1), requests=5)
    record_stopped(service="stopped")
    Event.objects.update(at=NOW - timedelta(hours=20))  # yesterday at six
    report = collect()
    assert (report.services, report.days) == (1, 3)
    assert ServiceDailyMetrics.objects.get(service_name="stopped", day=ago(1)).requests == 5
    assert collect(NOW + timedelta(days=3)).days == 0  # it served on none of the days since
    ServiceDailyMetrics.objects.filter(day=ago(1)).delete()
    assert (collect(NOW + timedelta(days=3)).days, collect(dry_run=True).days) == (1, 0)
    stopped.refresh_from_db()
    assert not stopped.is_active


def test_what_was_stopped_today_is_read_to_its_end_tomorrow(cloud: LocalCloud):
    a_service("stopped", days=0)
    record_stopped(service="stopped")
    Event.objects.update(at=NOW)
    cloud.monitoring.seed("stopped", TODAY, requests=9)
    assert collect().days == 0
    assert collect(NOW + timedelta(days=1)).days == 1
    assert ServiceDailyMetrics.objects.get().requests == 9
    assert collect(NOW + timedelta(days=DAYS_BACK + 5)).days == 0


def test_the_last_day_of_a_service_whose_endpoint_was_deleted_is_read(cloud: LocalCloud):
    deleted = a_service("deleted")
    cloud.monitoring.seed("deleted", ago(1), requests=5)
    record_stopped(service="deleted")
    Event.objects.update(at=NOW - timedelta(hours=20))  # yesterday at six
    deleted.refresh_from_db()
    delete_endpoint(endpoint=deleted, actor=ANA, now=NOW - timedelta(hours=19))
    assert [day["requests"] for day in daily_totals(today=TODAY)] == [None] * 3
    lines: list[str] = []
    assert collect(dry_run=True, write_line=lines.append).days == 3
    assert lines == ["Would read 3 days of deleted."]
    cloud.faults.order("MetricService.ListTimeSeries", "error", code="PERMISSION_DENIED")
    assert collect().operation.error_code == "nothing_read"  # type: ignore[union-attr]
    assert (collect().days, collect().days) == (3, 0)
    last = ServiceDailyMetrics.objects.get(day=ago(1))
    assert (last.requests, last.complete, last.endpoint) == (5, True, None)
    assert [day["requests"] for day in daily_totals(today=TODAY)] == [None, None, 5]
