"""Check now: who may ask for a sweep, what it changes, and how it fails."""

from __future__ import annotations

import pytest
from django.contrib.auth import get_user_model
from django.test import Client

from ml_platform.cloud.transport import channels
from ml_platform.models import Operation, Sweep
from ml_platform.models.clock import database_now
from ml_platform.models.states import SweepStatus
from ml_platform.services.operations.store import Actor
from ml_platform.services.sweeps.operation import check_registry
from ml_platform.tests.factories import ProjectFactory, UserFactory

URL = "/registry-health/check/"

pytestmark = [pytest.mark.django_db, pytest.mark.any_database]


@pytest.fixture
def admin():
    client = Client(enforce_csrf_checks=True)
    client.force_login(get_user_model().objects.create_superuser("root", password="pw"))
    return client


def post(client, **values):
    client.get("/")  # the page with the form gives the token
    token = client.cookies["csrftoken"].value
    return client.post(URL, {"csrfmiddlewaretoken": token, **values})


@pytest.mark.slow
def test_check_now_sweeps_and_returns_to_where_it_was_asked(cloud, admin):
    channels.storage_client().create_bucket("demo-artifacts")
    answer = post(admin, back="registry_health")
    assert (answer.status_code, answer["Location"]) == (302, "/registry-health/")
    sweep = Sweep.objects.get()
    assert (sweep.status, sweep.actor_label) == (SweepStatus.COMPLETE, "root")
    assert cloud.effects.count("ModelService.ListModels") == 1
    operation = Operation.objects.get()
    assert (operation.kind, operation.status, operation.origin) == ("sweep", "succeeded", "page")
    assert operation.data["sweep"] == sweep.pk
    assert post(admin, back="https://evil.example/")["Location"] == "/"


def test_a_cloud_that_does_not_answer_makes_an_unknown_and_no_error_page(admin, settings):
    settings.ML_PLATFORM = {**settings.ML_PLATFORM, "CALL_TIMEOUT": 0.5, "RETRY_TIMEOUT": 0.0}
    assert post(admin)["Location"] == "/"
    assert Sweep.objects.get().status == SweepStatus.PARTIAL
    assert "Vertex AI is unknown" in admin.get("/").content.decode()


def test_a_sweep_at_work_is_not_doubled(admin):
    check_registry(actor=Actor(label="other", origin="api"), clock=database_now)
    assert post(admin).status_code == 302
    assert not Sweep.objects.exists()


def test_a_wrong_setting_is_told_in_words_on_a_page(admin, settings):
    settings.ML_PLATFORM = {**settings.ML_PLATFORM, "BUCKET": ""}
    answer = post(admin)
    assert answer.status_code == 500
    assert "ML_PLATFORM has no BUCKET." in answer.content.decode()
    assert not Sweep.objects.exists()


def test_its_address_opened_or_asked_for_when_logged_out_leads_to_a_page_to_read(admin):
    assert admin.get(URL)["Location"] == "/"
    answer = Client(enforce_csrf_checks=False).post(URL, {"back": "registry_health"})
    assert answer["Location"] == "/login/?next=/registry-health/"


def test_only_who_sees_everything_may_check_and_only_with_a_token(admin):
    member = UserFactory.create()
    ProjectFactory.create().members.add(member)
    client = Client()
    client.force_login(member)
    assert "Check now" not in client.get("/").content.decode()
    assert client.post(URL).status_code == 403
    assert admin.post(URL).status_code == 403
    assert not Sweep.objects.exists()
