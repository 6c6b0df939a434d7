"""What a verb is: its subject, its right, what stands against it and what it does."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any, TypeVar
from uuid import UUID

from django.db.models import Model, QuerySet
from django.http import Http404

from ml_platform.models import Operation
from ml_platform.services.access.rights import Right
from ml_platform.services.access.scope import Scope
from ml_platform.services.operations.store import Actor

M = TypeVar("M", bound=Model)


@dataclass(frozen=True, slots=True, kw_only=True)
class ActionRequest:
    """Who presses the button and when; `key` tells a second press from a second wish."""

    actor: Actor
    now: datetime
    key: str
    reason: str
    administers: bool
    form: Mapping[str, str]
    scope: Scope
    """What they see; an id in the form is looked up in it."""


@dataclass(frozen=True, slots=True)
class Verb:
    """One verb. `right_of` says what its subject needs; `do` opens the operation."""

    find: Callable[[Scope, str], Any]
    right_of: Callable[[Any], Right]
    why_not: Callable[[Any], str]
    do: Callable[[Any, ActionRequest], Operation | None]


def in_scope(rows: QuerySet[M], scope: Scope, key: str) -> M:
    """The row of that id, if the user sees its project.

    :raises Http404: there is none, or it is another tenant's.
    """
    found = scope.only(rows).filter(pk=key).first() if _is_key(rows, key) else None
    if found is None:
        raise Http404(f"There is no such {rows.model._meta.verbose_name}.")  # noqa: SLF001 - documented
    return found


def _is_key(rows: QuerySet[Any], key: str) -> bool:
    if rows.model is not Operation:
        return key.isdecimal() and len(key) < 19
    try:
        UUID(key)
    except ValueError:
        return False
    return True


def always(right: Right) -> Callable[[Any], Right]:
    """The same right for every subject."""
    return lambda subject: right


def nothing(subject: object) -> str:
    """Nothing stands against it but what the service itself checks."""
    return ""
