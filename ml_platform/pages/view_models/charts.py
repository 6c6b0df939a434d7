"""The geometry of charts: pure functions from numbers to the attributes of an inline SVG."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import date, timedelta
from itertools import groupby, pairwise

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


def spark(values: Sequence[int | None]) -> tuple[str, ...]:
    """The points of a line that is SPARK_HEIGHT high and one unit wide for each value, in parts:
    None is a gap. A day between two gaps is a short stroke."""
    top = max((value for value in values if value is not None), default=0) or 1
    room = SPARK_HEIGHT - 4
    parts: list[str] = []
    for known, run in groupby(enumerate(values), key=lambda item: item[1] is not None):
        if known:
            points = [(float(x), 2 + round(room * (1 - (v or 0) / top), 1)) for x, v in run]
            if len(points) == 1:
                [(x, y)] = points
                points = [(x - 0.3, y), (x + 0.3, y)]
            parts.append(" ".join(f"{x:g},{y:g}" for x, y in points))
    return tuple(parts)


def spark_days(values: Sequence[int | None], today: date) -> tuple[Values, ...]:
    """The tooltips of such a line; the last day is yesterday."""
    days = [today - timedelta(days=len(values) - x) for x in range(len(values))]
    return tuple(
        {
            "x": x - 0.5,
            "label": f"{day:%b} {day.day}: "
            + ("not read" if value is None else f"{value:,} requests"),
        }
        for x, (day, value) in enumerate(zip(days, values, strict=True))
    )


def history_chart(points: Sequence[HistoryPoint], drift: Sequence[int | None] = ()) -> Values:
    """Models, versions and endpoints that serve verified versions over time, as steps: between two
    counts nothing changed. A day that nobody counted is a gap. Below them are the findings that
    were not ended at the end of each day.
    """
    series = {
        "versions": [point.versions for point in points],
        "models": [point.models for point in points],
    }
    verified = [point.serving_verified for point in points]
    if any(value is not None for value in verified):
        series["verified"] = verified
    top = nice_top(max((v for values in series.values() for v in values if v), default=0))
    last = {name: _last_known(values) for name, values in series.items()}
    label_ys = _apart([_y(last[name], top) for name in series])
    lines = tuple(
        {
            "name": name,
            "parts": _steps(values, top),
            "label": _label(name, values, last[name]),
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
        "drift_label": counted(drift[-1] or 0, "finding") if any(drift) else "",
    }


def _last_known(values: Sequence[int | None]) -> int:
    return next((value for value in reversed(values) if value is not None), 0)


def _label(name: str, values: Sequence[int | None], last: int) -> str:
    """The last number; what was not counted today is unknown, not the number of another day."""
    unknown = bool(values) and values[-1] is None
    return f"{name}: unknown" if unknown else f"{last:,} {name}"


def _bars(drift: Sequence[int | None]) -> list[Values]:
    """A bar for each day with findings, and a pale one for each day that nobody counted: no bar is
    no finding."""
    top = max((count for count in drift if count), default=1)
    return [
        {
            "x": x,
            "height": DRIFT_HEIGHT if count is None else round(DRIFT_HEIGHT * count / top, 1),
            "known": count is not None,
        }
        for x, count in enumerate(drift)
        if count != 0
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


def _steps(values: Sequence[int | None], top: int) -> tuple[str, ...]:
    """Corners of a stair, in the form of SVG `points` attributes: one for each part between gaps.

    A day that stands alone is a short stroke.
    """
    parts: list[list[str]] = []
    before: int | None = None
    for x, value in enumerate(values):
        if value is None:
            before = None
            continue
        if before is None:
            parts.append([])
        elif value != before:
            parts[-1].append(f"{x},{_y(before, top)}")
        ends = x + 1 == len(values) or values[x + 1] is None
        if before is None or value != before or ends:
            parts[-1].append(f"{x},{_y(value, top)}")
        if ends and before is None:
            parts[-1].append(f"{x + 0.5},{_y(value, top)}")
        before = value
    return tuple(" ".join(corners) for corners in parts)


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


def _verified(points: Sequence[HistoryPoint]) -> str:
    known = [point for point in points if point.serving_verified is not None]
    if not known:
        return ""
    day, number = known[-1].day, known[-1].serving_verified
    return f" On {day:%Y-%m-%d}, {counted(number or 0, 'endpoint')} served verified versions only."


def _summary(points: Sequence[HistoryPoint]) -> str:
    counted = [point for point in points if point.models is not None]
    if not counted or not counted[-1].versions:
        return "Nothing is registered yet."
    first, last = counted[0], counted[-1]
    unknown = len(points) - len(counted)
    gaps = f" {unknown} days were not counted." if unknown else ""
    return (
        f"From {first.day:%Y-%m-%d} to {last.day:%Y-%m-%d}: models {first.models:,} to "
        f"{last.models:,}, versions {first.versions:,} to {last.versions:,}.{gaps}"
        f"{_verified(points)}"
    )
