"""Versions side by side: a table of their metrics and a chart of one."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

from ml_platform.models import TrainingRun
from ml_platform.pages.view_models.context import Values
from ml_platform.pages.view_models.metrics import FIRST, label, lower_is_better, numbers, written

WIDTH, HEIGHT = 380, 200
LEFT, RIGHT, TOP, BOTTOM = 48, 8, 28, 30
NONE = "–"  # noqa: RUF001


@dataclass(frozen=True, slots=True)
class Measured:
    """A version with its metrics."""

    version: int
    metrics: Mapping[str, float]


def compare(versions: Sequence[Measured], *, metric: str, url_of: Callable[[str], str]) -> Values:
    """Compare versions, the oldest first; the chart shows `metric`, or the first row."""
    chosen = sorted(versions, key=lambda one: one.version)
    names = _names(chosen)
    if not names:
        return {"versions": [], "rows": [], "chart": None}
    charted = metric if metric in names else names[0]
    return {
        "versions": tuple(f"v{one.version}" for one in chosen),
        "rows": tuple(
            {
                "name": label(name),
                "url": url_of(name),
                "charted": name == charted,
                "cells": _cells(name, [one.metrics.get(name) for one in chosen]),
            }
            for name in names
        ),
        "chart": _chart(charted, chosen),
    }


def beside_serving(run: TrainingRun) -> Values:
    """The metrics of a version beside those of the versions that active endpoints serve now."""
    serving = TrainingRun.objects.filter(
        registered_model=run.registered_model_id, deployed_endpoints__is_active=True
    )
    others = list(serving.exclude(pk=run.pk).distinct().order_by("version"))
    found = compare(
        [Measured(one.version or 0, numbers(one.metrics)) for one in (*others, run)],
        metric="",
        url_of=lambda _: "",
    )
    return {**found, "mine": f"v{run.version}", "serving": [f"v{one.version}" for one in others]}


def _names(versions: Sequence[Measured]) -> list[str]:
    known = {name for one in versions for name in one.metrics}
    first = [name for name in FIRST if name in known]
    return first + sorted(known - set(first))


def _cells(name: str, values: Sequence[float | None]) -> list[Values]:
    """The values of a metric, each with its change against the version before it."""
    known = [value for value in values if value is not None]
    best = (min if lower_is_better(name) else max)(known)
    cells: list[Values] = []
    before = 0.0
    for value in values:
        if value is None:
            cells.append({"value": NONE, "tone": "plain", "best": False})
            continue
        marked = value == best and len(set(known)) > 1
        cells.append({"value": written(value), "best": marked, **_change(name, value, before)})
        before = value
    return cells


def _change(name: str, value: float, before: float) -> Values:
    change = (value - before) / abs(before) if before else 0.0
    if abs(change) < 0.0005:
        return {"change": "", "tone": "plain"}
    better = (change < 0) is lower_is_better(name)
    sign = "+" if change > 0 else "−"  # noqa: RUF001
    return {"change": f"{sign}{abs(change):.1%}", "tone": "good" if better else "bad"}


def _chart(name: str, versions: Sequence[Measured]) -> Values:
    """One metric of the versions, with a summary for screen readers."""
    measured = [(f"v{one.version}", one.metrics[name]) for one in versions if name in one.metrics]
    low, high = min(v for _, v in measured), max(v for _, v in measured)
    room = (high - low) * 0.15 or abs(high) * 0.1 or 1.0
    low, high = low - room, high + room

    def y_of(value: float) -> float:
        share = (value - low) / (high - low)
        return round(HEIGHT - BOTTOM - share * (HEIGHT - TOP - BOTTOM), 1)

    step = (WIDTH - LEFT - RIGHT) / len(measured)
    dots: list[Values] = [
        {
            "x": round(LEFT + step * (i + 0.5), 1),
            "y": y_of(value),
            "version": version,
            "value": written(value),
        }
        for i, (version, value) in enumerate(measured)
    ]
    said = ", ".join(f"{version} {written(value)}" for version, value in measured)
    return {
        "name": label(name),
        "width": WIDTH,
        "height": HEIGHT,
        "left": LEFT,
        "ticks": [{"y": y_of(v), "label": written(v)} for v in (low, (low + high) / 2, high)],
        "dots": dots,
        "points": " ".join(f"{dot['x']},{dot['y']}" for dot in dots),
        "summary": f"{label(name)}: {said}.",
    }
