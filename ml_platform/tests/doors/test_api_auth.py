"""Who passes the API's door, who does not, and that another tenant's ids look like none."""

from __future__ import annotations

import json
import re
import uuid
from datetime import timedelta
from io import StringIO
from typing import Any

import pytest
from django.core.management import CommandError, call_command
from django.test import Client

from ml_platform.models import ApiToken, Finding, Operation, RegisteredModel
from ml_platform.models.clock import database_now
from ml_platform.services.access.rights import Right
from ml_platform.tests.factories import (
    DeployedEndpointFactory,
    ProjectFactory,
    RegisteredModelFactory,
    TrainingScheduleFactory,
    UserFactory,
    version_of,
)
from ml_platform.tests.incident_rows import finished_sweep

from .api_tools import bearer, contract, keeps_contract, logged_in, member_of, post

pytestmark = [pytest.mark.django_db, pytest.mark.any_database]

BODIES: dict[str, Any] = {
    "ignore_finding": {"reason": "known"},
    "approve_version": {"reason": "looked at"},
    "withdraw_approval": {"reason": "looked at"},
    "create_project": {"name": "shop"},
    "rename_project": {"name": "shop"},
    "add_member": {"user": "ana"},
    "remove_member": {"user": "ana"},
    "repair_finding": {"action": "repair"},
    "delete_model": {"versions": "all"},
    "set_aliases": {"add": ["champion"]},
    "set_tags": {"add": {"team": "search"}},
    "deploy_model": {"version": "newest", "endpoint": "default"},
    "deploy_run": {"endpoint": "default"},
    "redeploy_endpoint": {"again": True},
    "create_training_run": {"model_name": "m", "template_uri": "gs://b/t.json"},
    "create_schedule": {
        "name": "n",
        "model_name": "m",
        "template_uri": "gs://b/t.json",
        "frequency": "daily",
        "first": "2030-01-01T00:00:00Z",
    },
    "create_schedule_from_run": {
        "name": "n",
        "frequency": "daily",
        "first": "2030-01-01T00:00:00Z",
    },
}
"""What a body needs beside the ids in it; the others may be empty."""


@pytest.fixture
def foreign() -> dict[str, Any]:
    """Ids of one of each noun in a project."""
    lineage = RegisteredModelFactory.create()
    run = version_of(lineage)
    sweep = finished_sweep(database_now())
    finding = Finding.objects.create(
        kind="stale_pointer",
        subject="x",
        title="x",
        repair="x",
        project=lineage.project,
        registered_model=lineage,
        first_sweep=sweep,
        first_seen_at=database_now(),
        last_seen_at=database_now(),
    )
    operation = Operation.objects.create(
        workflow="deploy-version", kind="deploy", step="verify_model", status="running",
        project=lineage.project, actor_label="ana", origin="api",
    )  # fmt: skip
    return {
        "project": lineage.project_id,
        "project_id": lineage.project_id,
        "model_id": lineage.pk,
        "version": 1,
        "run_id": run.pk,
        "run": run.pk,
        "endpoint_id": DeployedEndpointFactory.create(registered_model=lineage, run=run).pk,
        "schedule_id": TrainingScheduleFactory.create(registered_model=lineage).pk,
        "finding_id": finding.pk,
        "operation_id": operation.pk,
    }


def operations() -> list[tuple[str, str, dict[str, Any]]]:
    return [
        (path, method, operation)
        for path, methods in contract()["paths"].items()
        for method, operation in methods.items()
    ]


def path_of(name: str) -> str:
    return next(path for path, _, each in operations() if each["operationId"] == name)


def by_a_user() -> list[tuple[str, str, dict[str, Any]]]:
    return [each for each in operations() if "webhooks" not in each[2]["tags"]]


def send(client: Client, path: str, method: str, ids: dict[str, Any], operation: Any) -> Any:
    url = re.sub(r"{(\w+)}", lambda match: str(ids[match[1]]), path)
    body = dict(BODIES.get(operation["operationId"], {}))
    if operation["operationId"].startswith("create") and path != "/api/projects/":
        body["run" if "from_run" in operation["operationId"] else "project"] = ids["project"]
    if "from_run" in operation["operationId"]:
        body["run"] = ids["run"]
    if method == "get":
        return client.get(url)
    return client.generic(
        method.upper(), url, data=json.dumps(body), content_type="application/json"
    )


def test_every_path_of_the_contract_is_walked():
    assert len(by_a_user()) > 30


