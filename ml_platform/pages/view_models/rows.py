"""What the training page and the model page pass to their templates."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from django.forms import Form

from .context import Badge, Button, Figure, Link, Pager, Tab
from .times import Moment


@dataclass(frozen=True, slots=True, kw_only=True)
class Metric:
    """A number that the evaluator measured."""

    name: str
    value: str


@dataclass(frozen=True, slots=True, kw_only=True)
class ModelRow:
    """One row of the Model Registry table."""

    id: int
    link: Link
    latest: str
    versions: str
    others: bool
    """Whether there are older versions, which can be deployed from the model's page."""
    type: str
    registry: Badge
    checked: Moment | None
    blessed: Badge
    metric: Metric | None
    serving: Badge
    services: tuple[Link, ...]
    schedules: str
    registered: Moment | None
    deploy: Button


@dataclass(frozen=True, slots=True, kw_only=True)
class EndpointRow:
    """One row of the Endpoints table; without `requests` if Cloud Monitoring was not read."""

    id: int
    service: str
    url: str
    model: Link
    version: str
    state: Badge
    deleted: Badge | None
    note: str
    requests: str
    latency: str
    deployed: Moment | None
    acts: tuple[Button, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class RunRow:
    """One row of the Runs table."""

    id: int
    model: Link
    status: Badge
    stage: str
    progress: int | None
    """Per cent; None if the run has ended."""
    version: str
    by: str
    note: str
    metric: Metric | None
    created: Moment | None
    took: str
    since: str
    """When a run that has not ended was submitted: the script updates its duration."""
    acts: tuple[Button, ...]
    more: tuple[Button, ...]
    schedule: str
    """The form that schedules this training; empty if it cannot be scheduled."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ScheduleRow:
    """One row of the Schedules table; `times` are the next ones, the nearest first."""

    id: int
    name: str
    model: Link
    state: Badge
    rhythm: str
    cron: str
    times: tuple[Moment, ...]
    last: Moment | None
    acts: tuple[Button, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Choice:
    """One entry of a select."""

    value: str
    label: str
    chosen: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class Sorting:
    """The head of a column that sorts: its link, and the direction it sorts in now."""

    url: str
    direction: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Registry:
    """The Model Registry table with its filters."""

    form: Form
    narrowed: bool
    rows: tuple[ModelRow, ...]
    pager: Pager
    unread: str
    """Why the newest sweep did not read Vertex AI, '' when it did."""
    swept: Moment | None
    read: Moment | None
    """When Vertex AI was last read; a sweep that failed to read it does not count."""
    metric: str
    """The name of the metric if all rows have the same."""
    by_name: Sorting
    by_age: Sorting


@dataclass(frozen=True, slots=True, kw_only=True)
class TrainingPage:
    """The training page of a project."""

    id: Any
    name: str
    url: str
    may_train: bool
    figures: tuple[Figure, ...]
    registry: Registry
    endpoints: tuple[EndpointRow, ...]
    p95: str
    """The definition of the p95 column."""
    endpoints_pager: Pager
    runs: tuple[RunRow, ...]
    runs_metric: str
    runs_tabs: tuple[Tab, ...]
    runs_pager: Pager
    runs_narrowed: bool
    schedules: tuple[ScheduleRow, ...]
    schedules_pager: Pager
