"""/api/projects/: the tenants, their names and members, and which of them are archived."""

from __future__ import annotations

from typing import Any

from django.http import HttpResponse
from ninja import Query, Router

from ml_platform.actions.action import perform
from ml_platform.actions.inputs import MemberIn, ProjectNameIn, ReasonIn
from ml_platform.actions.projects import (
    ADD_MEMBER,
    ARCHIVE,
    CREATE,
    REMOVE_MEMBER,
    RENAME,
    UNARCHIVE,
)
from ml_platform.api.http.lists import answer_list
from ml_platform.api.schemas.base import reply
from ml_platform.api.schemas.operations import OperationOut, operation_json
from ml_platform.api.schemas.projects import (
    ProjectDetail,
    ProjectsOut,
    ProjectsQuery,
    project_detail_json,
    project_row_json,
)
from ml_platform.models.archived_project import in_archive, with_archived
from ml_platform.services.access.rights import Right

router = Router(tags=["projects"])


@router.get("/", response=ProjectsOut, operation_id="list_projects")
def list_projects(request: Any, query: Query[ProjectsQuery]) -> HttpResponse:
    """The projects that the caller sees; without the archived ones, unless they are asked for."""
    request.auth.require(Right.VIEW)
    rows = in_archive(request.auth.scope.projects, archived=query.archived)
    if query.project is not None:
        rows = rows.filter(pk=query.project)
    return answer_list(
        query, with_archived(rows, "pk"), sorts={"id": "pk"}, row_json=project_row_json
    )


@router.post("/", response={201: ProjectDetail}, operation_id="create_project")
def create_project(request: Any, body: ProjectNameIn) -> HttpResponse:
    """Create a project without members, for callers who see all projects."""
    made = perform(CREATE, "", body, request.auth)
    shown = project_detail_json(request.auth.find_project(made.pk))
    return reply(shown, status=201, location=shown["url"])


@router.post("/{path:project_id}/rename/", response=OperationOut, operation_id="rename_project")
def rename(request: Any, project_id: str, body: ProjectNameIn) -> HttpResponse:
    """Give a project another name; its models, services and files keep theirs."""
    return reply(operation_json(perform(RENAME, project_id, body, request.auth)))


@router.post("/{path:project_id}/add-member/", response=OperationOut, operation_id="add_member")
def add_member(request: Any, project_id: str, body: MemberIn) -> HttpResponse:
    """Let a user see a project; their permissions say what they may do there."""
    return reply(operation_json(perform(ADD_MEMBER, project_id, body, request.auth)))


@router.post(
    "/{path:project_id}/remove-member/", response=OperationOut, operation_id="remove_member"
)
def remove_member(request: Any, project_id: str, body: MemberIn) -> HttpResponse:
    """Let a user see a project no more; what they did stays in its history."""
    return reply(operation_json(perform(REMOVE_MEMBER, project_id, body, request.auth)))


@router.post("/{path:project_id}/archive/", response=OperationOut, operation_id="archive_project")
def archive(request: Any, project_id: str, body: ReasonIn) -> HttpResponse:
    """Let nothing new begin in a project: no run, no deploy; its schedules are paused. What it has
    stays registered, served and counted."""
    return reply(operation_json(perform(ARCHIVE, project_id, body, request.auth)))


@router.post(
    "/{path:project_id}/unarchive/", response=OperationOut, operation_id="unarchive_project"
)
def unarchive(request: Any, project_id: str, body: ReasonIn) -> HttpResponse:
    """Take an archived project up again; its schedules stay paused until they are resumed."""
    return reply(operation_json(perform(UNARCHIVE, project_id, body, request.auth)))


# The last one, because the key of a host's project may hold a slash.
@router.get("/{path:project_id}/", response=ProjectDetail, operation_id="get_project")
def get_project(request: Any, project_id: str) -> HttpResponse:
    """One project with its members."""
    return reply(project_detail_json(request.auth.find_project(project_id)))
