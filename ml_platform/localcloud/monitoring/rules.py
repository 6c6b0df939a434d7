"""Monitoring's rules that need no storage: time series, alignment, reduction.

After cloud.google.com/monitoring/api/v3/aggregation.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from typing import Any

from google.api import metric_pb2
from google.cloud.monitoring_v3.types import common, metric

from .filter import refuse
from .spread import Spread

PREFIX = "run.googleapis.com/"
RESOURCE = "cloud_run_revision"
Kind: Any = metric_pb2.MetricDescriptor.MetricKind
Type: Any = metric_pb2.MetricDescriptor.ValueType
Value = int | float | Spread
# metric: (kind, value type, unit)
METRICS: dict[str, tuple[Any, Any, str]] = {
    f"{PREFIX}request_count": (Kind.DELTA, Type.INT64, "1"),
    f"{PREFIX}request_latencies": (Kind.DELTA, Type.DISTRIBUTION, "ms"),
    f"{PREFIX}container/cpu/utilizations": (Kind.DELTA, Type.DISTRIBUTION, "10^2.%"),
    f"{PREFIX}container/memory/utilizations": (Kind.DELTA, Type.DISTRIBUTION, "10^2.%"),
    f"{PREFIX}container/instance_count": (Kind.GAUGE, Type.INT64, "1"),
    f"{PREFIX}container/billable_instance_time": (Kind.DELTA, Type.DOUBLE, "s"),
}
_TimeSeries: Any = metric.TimeSeries.meta.pb
_Aligner: Any = common.Aggregation.Aligner
_Reducer: Any = common.Aggregation.Reducer


@dataclass(frozen=True, slots=True)
class Sample:
    """One measured point."""

    start: datetime
    end: datetime
    value: Value


@dataclass(frozen=True, slots=True)
class Series:
    """One time series; `kind` is None while it is as measured."""

    metric: str
    labels: Mapping[str, str]
    resource: Mapping[str, str]
    samples: list[Sample]
    kind: Any = None

    def field(self, key: str) -> str | None:
        """A value for a filter or a grouping; None when the series lacks the label."""
        path = key.replace(".label.", ".labels.")
        if path in ("metric.type", "resource.type"):
            return self.metric if path == "metric.type" else RESOURCE
        owner, _, name = path.partition(".labels.")
        return {"metric": self.labels, "resource": self.resource}.get(owner, {}).get(name)

    def message(self, *, points: bool) -> Any:
        """The proto, its newest point first."""
        kind, value_type, unit = METRICS[self.metric]
        first = self.samples[0].value if self.samples else None
        if isinstance(first, float):
            value_type = Type.DOUBLE
        elif isinstance(first, int):
            value_type = Type.INT64
        series = _TimeSeries(metric_kind=self.kind or kind, value_type=value_type, unit=unit)
        series.metric.type = self.metric
        series.metric.labels.update(self.labels)
        series.resource.type = RESOURCE
        series.resource.labels.update(self.resource)
        if points:
            for sample in reversed(self.samples):
                _add_point(series, sample)
        return series


def _add_point(series: Any, sample: Sample) -> None:
    point = series.points.add()
    point.interval.end_time.FromDatetime(sample.end)
    gauge = series.metric_kind == Kind.GAUGE
    point.interval.start_time.FromDatetime(sample.end if gauge else sample.start)
    if isinstance(sample.value, Spread):
        point.value.distribution_value.CopyFrom(sample.value.message())
    elif series.value_type == Type.INT64:
        point.value.int64_value = int(sample.value)
    else:
        point.value.double_value = float(sample.value)


def aggregate(
    found: list[Series], aggregation: Any, start: datetime, end: datetime
) -> list[Series]:
    """The series aligned to periods that end at `end`, then reduced by groups."""
    if not aggregation.per_series_aligner:
        if aggregation.cross_series_reducer:
            raise refuse("aggregation.perSeriesAligner must be set to reduce across series.")
        return found
    period = aggregation.alignment_period.ToTimedelta()
    if period < timedelta(seconds=60):
        raise refuse("aggregation.alignmentPeriod must be at least 60 seconds.")
    name = _Aligner(aggregation.per_series_aligner).name
    aligned = [_aligned(series, name, period, start, end) for series in found]
    if not aggregation.cross_series_reducer:
        return aligned
    return _reduced(
        aligned, _Reducer(aggregation.cross_series_reducer).name, aggregation.group_by_fields
    )


def _aligned(
    series: Series, aligner: str, period: timedelta, start: datetime, end: datetime
) -> Series:
    compute = _ALIGNERS.get(aligner)
    if compute is None:
        raise refuse(f"aggregation.perSeriesAligner: {aligner} is not served here.")
    samples, until = [], end
    while until > start:
        inside = [s.value for s in series.samples if until - period < s.end <= until]
        if inside:
            samples.append(Sample(until - period, until, compute(inside, period.total_seconds())))
        until -= period
    keeps = aligner in ("ALIGN_DELTA", "ALIGN_SUM") and METRICS[series.metric][0] == Kind.DELTA
    kind = Kind.DELTA if keeps else Kind.GAUGE
    return replace(series, samples=samples[::-1], kind=kind)


def _reduced(aligned: list[Series], reducer: str, group_by: Sequence[str]) -> list[Series]:
    compute = _REDUCERS.get(reducer)
    if compute is None:
        raise refuse(f"aggregation.crossSeriesReducer: {reducer} is not served here.")
    groups: dict[tuple[str, ...], list[Series]] = {}
    for series in aligned:
        key = (series.metric, *(series.field(field) or "" for field in group_by))
        groups.setdefault(key, []).append(series)
    merged = [_merged(members, compute, group_by) for members in groups.values()]
    summed = reducer == "REDUCE_SUM"
    return merged if summed else [replace(one, kind=Kind.GAUGE) for one in merged]


def _merged(
    members: list[Series], compute: Callable[[list[Value]], Value], group_by: Sequence[str]
) -> Series:
    """One series for a group, with the labels of the grouping and of the project."""
    times: dict[tuple[datetime, datetime], list[Value]] = {}
    for series in members:
        for sample in series.samples:
            times.setdefault((sample.start, sample.end), []).append(sample.value)
    samples = [Sample(*span, compute(values)) for span, values in sorted(times.items())]
    first = members[0]
    kept = {field.replace(".label.", ".labels.") for field in group_by}
    return Series(
        first.metric,
        {k: v for k, v in first.labels.items() if f"metric.labels.{k}" in kept},
        {
            k: v
            for k, v in first.resource.items()
            if k == "project_id" or f"resource.labels.{k}" in kept
        },
        samples,
        first.kind,
    )


def _sum(values: list[Value]) -> Value:
    if isinstance(values[0], Spread):
        return sum((v for v in values if isinstance(v, Spread)), Spread())
    return sum(v for v in values if not isinstance(v, Spread))


def _numbers(values: list[Value]) -> list[float]:
    return [float(v.mean) if isinstance(v, Spread) else v for v in values]


def _percentile(percent: float) -> Callable[[list[Value]], Value]:
    def compute(values: list[Value]) -> Value:
        total = _sum(values)
        if isinstance(total, Spread):
            return total.percentile(percent)
        ordered = sorted(_numbers(values))
        return ordered[min(len(ordered) - 1, int(len(ordered) * percent / 100))]

    return compute


def _mean(values: list[Value]) -> Value:
    total = _sum(values)
    return total.mean if isinstance(total, Spread) else float(total) / len(values)


def _count(values: list[Value]) -> Value:
    total = _sum(values)
    return round(total.count) if isinstance(total, Spread) else len(values)


_COMMON: dict[str, Callable[[list[Value]], Value]] = {
    "SUM": _sum,
    "MEAN": _mean,
    "MIN": lambda values: min(_numbers(values)),
    "MAX": lambda values: max(_numbers(values)),
    "COUNT": _count,
    "PERCENTILE_99": _percentile(99),
    "PERCENTILE_95": _percentile(95),
    "PERCENTILE_50": _percentile(50),
    "PERCENTILE_05": _percentile(5),
}
_REDUCERS = {f"REDUCE_{name}": compute for name, compute in _COMMON.items()}


def _ignoring_period(
    compute: Callable[[list[Value]], Value],
) -> Callable[[list[Value], float], Value]:
    return lambda values, _: compute(values)


def _rate(values: list[Value], seconds: float) -> Value:
    total = _sum(values)
    if isinstance(total, Spread):
        raise refuse("aggregation.perSeriesAligner: ALIGN_RATE needs numbers.")
    return total / seconds


_ALIGNERS: dict[str, Callable[[list[Value], float], Value]] = {
    **{f"ALIGN_{name}": _ignoring_period(compute) for name, compute in _COMMON.items()},
    "ALIGN_DELTA": _ignoring_period(_sum),
    "ALIGN_NEXT_OLDER": lambda values, _: values[-1],
    "ALIGN_RATE": _rate,
}
