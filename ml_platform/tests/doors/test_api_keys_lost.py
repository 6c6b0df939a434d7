"""Whatever dies under a request with an Idempotency-Key: sent again it is one answer, done once."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING, Any

import pytest
from django.apps import apps
from django.db import connection, connections
from django.test import Client

from ml_platform.actions import models as model_actions
from ml_platform.api.http.auth import make_token
from ml_platform.models import (
    IdempotentResponse,
    Operation,
    Project,
    RegisteredModel,
    TrainingRun,
    TrainingSchedule,
)
from ml_platform.models.clock import database_now
from ml_platform.services.deletion.delete import delete_versions
from ml_platform.tests.factories import ProjectFactory, UserFactory

from .api_tools import bearer, keeps_contract, post
from .dying import Death, dying_at_commit, dying_at_statement
from .keyed_verbs import VERBS, ActionRequest, delete_model, register, retry_operation
from .test_api_verbs import a_template

if TYPE_CHECKING:
    from ml_platform.localcloud import LocalCloud

pytestmark = [pytest.mark.django_db(transaction=True), pytest.mark.slow]

COUNTED = (Operation, TrainingRun, TrainingSchedule)


@pytest.fixture
def project(cloud: LocalCloud, settings: Any) -> Project:
    settings.ML_PLATFORM = {
        **settings.ML_PLATFORM,
        "PUBLIC_URL": "https://ml.example.com/",
        "WEBHOOK_SERVICE_ACCOUNTS": ["ringer@demo-project.iam.gserviceaccount.com"],
    }
    a_template(cloud)
    made: Project = ProjectFactory.create()
    return made


@pytest.fixture
def root() -> Client:
    client = bearer(UserFactory.create(username="ana", is_superuser=True, is_staff=True))
    client.raise_request_exception = False
    assert client.get("/api/models/").status_code == 200  # the token's use is written once a minute
    return client


def counts() -> dict[str, int]:
    return {model.__name__: model._default_manager.count() for model in COUNTED}


def made_by(root: Client, project: Project, verb: Callable[[Project, int], ActionRequest]) -> Any:
    """How many rows of each kind one undisturbed request makes."""
    path, body, _ = verb(project, 0)
    before = counts()
    answer = post(root, path, body, headers={"Idempotency-Key": "undisturbed"})
    assert answer.status_code < 300, answer.content
    return {name: count - before[name] for name, count in counts().items()}


# After a statement is before the next one, or before the commit.
WAYS = {
    "before a statement": dying_at_statement,
    "before a commit": lambda death: dying_at_commit(death, after=False),
    "after a commit": lambda death: dying_at_commit(death, after=True),
}


def deaths() -> Iterator[tuple[int, str]]:
    for way in WAYS:
        yield from ((at, way) for at in range(1, 99))


@pytest.mark.on_postgresql
@pytest.mark.timeout(300)
@pytest.mark.parametrize("name", VERBS)
def test_a_database_that_ends_the_connection_costs_one_more_try(
    root: Client, project: Project, name: str
):
    verb = VERBS[name]
    usual = made_by(root, project, verb)
    died, way_done = 0, ""
    for number, (at, way) in enumerate(deaths(), start=1):
        if way == way_done:
            continue
        path, body, written = verb(project, number)
        headers = {"Idempotency-Key": f"k{number}"}
        before, death = counts(), Death(at)
        with WAYS[way](death):
            lost = post(root, path, body, headers=headers)
        if not death.came:
            way_done = way
            assert lost.status_code < 300, lost.content
            continue
        died += 1
        if lost.status_code >= 300:
            assert (lost.status_code, lost.json()["code"]) == (503, "database_busy"), (way, at)
            assert lost["Retry-After"] == "1"
            keeps_contract(lost, written, "post")
        again = post(root, path, body, headers=headers)
        assert again.status_code < 300, (way, at, again.content)
        assert post(root, path, body, headers=headers).content == again.content
        made = {name: count - before[name] for name, count in counts().items()}
        assert made == usual, (way, at)
    assert died > 15


def test_a_job_whose_set_up_lost_its_answer_is_set_up_once(root: Client, project: Project):
    """It asks Google while it answers, so that its answer is no part of the transaction."""
    path, headers = "/api/system/setup-metrics-scheduler/", {"Idempotency-Key": "k"}
    first = post(root, path, headers=headers)
    IdempotentResponse.objects.update(status=None, body="", location="")
    again = post(root, path, headers=headers)
    assert (again.status_code, again.json()["action"]) == (200, "created")
    assert again.content == first.content
    assert Operation.objects.count() == 1


def test_a_request_that_still_runs_is_waited_for_or_said_to(
    root: Client, project: Project, monkeypatch: pytest.MonkeyPatch
):
    path, body, _ = delete_model(project, 1)
    headers = {"Idempotency-Key": "k"}
    begun, go_on = threading.Event(), threading.Event()

    def slow(**asked: Any) -> Any:
        begun.set()
        assert go_on.wait(20)
        return delete_versions(**asked)

    monkeypatch.setattr(model_actions, "delete_versions", slow)
    answers = []

    def ask() -> None:
        try:
            answers.append(post(root, path, body, headers=headers))
        finally:
            connections.close_all()

    first, second = threading.Thread(target=ask), threading.Thread(target=ask)
    first.start()
    assert begun.wait(20)
    if connection.vendor == "postgresql":
        running = post(root, path, body, headers=headers)
        assert (running.status_code, running.json()["code"]) == (409, "request_running")
        assert running["Retry-After"] == "1"
    second.start()
    go_on.set()
    for thread in (first, second):
        thread.join(30)
    again = post(root, path, body, headers=headers)
    assert again["Idempotent-Replayed"] == "true"
    assert {answer.content for answer in answers if answer.status_code == 202} == {again.content}
    assert Operation.objects.count() == 1


PROGRAM = """
import os, signal, sys
import django
django.setup()
from django.db import connection
from django.test import Client

