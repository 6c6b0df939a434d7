"""Lines that a job writes about each subject to the log, its caller and its operation."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterable
from dataclasses import dataclass, replace
from typing import TypeAlias, TypeVar

from ml_platform.errors import PlatformError

from .state import State

log = logging.getLogger("ml_platform.jobs")
WriteLine: TypeAlias = Callable[[str], None]
L = TypeVar("L", bound="LoggedState")
KEPT = 100
"""How many lines an operation stores; the log has all of them."""


class NothingRead(PlatformError):
    """None of the subjects could be read, so nothing was concluded or changed."""

    code = "nothing_read"
    advice = "Nothing was concluded or changed. The next run reads it again."


def write_lines(write_line: WriteLine, lines: Iterable[str]) -> None:
    """Write lines to the log and to the caller."""
    for line in lines:
        log.info("%s", line)
        write_line(line)


@dataclass(frozen=True, slots=True, kw_only=True)
class LoggedState(State):
    """The state of a workflow that stores lines about its subjects."""

    lines: tuple[str, ...] = ()
    lines_left_out: int = 0


def logged(state: L, lines: Iterable[str]) -> L:
    """Add lines to the operation: the first KEPT are stored, the others are counted."""
    said = list(lines)
    room = KEPT - len(state.lines)
    left_out = state.lines_left_out + len(said[room:])
    return replace(state, lines=(*state.lines, *said[:room]), lines_left_out=left_out)
