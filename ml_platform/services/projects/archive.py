"""Archive a project: nothing new begins in it. What it has stays registered, served and counted."""

from __future__ import annotations

from datetime import datetime
from typing import Any

from ml_platform.errors import Conflict
from ml_platform.models import ArchivedProject, Operation, TrainingSchedule
from ml_platform.models.database import atomic
from ml_platform.models.locking import lock_row, lock_rows
from ml_platform.models.states import EventKind, OperationKind, ScheduleState
from ml_platform.services.access.scope import all_projects
from ml_platform.services.operations.history import record
from ml_platform.services.operations.store import Actor
from ml_platform.services.operations.workflow import Workflow
from ml_platform.services.scheduling.schedules import pause_schedule
from ml_platform.text import counted

from .changes import subject_of_project

ARCHIVING = Workflow(
    slug="archive-project",
    kind=OperationKind.PROJECT,
    title="Archive the project {}",
    past="archived the project {}",
)
UNARCHIVING = Workflow(
    slug="unarchive-project",
    kind=OperationKind.PROJECT,
    title="Unarchive the project {}",
    past="unarchived the project {}",
)


def project_archived() -> Conflict:
    """The error for what would begin in an archived project."""
    return Conflict(
        "The project is archived.",
        code="project_archived",
        advice="Nothing new begins in it until an administrator unarchives it.",
    )


def require_unarchived(*, archived: bool) -> None:
    """Check that a project can be archived.

    :raises Conflict: it is.
    """
    if archived:
        raise Conflict(
            "The project is archived already.",
            code="project_archived",
            advice="It is listed among the archived projects.",
        )


def require_archived(*, archived: bool) -> None:
    """Check that a project can be unarchived.

    :raises Conflict: it is not archived.
    """
    if not archived:
        raise Conflict(
            "The project is not archived.", code="not_archived", advice="It can be used."
        )


def archive_project(*, project: Any, actor: Actor, reason: str, now: datetime) -> Operation:
    """Let nothing new begin in a project: no run, no deploy, no tick of a schedule.

    Its active schedules are paused, each by an operation of its own. What trains, deploys or
    waits goes on; models stay registered, endpoints serve, and all numbers count them.

    :raises Conflict: it is archived.
    """
    with atomic():
        lock_row(all_projects().filter(pk=project.pk))
        require_unarchived(archived=ArchivedProject.objects.filter(project=project.pk).exists())
        ArchivedProject.objects.create(project_id=project.pk, archived_at=now)
        active = TrainingSchedule.objects.filter(project=project.pk, state=ScheduleState.ACTIVE)
        schedules = list(active.order_by("pk"))
        for schedule in schedules:
            pause_schedule(schedule=schedule, actor=actor, now=now)
        return record(
            workflow=ARCHIVING,
            subject=subject_of_project(project),
            actor=actor,
            now=now,
            note=f"{counted(len(schedules), 'schedule')} paused.",
            reason=reason,
            event=EventKind.PROJECT_ARCHIVED,
            after={"paused": [schedule.pk for schedule in schedules]},
        )


def unarchive_project(*, project: Any, actor: Actor, reason: str, now: datetime) -> Operation:
    """Take an archived project up again. Its schedules stay paused until somebody resumes them.

    :raises Conflict: it is not archived.
    """
    with atomic():
        lock_row(all_projects().filter(pk=project.pk))
        marks = lock_rows(ArchivedProject.objects.filter(project=project.pk))
        require_archived(archived=bool(marks))
        ArchivedProject.objects.filter(pk__in=marks).delete()
        return record(
            workflow=UNARCHIVING,
            subject=subject_of_project(project),
            actor=actor,
            now=now,
            note="Its schedules stay paused until they are resumed.",
            reason=reason,
            event=EventKind.PROJECT_UNARCHIVED,
        )