token, path, verb, table = sys.argv[1:]

def watch(execute, text, *rest):
    found = execute(text, *rest)
    if text.startswith(verb) and table in text.partition("(")[0]:
        os.kill(os.getpid(), signal.SIGKILL)
    return found

with connection.execute_wrapper(watch):
    Client().post(
        path, {}, "application/json",
        headers={"Authorization": f"Bearer {token}", "Idempotency-Key": "k"},
    )
"""


@pytest.mark.parametrize("table", ["keptanswer", "operation"])
@pytest.mark.parametrize("verb", ["INSERT", "UPDATE"])
def test_a_worker_that_is_killed_locks_no_key(project: Project, verb: str, table: str):
    user = UserFactory.create(username="ana", is_superuser=True, is_staff=True)
    _, token = make_token(user=user, name="tests", days=1, now=database_now())
    path, body, _ = register(project, 1) if verb == "INSERT" else retry_operation(project, 1)
    before = Operation.objects.count()
    named = f'"{apps.get_app_config("ml_platform").label}_{table}"'
    died = subprocess.run(
        [sys.executable, "-c", PROGRAM, token, path, verb, named],
        env={**os.environ, "DJANGO_SETTINGS_MODULE": "ml_platform.tests.settings"},
        timeout=60,
        check=False,
    )
    assert died.returncode == -signal.SIGKILL
    client = Client(headers={"Authorization": f"Bearer {token}", "Idempotency-Key": "k"})
    again = post(client, path, body)
    assert again.status_code == 202, again.content
    assert "Idempotent-Replayed" not in again
    assert post(client, path, body).content == again.content
    assert Operation.objects.count() == before + (verb == "INSERT")
    assert IdempotentResponse.objects.count() == 1
    assert RegisteredModel.objects.count() == 0
