"""The sentences of the API's failures: each says what happened and what to do about it."""

from __future__ import annotations

from typing import Any

import pytest
from django.test import Client

from ml_platform.models import Finding, Project
from ml_platform.models.clock import database_now
from ml_platform.tests.factories import ProjectFactory, RegisteredModelFactory

from .api_tools import bearer, keeps_contract, logged_in, member_of, post

pytestmark = [pytest.mark.django_db, pytest.mark.any_database]


@pytest.fixture
def project() -> Project:
    made: Project = ProjectFactory.create()
    return made


@pytest.fixture
def ana(project: Project) -> Client:
    return bearer(member_of(project, name="ana"))


def test_a_body_that_is_left_out_or_lost_is_missed(ana: Client, project: Project):
    now = database_now()
    finding = Finding.objects.create(
        kind="orphan", subject="x", title="x", project=project, first_seen_at=now, last_seen_at=now
    )
    path = f"/api/audit/findings/{finding.pk}/ignore/"
    answer = ana.post(path, data="", content_type="application/json")
    keeps_contract(answer, "/api/audit/findings/{finding_id}/ignore/", "post")
    assert answer.status_code == 422
    assert answer.json()["errors"] == [{"field": "body", "message": "It is missing."}]


def test_a_slash_that_was_forgotten_is_asked_about(ana: Client):
    said = ana.get("/api/models").json()
    assert (said["code"], said["advice"]) == ("no_such_path", "Did you mean /api/models/ ?")
    assert "/api/docs" in ana.get("/api/nothing").json()["advice"]


def test_a_project_that_is_none_says_where_they_are(ana: Client):
    body = {"project": 99, "model_name": "m", "template_uri": "gs://a/b.json"}
    said = post(ana, "/api/training-runs/", body).json()
    assert (said["detail"], said["code"]) == ("There is no project 99.", "not_found")
    assert said["advice"] != ""


def test_another_site_is_told_from_a_missing_token(project: Project):
    RegisteredModelFactory.create(project=project)
    browser = logged_in(member_of(project))
    browser.cookies["csrftoken"] = "b" * 32
    headers = {"X-CSRFToken": "b" * 32, "Origin": "https://evil.example"}
    said = post(browser, "/api/training-runs/", headers=headers)
    assert (said.status_code, said.json()["code"]) == (403, "foreign_origin")
    assert "https://evil.example" in said.json()["detail"]
    assert "CSRF_TRUSTED_ORIGINS" in said.json()["advice"]
    said = post(browser, "/api/training-runs/", headers={"Origin": "http://testserver"})
    assert said.json()["code"] == "csrf_failed"


@pytest.mark.parametrize(
    ("query", "field", "message"),
    [
        ("page=x", "query.page", "It is not a whole number."),
        ("page=0", "query.page", "It is less than 1."),
        ("page_size=101", "query.page_size", "It is more than 100."),
        ("sort=color", "query.sort", "It is not one of registered, "),
        ("type=new", "query.type", "It is not one of 'retrieval', "),
        ("blessed=perhaps", "query.blessed", "It is neither true nor false."),
        (f"search={'x' * 64}", "query.search", "It is longer than 63 characters."),
    ],
)
def test_what_is_wrong_with_a_parameter_is_said_in_plain_words(
    ana: Client, query: str, field: str, message: str
):
    said = ana.get(f"/api/models/?{query}").json()
    assert said["code"] == "invalid_request"
    (error,) = said["errors"]
    assert error["field"] == field
    assert error["message"].startswith(message)
    assert f"{field}: {message}" in said["detail"]


@pytest.mark.parametrize("path", ["/api/models/", "/api/openapi.json", "/api/system/kpis/"])
def test_head_is_answered_as_get_without_its_body(ana: Client, path: str):
    answer: Any = ana.head(path)
    assert (answer.status_code, answer.content) == (200, b"")
    assert answer["Content-Type"] == "application/json"
