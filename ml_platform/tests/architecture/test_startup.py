"""What Django's start and the url configuration may import: the app must stay cheap to hold."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from importlib.metadata import packages_distributions

import pytest
from django.conf import settings
from django.db import connection
from django.test import Client

from ml_platform.tests.benchmarks.served import LISTS, PAGES, ROOT, serve
from ml_platform.tests.factories import (
    DeployedEndpointFactory,
    ProjectFactory,
    RegisteredModelFactory,
    UserFactory,
    version_of,
)

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


@pytest.mark.slow
@pytest.mark.any_database
@pytest.mark.django_db(transaction=True)
def test_a_web_process_that_serves_pages_and_lists_loads_nothing_of_google():
    project = ProjectFactory.create(pk=1)
    model = RegisteredModelFactory.create(pk=1, project=project)
    version_of(model, vertex_id="1")
    DeployedEndpointFactory.create(registered_model=model)
    client = Client()
    client.force_login(UserFactory.create(is_superuser=True, is_staff=True))
    cookie = client.cookies[settings.SESSION_COOKIE_NAME]
    name = {"ML_PLATFORM_TEST_DB_NAME": str(connection.settings_dict["NAME"])}
    sent = {"HTTP_COOKIE": f"{cookie.key}={cookie.value}"}
    assert serve((*PAGES, *LISTS), ROOT, name, sent)["google"] == []
