"""The ground that the other tests stand on holds: what it promises is tried here."""

from __future__ import annotations

import os
import re
import socket
import subprocess
import sys
from collections import Counter
from pathlib import Path

import pytest
from django.conf import settings
from django.contrib.auth import get_user_model
from django.db import connection

ROOT = Path(__file__).resolve().parents[3]
COUNT_USERS = """
import django
django.setup()
from django.contrib.auth import get_user_model
from django.db import connection
print(connection.vendor, get_user_model().objects.count())
"""


def run(*arguments: str, **environment: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, *arguments],
        cwd=ROOT,
        env={**os.environ, **environment},
        capture_output=True,
        text=True,
    )


@pytest.mark.django_db
def test_the_database_is_the_one_that_the_run_asked_for():
    assert connection.vendor == os.environ.get("ML_PLATFORM_TEST_DB", "sqlite")


@pytest.mark.django_db(transaction=True)
def test_a_child_process_opens_the_database_of_the_test():
    get_user_model().objects.create_user("ann")
    child = run("-c", COUNT_USERS)
    assert child.stdout.split() == [connection.vendor, "1"], child.stderr


def test_the_network_is_closed_beyond_this_machine():
    with pytest.raises(RuntimeError, match=r"reached for 192\.0\.2\.1"):
        socket.create_connection(("192.0.2.1", 80), timeout=1)


def test_the_app_and_its_child_processes_point_at_the_local_cloud(cloud):
    assert settings.ML_PLATFORM["LOCAL_CLOUD"] == cloud.grpc_target
    assert os.environ["ML_PLATFORM_LOCAL_CLOUD"] == cloud.grpc_target
    assert settings.ML_PLATFORM["LOCAL_CLOUD_HTTP"] == cloud.http_url


@pytest.mark.slow
def test_a_run_with_a_skipped_test_does_not_pass(tmp_path):
    (tmp_path / "test_it.py").write_text("import pytest\ndef test_it():\n    pytest.skip('why')\n")
    plugin = "ml_platform.tests.conftest"
    skipping = run("-m", "pytest", "-c", "pytest.ini", "-p", plugin, str(tmp_path))
    assert "1 skipped" in skipping.stdout
    assert skipping.returncode == 1


@pytest.mark.slow
def test_a_missing_browser_is_said_in_one_line_and_fails(tmp_path):
    # Nothing is on PATH but an empty folder; PostgreSQL's server is the run's own or started anew.
    missing = run("-m", "ml_platform.tests", PATH=str(tmp_path))
    lines = missing.stdout.splitlines()
    assert lines[0] == (
        "Browser: MISSING. No browser found: install one with `apt-get install chromium`."
    )
    assert missing.returncode == 1


@pytest.mark.slow
def test_the_inner_loop_leaves_out_what_is_slow_and_further_cases_on_a_database():
    tests = Path(__file__).parents[1].relative_to(ROOT)
    names = ("architecture/test_ground.py", "unit/test_constraints.py", "unit/test_drift.py")
    files = [str(tests / name) for name in names]
    quick = run("-m", "ml_platform.tests", "--quick", *files, "--collect-only", "-v")
    assert quick.returncode == 0, quick.stderr
    cases = Counter(re.findall(r"<Function (\w+)", quick.stdout))
    assert cases["test_the_network_is_closed_beyond_this_machine"] == 1
    assert cases["test_a_missing_browser_is_said_in_one_line_and_fails"] == 0
    assert cases["test_a_run_that_may_still_finish_keeps_its_lineage"] == 1  # of 22
    assert cases["test_a_pointer_is_name_version_and_label"] == 15  # without a database


@pytest.mark.slow
def test_the_demo_host_serves_its_login_to_a_real_browser(live_server, browser_page):
    get_user_model().objects.create_user("ann", password="pw")
    browser_page.goto(f"{live_server.url}/login/?next=/login/")
    browser_page.fill("[name=username]", "ann")
    browser_page.fill("[name=password]", "pw")
    browser_page.click("[type=submit]")
    browser_page.wait_for_load_state()
    assert [c["name"] for c in browser_page.context.cookies() if c["name"] == "sessionid"]
