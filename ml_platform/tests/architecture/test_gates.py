"""The gates themselves: floors, migrations, and the commands that the README promises."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest
from django.core.management import call_command, get_commands

ROOT = Path(__file__).resolve().parents[3]
SET_UP = "python3 -m venv .venv && .venv/bin/pip install -q -r requirements.txt && "
DEMO_COMMAND = ".venv/bin/python manage.py demo"
TEST_COMMAND = ".venv/bin/python -m ml_platform.tests"


def test_rooms_import_only_what_lies_below_them():
    lint = Path(sys.executable).with_name("lint-imports")
    answer = subprocess.run([lint, "--no-cache"], cwd=ROOT, capture_output=True, text=True)
    assert answer.returncode == 0, answer.stdout


@pytest.mark.django_db
def test_migrations_hold_every_model_change():
    call_command("makemigrations", check=True, dry_run=True, verbosity=0)


def test_readme_shows_the_two_commands_each_with_all_its_set_up():
    lines = (ROOT / "README.md").read_text().splitlines()
    assert lines.count(SET_UP + DEMO_COMMAND) == 1
    assert lines.count(SET_UP + TEST_COMMAND) == 1
    assert "demo" in get_commands()


def test_ci_runs_the_whole_second_command_of_the_readme():
    lines = [line.strip() for line in (ROOT / ".ci" / "run").read_text().splitlines()]
    at = lines.index(SET_UP + TEST_COMMAND)
    assert lines[at - 1].startswith("readme_tests() {")
    assert 'section "tests" readme_tests' in lines


def test_top_of_the_repository_holds_only_what_was_agreed():
    agreed = {
        "README.md", "CHANGELOG.md", "manage.py", "requirements.txt", "pytest.ini",
        "pyproject.toml", "docs", "ml_platform", "templates", "static",
    }  # fmt: skip
    listed = subprocess.run(
        ["git", "ls-files"], cwd=ROOT, check=True, capture_output=True, text=True
    ).stdout.splitlines()
    tops = {name.split("/")[0] for name in listed}
    assert {name for name in tops if not name.startswith(".")} - agreed == set()
