"""Replace the name of a user in the history by a pseudonym, which is the same everywhere."""

from __future__ import annotations

import json
import re
from collections.abc import Collection, Iterator
from datetime import datetime
from typing import Any

from django.contrib.auth import get_user_model
from django.db.models import Model, Q, QuerySet, TextField
from django.db.models.functions import Cast

from ml_platform.models import (
    DeployedEndpoint,
    Event,
    Finding,
    Installation,
    Operation,
    Sweep,
    TrainingRun,
    TrainingSchedule,
)
from ml_platform.models.database import atomic
from ml_platform.models.locking import lock_rows, update_rows
from ml_platform.models.states import OperationKind
from ml_platform.services.operations.history import record
from ml_platform.services.operations.store import Actor, Subject
from ml_platform.services.operations.workflow import Workflow
from ml_platform.services.projects.changes import NOTES

WORKFLOW = Workflow(
    slug="anonymise-user",
    kind=OperationKind.CLEANUP,
    title="Anonymise {}",
    past="anonymised {}",
)
PSEUDONYM = "former user {}"
NAMES: tuple[tuple[type[Model], str], ...] = (
    (Operation, "actor_label"),
    (Event, "actor_label"),
    (Sweep, "actor_label"),
    (TrainingRun, "approval_by"),
    (Finding, "ignored_by"),
    (Installation, "confirmed_by"),
)
"""The columns that hold the name of a user."""
LINKS: tuple[tuple[type[Model], str], ...] = (
    (Operation, "actor"),
    (Event, "actor"),
    (TrainingRun, "created_by"),
    (TrainingSchedule, "created_by"),
    (DeployedEndpoint, "created_by"),
)
"""The columns that point at a user; the removal of the account empties them as well."""
TEXTS: tuple[tuple[type[Model], tuple[str, ...]], ...] = (
    (Operation, ("error", "steps")),
    (Event, ("before", "after")),
)
"""The columns in which names stand within sentences, or beside other facts."""
KEYS = ("by", "ignored_by", "member")
"""The keys of names in facts."""
PHRASES = (
    "Retried by {}",
    "Requested again by {}",
    "Cancelled by {}",
    "was withdrawn by {}:",
    ", which {} began on",
    *NOTES.values(),
)
"""Where our sentences have the name of a user."""
NOT_USERS = ("command", "scheduler", "worker")
"""The origins of changes that no user made; their labels may be equal to a user's name."""
CUT = 150
"""Characters of a name that decisions keep."""


def anonymise_user(
    *, login: str, actor: Actor, now: datetime, dry_run: bool = False
) -> tuple[str, dict[str, int]]:
    """Replace a user's name in the history; returns the pseudonym and the number of rows by table.

    The account may still exist; rows that it writes later have its name again. What people wrote
    themselves, such as reasons, is not searched.
    """
    names = {login, Actor(label=login, origin="").label, login[:CUT]}
    with atomic():
        pseudonym = PSEUDONYM.format(_next_number())
        touched: dict[str, set[Any]] = {}
        for rows, values in _columns(login, names, pseudonym):
            found = set(rows.values_list("pk", flat=True))
            touched.setdefault(rows.model.__name__, set()).update(found)
            if not dry_run:
                update_rows(rows, **values)
        for rows, fields in _texts(login):
            changed = _rewrite(rows, fields, names, pseudonym, dry_run=dry_run)
            touched.setdefault(rows.model.__name__, set()).update(changed)
        counts = {name: len(keys) for name, keys in touched.items() if keys}
        if counts and not dry_run:
            _record(pseudonym, counts, actor, now)
    return pseudonym, counts


def _columns(
    login: str, names: Collection[str], pseudonym: str
) -> Iterator[tuple[QuerySet[Any], dict[str, Any]]]:
    """The rows that name the user or point at them, with the values that they get."""
    users = get_user_model()
    key = _rows(users).filter(**{users.USERNAME_FIELD: login}).values("pk")
    for table, column in NAMES:
        by_users = _rows(table)
        is_theirs = Q(**{f"{column}__in": names})
        if (table, "actor") in LINKS:
            by_users = by_users.exclude(origin__in=NOT_USERS)
            is_theirs |= Q(actor__in=key)  # also under a name that they had before
        yield by_users.filter(is_theirs), {column: pseudonym}
    for table, column in LINKS:
        rows = _rows(table).filter(**{f"{column}__in": key})
        yield rows, {column: None}


def _texts(login: str) -> Iterator[tuple[QuerySet[Any], tuple[str, ...]]]:
    """The rows whose texts may hold the name, as a database writes it in JSON."""
    written = {login, json.dumps(login)[1:-1]}
    for table, fields in TEXTS:
        held = Q()
        rows = _rows(table)
        for field in fields:
            rows = rows.alias(**{f"{field}_text": Cast(field, TextField())})
            for form in written:
                held |= Q(**{f"{field}_text__contains": form})
        yield rows.filter(held), fields


def _rewrite(
    rows: QuerySet[Any],
    fields: tuple[str, ...],
    names: Collection[str],
    pseudonym: str,
    *,
    dry_run: bool,
) -> set[Any]:
    """Replace the name in these columns; returns the keys of the rows that had it."""
    if not dry_run:
        lock_rows(rows)
    changed = set()
    for row in rows.order_by("pk"):
        before = {field: getattr(row, field) for field in fields}
        after = {field: renamed(value, names, pseudonym) for field, value in before.items()}
        if after != before:
            changed.add(row.pk)
            if not dry_run:
                _rows(rows.model).filter(pk=row.pk).update(**after)
    return changed


def renamed(value: Any, names: Collection[str], pseudonym: str) -> Any:
    """A text, or facts, with the pseudonym where our sentences and keys have one of the names."""
    if isinstance(value, dict):
        return {
            key: pseudonym
            if key in KEYS and isinstance(part, str) and part in names
            else renamed(part, names, pseudonym)
            for key, part in value.items()
        }
    if isinstance(value, list):
        return [renamed(part, names, pseudonym) for part in value]
    return _renamed_text(value, names, pseudonym) if isinstance(value, str) else value


def _renamed_text(text: str, names: Collection[str], pseudonym: str) -> str:
    for name in names:
        if name not in text:
            continue
        # Not within a longer name: `ana` is no part of `ana.b@example.com`.
        whole = rf"(?<![\w.@+-]){re.escape(name)}(?![\w@+-]|\.\w)"
        for phrase in PHRASES:
            before, after = phrase.split("{}")
            pattern = f"({re.escape(before)}){whole}({re.escape(after)})"
            text = re.sub(pattern, rf"\g<1>{pseudonym}\g<2>", text)
    return text


def _rows(table: type[Model]) -> QuerySet[Any]:
    return table._default_manager.all()  # noqa: SLF001 - Django's documented name


def _next_number() -> int:
    used = set()
    for table, column in NAMES:
        start = {f"{column}__startswith": PSEUDONYM.format("")}
        rows = _rows(table).filter(**start).order_by()
        used |= set(rows.values_list(column, flat=True).distinct())
    numbers = [text.rpartition(" ")[2] for text in used]
    return max((int(number) for number in numbers if number.isdecimal()), default=0) + 1


def _record(pseudonym: str, counts: dict[str, int], actor: Actor, now: datetime) -> None:
    """Who did it and how much there was; not whose name it was."""
    record(
        workflow=WORKFLOW,
        subject=Subject(type="user", id="", name=pseudonym),
        actor=actor,
        now=now,
        note=", ".join(f"{name}: {number:,}" for name, number in counts.items()),
    )
