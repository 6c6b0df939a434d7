"""Which projects a user may see. Every door asks here, so that no door is wider than another."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from django.apps import apps
from django.contrib.auth.models import AbstractBaseUser, AnonymousUser
from django.db.models import Model, QuerySet
from django.utils.module_loading import import_string

from ml_platform.conf import get_settings, project_model
from ml_platform.errors import NotFound


@dataclass(frozen=True, slots=True)
class Scope:
    """The projects a user sees; `everything` also holds what belongs to no project."""

    projects: QuerySet[Any]
    everything: bool

    @property
    def limit(self) -> QuerySet[Any] | None:
        """The projects to narrow a query to; None narrows nothing."""
        return None if self.everything else self.projects


def all_projects() -> QuerySet[Any]:
    """Every project, ours or the host's own, in the order of their ids."""
    model: type[Model] = apps.get_model(project_model())
    return model._default_manager.order_by("pk")  # noqa: SLF001 - Django's documented name


def scope_of(user: AbstractBaseUser | AnonymousUser) -> Scope:
    """What a user sees: all for staff who may view projects, else the projects he belongs to.

    A host's own Project that has no `members` shows nothing to others until PROJECTS_FOR_USER
    says who belongs where (law 10).
    """
    projects = all_projects()
    if _may_view_all(user):
        return Scope(projects, everything=True)
    if path := get_settings().PROJECTS_FOR_USER:
        theirs = import_string(path)(user).values("pk")
        return Scope(projects.filter(pk__in=theirs), everything=False)
    if not user.is_authenticated or not hasattr(projects.model, "members"):
        return Scope(projects.none(), everything=False)
    return Scope(projects.filter(members=user), everything=False)


def visible_project(user: AbstractBaseUser | AnonymousUser, project_id: int) -> Any:
    """The project, if the user sees it.

    :raises NotFound: there is none, or it is another tenant's; the two look alike.
    """
    project = scope_of(user).projects.filter(pk=project_id).first()
    if project is None:
        raise NotFound(
            f"There is no project {project_id}.", advice="The starting page lists those you see."
        )
    return project


def _may_view_all(user: AbstractBaseUser | AnonymousUser) -> bool:
    app_label, name = project_model().split(".")
    staff = getattr(user, "is_staff", False) or getattr(user, "is_superuser", False)
    may = getattr(user, "has_perm", None)  # a host's users may have no permissions at all
    return bool(staff and may is not None and may(f"{app_label}.view_{name.lower()}"))
