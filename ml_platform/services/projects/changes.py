"""Create and rename a project; add and remove its members. Each is one transaction."""

from __future__ import annotations

from datetime import datetime
from typing import Any

from django.contrib.auth import get_user_model
from django.core.exceptions import ValidationError
from django.db import IntegrityError
from django.db.models import Model
from django.utils import translation

from ml_platform.errors import Conflict, Invalid, NotFound
from ml_platform.models import Operation
from ml_platform.models.database import atomic
from ml_platform.models.locking import lock_row
from ml_platform.models.states import EventKind, OperationKind
from ml_platform.services.access.scope import all_projects
from ml_platform.services.operations.history import record
from ml_platform.services.operations.store import Actor, Subject
from ml_platform.services.operations.workflow import Workflow

from .host_model import (
    MEMBERS,
    NAME,
    project_class,
    require_creatable,
    require_members,
    require_named,
)

KIND = OperationKind.PROJECT
CREATING = Workflow(
    slug="create-project", kind=KIND, title="Create the project {}", past="created the project {}"
)
RENAMING = Workflow(
    slug="rename-project", kind=KIND, title="Rename the project {}", past="renamed a project to {}"
)
ADDING = Workflow(
    slug="add-member", kind=KIND, title="Add a member to {}", past="added a member to {}"
)
REMOVING = Workflow(
    slug="remove-member", kind=KIND, title="Remove a member of {}", past="removed a member of {}"
)
NOTES = {ADDING.slug: "{} is a member.", REMOVING.slug: "{} is no longer a member."}
"""What the history says of a member."""


def subject_of_project(project: Any) -> Subject:
    """The subject of an operation on a project; it locks nothing."""
    return Subject(type="project", id=str(project.pk), name=str(project), project_id=project.pk)


def create_project(*, name: str, actor: Actor, now: datetime) -> Any:
    """Create a project without members; returns it.

    :raises Invalid: the name is not valid.
    :raises Conflict: there is a project of that name, or only the host can make projects.
    """
    require_creatable()
    project: Any = project_class()(**{NAME: _checked(name)})
    with atomic():
        _save(project, created=True)
        record(
            workflow=CREATING,
            subject=subject_of_project(project),
            actor=actor,
            now=now,
            note=f"{project} was created.",
            event=EventKind.PROJECT_CREATED,
            after={"name": name.strip()},
        )
    return project


def rename_project(*, project: Any, name: str, actor: Actor, now: datetime) -> Operation:
    """Give a project another name. Its models, services and files keep theirs.

    :raises Invalid: the name is not valid.
    :raises Conflict: it has this name, another project has it, or only the host can rename it.
    """
    require_named()
    name = _checked(name)
    with atomic():
        project = lock_row(all_projects().filter(pk=project.pk))
        before = str(getattr(project, NAME))
        if name == before:
            raise Conflict(
                f"The project is called {name} already.",
                code="same_name",
                advice="Give it another name.",
            )
        setattr(project, NAME, name)
        _save(project)
        return record(
            workflow=RENAMING,
            subject=subject_of_project(project),
            actor=actor,
            now=now,
            note=f"It was called {before}.",
            event=EventKind.PROJECT_RENAMED,
            before={"name": before},
            after={"name": name},
        )


def members_of(project: Any) -> list[str]:
    """The names that its members log in with, sorted."""
    login = get_user_model().USERNAME_FIELD
    return list(getattr(project, MEMBERS).order_by(login).values_list(login, flat=True))


def add_member(*, project: Any, user: str, actor: Actor, now: datetime) -> Operation:
    """Let a user see a project; what they may do there is said by their permissions.

    :raises NotFound: there is no such user.
    :raises Conflict: they are a member already, or the host decides who belongs to it.
    """
    require_members()
    person = find_user(user)
    with atomic():
        project = lock_row(all_projects().filter(pk=project.pk))
        if getattr(project, MEMBERS).filter(pk=person.pk).exists():
            raise Conflict(
                f"{person.get_username()} is a member already.",
                code="already_member",
                advice="Their permissions say what they may do.",
            )
        getattr(project, MEMBERS).add(person)
        return _record_member(ADDING, EventKind.MEMBER_ADDED, project, person, actor, now)


def remove_member(*, project: Any, user: str, actor: Actor, now: datetime) -> Operation:
    """Let a user see a project no more; what they did stays in its history.

    :raises NotFound: there is no such user.
    :raises Conflict: they are no member, or the host decides who belongs to it.
    """
    require_members()
    person = find_user(user)
    with atomic():
        project = lock_row(all_projects().filter(pk=project.pk))
        if not getattr(project, MEMBERS).filter(pk=person.pk).exists():
            raise Conflict(
                f"{person.get_username()} is not a member.",
                code="not_a_member",
                advice="Somebody may have removed them already.",
            )
        getattr(project, MEMBERS).remove(person)
        return _record_member(REMOVING, EventKind.MEMBER_REMOVED, project, person, actor, now)


def _record_member(
    workflow: Workflow, event: EventKind, project: Model, person: Any, actor: Actor, now: datetime
) -> Operation:
    name = person.get_username()
    named = {"member": name}
    return record(
        workflow=workflow,
        subject=subject_of_project(project),
        actor=actor,
        now=now,
        note=NOTES[workflow.slug].format(name),
        event=event,
        before=None if workflow is ADDING else named,
        after=named if workflow is ADDING else None,
    )


def find_user(login: str) -> Any:
    """The user who logs in with that name.

    :raises NotFound: there is none.
    """
    users = get_user_model()
    found = users._default_manager.filter(**{users.USERNAME_FIELD: login}).first()  # noqa: SLF001 - Django's documented name
    if found is None:
        raise NotFound(
            f"There is no user {login[:100]}.", advice="Give the name that they log in with."
        )
    return found


def _checked(name: str) -> str:
    name = name.strip()
    if not name or not name.isprintable():
        raise Invalid(
            "A project's name has printable characters.",
            code="bad_project_name",
            advice="Give it another name.",
        )
    return name


def _save(project: Any, *, created: bool = False) -> None:
    """Store a project with its new name, by the rules of its model. Our texts are English."""
    names = {field.name for field in project._meta.fields}  # noqa: SLF001 - Django's documented name
    with translation.override("en"):
        try:
            project.full_clean(exclude=set() if created else names - {NAME})
            with atomic():
                project.save(**({} if created else {"update_fields": [NAME]}))
        except ValidationError as error:
            if any(one.code == "unique" for one in error.error_dict.get(NAME, ())):
                raise _taken(project) from error
            raise Invalid(
                " ".join(error.messages), code="bad_project_name", advice="Give it another name."
            ) from error
        except IntegrityError as error:
            raise _taken(project) from error


def _taken(project: Any) -> Conflict:
    return Conflict(
        f"There is a project {getattr(project, NAME)} already.",
        code="project_exists",
        advice="Choose another name.",
    )
