"""Cloud Monitoring, read only: metrics of Cloud Run services."""

from __future__ import annotations

import re
from datetime import UTC, datetime, timedelta
from enum import StrEnum
from itertools import chain
from typing import Any

from ml_platform.conf import require_settings
from ml_platform.errors import DEFECT, CloudUnavailable, Invalid

from .transport import channels
from .types import Point

PREFIX = "run.googleapis.com/"
"""Metrics and their kinds: https://cloud.google.com/monitoring/api/metrics_gcp_p_z#gcp-run"""


class Aligner(StrEnum):
    """How the values of one period become one value: monitoring_v3/types/common.py."""

    DELTA = "ALIGN_DELTA"
    MAX = "ALIGN_MAX"
    P99 = "ALIGN_PERCENTILE_99"


class Reducer(StrEnum):
    """How a service's several series (one for each revision, response class ...) become one."""

    SUM = "REDUCE_SUM"
    MAX = "REDUCE_MAX"
    P50 = "REDUCE_PERCENTILE_50"
    P95 = "REDUCE_PERCENTILE_95"


def read_series(
    *,
    metric: str,
    service: str,
    start: datetime,
    end: datetime,
    period_seconds: int,
    aligner: Aligner,
    reducer: Reducer = Reducer.SUM,
    response_class: str = "",
) -> list[Point]:
    """Return one value for each period in (start, end] that has data, oldest first.

    `metric` is without the prefix: `request_count`. Counts: DELTA and SUM. A percentile of a
    service's latencies: DELTA and P50 or P95, which merges the revisions' distributions first.
    Utilization and instances: a percentile or MAX, reduced by MAX. With `response_class`, such as
    `5xx`, only requests with that class of response.

    :raises CloudUnavailable: Monitoring did not answer, or reports that its answer is incomplete.
    """
    request = {
        "name": f"projects/{require_settings().PROJECT_ID}",
        "filter": _filter(metric, service, response_class),
        "interval": {"start_time": start, "end_time": end},
        "aggregation": {
            "alignment_period": timedelta(seconds=period_seconds),
            "per_series_aligner": aligner.value,
            "cross_series_reducer": reducer.value,
        },
        "view": "FULL",
    }

    def read(page: Any) -> list[Point]:
        if page.execution_errors:
            raise CloudUnavailable(
                f"Cloud Monitoring returned {metric} of {service} only in part: "
                f"{page.execution_errors[0].message}",
                code="incomplete_listing",
            )
        return [_read_point(point) for series in page.time_series for point in series.points]

    pages = channels.rpc_pages("MetricService.ListTimeSeries", request, read)
    return sorted(chain.from_iterable(pages), key=lambda point: point.end)


def _filter(metric: str, service: str, response_class: str) -> str:
    if not (re.fullmatch(r"[a-z0-9_/]+", metric) and re.fullmatch(r"[a-z0-9-]+", service)):
        raise Invalid(f"{metric!r} of {service!r} is not a metric of a service.", advice=DEFECT)
    if not re.fullmatch(r"([1-5]xx)?", response_class):
        raise Invalid(f"{response_class!r} is not a class of responses.", advice=DEFECT)
    answered = f' AND metric.labels.response_code_class = "{response_class}"'
    return (
        f'metric.type = "{PREFIX}{metric}" AND resource.type = "cloud_run_revision" '
        f'AND resource.labels.service_name = "{service}"{answered if response_class else ""}'
    )


def _read_point(raw: Any) -> Point:
    kind = raw.value.WhichOneof("value")
    value = getattr(raw.value, kind)
    return Point(
        end=raw.interval.end_time.ToDatetime(tzinfo=UTC),
        value=value.mean if kind == "distribution_value" else float(value),
    )
