"""Projects."""

from __future__ import annotations

from typing import Any, Literal

from ninja import Field

from ml_platform.actions.inputs import ProjectId
from ml_platform.services.projects.changes import members_of
from ml_platform.services.projects.host_model import has_members

from .base import (
    EXAMPLES,
    PAGE_EXAMPLE,
    PROJECT_EXAMPLE,
    Flag,
    Json,
    Listing,
    Out,
    example,
    list_of,
    project_json,
    url_of,
)

EXAMPLE = PROJECT_EXAMPLE | {"archived": False, "url": "/api/projects/1/"}


class ProjectsQuery(Listing):
    """Projects."""

    sort: Literal["id", "-id"] = "id"
    archived: Flag = Field(default=False, description="Archived projects in place of the others.")


@example(EXAMPLE)
class ProjectOut(Out):
    """A project."""

    id: ProjectId
    name: str
    archived: bool = Field(description="Nothing new begins in it; what it has is still counted.")
    url: str


@example(EXAMPLE | {"members": ["ana", "ben"]})
class ProjectDetail(ProjectOut):
    """A project with its members."""

    members: list[str] | None = Field(
        description="What they log in with; null where the host decides who belongs to a project."
    )


ProjectsOut = list_of("ProjectsOut", ProjectOut, "A part of the list of projects.")
EXAMPLES["ProjectsOut"] = {"items": [EXAMPLE], "pagination": PAGE_EXAMPLE}


def project_row_json(project: Any) -> Json:
    """A project that was read `with_archived`."""
    url = url_of(f"projects/{project.pk}/")
    return project_json(project) | {"archived": project.in_archive, "url": url}


def project_detail_json(project: Any) -> Json:
    """The same with its members."""
    members = members_of(project) if has_members() else None
    return project_row_json(project) | {"members": members}