def test_without_login_every_path_answers_401(foreign: dict[str, Any]):
    for path, method, operation in operations():
        answer = send(Client(), path, method, foreign, operation)
        assert answer.status_code == 401, (path, method)
        assert answer["WWW-Authenticate"] == "Bearer"
        keeps_contract(answer, path, method)


def test_a_strangers_ids_answer_404_on_every_path_and_change_nothing(foreign: dict[str, Any]):
    """He has every right, in another project."""
    stranger = bearer(member_of(ProjectFactory.create()))
    walked = 0
    before = Operation.objects.count()
    for path, method, operation in by_a_user():
        names_something = "{" in path or operation["operationId"] in BODIES
        names_something &= path != "/api/projects/"  # a new one
        if not names_something:
            continue
        walked += 1
        answer = send(stranger, path, method, foreign, operation)
        assert answer.status_code == 404, (path, method, answer.content)
        keeps_contract(answer, path, method)
        assert "test" not in answer.json()["detail"]
    assert walked > 25
    assert Operation.objects.count() == before


def test_a_strangers_lists_are_empty(foreign: dict[str, Any]):
    own = ProjectFactory.create()
    stranger = bearer(member_of(own))
    for path, method, _ in by_a_user():
        if method == "get" and "{" not in path and not path.startswith("/api/system/"):
            body = stranger.get(path).json()
            theirs = [own.pk] if path == "/api/projects/" else []
            assert [row["id"] for row in body["items"]] == theirs, path
            assert body["pagination"]["total"] == len(theirs), path
            assert stranger.get(f"{path}?project={foreign['project']}").json()["items"] == []


def test_without_the_right_to_view_every_path_answers_403(foreign: dict[str, Any]):
    project = RegisteredModel.objects.get(pk=foreign["model_id"]).project
    member = member_of(project)
    member.user_permissions.clear()
    client = bearer(member)
    for path, method, operation in by_a_user():
        answer = send(client, path, method, foreign, operation)
        assert answer.status_code == 403, (path, method)
        assert answer.json()["code"] == "right_missing"
        keeps_contract(answer, path, method)


def test_whoever_may_only_view_changes_nothing(foreign: dict[str, Any]):
    project = RegisteredModel.objects.get(pk=foreign["model_id"]).project
    client = bearer(member_of(project, Right.VIEW))
    for path, method, operation in by_a_user():
        answer = send(client, path, method, foreign, operation)
        may = method == "get" and path != "/api/system/status/"  # of the whole installation
        assert answer.status_code == (200 if may else 403), (path, method)


@pytest.mark.parametrize(
    ("name", "right"),
    [
        ("submit_run", Right.TRAIN),
        ("deploy_run", Right.DEPLOY),
        ("deploy_model", Right.DEPLOY),
        ("delete_model", Right.DELETE),
        ("delete_endpoint", Right.DELETE),
        ("pause_schedule", Right.TRAIN),
        ("cancel_operation", Right.DEPLOY),
        ("repair_finding", Right.ADMINISTER),
    ],
)
def test_each_change_needs_its_own_right_and_no_other_will_do(
    foreign: dict[str, Any], name: str, right: Right
):
    path, body = path_of(name), BODIES.get(name, {})
    project = RegisteredModel.objects.get(pk=foreign["model_id"]).project
    others = [each for each in Right if each != right]
    refused = post(bearer(member_of(project, *others)), path.format(**foreign), body)
    assert (refused.status_code, right in refused.json()["detail"]) == (403, True)
    passed = post(bearer(member_of(project, Right.VIEW, right)), path.format(**foreign), body)
    assert passed.status_code in (200, 202, 409), passed.content


def test_a_session_needs_its_csrf_token_for_a_change_only(foreign: dict[str, Any]):
    project = RegisteredModel.objects.get(pk=foreign["model_id"]).project
    browser = logged_in(member_of(project))
    path = f"/api/operations/{foreign['operation_id']}/cancel/"
    assert browser.get("/api/models/").status_code == 200
    refused = post(browser, path)
    assert (refused.status_code, refused.json()["code"]) == (403, "csrf_failed")
    browser.cookies["csrftoken"] = "a" * 32
    passed = post(browser, path, headers={"X-CSRFToken": "a" * 32})
    assert passed.status_code == 202


def test_a_bad_token_beside_a_good_session_is_refused(foreign: dict[str, Any]):
    """Else a session would lend its rights to whoever cannot show a token."""
    browser = logged_in(member_of(ProjectFactory.create()))
    answer = browser.get("/api/models/", headers={"Authorization": "Bearer mlp_nothing"})
    assert (answer.status_code, answer.json()["code"]) == (401, "bad_token")


