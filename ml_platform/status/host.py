"""The settings, the database and its migrations."""

from __future__ import annotations

from django.db.migrations.executor import MigrationExecutor

from ml_platform.checks import check_settings
from ml_platform.models import Installation
from ml_platform.models.database import write_connection

from .item import Item, State

APPS = ("ml_platform", "django_tasks_database")
SHOWN = 3


def settings_item() -> Item:
    """What `manage.py check` says of us."""
    found = [message for message in check_settings() if not message.is_silenced()]
    return Item(
        name="settings",
        title="Settings",
        state=State.ATTENTION if found else State.FINE,
        detail=" ".join(f"{message.id}: {message.msg}" for message in found)
        or "The system checks find nothing.",
        advice=str(found[0].hint or "") if found else "",
    )


def database_items() -> tuple[Item, Item]:
    """The database that our tables are in, and which of our migrations it lacks."""
    connection = write_connection()
    version = ".".join(map(str, connection.get_database_version()))
    executor = MigrationExecutor(connection)
    wanted = [node for node in executor.loader.graph.leaf_nodes() if node[0] in APPS]
    lacking = [str(step) for step, _ in executor.migration_plan(wanted)]
    more = f" and {len(lacking) - SHOWN} more" if len(lacking) > SHOWN else ""
    return (
        Item(
            name="database",
            title="Database",
            state=State.FINE,
            detail=f"{connection.display_name} {version}",
        ),
        Item(
            name="migrations",
            title="Migrations",
            state=State.ATTENTION if lacking else State.FINE,
            detail=f"Not applied: {', '.join(lacking[:SHOWN])}{more}."
            if lacking
            else "All are applied.",
            advice="Run `manage.py migrate`." if lacking else "",
        ),
    )


def installation_item() -> Item:
    """Whether this database may delete at Google."""
    row = Installation.objects.first()
    stopped = row.stopped_reason if row else ""
    return Item(
        name="installation",
        title="Deletions at Google",
        state=State.ATTENTION if stopped else State.FINE,
        detail=f"Stopped: {stopped}" if stopped else "Nothing stops them.",
        advice="`manage.py confirm_installation` shows what it found." if stopped else "",
        at=row.stopped_at if row else None,
    )
