"""What a job says of each thing it meets: to the log, to who listens, and into its operation."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterable
from typing import TypeAlias

from ml_platform.errors import PlatformError

from .work import Json

log = logging.getLogger("ml_platform.jobs")
Tell: TypeAlias = Callable[[str], None]
KEPT = 100
"""Lines that an operation keeps; the log has all of them."""


class NothingRead(PlatformError):
    """Nothing that was asked about could be read: nothing is known, and nothing was changed."""

    code = "nothing_read"
    advice = "Nothing was concluded or changed. It is asked again the next time."


def say(tell: Tell, lines: Iterable[str]) -> None:
    """Say lines to the log and to who listens."""
    for line in lines:
        log.info("%s", line)
        tell(line)


def keep(data: Json, lines: Iterable[str]) -> None:
    """Keep the first lines among what an operation remembers, and count the others."""
    said = list(lines)
    kept = data.get("lines", [])
    room = KEPT - len(kept)
    data["lines"] = [*kept, *said[:room]]
    data["lines_left_out"] = data.get("lines_left_out", 0) + len(said[room:])
