"""Cloud Monitoring: ListTimeSeries over what was seeded about Cloud Run services.

Metrics, kinds and labels after cloud.google.com/monitoring/api/metrics_gcp (run).
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import asdict, dataclass
from datetime import UTC, date, datetime, time, timedelta
from typing import Any, TypeAlias

import grpc
from google.cloud.monitoring_v3.types import metric_service as wire_types

from ..core.core import Core
from ..core.errors import CloudError
from ..core.lists.pages import page
from . import rules
from .filter import Predicate, compile_filter
from .rules import Sample, Series
from .spread import Spread

_DAY = "monitoring.day"
_PAGE_LIMIT = 100_000
_HOUR = timedelta(hours=1)


@dataclass(frozen=True, slots=True)
class Day:
    """What a service did on one day (UTC): latencies in milliseconds, utilizations from 0 to 1."""

    service: str
    day: str
    requests: int
    errors: int
    p50: float
    p95: float
    p99: float
    cpu: float
    memory: float
    instances: int


Measure: TypeAlias = Callable[[Day, int], "int | float | Spread | None"]


class Monitoring:
    """google.monitoring.v3.MetricService, ListTimeSeries alone; a day is 24 hourly points."""

    def __init__(self, core: Core) -> None:
        self._core, self._store = core, core.store

    def seed(
        self,
        service: str,
        day: date,
        *,
        requests: int = 0,
        errors: int = 0,
        p50: float = 20.0,
        p95: float = 80.0,
        p99: float = 200.0,
        cpu: float = 0.1,
        memory: float = 0.2,
        instances: int = 1,
    ) -> None:
        """Set the metrics of a Cloud Run service for a day; `errors` of the requests got a 500."""
        recorded = Day(
            service, day.isoformat(), requests, errors, p50, p95, p99, cpu, memory, instances
        )
        self._store.put(_DAY, f"{service}/{recorded.day}", json.dumps(asdict(recorded)).encode())

    def list_time_series(self, request: Any) -> Any:
        """INVALID_ARGUMENT without a metric type, an end time, or with what is not served."""
        pb_request = wire_types.ListTimeSeriesRequest.pb(request)
        self._core.names.check_project(pb_request.name.removeprefix("projects/"), "monitoring")
        matches = compile_filter(pb_request.filter, rules.METRICS)
        start, end = _interval(pb_request.interval)
        found = list(self._series(matches, start, end))
        shaped = rules.aggregate(found, pb_request.aggregation, start, end)
        headers_only = pb_request.view == 1  # TimeSeriesView.HEADERS
        answers = ((n, one.message(points=not headers_only)) for n, one in enumerate(shaped, 1))
        items, token = page(answers, pb_request, default=_PAGE_LIMIT, limit=_PAGE_LIMIT)
        answer: Any = wire_types.ListTimeSeriesResponse.meta.pb
        return answer(time_series=items, next_page_token=token)

    def _series(self, matches: Predicate, start: datetime, end: datetime) -> Iterator[Series]:
        """Of all locations of the call's project."""
        names = self._core.names
        for place in [place for place in names.places if place.project == names.project]:
            with names.at(place):
                found = list(self._series_here(matches, start, end))
            yield from found

    def _series_here(self, matches: Predicate, start: datetime, end: datetime) -> Iterator[Series]:
        days: dict[str, list[Day]] = {}
        for _, blob in self._store.list(_DAY):
            day = Day(**json.loads(blob))
            days.setdefault(day.service, []).append(day)
        for service, recorded in days.items():
            resource = {
                "project_id": self._core.names.project,
                "location": self._core.names.location,
                "service_name": service,
                "configuration_name": service,
                "revision_name": f"{service}-00001",
            }
            recorded.sort(key=lambda day: day.day)
            for metric, labels, measure in _MEASURES:
                series = Series(f"{rules.PREFIX}{metric}", labels, resource, [])
                if matches(series):
                    series.samples.extend(_samples(recorded, measure, start, end))
                if series.samples:
                    yield series


def _samples(
    recorded: Iterable[Day], measure: Measure, start: datetime, end: datetime
) -> Iterator[Sample]:
    """What was measured in each whole hour of the interval."""
    for day in recorded:
        for hour in range(24):
            at = _hour(day, hour)
            if start < at + _HOUR <= end and (value := measure(day, hour)) is not None:
                yield Sample(at, at + _HOUR, value)


def _hour(day: Day, hour: int) -> datetime:
    return datetime.combine(date.fromisoformat(day.day), time(hour), tzinfo=UTC)


def _answered(day: Day, hour: int, *, failed: bool) -> int:
    """Requests of one hour; the hours add up to the day."""
    total = day.errors if failed else day.requests - day.errors
    return total * (hour + 1) // 24 - total * hour // 24


def _latency(day: Day, hour: int, *, failed: bool) -> Spread | None:
    count = _answered(day, hour, failed=failed)
    return Spread.of(count, day.p50, day.p95, day.p99) if count else None


def _utilization(level: float) -> Spread:
    return Spread.of(60.0, level, level * 1.2, level * 1.3)


_GOOD = {"response_code_class": "2xx", "response_code": "200"}
_BAD = {"response_code_class": "5xx", "response_code": "500"}
_MEASURES: tuple[tuple[str, Mapping[str, str], Measure], ...] = (
    ("request_count", _GOOD, lambda day, hour: _answered(day, hour, failed=False) or None),
    ("request_count", _BAD, lambda day, hour: _answered(day, hour, failed=True) or None),
    ("request_latencies", _GOOD, lambda day, hour: _latency(day, hour, failed=False)),
    ("request_latencies", _BAD, lambda day, hour: _latency(day, hour, failed=True)),
    ("container/cpu/utilizations", {}, lambda day, hour: _utilization(day.cpu)),
    ("container/memory/utilizations", {}, lambda day, hour: _utilization(day.memory)),
    ("container/instance_count", {"state": "active"}, lambda day, hour: day.instances),
    ("container/billable_instance_time", {}, lambda day, hour: day.instances * 3600.0),
)
"""Metric, labels, and its value in one hour of a day; None without data."""


def _interval(interval: Any) -> tuple[datetime, datetime]:
    if not interval.HasField("end_time"):
        raise CloudError(
            grpc.StatusCode.INVALID_ARGUMENT, "Field interval.end_time had an invalid value: unset."
        )
    end = interval.end_time.ToDatetime(tzinfo=UTC)
    start = interval.start_time.ToDatetime(tzinfo=UTC) if interval.HasField("start_time") else end
    if start > end:
        raise CloudError(
            grpc.StatusCode.INVALID_ARGUMENT,
            "Field interval.start_time had an invalid value: it must not be after the end time.",
        )
    return start, end
