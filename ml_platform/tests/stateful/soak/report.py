"""The table that a soak prints."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterator

from ml_platform.models import Operation

from .record import Record

MOST = 40
"""Errors that are printed of each kind of run."""


def table(record: Record) -> str:
    """Requests by status, operations by workflow and outcome, what was done to them, errors."""
    return "\n".join(
        [
            *_grid("requests", record.statuses),
            *_grid("operations", _operations()),
            "",
            *(f"{what}: {number:,}" for what, number in sorted(record.counts.items())),
            f"errors: {len(record.errors)}",
            *(f"  {error}" for error, _ in Counter(record.errors).most_common(MOST)),
        ]
    )


def _operations() -> Counter[tuple[str, str]]:
    rows = Operation.objects.values_list("workflow", "status", "error_code")
    return Counter(
        (slug, f"{status} {code}".strip() if status == "failed" else status)
        for slug, status, code in rows
    )


def _grid(title: str, counted: Counter[tuple[str, str]]) -> Iterator[str]:
    yield f"{title}: {sum(counted.values()):,}"
    rows: dict[str, list[str]] = defaultdict(list)
    for (name, outcome), number in sorted(counted.items()):
        rows[name].append(f"{number} {outcome}")
    for name, outcomes in rows.items():
        yield f"  {name:40} {', '.join(outcomes)}"
