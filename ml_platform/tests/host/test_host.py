"""A host with its own Project model, ATOMIC_REQUESTS and LoginRequiredMiddleware can hold us."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from importlib import import_module
from pathlib import Path

import psycopg
import pytest
from django.conf import settings
from django.db.migrations.migration import SwappableTuple

from ml_platform.conf import project_model
from ml_platform.tests.host.first_release import OPERATIONS
from ml_platform.tests.postgres import USER, postgres_host

ROOT = Path(__file__).resolve().parents[3]


@pytest.fixture
def host(tmp_path):
    own = {
        "DJANGO_SETTINGS_MODULE": "ml_platform.tests.host.settings",
        "HOST_DB": str(tmp_path / "host.sqlite3"),
    }

    def run(*arguments: str, **changes: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [sys.executable, "-m", *arguments],
            cwd=ROOT,
            env={**os.environ, **own, **changes},
            capture_output=True,
            text=True,
        )

    return run


@pytest.fixture
def database(request, tmp_path):
    """An empty database of the host's own, as its settings read it."""
    if request.param == "sqlite3":
        yield {}
        return
    where, name = postgres_host(), f"host_{os.getpid()}"
    with psycopg.connect(host=where, user=USER, autocommit=True) as connection:
        connection.execute(f"DROP DATABASE IF EXISTS {name}")
        connection.execute(f"CREATE DATABASE {name}")
        yield {
            "HOST_DB_ENGINE": request.param,
            "HOST_DB": name,
            "HOST_DB_HOST": where,
            "HOST_DB_USER": USER,
        }
        connection.execute(f"DROP DATABASE {name}")
        connection.execute(f"DROP DATABASE IF EXISTS {name}_replica")


@pytest.mark.parametrize(
    ("database", "label", "key", "kind"),
    [  # each two of the three come together once
        ("sqlite3", "a_host", "integer", "int"),
        ("sqlite3", "z_host", "uuid", "UUID"),
        ("sqlite3", "z_host", "text", "str"),
        ("postgresql", "a_host", "uuid", "UUID"),
        ("postgresql", "z_host", "integer", "int"),
    ],
    indirect=["database"],
)
def test_it_migrates_with_rows_and_to_nothing_and_back(host, database, label, key, kind):
    """Whatever the host's label and keys: from the first release's rows to today's tables."""
    migrated = host("ml_platform.tests.host.migrated", HOST_LABEL=label, HOST_KEY=key, **database)
    assert migrated.returncode == 0, migrated.stderr
    told = json.loads(migrated.stdout)
    assert told["changes"] == "No changes detected\n"
    assert f'REFERENCES "{label}_shop" ("id")' in told["sql"]
    assert told["kept"] == [kind, "a-model"]
    assert (told["empty"], told["changed"], told["left"]) == ([], [], [])
    assert told["workflows"] == sorted([kind, row[2]] for kind, row in OPERATIONS.items())
    assert told["events"] == [[row[3], True] for row in OPERATIONS.values()]
    assert told["refused"] == {"error_code": "busy"}
    assert told["versions"] == [[True, True, ["default"]]]
    assert told["undecided"] == 2
    deployed, idle = [1, 1, 0, 0], [1, 0, 0, 1]
    counters, differences = told["counted"][::2], told["counted"][1::2]
    assert counters == [deployed, *(idle, deployed) * 3]
    assert differences == [[0, 0]] * 7


@pytest.mark.slow
@pytest.mark.parametrize("database", ["sqlite3", "postgresql"], indirect=True)
def test_a_whole_life_beside_a_replica_that_lags(host, database):
    """Whatever the replica says, decisions, lists and pages tell what is committed."""
    settings = {"DJANGO_SETTINGS_MODULE": "ml_platform.tests.host.lagging_settings"}
    lived = host("ml_platform.tests.host.lagging", **settings, **database)
    assert lived.returncode == 0, lived.stderr
    told = json.loads(lived.stdout)
    assert told.pop("strays") == []
    assert set(told.pop("pages").values()) == {200}
    assert {status for _, status in told.pop("operations")} == {"succeeded"}
    assert told == {
        "run": "completed",
        "registered": 1,
        "deployed": True,
        "swept": ["complete", 0],
        "undeployed": True,
        "deleted": 0,
    }


def test_the_first_migration_waits_for_the_project_model():
    """`makemigrations` leaves it out, because by default the project model is our own app's."""
    first = import_module("ml_platform.migrations.0001_initial").Migration
    waits = [d.setting for d in first.dependencies if isinstance(d, SwappableTuple)]
    assert waits == [settings.AUTH_USER_MODEL, project_model()]


def test_the_checks_are_silent_and_no_migration_is_missing(host):
    checked = host("django", "check", "--fail-level", "WARNING")
    assert (checked.returncode, checked.stderr) == (0, "")
    migrations = host("django", "makemigrations", "--check", "--dry-run")
    assert migrations.stdout == "No changes detected\n", migrations.stderr


@pytest.mark.parametrize(
    ("key", "kind"),
    [("integer", ["integer", None]), ("uuid", ["string", "uuid"]), ("text", ["string", None])],
)
def test_its_pages_show_each_his_own_below_its_own_path_and_base(host, cloud, key, kind):
    """Whatever keys its tenants and its users have; a user's name may be an e-mail address."""
    cloud.storage.write("demo-artifacts", "runs/a", b"a")
    migrated = host("django", "migrate", "--verbosity", "0", HOST_KEY=key)
    assert migrated.returncode == 0, migrated.stderr
    walked = host("ml_platform.tests.host.walk", HOST_KEY=key)
    assert walked.returncode == 0, walked.stderr
    pages = ["/ml/", "/ml/registry-health/", "/ml/operations/"]
    assert json.loads(walked.stdout) == {
        "visitor": {path: f"/sign-in/?next={path}" for path in pages},
        "status": dict.fromkeys(pages, 200),
        "base": True,
        "static": True,
        "sees_own": True,
        "sees_other": False,
        "operations": [200, 404],
        "check": [302, "/ml/"],
        "sweeps": [["complete", True]],
        "hers_check": 403,
        "training": [200, True, True],
        "api": {
            "operations": [[True, "ann"]],
            "models": 200,
            "wrong": 422,
            "run": [422, "bucket_missing"],
            "adopted": [202, True],
            "type": kind,
        },
        "projects": [
            [409, "Projects are made in Host: host.Shop has no text field `name`."],
            [409, "Projects are renamed in Host: host.Shop has no text field `name`."],
            [409, "Who belongs to a project is decided by ml_platform.tests.host.models.shops_of."],
            200,
            True,
            True,
            {"why": "", "code": ""},
            302,
            False,
        ],
    }


def test_a_wrong_setting_stops_the_host_at_its_check(host, tmp_path):
    (tmp_path / "broken.py").write_text(
        "from ml_platform.tests.host.settings import *\n"
        "ML_PLATFORM = {**ML_PLATFORM, 'BUKET': 'x'}\n"
    )
    checked = host(
        "django", "check", DJANGO_SETTINGS_MODULE="broken", PYTHONPATH=f"{tmp_path}:{ROOT}"
    )
    assert checked.returncode == 1
    assert "(mlp.E001) ML_PLATFORM has unknown keys: BUKET." in checked.stderr
