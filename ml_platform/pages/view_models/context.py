"""What pages hand to templates: frozen values, no model instances and nothing that can query."""

from __future__ import annotations

from dataclasses import dataclass

from .charts import Chart, Day
from .times import Moment


@dataclass(frozen=True, slots=True, kw_only=True)
class Link:
    """Something with a page of its own; `url` is empty where there is none."""

    text: str
    url: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Badge:
    """A state as word, shape and colour; the colour alone tells nothing."""

    label: str
    tone: str
    icon: str
    hint: str = ""
    mark: str = ""
    """A class of its own, for a state that a host may want to find."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Button:
    """A button that changes something: its form, or `why` it cannot be pressed now."""

    label: str
    name: str
    """What a screen reader says: verb and subject."""
    url: str
    why: str = ""
    confirm: str = ""
    """What is asked before it is done; empty asks nothing."""
    check: str = ""
    """Where to ask whether it still can be done."""
    key: str = ""
    """Makes pressing it twice once."""
    reason: str = ""
    """The question for a reason that must be given; empty where none is needed."""
    keep: str = ""
    """What the button says that does not do it, where doing it destroys something."""
    tone: str = "plain"


@dataclass(frozen=True, slots=True, kw_only=True)
class Frame:
    """What stands around every page."""

    section: str
    own_base: bool
    user: str
    findings_open: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Plane:
    """One of the four counts; `sign` says how it relates to the one before it."""

    name: str
    count: str
    hint: str
    tone: str
    sign: str = ""
    sign_words: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Truth:
    """The registry truth strip. `quiet` when there is nothing to say but that all is well."""

    planes: tuple[Plane, ...]
    verdict: Badge
    quiet: bool
    agreed: str
    notes: tuple[str, ...]
    unknown: str
    findings_open: int
    swept: Moment | None
    vertex_read: Moment | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Figure:
    """One number of a card, with the words below it."""

    name: str
    value: str
    note: str = ""
    hint: str = ""
    """What the note says on hover."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Card:
    """A project with its figures."""

    name: str
    url: str
    figures: tuple[Figure, ...]
    registered: Moment | None
    runs_live: int
    spark: str
    """Points of the requests a day, '' where Cloud Monitoring was not read."""
    spark_label: str
    spark_note: str
    spark_days: tuple[Day, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Fact:
    """One line of evidence; `code` marks ids and resource names."""

    name: str
    value: str
    code: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class FindingRow:
    """A finding with its evidence and its safe repair."""

    id: int
    title: str
    kind: Badge
    project: str
    evidence: tuple[Fact, ...]
    repair: str
    looks: int
    first_seen: Moment | None
    last_seen: Moment | None
    ended: Moment | None
    status: Badge
    ignored: str
    operation: str


@dataclass(frozen=True, slots=True, kw_only=True)
class FindingGroup:
    """Findings of one kind."""

    kind: str
    meaning: str
    rows: tuple[FindingRow, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class SweepRow:
    """A sweep, and of each plane whether it was read or why not."""

    id: int
    status: Badge
    actor: str
    started: Moment | None
    took: str
    planes: tuple[Badge, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class StepRow:
    """One step of an operation as its history keeps it."""

    title: str
    note: str
    status: Badge
    started: Moment | None
    took: str


@dataclass(frozen=True, slots=True, kw_only=True)
class OperationRow:
    """An operation in one line: `ana` `deleted` `chern_rank_v1` `from Vertex AI`."""

    id: str
    actor: str
    verb: str
    subject: str
    after: str
    project: str
    note: str
    status: Badge
    live: bool
    created: Moment | None
    took: str
    clock: str
    """How long a live one has been at it, as a watch shows it."""
    since: str
    """When it began, while it is not over: its length grows."""
    done: int
    steps: int
    changes: str = ""
    """What it changed, where that is shown: `Version lost: chern_rank v3`."""


@dataclass(frozen=True, slots=True, kw_only=True)
class EventRow:
    """An event without an operation in one line."""

    status: Badge
    actor: str
    subject: str
    url: str
    at: Moment | None


@dataclass(frozen=True, slots=True, kw_only=True)
class OperationDetail:
    """An operation with its steps, its facts and how it failed."""

    row: OperationRow
    before: str
    after: str
    """The words of its title around the name of its subject."""
    about: tuple[Link, ...]
    facts: tuple[Fact, ...]
    steps: tuple[StepRow, ...]
    waits: Link | None
    error: str
    error_code: str
    advice: str
    started: Moment | None
    finished: Moment | None
    acts: tuple[Button, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Pager:
    """Where a list stands and where its neighbors are; empty urls where there are none.

    A list that is paged by key knows its total, and not the numbers of its first and last row.
    """

    total: int
    previous_url: str
    next_url: str
    first: int = 0
    last: int = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class Tab:
    """One choice of a list."""

    label: str
    url: str
    current: bool
    count: int | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class StartPage:
    """The starting page."""

    truth: Truth
    may_check: bool
    assets: tuple[Figure, ...]
    chart: Chart
    cards: tuple[Card, ...]
    cards_pager: Pager
    running: tuple[OperationRow, ...]
    recent: tuple[OperationRow, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class HealthPage:
    """Registry health."""

    truth: Truth
    may_check: bool
    tabs: tuple[Tab, ...]
    healthy: bool
    """Whether nothing disagrees, where that is asked for."""
    groups: tuple[FindingGroup, ...]
    pager: Pager
    sweeps: tuple[SweepRow, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class OperationsPage:
    """The list of operations."""

    tabs: tuple[Tab, ...]
    rows: tuple[OperationRow, ...]
    pager: Pager


@dataclass(frozen=True, slots=True, kw_only=True)
class ErrorPage:
    """A failure in words: what happened, what to do, where to go, and its stable code."""

    message: str
    advice: str
    code: str
    back: str = ""
    holder: str = ""
    """The page of the operation that stands in the way."""
