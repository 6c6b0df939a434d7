"""What the pages of one model, deletion or finding hand to their templates: frozen values."""

from __future__ import annotations

from dataclasses import dataclass

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
    """Whether the lineage picture is of this version."""
    picture_url: str
    deploy: Button | None
    delete_url: str
    """Where its deletion is planned; empty where there is nothing to delete."""
    delete_why: str
    """Which alias protects it, empty where none does."""


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
class Gridline:
    """A mark on the value axis."""

    y: float
    label: str


@dataclass(frozen=True, slots=True, kw_only=True)
class MetricChart:
    """One metric over the compared versions, and the same in a sentence."""

    name: str
    width: int
    height: int
    left: int
    ticks: tuple[Gridline, ...]
    dots: tuple[Dot, ...]
    points: str
    summary: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Comparison:
    """The chosen versions side by side; without a metric there is nothing to compare."""

    versions: tuple[str, ...]
    rows: tuple[MetricRow, ...]
    chart: MetricChart | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Node:
    """A thing in the lineage picture, with its state in words."""

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
    """Where a version comes from and where it runs."""

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
    """The page of one lineage."""

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
    """The name of the versions' metric where it is the same for all."""
    versions_pager: Pager
    comparison: Comparison
    picture: Picture | None
    history: tuple[OperationRow | EventRow, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class DeletePage:
    """What a deletion would take, leave and meet, and the form that does it."""

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
    """What was wrong with the form that was sent, '' where none was."""
    typed: str


@dataclass(frozen=True, slots=True, kw_only=True)
class ReasonPage:
    """The question for a reason, or for the aliases of a version, and the verb on its button."""

    act: Button
    verb: str
    back: str
    aliases: str | None
    """Those it has; None where a reason is asked for."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Choosing:
    """The forms for a model that nobody manages: adopt it or delete it."""

    name: str
    suggested: str
    projects: tuple[Choice, ...]
    adopt_url: str
    delete_url: str
    """Empty where an owner's label is on it: that one is deleted in Google's console."""
    key: str


@dataclass(frozen=True, slots=True, kw_only=True)
class FindingPage:
    """A finding and what can be done about it."""

    row: FindingRow
    model: Link | None
    preview: tuple[str, ...]
    repair: Button | None
    ignore: Button | None
    choosing: Choosing | None
