"""Time series read back through Google's own client as they were seeded."""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, date, datetime
from typing import Any

import pytest
from google.api_core import exceptions
from google.cloud import monitoring_v3

from ml_platform.localcloud import LocalCloud
from ml_platform.localcloud.monitoring.spread import Spread

Aligner: Any = monitoring_v3.Aggregation.Aligner
Reducer: Any = monitoring_v3.Aggregation.Reducer
SERVICE = 'resource.type = "cloud_run_revision" AND resource.labels.service_name = "ranker"'


@pytest.fixture
def read(cloud: LocalCloud, client_of: Callable[[Any], Any]) -> Callable[..., list[Any]]:
    """`read(metric, ...)` lists the series of a metric over two seeded days."""
    client = client_of(monitoring_v3.MetricServiceClient)
    seed = cloud.monitoring.seed
    seed("ranker", date(2026, 3, 1), requests=1000, errors=10, p50=20, p95=90, p99=300, cpu=0.4)
    seed("ranker", date(2026, 3, 2), requests=50, instances=3)
    seed("other", date(2026, 3, 1), requests=7)

    def read(metric: str, where: str = SERVICE, days: int = 1, **aggregation: Any) -> list[Any]:
        interval = monitoring_v3.TimeInterval(
            start_time=datetime(2026, 3, 1, tzinfo=UTC),
            end_time=datetime(2026, 3, 1 + days, tzinfo=UTC),
        )
        request = {
            "name": "projects/demo-project",
            "filter": f'metric.type = "run.googleapis.com/{metric}"'
            + (f" AND {where}" if where else ""),
            "interval": interval,
        }
        if aggregation:
            request["aggregation"] = {"alignment_period": {"seconds": 86400}} | aggregation
        return list(client.list_time_series(request))

    return read


def test_raw_points_are_hourly_and_newest_first(read: Callable[..., list[Any]]) -> None:
    good, bad = read("request_count")
    assert dict(good.metric.labels) == {"response_code": "200", "response_code_class": "2xx"}
    assert good.resource.labels["service_name"] == "ranker"
    assert (len(good.points), sum(point.value.int64_value for point in good.points)) == (24, 990)
    assert sum(point.value.int64_value for point in bad.points) == 10
    newest = good.points[0].interval
    assert newest.end_time == datetime(2026, 3, 2, tzinfo=UTC)
    assert newest.start_time == datetime(2026, 3, 1, 23, tzinfo=UTC)


def test_requests_are_summed_by_day_and_over_series(read: Callable[..., list[Any]]) -> None:
    (total,) = read(
        "request_count",
        days=2,
        per_series_aligner=Aligner.ALIGN_SUM,
        cross_series_reducer=Reducer.REDUCE_SUM,
        group_by_fields=["resource.labels.service_name"],
    )
    assert [point.value.int64_value for point in total.points] == [50, 1000]
    assert dict(total.resource.labels)["service_name"] == "ranker"
    assert dict(total.metric.labels) == {}


def test_services_are_told_apart_by_grouping(read: Callable[..., list[Any]]) -> None:
    grouped = read(
        "request_count",
        where="",
        per_series_aligner=Aligner.ALIGN_DELTA,
        cross_series_reducer=Reducer.REDUCE_SUM,
        group_by_fields=["resource.label.service_name"],
    )
    found = {s.resource.labels["service_name"]: s.points[0].value.int64_value for s in grouped}
    assert found == {"ranker": 1000, "other": 7}


@pytest.mark.parametrize(("percent", "latency"), [("50", 20.0), ("95", 90.0), ("99", 300.0)])
def test_percentiles_come_back_as_they_were_seeded(
    read: Callable[..., list[Any]], percent: str, latency: float
) -> None:
    by_aligner = read(
        "request_latencies", per_series_aligner=Aligner[f"ALIGN_PERCENTILE_{percent}"]
    )
    assert {s.points[0].value.double_value for s in by_aligner} == {latency}
    (by_reducer,) = read(
        "request_latencies",
        per_series_aligner=Aligner.ALIGN_DELTA,
        cross_series_reducer=Reducer[f"REDUCE_PERCENTILE_{percent}"],
    )
    assert by_reducer.points[0].value.double_value == latency


def test_a_distribution_counts_every_request(read: Callable[..., list[Any]]) -> None:
    (whole,) = read(
        "request_latencies",
        per_series_aligner=Aligner.ALIGN_SUM,
        cross_series_reducer=Reducer.REDUCE_SUM,
    )
    value = whole.points[0].value.distribution_value
    assert (value.count, sum(value.bucket_counts)) == (1000, 1000)


def test_utilization_and_instances(read: Callable[..., list[Any]]) -> None:
    (cpu,) = read("container/cpu/utilizations", per_series_aligner=Aligner.ALIGN_PERCENTILE_50)
    assert cpu.points[0].value.double_value == 0.4
    (count,) = read("container/instance_count", days=2, per_series_aligner=Aligner.ALIGN_MAX)
    assert [point.value.int64_value for point in count.points] == [3, 1]


@pytest.mark.parametrize(
    ("where", "found"),
    [
        ('resource.labels.service_name = starts_with("ra")', 990),
        ('resource.labels.service_name = one_of("ranker", "x")', 990),
        ('(resource.labels.service_name = "x" OR resource.labels.service_name = "ranker")', 990),
        ('resource.labels.service_name != "ranker"', 7),
        ('NOT resource.labels.service_name = "ranker"', 7),
        ('resource.labels.service_name = monitoring.regex.full_match("o.*r")', 7),
    ],
)
def test_filters_choose_services(read: Callable[..., list[Any]], where: str, found: int) -> None:
    only_good = f'{where} AND metric.labels.response_code_class = "2xx"'
    (series,) = read("request_count", only_good, per_series_aligner=Aligner.ALIGN_SUM)
    assert series.points[0].value.int64_value == found


@pytest.mark.parametrize("where", ["resource.labels.service_name", '= "x"', '(a = "b"', "a = )"])
def test_a_filter_that_cannot_be_read_is_refused(
    read: Callable[..., list[Any]], where: str
) -> None:
    with pytest.raises(exceptions.InvalidArgument):
        read("request_count", where)


def test_a_metric_nobody_measures_is_not_found(read: Callable[..., list[Any]]) -> None:
    with pytest.raises(exceptions.NotFound):
        read("container/gpu")


def test_reducing_needs_an_aligner(read: Callable[..., list[Any]]) -> None:
    with pytest.raises(exceptions.InvalidArgument):
        read("request_count", cross_series_reducer=Reducer.REDUCE_SUM)


def test_a_service_without_data_has_no_series(read: Callable[..., list[Any]]) -> None:
    assert read("request_count", 'resource.labels.service_name = "nobody"') == []


def test_spreads_merge_by_their_samples() -> None:
    merged = Spread.of(100, 10, 20, 30) + Spread.of(100, 10, 20, 30)
    assert (merged.count, merged.percentile(50), merged.percentile(95)) == (200, 10, 20)
    assert (Spread().count, Spread().mean, Spread().percentile(50)) == (0, 0.0, 0.0)
