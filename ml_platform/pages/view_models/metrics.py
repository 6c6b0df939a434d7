"""Metrics for people: which one is shown, its label and its format."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from math import isfinite
from typing import Any

from .context import Metric

FIRST = ("recall_at_100", "recall_at_50", "ndcg_at_10", "auc", "accuracy", "f1", "rmse", "loss")
"""The metric that is shown for a model: the first of these that it has, else its first."""
LOWER_IS_BETTER = re.compile(r"(^|_)(rmse|mae|mse|loss|error|logloss)($|_)")
_AT = re.compile(r"_at_(\d+)$")


def numbers(metrics: Mapping[str, Any]) -> dict[str, float]:
    """The metrics that are finite numbers; a pipeline may write any JSON."""
    return {
        str(name): float(value)
        for name, value in metrics.items()
        if isinstance(value, int | float) and not isinstance(value, bool) and isfinite(value)
    }


def main_metric(metrics: Mapping[str, Any]) -> Metric | None:
    """The metric that is shown for a model; None if it has none."""
    known = numbers(metrics)
    name = next((name for name in FIRST if name in known), next(iter(known), None))
    return None if name is None else Metric(name=label(name), value=written(known[name]))


def measured_against(metrics: Mapping[str, Any], other: Mapping[str, Any], whose: str) -> str:
    """`Recall@100 0.404 is worse than the 0.415 of v5.`: the first metric of both; '' for none."""
    mine, theirs = numbers(metrics), numbers(other)
    name = next((name for name in (*FIRST, *mine) if name in mine and name in theirs), None)
    if name is None:
        return ""
    value, before = mine[name], theirs[name]
    if value == before:
        return f"{label(name)} {written(value)} is that of {whose} too."
    worse = (value > before) is lower_is_better(name)
    word = "⚠ {} {} is worse" if worse else "{} {} is better"
    return f"{word.format(label(name), written(value))} than the {written(before)} of {whose}."


def common_name(metrics: Iterable[Metric | None]) -> str:
    """The name that all these metrics share, for the head of their column; '' if they differ."""
    names = {metric.name for metric in metrics if metric}
    return names.pop() if len(names) == 1 else ""


def label(name: str) -> str:
    """`recall_at_100` as `Recall@100`."""
    text = _AT.sub(r"@\1", name).replace("_", " ")
    return text.upper() if len(text) <= 4 else text[:1].upper() + text[1:]


def written(value: float) -> str:
    """Three decimals; the scientific notation where they would all be zero."""
    return f"{value:.3f}" if value == 0 or abs(value) >= 0.001 else f"{value:.2e}"


def lower_is_better(name: str) -> bool:
    """Whether a smaller value of this metric is better."""
    return LOWER_IS_BETTER.search(name) is not None
