"""What pages pass to templates: plain values that cannot query the database."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any, TypeAlias

Values: TypeAlias = dict[str, Any]
"""What a template shows of one subject, by name; only a template reads it."""


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
    """The question before it is done; empty for none."""
    check: str = ""
    """Where to ask whether it still can be done."""
    key: str = field(default="", repr=False)
    """The idempotency key: a second press has no further effect."""
    reason: str = ""
    """The question for a reason that must be given; empty where none is needed."""
    keep: str = ""
    """The label of the button that leaves things as they are, for an action that deletes."""
    tone: str = "plain"
    fields: tuple[tuple[str, str], ...] = ()
    """Hidden fields of its form: names with values."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Figure:
    """One number of a card, with a note."""

    name: str
    value: str
    note: str = ""
    hint: str = ""
    """The tooltip of the note."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Fact:
    """One line of evidence; `code` marks ids and resource names."""

    name: str
    value: str
    code: bool = False


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


@dataclass(frozen=True, slots=True, kw_only=True)
class Metric:
    """A number that the evaluator measured."""

    name: str
    value: str
