"""The soak can fail: what it watches for is reported, and only that."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from datetime import timedelta
from pathlib import Path

import pytest

from ml_platform.models.clock import database_now
from ml_platform.models.states import OperationStatus
from ml_platform.tests.stateful.soak import watch
from ml_platform.tests.stateful.soak.record import GRACE, Record

ITS_OWN = ("ML_PLATFORM_TEST_PG_HOST", "ML_PLATFORM_TEST_DB_NAME", "ML_PLATFORM_TEST_DIR")
"""What a soak must not inherit from the run of a test: it restarts its own server."""
OUTPUT = """\
12:00:01 something was said
Traceback (most recent call last):
  File "/x/psycopg/connection.py", line 117, in connect
    raise last_ex
psycopg.OperationalError: connection failed

The above exception was the direct cause of the following exception:

Traceback (most recent call last):
  File "/x/ml_platform/api/api.py", line 12, in answer
    rows = read()
django.db.utils.OperationalError: connection failed
12:00:02 it went on
Traceback (most recent call last):
  File "/x/ml_platform/jobs.py", line 7, in run
    return 1 + "1"
TypeError: unsupported operand
  + Exception Group Traceback (most recent call last):
  |   File "/x/ml_platform/jobs.py", line 9, in run
  |     raise ExceptionGroup("Operations met defects", defects)
  | ExceptionGroup: Operations met defects (1 sub-exception)
"""
LOG = """\
2026-11-30 15:00:00.000 UTC [12] FATAL:  terminating connection due to administrator command
2026-11-30 15:00:01.000 UTC [13] LOG:  database system is ready to accept connections
2026-11-30 15:00:02.000 UTC [14] ERROR:  deadlock detected
2026-11-30 15:00:02.000 UTC [14] DETAIL:  Process 14 waits for ShareLock.
"""
TAKEN = """\
2026-11-30 15:00:03.000 UTC [15] ERROR:  duplicate key value violates unique constraint \
"mlp_operation_one_per_lineage"
2026-11-30 15:00:03.000 UTC [15] DETAIL:  Key (lineage_key)=(1:ranker) already exists.
2026-11-30 15:00:03.000 UTC [15] STATEMENT:  UPDATE "ml_platform_operation" SET "status" = 'running'
"""


@pytest.mark.any_database
def test_each_traceback_is_found_once_and_a_restart_explains_those_of_the_database(
    tmp_path: Path,
) -> None:
    (tmp_path / "worker-1.log").write_text(OUTPUT)
    outputs = watch.Outputs(tmp_path)
    assert outputs.tracebacks(database_was_away=True) == [
        "worker-1: TypeError: unsupported operand (jobs.py:7)",
        "worker-1: ExceptionGroup: Operations met defects (1 sub-exception) (jobs.py:9)",
    ]
    assert outputs.tracebacks(database_was_away=False) == []
    away = "django.db.utils.OperationalError: connection failed (api.py:12)"
    assert watch.Outputs(tmp_path).tracebacks(database_was_away=False)[0] == f"worker-1: {away}"
    (tmp_path / "worker-1.log").rename(tmp_path / "audit.log")
    assert watch.Outputs(tmp_path).tracebacks(database_was_away=True)[0] == f"audit: {away}"


@pytest.mark.any_database
def test_the_servers_log_is_searched_for_what_nothing_explains() -> None:
    assert watch.unexplained(LOG, 0) == ["ERROR: deadlock detected"]


@pytest.mark.any_database
def test_a_claim_may_meet_a_request_now_and_then() -> None:
    assert watch.unexplained(TAKEN, 99) == []
    assert len(watch.unexplained(TAKEN * 2, 99)) == 2
    assert len(watch.unexplained(TAKEN.replace("UPDATE", "INSERT INTO"), 99)) == 1


@pytest.mark.any_database
def test_a_disturbance_explains_what_is_near_it(monkeypatch: pytest.MonkeyPatch) -> None:
    record, now = Record(), 100.0
    monkeypatch.setattr(time, "monotonic", lambda: now)
    with record.disturbed("web"):
        assert record.explains(now, "web", "database")
        assert not record.explains(now, "database")
    assert record.explains(now + GRACE, "web")
    assert not record.explains(now + GRACE + 1, "web")


@pytest.mark.django_db
def test_an_operation_that_nobody_continues_is_stuck(monkeypatch: pytest.MonkeyPatch) -> None:
    from ml_platform.models import Operation

    operation = Operation.objects.create(
        kind="register", status=OperationStatus.RUNNING, step="upload", created_at=database_now()
    )
    queue, begun = watch.Queue(), time.monotonic()
    assert queue.stuck() == []
    later = begun + watch.LONGEST_DUE + 1
    monkeypatch.setattr(time, "monotonic", lambda: later)
    [wrong] = queue.stuck()
    assert "is stuck at 'upload'" in wrong
    operation.lease_until = database_now() + timedelta(seconds=30)
    operation.save()
    monkeypatch.setattr(time, "monotonic", lambda: later * 2)
    assert queue.stuck() == []


@pytest.mark.slow
@pytest.mark.any_database
@pytest.mark.timeout(900)
def test_a_view_that_raises_is_reported() -> None:
    module = [sys.executable, "-m", "ml_platform.tests.stateful.soak"]
    soaked = subprocess.run(
        [*module, "--minutes", "0.1", "--defect", "view-raises"],
        env={name: value for name, value in os.environ.items() if name not in ITS_OWN},
        capture_output=True,
        text=True,
    )
    assert soaked.returncode == 1, soaked.stderr
    assert "GET models/ (models/" in soaked.stdout
    assert "500 " in soaked.stdout
    assert "web: TypeError: a defect that a test has seeded" in soaked.stdout
