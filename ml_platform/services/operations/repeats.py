"""How often an operation of Google may end the same before ours stops to start it again."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TypeVar

from ml_platform.errors import PlatformError

from .state import State
from .work import Work

SAME_ENDS = 3


class EndsTheSame(PlatformError):
    """Google's operation ended several times in a row with the same error."""

    code = "ends_the_same"
    advice = "Correct the cause that Google gives, then retry: the operation first looks again."


@dataclass(frozen=True, slots=True, kw_only=True)
class RepeatState(State):
    """The state of a workflow that starts an operation of Google again after it ended in an error.

    The engine counts the tries of a call; a call that succeeds ends that count.
    """

    ended_with: str = ""
    """The code of the error with which the last one ended, '' if it succeeded."""
    ended_so: int = 0
    """How many ended with it in a row."""
    last_end: str = ""


S = TypeVar("S", bound=RepeatState)


def note_end(work: Work[S], error: PlatformError | None) -> None:
    """Count an operation of Google that has ended, with `error` or well."""
    code = error.code if error else ""
    count = work.state.ended_so + 1 if code == work.state.ended_with else 1
    work.state = replace(
        work.state, ended_with=code, ended_so=count if code else 0, last_end=str(error or "")
    )


def require_hope(work: Work[S], *, tried: str, left: str) -> None:
    """Check, before it is started again, that the last ones did not all end the same.

    :raises EndsTheSame: SAME_ENDS did; it says what was `tried` and what is `left`.
    """
    count, said = work.state.ended_so, work.state.last_end
    if count < SAME_ENDS:
        return
    work.state = replace(work.state, ended_with="", ended_so=0)  # a retry may try as often
    raise EndsTheSame(f"{tried} was tried {count} times and ended the same: {said} {left}")
