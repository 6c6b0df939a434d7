"""What refers to a model is made while a cleanup deletes that model: no 500, nothing half done."""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta
from threading import Event
from typing import TYPE_CHECKING, Any

import pytest
from django.db import connection, transaction
from django.test import Client

from ml_platform.models import Operation, Project, RegisteredModel, TrainingSchedule
from ml_platform.models.clock import database_now
from ml_platform.services.cleanup.orphans import clean_up_orphan, clean_up_orphans
from ml_platform.services.operations.store import Actor
from ml_platform.services.operations.worker import resume_operations
from ml_platform.services.registry import lineages
from ml_platform.tests.factories import ProjectFactory, RegisteredModelFactory, UserFactory
from ml_platform.tests.services.test_locking import wait_until_it_waits

from .api_tools import bearer, post
from .keyed_verbs import create_schedule
from .test_api_verbs import a_template

if TYPE_CHECKING:
    from ml_platform.localcloud import LocalCloud

pytestmark = pytest.mark.django_db(transaction=True)
ANA = Actor(label="ana", origin="command")


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


def _one(orphan: RegisteredModel) -> None:
    clean_up_orphan(registered_model=orphan, actor=ANA, now=database_now(), days=1)
    resume_operations(clock=database_now)


def _all(orphan: RegisteredModel) -> None:
    clean_up_orphans(days=1, actor=ANA, clock=database_now)


def _deleting(
    clean_up: Callable[[RegisteredModel], None], orphan: RegisteredModel, deleted: Event, go: Event
) -> None:
    """Clean up, and commit once `go` is set."""
    try:
        with transaction.atomic():
            clean_up(orphan)
            assert not RegisteredModel.objects.filter(pk=orphan.pk).exists()
            deleted.set()
            go.wait(timeout=60)
    finally:
        deleted.set()
        connection.close()


def _asking(client: Client, path: str, body: Any) -> Any:
    try:
        return post(client, path, body)
    finally:
        connection.close()


@pytest.mark.parametrize("clean_up", [_one, _all])
def test_a_schedule_made_while_its_orphan_is_deleted_gets_a_model(
    project: Project, clean_up: Callable[[RegisteredModel], None]
) -> None:
    """The cleanup has deleted the row and not committed; the request waits and makes another."""
    old = database_now() - timedelta(days=30)
    orphan = RegisteredModelFactory.create(project=project, model_name="chern", created_at=old)
    client = bearer(UserFactory.create(is_superuser=True))
    client.raise_request_exception = False
    path, body, _ = create_schedule(project, 1)
    deleted, go = Event(), Event()
    with ThreadPoolExecutor(2) as pool:
        cleaning = pool.submit(_deleting, clean_up, orphan, deleted, go)
        assert deleted.wait(timeout=60)
        asking = pool.submit(_asking, client, path, body)
        wait_until_it_waits(asking.done)
        go.set()
        cleaning.result(timeout=60)
        answer = asking.result(timeout=60)
    assert answer.status_code == 202, answer.content
    [schedule] = TrainingSchedule.objects.all()
    assert schedule.registered_model
    assert schedule.registered_model.pk != orphan.pk


def test_a_name_that_others_make_and_delete_at_once_answers_409(
    project: Project, monkeypatch: pytest.MonkeyPatch
) -> None:
    RegisteredModelFactory.create(project=ProjectFactory.create(), model_name="chern")
    taken = RegisteredModel.objects.get().uid
    monkeypatch.setattr(lineages, "lineage_uid", lambda **_: taken)
    client = bearer(UserFactory.create(is_superuser=True))
    path, body, _ = create_schedule(project, 1)
    answer = post(client, path, body)
    assert (answer.status_code, answer.json()["code"]) == (409, "busy")
    assert not TrainingSchedule.objects.exists()
    assert not Operation.objects.exists()
