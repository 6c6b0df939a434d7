"""The only three answers about a remote thing: present, absent, unknown (law 3)."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Generic, TypeAlias, TypeVar

from ml_platform.errors import CloudAbsent, CloudRejected, CloudUnavailable

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class Present(Generic[T]):
    """The service answered with the thing itself."""

    value: T


@dataclass(frozen=True, slots=True)
class Absent:
    """The service itself answered NOT_FOUND for exactly that name."""

    reason: str


@dataclass(frozen=True, slots=True)
class Unknown:
    """No answer that proves anything, never to be taken for absent; `code` is the error's."""

    reason: str
    code: str


Answer: TypeAlias = Present[T] | Absent | Unknown


def ask(call: Callable[[], T]) -> Answer[T]:
    """Make one read and fold its failures into the three answers; other errors propagate."""
    try:
        return Present(call())
    except CloudAbsent as error:
        return Absent(str(error))
    except (CloudRejected, CloudUnavailable) as error:
        return Unknown(str(error), error.code)
