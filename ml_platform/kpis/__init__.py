"""The numbers of the dashboards. They are read from the database, never from Google.

The number of queries does not depend on the number of rows. `projects` limits a number to those
projects; None means the whole installation.
"""

from __future__ import annotations

from ml_platform.models.endpoints.serving_truth import fresh_for

from .days import (
    WORST_P95,
    HistoryPoint,
    Traffic,
    drift_history,
    history,
    service_traffic,
    traffic,
)
from .drift_times import DriftTimes, Times, drift_times
from .serving import ServingCount, serving_count
from .sums import Sum
from .totals import (
    NEVER_SWEPT,
    Assets,
    FourCounts,
    ProjectCard,
    VertexReading,
    assets,
    four_counts,
    open_findings,
    project_cards,
    registered_models,
    registry_page_models,
    unread_because,
    vertex_reading,
)

__all__ = [
    "NEVER_SWEPT",
    "WORST_P95",
    "Assets",
    "DriftTimes",
    "FourCounts",
    "HistoryPoint",
    "ProjectCard",
    "ServingCount",
    "Sum",
    "Times",
    "Traffic",
    "VertexReading",
    "assets",
    "drift_history",
    "drift_times",
    "four_counts",
    "fresh_for",
    "history",
    "open_findings",
    "project_cards",
    "registered_models",
    "registry_page_models",
    "service_traffic",
    "serving_count",
    "traffic",
    "unread_because",
    "vertex_reading",
]
