"""Who one says to be: headers beside a session, keys of two users, exit codes of commands."""

from __future__ import annotations

from io import StringIO
from typing import TYPE_CHECKING

import pytest
from django.contrib.auth.models import Permission
from django.core.management import call_command
from django.test import Client

from ml_platform.models import Operation, RegisteredModel, TrainingRun
from ml_platform.models.clock import database_now
from ml_platform.services.registration.register import register_run
from ml_platform.tests.factories import (
    ProjectFactory,
    RegisteredModelFactory,
    TrainingRunFactory,
    version_of,
)
from ml_platform.tests.services.world import ANA

from .api_tools import bearer, member_of, post
from .test_api_verbs import a_template

if TYPE_CHECKING:
    from ml_platform.localcloud import LocalCloud

pytestmark = pytest.mark.django_db(transaction=True)


@pytest.mark.parametrize("header", ["Basic YW5hOnB3", "Token abc", "Bearer", "Digest x", "x", ""])
def test_another_scheme_beside_a_good_session_is_refused(header: str):
    """A proxy that adds its own credentials does not fall back to the browser's user."""
    client = Client()
    client.force_login(member_of(ProjectFactory.create()))
    assert client.get("/api/models/").status_code == 200
    refused = client.get("/api/models/", headers={"Authorization": header})
    assert (refused.status_code, refused["WWW-Authenticate"]) == (401, "Bearer")


@pytest.mark.parametrize(
    ("staff", "view", "seen"),
    [
        (True, True, 2),
        (True, False, 1),
        (False, True, 1),
        (False, False, 1),
    ],
)
def test_all_projects_are_seen_by_staff_with_the_permission_only(
    staff: bool, view: bool, seen: int
):
    mine, _ = (RegisteredModelFactory.create() for _ in range(2))
    for lineage in RegisteredModel.objects.all():
        version_of(lineage)
    user = member_of(mine.project)
    user.is_staff = staff
    user.save()
    if view:
        user.user_permissions.add(Permission.objects.get(codename="view_project"))
    assert bearer(user).get("/api/models/").json()["pagination"]["total"] == seen


def test_the_same_key_of_two_users_makes_two_things(cloud: LocalCloud):
    project = ProjectFactory.create()
    body = {"project": project.pk, "model_name": "chern", "template_uri": a_template(cloud)}
    for number, name in enumerate(("ana", "bob"), 1):
        user = member_of(project, name=name)
        made = post(bearer(user), "/api/training-runs/", body, headers={"Idempotency-Key": "k"})
        assert (made.status_code, TrainingRun.objects.count()) == (201, number)


def test_a_command_that_met_a_failure_says_so_by_its_exit_code(cloud: LocalCloud):
    run = TrainingRunFactory.create(completed=True)
    register_run(run=run, actor=ANA, now=database_now())
    out = StringIO()
    with pytest.raises(SystemExit) as ended:
        call_command("resume_operations", stdout=out)
    assert ended.value.code == 1
    assert Operation.objects.get().status == "failed"
    assert "1 continued, 1 of them failed." in out.getvalue()
