"""What pages pass to templates: frozen values that cannot query the database."""

from __future__ import annotations

from dataclasses import dataclass

from .charts import Chart, Day
from .times import Moment


@dataclass(frozen=True, slots=True, kw_only=True)
class Link:
    """Text with a link; `url` is empty where there is no page."""

    text: str
    url: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Badge:
    """A state as word, icon and color, because color alone is not accessible."""

    label: str
    tone: str
    icon: str
    hint: str = ""
    mark: str = ""
    """A CSS class, for a state that scripts look for."""


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
    """What surrounds every page."""

    section: str
    own_base: bool
    user: str
    findings_open: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Plane:
    """One of the four counts; `sign` compares it with the one before it."""

    name: str
    count: str
    hint: str
    tone: str
    sign: str = ""
    sign_words: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Truth:
    """The registry truth strip; `quiet` when the counts agree and no finding is open."""

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
    """One number of a card, with a note."""

    name: str
    value: str
    note: str = ""
    hint: str = ""
    """The tooltip of the note."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Card:
    """A project with its figures."""

    name: str
    url: str
    figures: tuple[Figure, ...]
    registered: Moment | None
    runs_live: int
    spark: str
    """Points of the line of requests per day; '' if Cloud Monitoring was not read."""
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
    """A sweep, and for each plane whether it was read or why not."""

    id: int
    status: Badge
    actor: str
    started: Moment | None
    took: str
    planes: tuple[Badge, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class StepRow:
    """One step of an operation."""

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
    """How long a live one has run, as `m:ss`."""
    since: str
    """When a live one started: the script updates its duration."""
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
    """An operation with its steps, its facts and its error."""

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
    """Links to the neighbors of a page, empty where there are none, and the total.

    Only a page by number knows the numbers of its first and last row.
    """

    total: int
    previous_url: str
    next_url: str
    first: int = 0
    last: int = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class Tab:
    """One tab above a list."""

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
    """Whether nothing disagrees; only on the tab of open findings."""
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
    """An error: what happened, what to do, where to go, and its stable code."""

    message: str
    advice: str
    code: str
    back: str = ""
    holder: str = ""
    """The page of the operation that blocks this one."""
