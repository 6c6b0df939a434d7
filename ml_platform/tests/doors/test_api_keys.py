"""Idempotency-Key: a POST that is sent again is done once, and answered to who may still ask."""

from __future__ import annotations

from datetime import timedelta
from typing import TYPE_CHECKING, Any

import pytest
from django.contrib.auth.models import Permission
from django.db import DatabaseError, connection
from django.test import Client

from ml_platform.api.http.idempotency import forget_old_answers
from ml_platform.models import IdempotentResponse, Operation, Project, TrainingRun
from ml_platform.models.clock import database_now
from ml_platform.tests.factories import (
    ProjectFactory,
    RegisteredModelFactory,
    TrainingRunFactory,
    UserFactory,
    version_of,
)

from .api_tools import bearer, member_of, post
from .test_api_verbs import a_template, ana, project

if TYPE_CHECKING:
    from ml_platform.localcloud import LocalCloud

__all__ = ["ana", "project"]  # fixtures

pytestmark = pytest.mark.django_db


def test_a_key_makes_a_repeated_post_one(ana: Client, project: Project, cloud: LocalCloud):
    body = {"project": project.pk, "model_name": "chern", "template_uri": a_template(cloud)}
    headers = {"Idempotency-Key": "k1"}
    first = post(ana, "/api/training-runs/", body, headers=headers)
    again = post(ana, "/api/training-runs/", body, headers=headers)
    assert (first.status_code, again.status_code) == (201, 201)
    assert first.content == again.content
    assert first["Location"] == again["Location"]
    assert again["Idempotent-Replayed"] == "true"
    assert TrainingRun.objects.count() == 1
    other = post(ana, "/api/training-runs/", {**body, "model_name": "b"}, headers=headers)
    assert (other.status_code, other.json()["code"]) == (409, "idempotency_key_reused")
    elsewhere = post(ana, "/api/audit/run/", headers=headers)
    assert elsewhere.status_code == 409
    without = post(ana, "/api/training-runs/", body)
    assert without.json()["id"] != first.json()["id"]


def test_a_repeated_post_is_no_error_in_the_log_of_the_database(ana: Client, project: Project):
    run = TrainingRunFactory.create(completed=True, project=project)
    path, headers = f"/api/training-runs/{run.pk}/register/", {"Idempotency-Key": "k1"}
    refused = []

    def watch(execute: Any, *statement: Any) -> Any:
        try:
            return execute(*statement)
        except DatabaseError as error:
            refused.append(error)
            raise

    with connection.execute_wrapper(watch):
        assert [post(ana, path, headers=headers).status_code for _ in range(2)] == [202, 202]
    assert refused == []


def test_a_key_belongs_to_its_user(project: Project):
    run = TrainingRunFactory.create(completed=True, project=project)
    path, headers = f"/api/training-runs/{run.pk}/register/", {"Idempotency-Key": "k1"}
    for name in ("ana", "bob"):
        answer = post(bearer(member_of(project, name=name)), path, headers=headers)
        assert answer.status_code == 202
        assert "Idempotent-Replayed" not in answer
    stranger = post(bearer(member_of(ProjectFactory.create())), path, headers=headers)
    assert stranger.status_code == 404


def test_an_answer_is_repeated_only_to_who_still_may_do_and_see_it(project: Project):
    user = member_of(project, name="ana")
    run = TrainingRunFactory.create(completed=True, project=project)
    path, headers = f"/api/training-runs/{run.pk}/register/", {"Idempotency-Key": "k1"}
    assert post(bearer(user), path, headers=headers).status_code == 202
    user.user_permissions.remove(Permission.objects.get(codename="train_registeredmodel"))
    refused = post(bearer(user), path, headers=headers)
    assert (refused.status_code, refused.json()["code"]) == (403, "right_missing")
    user.user_permissions.add(Permission.objects.get(codename="train_registeredmodel"))
    project.members.remove(user)
    assert post(bearer(user), path, headers=headers).status_code == 404
    project.members.add(user)
    again = post(bearer(user), path, headers=headers)
    assert (again.status_code, again["Idempotent-Replayed"]) == (202, "true")


def test_an_answer_about_everything_is_not_repeated_to_who_sees_less(cloud: LocalCloud):
    user = UserFactory.create(is_superuser=True, is_staff=True)
    headers = {"Idempotency-Key": "k1"}
    assert post(bearer(user), "/api/audit/run/", headers=headers).status_code == 202
    type(user).objects.filter(pk=user.pk).update(is_superuser=False)
    user = type(user).objects.get(pk=user.pk)
    user.user_permissions.set(Permission.objects.filter(codename__endswith="_registeredmodel"))
    assert post(bearer(user), "/api/audit/run/", headers=headers).status_code == 404


def test_what_was_refused_may_be_sent_again_with_its_key(ana: Client, project: Project):
    run = TrainingRunFactory.create(project=project)
    path, headers = f"/api/training-runs/{run.pk}/register/", {"Idempotency-Key": "k1"}
    assert post(ana, path, headers=headers).status_code == 409
    assert IdempotentResponse.objects.count() == 0
    TrainingRun.objects.update(status="completed")
    assert post(ana, path, headers=headers).status_code == 202


def test_a_key_whose_request_was_never_answered_is_no_obstacle(ana: Client, project: Project):
    run = TrainingRunFactory.create(completed=True, project=project)
    path, headers = f"/api/training-runs/{run.pk}/register/", {"Idempotency-Key": "k1"}
    first = post(ana, path, headers=headers)
    IdempotentResponse.objects.update(status=None, body="", location="")
    again = post(ana, path, headers=headers)
    assert (again.status_code, again.content) == (202, first.content)
    assert Operation.objects.count() == 1
    IdempotentResponse.objects.update(status=None, body="", location="")
    other = post(ana, path, {"reason": "another one"}, headers=headers)
    assert (other.status_code, other.json()["code"]) == (409, "idempotency_key_reused")


def test_a_deploy_sent_again_is_answered_though_its_version_may_not_be_deployed_now(
    ana: Client, project: Project
):
    run = version_of(RegisteredModelFactory.create(project=project))
    path, headers = f"/api/training-runs/{run.pk}/deploy-cloud-run/", {"Idempotency-Key": "k1"}
    body = {"endpoint": "default"}
    first = post(ana, path, body, headers=headers)
    IdempotentResponse.objects.update(status=None, body="", location="")
    TrainingRun.objects.update(registration="deleting")
    again = post(ana, path, body, headers=headers)
    assert (again.status_code, again.content) == (202, first.content)
    assert Operation.objects.count() == 1


def test_old_answers_are_forgotten(ana: Client, project: Project):
    run = TrainingRunFactory.create(completed=True, project=project)
    path, headers = f"/api/training-runs/{run.pk}/register/", {"Idempotency-Key": "k1"}
    post(ana, path, headers=headers)
    assert forget_old_answers() == 0
    IdempotentResponse.objects.update(created_at=database_now() - timedelta(days=8))
    assert forget_old_answers() == 1


@pytest.mark.parametrize("key", ["", "with space", "x" * 201, "käse"])
def test_a_key_that_is_none_is_refused(ana: Client, key: str):
    answer = post(ana, "/api/audit/run/", headers={"Idempotency-Key": key})
    assert (answer.status_code, answer.json()["code"]) == (422, "bad_idempotency_key")
