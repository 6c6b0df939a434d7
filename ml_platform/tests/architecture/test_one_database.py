"""Decisions, locks and events use the one database of our tables, whatever a host's routers say.

The life beside a replica that lags is played in `tests/host/lagging.py`.
"""

from __future__ import annotations

import ast
from collections.abc import Iterator
from pathlib import Path

import pytest
from django.apps import apps

import ml_platform
from ml_platform.models.database import PlatformQuerySet

ROOT = Path(ml_platform.__file__).parent
APART = {"tests", "demo", "localcloud", "migrations"}
ONE_PLACE = "models/database.py"
CHOOSING = {"connection", "connections", "transaction", "router", "DEFAULT_DB_ALIAS"}
ALLOWED = {
    "checks/host.py": {"router"},
    "services/importing/host_rows.py": {"connections"},
    "services/operations/liveness.py": {"router"},
}
"""The check of routers asks them about each table; the tables of an import and the rows of tasks
are the host's, and may be in another database."""


def choices(source: str) -> Iterator[str]:
    """What a module imports of Django that names a database, or leaves it to be the default."""
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.ImportFrom) and node.module in ("django.db", "django.db.utils"):
            yield from (name.name for name in node.names if name.name in CHOOSING)
        elif isinstance(node, ast.ImportFrom) and node.module == "django.db.transaction":
            yield from (name.name for name in node.names)
        elif isinstance(node, ast.Attribute) and node.attr in ("_base_manager", "raw"):
            yield node.attr


def test_one_module_knows_the_database() -> None:
    found = {}
    for file in sorted(ROOT.rglob("*.py")):
        name = file.relative_to(ROOT)
        if name.parts[0] not in APART and str(name) != ONE_PLACE:
            found[str(name)] = set(choices(file.read_text()))
    assert {name: what for name, what in found.items() if what} == ALLOWED


@pytest.mark.parametrize(
    "line", ["from django.db import connection, models", "from django.db.transaction import atomic"]
)
def test_another_is_noticed(line: str) -> None:
    assert list(choices(line))


def test_each_model_reads_where_it_is_written(settings: pytest.FixtureRequest) -> None:
    settings.DATABASE_ROUTERS = [f"{__name__}.Elsewhere"]  # type: ignore[attr-defined]
    for model in apps.get_app_config("ml_platform").get_models():
        for manager in (model._default_manager, model._base_manager):
            rows = manager.all()
            assert isinstance(rows, PlatformQuerySet), model
            assert (rows.db, rows.filter(pk=None).db) == ("primary", "primary"), model
            assert rows.using("other").db == "other"
        for field in model._meta.fields:
            if field.many_to_one:
                assert getattr(model, field.name).get_queryset(instance=model()).db == "primary"


class Elsewhere:
    """A router of a host with a replica."""

    def db_for_read(self, model: type, **hints: object) -> str:
        return "replica"

    def db_for_write(self, model: type, **hints: object) -> str:
        return "primary"
