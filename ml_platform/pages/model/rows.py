"""What the pages of a model, a deletion or a finding pass to their templates."""

from __future__ import annotations

from dataclasses import dataclass

from ml_platform.pages.view_models.charts import Tick
from ml_platform.pages.view_models.context import (
    Badge,
    Button,
    EventRow,
    Fact,
    FindingRow,
    Link,
    OperationRow,
    Pager,
)
from ml_platform.pages.view_models.rows import Choice, Metric
from ml_platform.pages.view_models.times import Moment


@dataclass(frozen=True, slots=True, kw_only=True)
class VersionRow:
    """One version; `chosen` is whether it is compared."""

    run_id: int
    number: int
    aliases: tuple[str, ...]
    alias: Button | None
    state: Badge
    blessed: Badge
    metric: Metric | None
    services: tuple[Link, ...]
    by: str
    registered: Moment | None
    vertex: str
    chosen: bool
    shown: bool
    """Whether the lineage graph shows this version."""
    picture_url: str
    deploy: Button | None
    delete_url: str
    """The page that deletes it; empty if there is nothing to delete."""
    delete_why: str
    """Which alias protects it; empty if none does."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Cell:
    """A version's value of a metric; `change` is against the version before it."""

    value: str
    change: str = ""
    tone: str = "plain"
    best: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class MetricRow:
    """A metric of the compared versions."""

    name: str
    url: str
    charted: bool
    cells: tuple[Cell, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Dot:
    """A version in the chart."""

    x: float
    y: float
    version: str
    value: str


@dataclass(frozen=True, slots=True, kw_only=True)
class MetricChart:
    """One metric of the compared versions, with a summary for screen readers."""

    name: str
    width: int
    height: int
    left: int
    ticks: tuple[Tick, ...]
    dots: tuple[Dot, ...]
    points: str
    summary: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Comparison:
    """The chosen versions side by side; without rows if they have no metric."""

    versions: tuple[str, ...]
    rows: tuple[MetricRow, ...]
    chart: MetricChart | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Node:
    """A node of the lineage graph, with its state."""

    kind: str
    name: str
    state: str
    tone: str
    icon: str
    url: str
    x: int
    y: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Picture:
    """The lineage graph of a version."""

    version: str
    width: int
    height: int
    node_width: int
    node_height: int
    nodes: tuple[Node, ...]
    arrows: tuple[str, ...]
    """Path data."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ModelPage:
    """The page of one model."""

    id: int
    name: str
    project: Link
    registry: Badge
    checked: Moment | None
    deploy: Button | None
    delete_url: str
    delete_why: str
    facts: tuple[Fact, ...]
    serving: tuple[Link, ...]
    versions: tuple[VersionRow, ...]
    metric: str
    """The name of the metric if all versions have the same."""
    versions_pager: Pager
    comparison: Comparison
    picture: Picture | None
    history: tuple[OperationRow | EventRow, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class DeletePage:
    """The plan of a deletion, and the form that starts it."""

    project: Link
    model: Link
    name: str
    what: str
    url: str
    version: str
    run_ids: tuple[int, ...]
    key: str
    going: tuple[Fact, ...]
    staying: tuple[str, ...]
    endpoints: tuple[str, ...]
    moves_default: str
    ends_registration: bool
    size: str
    blocks: tuple[Link, ...]
    unknown: tuple[str, ...]
    error: str
    """What was wrong with the form that was posted; '' if nothing was."""
    typed: str


@dataclass(frozen=True, slots=True, kw_only=True)
class ReasonPage:
    """The question for a reason, or for the aliases of a version, and the verb on its button."""

    act: Button
    verb: str
    back: str
    aliases: str | None
    """Those it has; None where a reason is asked for."""
    error: str = ""
    """What was wrong with the field that was sent, '' where nothing was."""
    given: str = ""
    """What stands in the field."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Choosing:
    """The forms for a model without an owner: adopt it or delete it."""

    name: str
    suggested: str
    projects: tuple[Choice, ...]
    adopt_url: str
    delete_url: str
    """Empty if it has an owner label: only its owner may delete it, in Google's console."""
    key: str


@dataclass(frozen=True, slots=True, kw_only=True)
class FindingPage:
    """A finding with its repair and other choices."""

    row: FindingRow
    model: Link | None
    preview: tuple[str, ...]
    repair: Button | None
    ignore: Button | None
    choosing: Choosing | None
