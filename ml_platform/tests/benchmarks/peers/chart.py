"""The first page's time against the number of models: a picture of both databases."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence

from .results import Row, Run
from .tables import NAMES, milliseconds

WIDTH, HEIGHT, GAP = 300, 220, 110
LEFT, TOP = 48, 34
# Legible on a light and on a dark page.
SERIES = {
    "MLflow": ("theirs", "#d9822b"),
    "ours": ("ours", "#2f81f7"),
    "bare view": ("statements", "#8b949e"),
    "static": ("static", "#6e7681"),
}
_STYLE = (
    "text { font: 12px system-ui, sans-serif; fill: #8b949e } "
    ".title { font-weight: 600 } line { stroke: #8b949e; stroke-opacity: .35 } "
    "polyline { fill: none; stroke-width: 2 }"
)


def picture(runs: Sequence[Run]) -> str:
    """An SVG with a plot for each database; both axes are logarithmic."""
    databases = list(dict.fromkeys(run.database for run in runs))
    points = [value for run in runs for value in _values(run.rows[0]).values()]
    bottom, top = _decades(min(points), max(points))
    width = LEFT + len(databases) * (WIDTH + GAP)
    parts = [
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {width} {TOP + HEIGHT + 40}" '
        f'role="img" aria-label="{_summary(runs)}">',
        f"<style>{_STYLE}</style>",
    ]
    for number, database in enumerate(databases):
        chosen = [run for run in runs if run.database == database]
        left = LEFT + number * (WIDTH + GAP)
        parts += [f'<g transform="translate({left} {TOP})">', *_plot(chosen, bottom, top), "</g>"]
    return "\n".join([*parts, "</svg>", ""])


def _plot(runs: Sequence[Run], bottom: int, top: int) -> Iterator[str]:
    sizes = [math.log10(run.models) for run in runs]
    span = (sizes[-1] - sizes[0]) or 1

    def y_of(value: float) -> float:
        return HEIGHT * (1 - (math.log10(value) - bottom) / (top - bottom))

    yield f'<text class="title" y="-16">{NAMES[runs[0].database]}, first page, ms</text>'
    for decade in range(bottom, top + 1):
        y = y_of(10.0**decade)
        yield f'<line x1="0" x2="{WIDTH}" y1="{y:.1f}" y2="{y:.1f}"/>'
        yield f'<text x="-8" y="{y + 4:.1f}" text-anchor="end">{10.0**decade:g}</text>'
    xs = [WIDTH * (size - sizes[0]) / span for size in sizes]
    for run, x in zip(runs, xs, strict=True):
        yield f'<text x="{x:.1f}" y="{HEIGHT + 20}" text-anchor="middle">{run.models:,}</text>'
    ends: list[tuple[float, str, str]] = []
    for name, (_, color) in SERIES.items():
        values = [_values(run.rows[0])[name] for run in runs]
        corners = [f"{x:.1f},{y_of(y):.1f}" for x, y in zip(xs, values, strict=True)]
        yield f'<polyline points="{" ".join(corners)}" stroke="{color}"/>'
        for x, value in zip(xs, values, strict=True):
            yield f'<circle cx="{x:.1f}" cy="{y_of(value):.1f}" r="3" fill="{color}"/>'
        ends.append((y_of(values[-1]), f"{name} {milliseconds(values[-1])}", color))
    low = -math.inf
    for y, label, color in sorted(ends):
        low = max(y, low + 14)
        yield f'<text x="{WIDTH + 8}" y="{low + 4:.1f}" style="fill:{color}">{label}</text>'


def _values(row: Row) -> dict[str, float]:
    return {name: getattr(row, field) for name, (field, _) in SERIES.items()}


def _decades(least: float, most: float) -> tuple[int, int]:
    return math.floor(math.log10(least)), math.ceil(math.log10(most))


def _summary(runs: Sequence[Run]) -> str:
    said = (
        f"{NAMES[run.database]}, {run.models:,} models: MLflow {milliseconds(run.rows[0].theirs)}, "
        f"ours {milliseconds(run.rows[0].ours)} ms"
        for run in runs
    )
    return "; ".join(said)
