"""Projects: create, rename, add and remove members, archive, unarchive."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any

from ml_platform.models import Operation
from ml_platform.services.access.rights import Right
from ml_platform.services.projects import archive, changes
from ml_platform.services.projects.host_model import (
    require_creatable,
    require_members,
    require_named,
)

from .action import Action
from .caller import Caller

if TYPE_CHECKING:
    from .inputs import MemberIn, ProjectNameIn, ReasonIn


def _all_projects(caller: Caller, _: object) -> None:
    """Names are unique among all projects, so only who sees them all learns which are taken."""
    caller.require(Right.VIEW)
    caller.require_everything()


def _any_project(caller: Caller, key: object) -> Any:
    project = caller.find_project(key)
    caller.require_everything()
    return project


def _asked(caller: Caller) -> dict[str, Any]:
    return {"actor": caller.actor, "now": caller.now()}


def _to_member(verb: Callable[..., Operation]) -> Callable[[Any, MemberIn, Caller], Operation]:
    return lambda project, given, caller: verb(project=project, user=given.user, **_asked(caller))


def _rename(project: Any, given: ProjectNameIn, caller: Caller) -> Operation:
    return changes.rename_project(project=project, name=given.name, **_asked(caller))


def _move(verb: Callable[..., Operation]) -> Callable[[Any, ReasonIn, Caller], Operation]:
    return lambda project, given, caller: verb(
        project=project, reason=given.reason, **_asked(caller)
    )


CREATE: Action[None, Any] = Action(
    name="create-project",
    right=Right.ADMINISTER,
    find=_all_projects,
    require=lambda _: require_creatable(),
    input="ProjectNameIn",
    run=lambda _, given, caller: changes.create_project(name=given.name, **_asked(caller)),
    on_page=False,
)
RENAME: Action[Any, Operation] = Action(
    name="rename-project",
    right=Right.ADMINISTER,
    find=_any_project,
    require=lambda _: require_named(),
    input="ProjectNameIn",
    run=_rename,
    on_page=False,
)
ADD_MEMBER: Action[Any, Operation] = Action(
    name="add-member",
    right=Right.ADMINISTER,
    find=Caller.find_project,
    require=lambda _: require_members(),
    input="MemberIn",
    run=_to_member(changes.add_member),
    on_page=False,
)
REMOVE_MEMBER: Action[Any, Operation] = Action(
    name="remove-member",
    right=Right.ADMINISTER,
    find=Caller.find_project,
    require=lambda _: require_members(),
    input="MemberIn",
    run=_to_member(changes.remove_member),
)
ARCHIVE: Action[Any, Operation] = Action(
    name="archive-project",
    right=Right.ADMINISTER,
    find=Caller.find_project,
    require=lambda project: archive.require_unarchived(archived=project.in_archive),
    input="ReasonIn",
    run=_move(archive.archive_project),
)
UNARCHIVE: Action[Any, Operation] = Action(
    name="unarchive-project",
    right=Right.ADMINISTER,
    find=Caller.find_project,
    require=lambda project: archive.require_archived(archived=project.in_archive),
    input="ReasonIn",
    run=_move(archive.unarchive_project),
)
ACTIONS: Sequence[Action[Any, Any]] = (
    CREATE,
    RENAME,
    ADD_MEMBER,
    REMOVE_MEMBER,
    ARCHIVE,
    UNARCHIVE,
)
