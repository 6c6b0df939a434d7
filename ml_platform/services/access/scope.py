"""Which projects a user may see: one rule, so that no page, API or command shows more."""

from __future__ import annotations

from contextlib import suppress
from dataclasses import dataclass
from typing import Any, TypeVar
from uuid import UUID

from django.apps import apps
from django.contrib.auth.models import AbstractBaseUser, AnonymousUser
from django.db.models import Model, QuerySet
from django.utils.module_loading import import_string

from ml_platform.conf import get_settings, project_model
from ml_platform.errors import Denied, Invalid, NotFound
from ml_platform.models.archived_project import with_archived
from ml_platform.models.database import write_alias
from ml_platform.pagination import BadCursor, read_value

Rows = TypeVar("Rows", bound=QuerySet[Any, Any])
M = TypeVar("M", bound=Model)
R = TypeVar("R")
KEY_SHOWN = 100


@dataclass(frozen=True, slots=True)
class Scope:
    """The projects a user sees; `everything` also holds what belongs to no project."""

    projects: QuerySet[Any]
    everything: bool

    @property
    def limit(self) -> QuerySet[Any] | None:
        """The projects to restrict a query to; None means no restriction."""
        return None if self.everything else self.projects

    def only(self, rows: Rows, field: str = "project") -> Rows:
        """Those of the rows that belong to these projects."""
        limit = self.limit
        return rows if limit is None else rows.filter(**{f"{field}__in": limit.values("pk")})

    def sees(self, project_id: Any) -> bool:
        """Whether rows of that project are shown; None means rows of no project."""
        if self.everything or project_id is None:
            return self.everything
        return self.projects.filter(pk=project_id).exists()

    def find(self, rows: QuerySet[M, R], key: object) -> R:
        """The row of that key, in the form that addresses and forms write it.

        :raises NotFound: there is none, or it is another tenant's; the message is the same.
        """
        return _find(self.only(rows), key)

    def find_project(self, key: object) -> Any:
        """The project of that key, with `in_archive`; errors as with `find`."""
        return _find(with_archived(self.projects, "pk"), key)


def _find(rows: QuerySet[M, R], key: object) -> R:
    try:
        found = rows.filter(pk=read_value(rows.model, "pk", str(key))).first()
    except BadCursor:
        found = None
    if found is None:
        noun = rows.model._meta.verbose_name  # noqa: SLF001 - Django's documented name
        raise NotFound(f"There is no {noun} {str(key)[:KEY_SHOWN]}.")
    return found


def find_named_project(text: str) -> Any:
    """The project of that key, otherwise the only one of that name: for commands, which see all.

    :raises NotFound: there is none; the advice lists the projects.
    :raises Invalid: several have that name; the advice lists their keys.
    """
    with suppress(NotFound):
        found = _find(all_projects(), text)
        if isinstance(found.pk, UUID) or str(found.pk) == text:  # `1_0` is a name, not the key 10
            return found
    projects = list(all_projects())
    named = [project for project in projects if str(project) == text]
    if not named:
        known = ", ".join(sorted({str(project) for project in projects})) or "none yet"
        raise NotFound(f"The project {text!r} does not exist.", advice=f"Projects are: {known}.")
    if len(named) > 1:
        keys = ", ".join(str(project.pk) for project in named)
        raise Invalid(
            f"{len(named)} projects have the name {text!r}.",
            code="project_ambiguous",
            advice=f"Give the key of the one that you mean: {keys}.",
        )
    return named[0]


def all_projects() -> QuerySet[Any]:
    """Every project, ours or the host's own, in the order of their ids."""
    model: type[Model] = apps.get_model(project_model())
    return model._default_manager.using(write_alias()).order_by("pk")  # noqa: SLF001 - Django's documented name


def scope_of(user: AbstractBaseUser | AnonymousUser) -> Scope:
    """What a user sees: all for staff who may view projects, else the projects they belong to.

    A host's own Project that has no `members` shows nothing to others until PROJECTS_FOR_USER
    says who belongs where (law 10).
    """
    projects = all_projects()
    if _may_view_all(user):
        return Scope(projects, everything=True)
    if path := get_settings().PROJECTS_FOR_USER:
        theirs = import_string(path)(user).using(write_alias()).values("pk")
        return Scope(projects.filter(pk__in=theirs), everything=False)
    if not user.is_authenticated or not hasattr(projects.model, "members"):
        return Scope(projects.none(), everything=False)
    return Scope(projects.filter(members=user), everything=False)


def needs_everything() -> Denied:
    """The error for a user who does not see all projects."""
    return Denied(
        "This concerns all projects, and you do not see them all.",
        code="needs_everything",
        advice="Ask a member of staff who may view every project.",
    )


def _may_view_all(user: AbstractBaseUser | AnonymousUser) -> bool:
    app_label, name = project_model().split(".")
    staff = getattr(user, "is_staff", False) or getattr(user, "is_superuser", False)
    may = getattr(user, "has_perm", None)  # a host's users may have no permissions at all
    return bool(staff and may is not None and may(f"{app_label}.view_{name.lower()}"))
