"""The answers of Google about a resource: present, absent or unknown.

Only NOT_FOUND for exactly that name means absent; any other failure is inconclusive (law 3).
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Generic, TypeAlias, TypeVar

from ml_platform.errors import CloudAbsent, CloudRejected, CloudUnavailable

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class Present(Generic[T]):
    """The service returned the resource."""

    value: T


@dataclass(frozen=True, slots=True)
class Absent:
    """The service answered NOT_FOUND for exactly that name."""

    reason: str


@dataclass(frozen=True, slots=True)
class Unknown:
    """An inconclusive answer, never treated as absent; `code` is that of the error."""

    reason: str
    code: str


Answer: TypeAlias = Present[T] | Absent | Unknown


def ask(call: Callable[[], T]) -> Answer[T]:
    """Make one read and return its failure as an answer; other errors propagate."""
    try:
        return Present(call())
    except CloudAbsent as error:
        return Absent(str(error))
    except (CloudRejected, CloudUnavailable) as error:
        return Unknown(str(error), error.code)
