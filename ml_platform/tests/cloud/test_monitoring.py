"""Cloud Monitoring as the product reads it: a service's days."""

from __future__ import annotations

from datetime import UTC, date, datetime, timedelta

import pytest

from ml_platform.cloud import monitoring
from ml_platform.cloud.monitoring import Aligner, Reducer
from ml_platform.cloud.transport import channels
from ml_platform.errors import CloudUnavailable, Invalid

DAY = date(2026, 3, 1)
START = datetime(2026, 3, 1, tzinfo=UTC)


@pytest.fixture(autouse=True)
def days(cloud):
    """Two days of one service, and a day of another."""
    cloud.monitoring.seed("chern", DAY, requests=240, errors=24, p50=30.0, p95=90.0, p99=150.0)
    cloud.monitoring.seed("chern", DAY + timedelta(days=1), requests=480, p50=40.0, p95=80.0)
    cloud.monitoring.seed("other", DAY, requests=1000)


def read(metric, aligner, **options):
    given = {
        "service": "chern",
        "start": START,
        "end": START + timedelta(days=2),
        "period_seconds": 86400,
        **options,
    }
    return monitoring.read_series(metric=metric, aligner=aligner, **given)


def test_requests_of_all_kinds_are_summed_day_by_day(cloud):
    points = read("request_count", Aligner.DELTA)
    assert [point.value for point in points] == [240, 480]
    assert [point.end for point in points] == [START + timedelta(days=n) for n in (1, 2)]
    assert points[0].end.utcoffset() == timedelta(0)
    assert cloud.effects.count("*") == 1


@pytest.mark.parametrize(("reducer", "values"), [(Reducer.P50, [30, 40]), (Reducer.P95, [90, 80])])
def test_a_percentile_is_of_the_whole_service(cloud, reducer, values):
    points = read("request_latencies", Aligner.DELTA, reducer=reducer)
    assert [point.value for point in points] == pytest.approx(values, rel=0.05)


def test_a_distribution_is_read_as_its_mean(cloud):
    points = read("request_latencies", Aligner.DELTA)
    assert all(10 < point.value < 150 for point in points)


def test_instances_are_read_at_their_highest(cloud):
    points = read("container/instance_count", Aligner.MAX, reducer=Reducer.MAX)
    assert [point.value for point in points] == [1, 1]


def test_a_day_without_data_is_left_out(cloud):
    points = read("request_count", Aligner.DELTA, end=START + timedelta(days=5))
    assert sum(point.value for point in points) == 720


def test_a_service_without_data_has_no_points(cloud):
    assert read("request_count", Aligner.DELTA, service="nobody") == []


@pytest.mark.parametrize(
    ("metric", "service"),
    [('request_count" OR metric.type = "x', "chern"), ("request_count", 'a" OR "b'), ("", "a")],
)
def test_nothing_can_be_smuggled_into_the_filter(cloud, metric, service):
    with pytest.raises(Invalid):
        read(metric, Aligner.DELTA, service=service)
    assert cloud.effects.count("*") == 0


def test_an_answer_that_monitoring_calls_incomplete_is_none(cloud, monkeypatch):
    def page(method, request, read):
        from google.cloud.monitoring_v3.types import ListTimeSeriesResponse
        from google.rpc.status_pb2 import Status

        part = ListTimeSeriesResponse(execution_errors=[Status(code=4, message="too slow")])
        yield read(ListTimeSeriesResponse.pb(part))

    monkeypatch.setattr(channels, "rpc_pages", page)
    with pytest.raises(CloudUnavailable, match="too slow"):
        read("request_count", Aligner.DELTA)
