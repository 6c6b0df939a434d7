"""The column that names the workflow is added and filled, also when a crash interrupts that."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from django.core.management import call_command
from django.db import connection
from django.db.migrations.loader import MigrationLoader
from django.db.migrations.state import StateApps

from ml_platform.models import Operation
from ml_platform.models.clock import database_now

pytestmark = pytest.mark.django_db(transaction=True)
APP = "ml_platform"
MODULE = "ml_platform.migrations.0003_operation_workflow"


def migrate(name: str) -> StateApps:
    """By the command, whose signals remove and install the triggers."""
    call_command("migrate", APP, *filter(None, [name]), verbosity=0)
    state = MigrationLoader(connection).project_state((APP, name) if name else None)
    return state.apps


@pytest.fixture
def before() -> Iterator[StateApps]:
    """The tables of the release before; whatever a test does, they are ours again after it."""
    yield migrate("0002_sweep_heartbeat")
    migrate("")


@pytest.mark.slow
def test_an_interrupted_migration_is_finished_when_it_runs_again(
    before: StateApps, monkeypatch: pytest.MonkeyPatch
) -> None:
    fields = {"actor_label": "ana", "origin": "api", "created_at": database_now()}
    rows = before.get_model(APP, "Operation").objects
    kinds = {rows.create(kind=kind, **fields).pk: kind for kind in ("deploy", "alias", "delete")}

    def killed(operation: Operation) -> str:
        raise KeyboardInterrupt

    with monkeypatch.context() as patched:
        patched.setattr(f"{MODULE}.slug_of", killed)
        with pytest.raises(KeyboardInterrupt):
            migrate("")
    late = rows.create(kind="sweep", **fields)  # the release before still runs
    migrate("")
    wanted = {"deploy": "deploy-version", "alias": "change-aliases", "delete": "delete-versions"}
    found = dict(Operation.objects.values_list("pk", "workflow"))
    assert found == {pk: wanted[kind] for pk, kind in kinds.items()} | {late.pk: "check-registry"}
