"""The geometry of charts: pure functions from numbers to the attributes of an inline SVG."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import date, timedelta
from itertools import pairwise

from ml_platform.kpis import HistoryPoint
from ml_platform.pages.view_models.context import Values
from ml_platform.text import counted

HEIGHT = 148
"""Height of a plot in pixels; its width stretches."""
DRIFT_HEIGHT = 18
SPARK_HEIGHT = 28
TOP = 8
"""Room above the highest tick, so that its label is not cut."""
LABEL_GAP = 16
"""Least distance of two end labels in pixels."""


def spark(values: Sequence[int]) -> str:
    """The points of a line that is SPARK_HEIGHT high and one unit wide for each value."""
    top = max(values, default=0) or 1
    room = SPARK_HEIGHT - 4
    return " ".join(f"{x},{2 + round(room * (1 - v / top), 1)}" for x, v in enumerate(values))


def spark_days(values: Sequence[int], today: date) -> tuple[Values, ...]:
    """The tooltips of such a line; the last day is yesterday."""
    days = [today - timedelta(days=len(values) - x) for x in range(len(values))]
    return tuple(
        {"x": x - 0.5, "label": f"{day:%b} {day.day}: {value:,} requests"}
        for x, (day, value) in enumerate(zip(days, values, strict=True))
    )


def history_chart(points: Sequence[HistoryPoint], drift: Sequence[int] = ()) -> Values:
    """Models and versions over time, as steps: between two registrations nothing changed.

    Below them are the findings that were not ended at the end of each day.
    """
    series = {
        "versions": [point.versions for point in points],
        "models": [point.models for point in points],
    }
    top = nice_top(max(max(values, default=0) for values in series.values()))
    last = {name: values[-1] if values else 0 for name, values in series.items()}
    label_ys = _apart([_y(last[name], top) for name in series])
    lines = tuple(
        {
            "name": name,
            "points": _steps(values, top),
            "label": f"{last[name]:,} {name}",
            "label_y": label_y,
            "end_y": _y(last[name], top),
        }
        for (name, values), label_y in zip(series.items(), label_ys, strict=True)
    )
    return {
        "width": max(1, len(points) - 1),
        "height": HEIGHT,
        "ticks": tuple({"y": _y(v, top), "label": f"{v:,}"} for v in (0, top // 2, top)),
        "lines": lines,
        "days": _axis_days([point.day for point in points]),
        "summary": _summary(points),
        "empty": not any(last.values()),
        "drift": _bars(drift),
        "drift_height": DRIFT_HEIGHT,
        "drift_label": counted(drift[-1], "finding") if any(drift) else "",
    }


def _bars(drift: Sequence[int]) -> list[Values]:
    top = max(drift, default=0) or 1
    return [
        {"x": x, "height": round(DRIFT_HEIGHT * count / top, 1)}
        for x, count in enumerate(drift)
        if count
    ]


def nice_top(highest: int) -> int:
    """The smallest of 2, 4, 6, 10, 20, 40, 60, 100 ... that is not below; halves stay whole."""
    scale = 1
    while True:
        for step in (2, 4, 6, 10):
            if step * scale >= highest:
                return step * scale
        scale *= 10


def _y(value: int, top: int) -> float:
    return round(TOP + (HEIGHT - TOP - 1) * (1 - value / top), 1)


def _steps(values: Sequence[int], top: int) -> str:
    """Corners of a stair, in the form of an SVG `points` attribute."""
    corners: list[str] = []
    for x, value in enumerate(values):
        if x and value != values[x - 1]:
            corners.append(f"{x},{_y(values[x - 1], top)}")
        if x in (0, len(values) - 1) or value != values[x - 1]:
            corners.append(f"{x},{_y(value, top)}")
    return " ".join(corners)


def _apart(ys: Sequence[float]) -> list[float]:
    """Move labels down until none covers its neighbor, and all up if the last is too low."""
    order = sorted(range(len(ys)), key=lambda i: ys[i])
    placed = list(ys)
    for above, below in pairwise(order):
        placed[below] = max(placed[below], placed[above] + LABEL_GAP)
    overflow = max(0.0, placed[order[-1]] - (HEIGHT - 4)) if order else 0.0
    return [round(y - overflow, 1) for y in placed]


def _axis_days(days: Sequence[date]) -> tuple[str, ...]:
    if not days:
        return ()
    return tuple(f"{day:%b} {day.day}" for day in (days[0], days[len(days) // 2], days[-1]))


def _summary(points: Sequence[HistoryPoint]) -> str:
    if not points or not points[-1].versions:
        return "Nothing is registered yet."
    first, last = points[0], points[-1]
    return (
        f"From {first.day:%Y-%m-%d} to {last.day:%Y-%m-%d}: models {first.models:,} to "
        f"{last.models:,}, versions {first.versions:,} to {last.versions:,}."
    )