def test_a_token_expires_is_revoked_and_ends_with_its_user():
    user = member_of(ProjectFactory.create())
    client = bearer(user)
    assert client.get("/api/models/").status_code == 200
    row = ApiToken.objects.get()
    now = database_now() - timedelta(milliseconds=1)  # the clock of SQLite counts these
    for change in ({"expires_at": now}, {"revoked_at": now}):
        ApiToken.objects.update(**change)
        assert client.get("/api/models/").status_code == 401
        ApiToken.objects.update(expires_at=now + timedelta(days=1), revoked_at=None)
    user.is_active = False
    user.save()
    assert client.get("/api/models/").status_code == 401
    assert row.digest not in client.defaults["HTTP_AUTHORIZATION"]


def test_a_tokens_last_use_is_written_once_a_minute():
    client = bearer(member_of(ProjectFactory.create()))
    client.get("/api/models/")
    first = ApiToken.objects.get().last_used_at
    assert first is not None
    client.get("/api/models/")
    assert ApiToken.objects.get().last_used_at == first
    ApiToken.objects.update(last_used_at=first - timedelta(minutes=2))
    client.get("/api/models/")
    again = ApiToken.objects.get().last_used_at
    assert again is not None
    assert again >= first


def test_the_command_makes_lists_and_revokes_tokens():
    user = member_of(ProjectFactory.create(), name="robot")
    out = StringIO()
    call_command("create_api_token", "robot", name="nightly", days=3, stdout=out)
    token = re.search(r"mlp_[\w-]{43}", out.getvalue())[0]  # type: ignore[index]
    row = ApiToken.objects.get()
    assert (row.user, row.name) == (user, "nightly")
    assert token not in row.digest
    client = Client(HTTP_AUTHORIZATION=f"Bearer {token}")
    assert client.get("/api/models/").status_code == 200
    listed = StringIO()
    call_command("create_api_token", "robot", list=True, stdout=listed)
    assert "nightly" in listed.getvalue()
    assert token not in listed.getvalue()
    call_command("create_api_token", "robot", revoke=row.pk, stdout=StringIO())
    assert client.get("/api/models/").status_code == 401


def test_the_command_knows_its_users():
    UserFactory.create(username="ana")
    with pytest.raises(CommandError, match="no active user 'bob'"):
        call_command("create_api_token", "bob", name="x")
    with pytest.raises(CommandError, match="1 to 3650"):
        call_command("create_api_token", "ana", name="x", days=0)
    with pytest.raises(CommandError, match="no valid token 7"):
        call_command("create_api_token", "ana", revoke=7)


def test_a_host_puts_its_own_authentication_in_place(settings: Any):
    settings.ML_PLATFORM = {
        **settings.ML_PLATFORM,
        "API_AUTHENTICATE": "ml_platform.tests.doors.test_api_auth.by_header",
    }
    user = member_of(ProjectFactory.create(), name="hosted")
    assert Client().get("/api/models/", headers={"X-Host-User": "hosted"}).status_code == 200
    assert Client().get("/api/models/").status_code == 401
    assert bearer(user).get("/api/models/").status_code == 401  # ours is out of use then


def by_header(request: Any) -> Any:
    from django.contrib.auth import get_user_model

    name = request.headers.get("X-Host-User")
    return get_user_model().objects.filter(username=name).first()


def test_an_unknown_path_and_an_unknown_method_are_problems_too():
    client = bearer(member_of(ProjectFactory.create()))
    missing = client.get("/api/nothing/")
    assert (missing.status_code, missing.json()["code"]) == (404, "no_such_path")
    assert missing["Content-Type"] == "application/problem+json"
    wrong = client.put("/api/models/", data="{}", content_type="application/json")
    assert (wrong.status_code, wrong["Allow"]) == (405, "GET")
    assert wrong.json()["advice"] == "Allowed: GET."


def test_an_operation_of_nobodys_project_is_seen_by_nobody_but_those_who_see_all():
    operation = Operation.objects.create(kind="cleanup", actor_label="job", origin="scheduler")
    path = f"/api/operations/{operation.pk}/"
    assert bearer(member_of(ProjectFactory.create())).get(path).status_code == 404
    staff = UserFactory.create(is_superuser=True, is_staff=True)
    assert bearer(staff).get(path).status_code == 200
    assert bearer(staff).get(f"/api/operations/{uuid.uuid4()}/").status_code == 404
