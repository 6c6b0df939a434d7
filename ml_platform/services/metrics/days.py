"""The days of one service: read from Cloud Monitoring, and stored."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import UTC, date, datetime, time, timedelta
from typing import Any

from ml_platform.cloud import monitoring
from ml_platform.cloud.monitoring import Aligner, Reducer
from ml_platform.models import DeployedEndpoint, RegisteredModel, ServiceDailyMetrics
from ml_platform.services.operations.work import Heartbeat

DAY_SECONDS = 86_400
SERIES: Mapping[str, Mapping[str, Any]] = {
    "requests": {"metric": "request_count", "aligner": Aligner.DELTA},
    "errors": {
        "metric": "request_count",
        "aligner": Aligner.DELTA,
        "response_class": "5xx",
    },
    "latency_p50": {
        "metric": "request_latencies",
        "aligner": Aligner.DELTA,
        "reducer": Reducer.P50,
    },
    "latency_p95": {
        "metric": "request_latencies",
        "aligner": Aligner.DELTA,
        "reducer": Reducer.P95,
    },
    "cpu": {
        "metric": "container/cpu/utilizations",
        "aligner": Aligner.P99,
        "reducer": Reducer.MAX,
    },
    "memory": {
        "metric": "container/memory/utilizations",
        "aligner": Aligner.P99,
        "reducer": Reducer.MAX,
    },
    "instances": {
        "metric": "container/instance_count",
        "aligner": Aligner.MAX,
        "reducer": Reducer.MAX,
    },
}
"""How each column is read: one request for all missing days of a service."""
WHOLE = ("requests", "errors")


def store_days(
    endpoint: DeployedEndpoint,
    days: Sequence[date],
    numbers: Mapping[date, Mapping[str, float | int]],
    now: datetime,
) -> None:
    """Store these days of a service; those without `numbers` were read, and had none."""
    rows = [
        ServiceDailyMetrics(
            service_name=endpoint.service_name,
            endpoint_id=endpoint.pk,
            project_id=endpoint.project_id,
            day=day,
            complete=True,
            read_at=now,
            **numbers.get(day, {}),
        )
        for day in days
    ]
    ServiceDailyMetrics.objects.bulk_create(
        rows,
        update_conflicts=True,
        unique_fields=["service_name", "day"],
        update_fields=["endpoint", "project", "complete", "read_at", *SERIES],
    )
    if busy := [day for day in days if numbers.get(day, {}).get("requests")]:
        model = RegisteredModel.objects.filter(pk=endpoint.registered_model_id)
        model.filter(last_traffic_on__lt=max(busy)).update(last_traffic_on=max(busy))


def note_unread(endpoint: DeployedEndpoint, days: Sequence[date], now: datetime) -> None:
    """Note that these days of a service could not be read, so that a total of several services is
    not taken for whole (law 15). What another collection has read stays."""
    rows = [
        ServiceDailyMetrics(
            service_name=endpoint.service_name,
            endpoint_id=endpoint.pk,
            project_id=endpoint.project_id,
            day=day,
            read_at=now,
        )
        for day in days
    ]
    ServiceDailyMetrics.objects.bulk_create(rows, ignore_conflicts=True)


def read_days(
    service: str, first: date, last: date, heartbeat: Heartbeat
) -> dict[date, dict[str, float | int]]:
    """Return the numbers of each day, without those that Cloud Monitoring has no data for."""
    midnight = time(tzinfo=UTC)
    found: dict[date, dict[str, float | int]] = {}
    for column, series in SERIES.items():
        heartbeat()
        points = monitoring.read_series(
            service=service,
            start=datetime.combine(first, midnight),
            end=datetime.combine(last + timedelta(days=1), midnight),
            period_seconds=DAY_SECONDS,
            **series,
        )
        for point in points:
            day = (point.end - timedelta(microseconds=1)).astimezone(UTC).date()
            value = round(point.value) if column in WHOLE else point.value
            found.setdefault(day, {})[column] = value
    return found
