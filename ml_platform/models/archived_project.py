"""ArchivedProject: a project in which nothing new begins, be it ours or the host's own."""

from __future__ import annotations

from typing import Any, TypeVar

from django.db import models
from django.db.models import Exists, OuterRef, QuerySet

from ml_platform.conf import project_model

from .database import PlatformModel

Rows = TypeVar("Rows", bound=QuerySet[Any, Any])


class ArchivedProject(PlatformModel):
    """The mark of an archived project; it is deleted when the project is taken up again.

    Nothing is counted by it: what the project has stays registered, served and counted (law 1).
    """

    project = models.OneToOneField(project_model(), on_delete=models.PROTECT, related_name="+")
    archived_at = models.DateTimeField()

    def __str__(self) -> str:
        return str(self.project)


def with_archived(rows: Rows, project: str) -> Rows:
    """Annotate `in_archive`: whether the project in that column of the row is archived."""
    marks = ArchivedProject.objects.filter(project=OuterRef(project))
    return rows.annotate(in_archive=Exists(marks))


def in_archive(projects: Rows, *, archived: bool) -> Rows:
    """Those of the projects that are archived, or those that are not."""
    marks = ArchivedProject.objects.values("project")
    return projects.filter(pk__in=marks) if archived else projects.exclude(pk__in=marks)
