"""The caller of an action: what they see, what they may do, their name in the history."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any, Self, TypeVar

from django.db.models import Model, QuerySet

from ml_platform.models.archived_project import ArchivedProject, with_archived
from ml_platform.models.clock import database_now
from ml_platform.services.access.rights import Right, has_right, right_missing
from ml_platform.services.access.scope import Scope, all_projects, needs_everything, scope_of
from ml_platform.services.operations.store import Actor

M = TypeVar("M", bound=Model)
R = TypeVar("R")

ALL = "*"
"""In `needed_projects`: all projects."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Caller:
    """A user behind a page or the API, or the system itself behind a command."""

    actor: Actor
    scope: Scope
    rights: Collection[Right]
    key: str = ""
    """The idempotency key after the user's id, so that keys of two users are never equal."""
    needed_rights: list[Right] = field(default_factory=list)
    needed_projects: list[str] = field(default_factory=list)
    """The rights that this request needed. Its answer is repeated only to callers who have them."""
    archived: dict[Any, bool] = field(default_factory=dict)
    """Whether a project is archived, by its id, as far as this request has read it."""

    @classmethod
    def of(cls, user: Any, *, origin: str, key: str = "") -> Self:
        """A user of the host; `origin` is page or api."""
        return cls(
            actor=Actor(label=user.get_username(), origin=origin, user_id=user.pk),
            scope=scope_of(user),
            rights=frozenset(right for right in Right if has_right(user, right)),
            key=f"{origin}:{user.pk}:{key}" if key else "",
        )

    @classmethod
    def system(cls, label: str) -> Self:
        """A command, run by an operator of the host: it sees every project and has every right."""
        return cls(
            actor=Actor(label=label, origin="command"),
            scope=Scope(all_projects(), everything=True),
            rights=frozenset(Right),
        )

    def now(self) -> datetime:
        """The time by the database's clock."""
        return database_now()

    def has(self, right: Right) -> bool:
        """Whether they have the right."""
        return right in self.rights

    def require(self, right: Right) -> None:
        """Check that they have the right.

        :raises RightMissing: they lack it.
        """
        if right not in self.rights:
            raise right_missing(right)
        self.needed_rights.append(right)

    def require_everything(self) -> None:
        """Check that they see all projects.

        :raises Denied: they do not.
        """
        if not self.scope.everything:
            raise needs_everything()
        self.needed_projects.append(ALL)

    def only(self, rows: QuerySet[M, R], field: str = "project") -> QuerySet[M, R]:
        """Those of the rows that belong to projects they see.

        :raises RightMissing: they may not view anything.
        """
        self.require(Right.VIEW)
        return self.scope.only(rows, field)

    def find(self, rows: QuerySet[M, R], key: object) -> R:
        """The row of that key, if they see its project.

        :raises RightMissing: they may not view anything.
        :raises NotFound: there is none, or it is another tenant's; the message is the same.
        """
        self.require(Right.VIEW)
        has_project = hasattr(rows.model, "project_id")
        row: Any = self.scope.find(with_archived(rows, "project") if has_project else rows, key)
        project = getattr(row, "project_id", None)
        self.needed_projects.append(ALL if project is None else str(project))
        if project is not None:
            self.archived[project] = row.in_archive
        return row  # type: ignore[no-any-return]

    def find_project(self, key: object) -> Any:
        """The project of that key; errors as with `find`."""
        self.require(Right.VIEW)
        project = self.scope.find_project(key)
        self.needed_projects.append(str(project.pk))
        self.archived[project.pk] = project.in_archive
        return project

    def is_archived(self, project_id: Any) -> bool:
        """Whether that project is archived; without a query if this request has found it."""
        if project_id not in self.archived:
            marks = ArchivedProject.objects.filter(project=project_id)
            self.archived[project_id] = project_id is not None and marks.exists()
        return self.archived[project_id]
