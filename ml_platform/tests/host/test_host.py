"""A host with its own Project model, ATOMIC_REQUESTS and LoginRequiredMiddleware can hold us."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

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


def test_the_checks_are_silent_and_no_migration_is_missing(host):
    checked = host("django", "check", "--fail-level", "WARNING")
    assert (checked.returncode, checked.stderr) == (0, "")
    migrations = host("django", "makemigrations", "--check", "--dry-run")
    assert migrations.stdout == "No changes detected\n", migrations.stderr


def test_its_pages_show_each_his_own_below_its_own_path_and_base(host, cloud):
    cloud.storage.write("demo-artifacts", "runs/a", b"a")
    migrated = host("django", "migrate", "--verbosity", "0")
    assert migrated.returncode == 0, migrated.stderr
    walked = host("ml_platform.tests.host.walk")
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
        "sweeps": [["complete", "admin"]],
        "hers_check": 403,
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
