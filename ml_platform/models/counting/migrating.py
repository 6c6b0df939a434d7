"""Before and after migrations, of any app of the host: remove the triggers, and install them again.

Django changes a table on SQLite by making another one in its place, which loses its triggers; and
SQLite renames no table while a trigger names one that is not there.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from django.apps import apps as today
from django.apps.registry import Apps

from ml_platform.models.database import connection_of

from .install import (
    VENDORS,
    has_index,
    has_tables,
    install,
    is_installed,
    recount,
    remove_index,
    uninstall,
)
from .rules import TABLES

Plan = Sequence[tuple[Any, bool]]


def before_migrations(*, using: str, plan: Plan, **_: Any) -> None:
    """Remove the triggers if these migrations may change a table that they name.

    On PostgreSQL only ours may: a host's own migrations lose no trigger.
    """
    vendor = connection_of(using).vendor
    ours = any(migration.app_label == "ml_platform" for migration, _ in plan)
    if vendor in VENDORS and plan and (ours or vendor == "sqlite"):
        uninstall(using)


def after_migrations(*, using: str, plan: Plan | None = None, apps: Apps = today, **_: Any) -> None:
    """Install the triggers and count anew, if they are not there, and after `flush`, which has no
    plan. Tables as another release has them get none."""
    if connection_of(using).vendor not in VENDORS:
        return
    if not has_tables(using):
        if has_index(using):
            remove_index(using)
    elif not _are_of_today(apps):
        return
    elif not is_installed(using):
        install(using)
    elif plan is None:
        recount(using)


def _are_of_today(apps: Apps) -> bool:
    """Whether the tables have the columns that this release knows."""
    return all(
        _columns(apps, table.__name__) == _columns(today, table.__name__) for table in TABLES
    )


def _columns(apps: Apps, name: str) -> set[str]:
    try:
        model = apps.get_model("ml_platform", name)
    except LookupError:
        return set()
    return {str(field.column) for field in model._meta.local_concrete_fields}  # noqa: SLF001
