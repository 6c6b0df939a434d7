"""Approve and withdraw at the doors: the dialog, the badge, the answers of the API, the history."""

from __future__ import annotations

import re
from typing import Any

import pytest
from django.db import connection
from django.test import Client
from django.test.utils import CaptureQueriesContext

from ml_platform.models import Operation, RegisteredModel, TrainingRun
from ml_platform.services.access.rights import Right
from ml_platform.tests.factories import (
    DeployedEndpointFactory,
    ProjectFactory,
    RegisteredModelFactory,
    version_of,
)

from .api_tools import bearer, keeps_contract, logged_in, member_of, post

pytestmark = pytest.mark.django_db
APPROVE, WITHDRAW = "/api/training-runs/{}/approve/", "/api/training-runs/{}/withdraw/"


def text_of(client: Client, url: str) -> str:
    """The words of a page."""
    return " ".join(re.sub(r"<[^>]*>", " ", client.get(url).content.decode()).split())


@pytest.fixture
def project() -> Any:
    return ProjectFactory.create()


@pytest.fixture
def model(project: Any) -> RegisteredModel:
    """v1 serves, v2 was not judged."""
    made: RegisteredModel = RegisteredModelFactory.create(project=project, model_name="rank")
    first, second = version_of(made), version_of(made)
    TrainingRun.objects.filter(pk=first.pk).update(metrics={"auc": 0.81})
    TrainingRun.objects.filter(pk=second.pk).update(is_blessed=None, metrics={"auc": 0.92})
    DeployedEndpointFactory.create(registered_model=made, run=first, serving=True)
    made.refresh_from_db()
    return made


def test_the_api_approves_and_withdraws_and_says_so_of_run_and_version(model: RegisteredModel):
    ana = bearer(member_of(model.project, Right.VIEW, Right.ADMINISTER, Right.DEPLOY))
    pk = model.latest_run_id
    deploy = f"/api/training-runs/{pk}/deploy-cloud-run/"
    refused = post(ana, deploy, {"endpoint": "default"})
    assert (refused.status_code, refused.json()["code"]) == (409, "not_judged")
    answer = post(ana, APPROVE.format(pk), {"reason": " Compared. "})
    assert (answer.status_code, answer.json()["status"]) == (200, "succeeded")
    keeps_contract(answer, "/api/training-runs/{run_id}/approve/", "post")
    repeated = post(ana, APPROVE.format(pk), {"reason": "Again."})
    assert repeated.json()["id"] == answer.json()["id"]
    run = ana.get(f"/api/training-runs/{pk}/").json()
    version = ana.get(f"/api/models/{model.pk}/").json()["latest_version"]
    for said in (run, version):
        assert (said["is_blessed"], said["approval"]) == (None, "approved")
        assert (said["approval_reason"], bool(said["approval_at"])) == ("Compared.", True)
        assert said["approval_by"] == answer.json()["actor"]["name"]
    assert post(ana, deploy, {"endpoint": "default"}).status_code == 202
    answer = post(ana, WITHDRAW.format(pk), {"reason": "It is biased."})
    assert answer.status_code == 200
    keeps_contract(answer, "/api/training-runs/{run_id}/withdraw/", "post")
    refused = post(ana, deploy, {"endpoint": "default"})
    assert (refused.status_code, refused.json()["code"]) == (409, "approval_withdrawn")


def test_a_newer_version_counts_for_the_status_from_its_approval_on(model: RegisteredModel):
    ana = bearer(member_of(model.project, Right.VIEW, Right.ADMINISTER))

    def status() -> str:
        said: str = ana.get(f"/api/models/{model.pk}/").json()["deployment"]["status"]
        return said

    assert status() == "deployed"
    post(ana, APPROVE.format(model.latest_run_id), {"reason": "Compared."})
    assert status() == "outdated"
    post(ana, WITHDRAW.format(model.latest_run_id), {"reason": "It is biased."})
    assert status() == "deployed"


def test_the_dialog_shows_the_metrics_beside_those_of_what_serves(model: RegisteredModel):
    ana = logged_in(member_of(model.project, Right.VIEW, Right.ADMINISTER))
    ana.handler.enforce_csrf_checks = False
    url = f"/do/approve-version/{model.latest_run_id}/"
    assert f'href="{url}"' in ana.get(f"/models/{model.pk}/").content.decode()
    text = text_of(ana, url)
    assert "v1 serves now. Metric v1 v2 AUC 0.810 0.920" in text
    empty = ana.post(url, {"reason": " "})
    assert empty.status_code == 422
    assert "0.920" in empty.content.decode()
    assert ana.post(url, {"reason": "Compared."}).status_code == 302
    text = text_of(ana, f"/models/{model.pk}/")
    assert "✓ Approved withdraw" in text
    assert "Version approved: rank v2" in text
    ana.post(f"/do/withdraw-approval/{model.latest_run_id}/", {"reason": "It is biased."})
    page = ana.get(f"/models/{model.pk}/").content.decode()
    assert "Withdrawn by" in page
    assert "It is biased." in page


def test_only_an_administrator_is_offered_it(model: RegisteredModel):
    member = member_of(model.project, Right.VIEW, Right.TRAIN, Right.DEPLOY)
    page = logged_in(member).get(f"/models/{model.pk}/").content.decode()
    assert "/do/approve-version/" not in page
    refused = post(bearer(member), APPROVE.format(model.latest_run_id), {"reason": "So."})
    assert (refused.status_code, refused.json()["code"]) == (403, "right_missing")
    assert not Operation.objects.exists()


def test_the_page_needs_no_statement_more_for_a_version_more(
    model: RegisteredModel, django_assert_num_queries: Any
):
    ana = logged_in(member_of(model.project, Right.VIEW, Right.ADMINISTER))
    with CaptureQueriesContext(connection) as few:
        ana.get(f"/models/{model.pk}/")
    for _ in range(8):
        version_of(model)
    with django_assert_num_queries(len(few)):
        ana.get(f"/models/{model.pk}/")
