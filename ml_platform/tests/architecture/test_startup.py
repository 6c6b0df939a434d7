"""What Django's start and the url configuration may import: the app must stay cheap to hold."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from importlib.metadata import packages_distributions

import pytest

# Loads what `manage.py check` loads, without asking what checks then import on their own.
START = """
import importlib, json, sys
before = set(sys.modules)
import django
django.setup()
from django.conf import settings
importlib.import_module(settings.ROOT_URLCONF)
print(json.dumps(sorted(set(sys.modules) - before)))
"""

# Each costs every start of the host something; add one only with its figure from
# `python -m ml_platform.tests.benchmarks.startup`.
THIRD_PARTY = {
    "asgiref",
    "django",
    "django_stubs_ext",
    "django_tasks",
    "django_tasks_db",
    "sqlparse",
    "typing_extensions",
}


@pytest.fixture(scope="module")
def started() -> set[str]:
    answer = subprocess.run(
        [sys.executable, "-c", START],
        env={**os.environ, "DJANGO_SETTINGS_MODULE": "ml_platform.demo.settings"},
        check=True,
        capture_output=True,
        text=True,
    )
    return set(json.loads(answer.stdout))


def test_start_imports_nothing_of_google(started: set[str]):
    assert "ml_platform.models" in started
    assert {name for name in started if name.split(".")[0] in {"google", "grpc"}} == set()


def test_start_imports_neither_the_local_cloud_nor_tests(started: set[str]):
    foreign = ("ml_platform.localcloud", "ml_platform.tests")
    assert {name for name in started if name.startswith(foreign)} == set()


def test_start_imports_exactly_the_libraries_that_were_weighed(started: set[str]):
    tops = {name.split(".")[0] for name in started}
    assert tops & set(packages_distributions()) == THIRD_PARTY
