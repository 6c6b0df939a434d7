"""Renamed models and fields keep their tables and columns: two releases share a database."""

from __future__ import annotations

import io
from typing import Any

import pytest
from django.core.management import call_command
from django.db import connection
from django.db.migrations.loader import MigrationLoader

from ml_platform.models import Finding, IdempotentResponse, ServiceDailyMetrics, TrainingRun
from ml_platform.models.clock import database_now
from ml_platform.tests.factories import ProjectFactory, TrainingRunFactory, UserFactory

pytestmark = pytest.mark.django_db


def before(name: str) -> Any:
    """A model as the release before the renames has it."""
    state = MigrationLoader(connection).project_state(("ml_platform", "0002_sweep_heartbeat"))
    return state.apps.get_model("ml_platform", name)


@pytest.mark.django_db(transaction=True)  # SQLite plans schema changes outside transactions only
def test_the_renames_run_no_sql():
    output = io.StringIO()
    call_command("sqlmigrate", "ml_platform", "0003_plain_names", stdout=output)
    lines = [line for line in output.getvalue().splitlines() if line and line[:2] != "--"]
    assert set(lines) <= {"BEGIN;", "COMMIT;"}, lines


def test_the_release_before_reads_and_writes_the_same_rows():
    now = database_now()
    user, project, run = UserFactory.create(), ProjectFactory.create(), TrainingRunFactory.create()
    before("KeptAnswer").objects.create(user_id=user.pk, key="k", created_at=now)
    before("ServiceDay").objects.create(
        service_name="one", project_id=project.pk, day=now.date(), read_at=now
    )
    before("Finding").objects.create(
        kind="orphan", subject="x", title="x", looks=3, first_seen_at=now, last_seen_at=now
    )
    before("TrainingRun").objects.filter(pk=run.pk).update(
        watched_at=now, former_vertex_version="models/a@1"
    )
    assert IdempotentResponse.objects.get().key == "k"
    assert ServiceDailyMetrics.objects.get().service_name == "one"
    assert Finding.objects.get().consecutive_sightings == 3
    run = TrainingRun.objects.get(pk=run.pk)
    assert (run.last_polled_at, run.last_vertex_version) == (now, "models/a@1")
    TrainingRun.objects.filter(pk=run.pk).update(last_vertex_version="models/a@2")
    assert before("TrainingRun").objects.get(pk=run.pk).former_vertex_version == "models/a@2"
