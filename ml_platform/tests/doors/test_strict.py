"""A misspelt parameter and a lost body do nothing: not everything, and not something else."""

from __future__ import annotations

from collections import defaultdict
from typing import TYPE_CHECKING, Any
from uuid import UUID

import pytest
from django.test import Client

from ml_platform.models import Finding, Operation, Project, RegisteredModel, TrainingRun
from ml_platform.models.clock import database_now
from ml_platform.tests.factories import (
    DeployedEndpointFactory,
    ProjectFactory,
    RegisteredModelFactory,
    UserFactory,
    version_of,
)
from ml_platform.tests.services.world import Clock, a_lineage

from .api_tools import bearer, contract, keeps_contract, logged_in, member_of, post

if TYPE_CHECKING:
    from ml_platform.localcloud import LocalCloud

pytestmark = [pytest.mark.django_db, pytest.mark.any_database]

ALL = {"versions": "all"}
PATHS = [
    *((path, method) for path, methods in contract()["paths"].items() for method in methods),
    ("/api/openapi.json", "get"),
    ("/api/docs", "get"),
]


@pytest.fixture
def project() -> Project:
    made: Project = ProjectFactory.create()
    return made


@pytest.fixture
def ana(project: Project) -> Client:
    return bearer(member_of(project, name="ana"))


@pytest.fixture
def model(project: Project) -> RegisteredModel:
    """A model with two versions."""
    made: RegisteredModel = RegisteredModelFactory.create(project=project)
    version_of(made)
    version_of(made)
    return made


def url_of(path: str) -> str:
    return path.format_map(defaultdict(lambda: 1, operation_id=UUID(int=1)))


def refused(answer: Any, status: int, code: str) -> dict[str, Any]:
    assert (answer.status_code, answer["Content-Type"]) == (status, "application/problem+json")
    told: dict[str, Any] = answer.json()
    assert told["code"] == code
    assert told["advice"]
    return told


# ---- parameters ----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("query", "code"),
    [
        ("dry-run=true", "unknown_parameter"),
        ("dryRun=true", "unknown_parameter"),
        ("DRY_RUN=true", "unknown_parameter"),
        ("Dry_Run=true", "unknown_parameter"),
        ("validate_only=true", "unknown_parameter"),
        ("dry_run=true&x", "unknown_parameter"),
        ("dry_run%20=true", "unknown_parameter"),
        ("=true", "unknown_parameter"),
        ("true", "unknown_parameter"),
        ("dry_run=true&dry_run=false", "repeated_parameter"),
        ("dry_run=true&dry_run=true", "repeated_parameter"),
        ("dry_run=", "invalid_request"),
        ("dry_run", "invalid_request"),
        ("dry_run=yes", "invalid_request"),
        ("dry_run=True", "invalid_request"),
        ("dry_run=2", "invalid_request"),
        ("dry_run=%00", "nul_character"),
    ],
)
def test_a_dry_run_that_is_misspelt_deletes_nothing(
    ana: Client, model: RegisteredModel, query: str, code: str
):
    answer = post(ana, f"/api/models/{model.pk}/delete/?{query}", ALL)
    told = refused(answer, 422, code)
    keeps_contract(answer, "/api/models/{model_id}/delete/", "post")
    if code in ("unknown_parameter", "repeated_parameter"):
        assert "dry_run" in told["advice"]
    assert not Operation.objects.exists()
    assert {run.registration for run in TrainingRun.objects.all()} == {"registered"}


@pytest.mark.django_db
@pytest.mark.parametrize("word", ["true", "1"])
def test_a_dry_run_is_asked_for_in_two_ways(
    ana: Client, project: Project, cloud: LocalCloud, word: str
):
    lineage, _ = a_lineage(cloud, Clock(), project=project)
    answer = post(ana, f"/api/models/{lineage.pk}/delete/?dry_run={word}", ALL)
    assert (answer.status_code, answer.json()["ends_registration"]) == (200, True)
    assert not Operation.objects.filter(kind="delete").exists()


def test_no_path_takes_a_parameter_that_it_does_not_know():
    client = bearer(UserFactory.create(is_superuser=True, is_staff=True))
    for path, method in PATHS:
        answer = client.generic(method.upper(), f"{url_of(path)}?nonsense=1")
        assert "nonsense" in refused(answer, 422, "unknown_parameter")["detail"], path
        if method == "get":
            assert client.head(f"{url_of(path)}?nonsense=1").status_code == 422, path
    assert not Operation.objects.exists()


@pytest.mark.parametrize("query", ["page=1&page=1", "search=a&search=b", "cursor=&cursor="])
def test_a_parameter_of_a_list_is_given_once(ana: Client, query: str):
    told = refused(ana.get(f"/api/models/?{query}"), 422, "repeated_parameter")
    assert query.partition("=")[0] in told["detail"]


@pytest.mark.parametrize("query", ["Version=1", "v=1", "version=1&version=2", "dry_run=true"])
def test_the_page_of_a_deletion_knows_its_parameter_only(model: RegisteredModel, query: str):
    browser = logged_in(member_of(model.project))
    answer = browser.get(f"/models/{model.pk}/delete/?{query}")
    assert answer.status_code == 422
    assert "all 2 versions" not in answer.content.decode()


# ---- bodies that are lost --------------------------------------------------------------------


@pytest.fixture
def targets(project: Project, model: RegisteredModel) -> dict[str, Any]:
    run = model.latest_run
    now = database_now()
    finding = Finding.objects.create(
        kind="stale_pointer", subject="x", title="x", repair="x", project=project,
        registered_model=model, first_seen_at=now, last_seen_at=now,
    )  # fmt: skip
    endpoint = DeployedEndpointFactory.create(registered_model=model, run=run, project=project)
    return {
        "model_id": model.pk, "version": 1, "run_id": run.pk if run else 0,
        "endpoint_id": endpoint.pk, "finding_id": finding.pk, "schedule_id": 1,
        "project_id": project.pk,
    }  # fmt: skip


NEEDED: dict[str, tuple[str, dict[str, Any]]] = {
    "delete": ("/api/models/{model_id}/delete/", ALL),
    "plan": ("/api/models/{model_id}/delete/?dry_run=true", ALL),
    "deploy model": (
        "/api/models/{model_id}/deploy/",
        {"version": "newest", "endpoint": "default"},
    ),
    "deploy run": ("/api/training-runs/{run_id}/deploy-cloud-run/", {"endpoint": "default"}),
    "redeploy": ("/api/deployed-endpoints/{endpoint_id}/deploy/", {"again": True}),
    "repair": ("/api/audit/findings/{finding_id}/repair/", {"action": "repair"}),
    "ignore": ("/api/audit/findings/{finding_id}/ignore/", {"reason": "known"}),
    "approve": ("/api/training-runs/{run_id}/approve/", {"reason": "known"}),
    "withdraw": ("/api/training-runs/{run_id}/withdraw/", {"reason": "known"}),
    "aliases": ("/api/models/{model_id}/versions/{version}/aliases/", {"add": ["champion"]}),
    "tags": ("/api/models/{model_id}/tags/", {"add": {"team": "search"}}),
    "rename": ("/api/projects/{project_id}/rename/", {"name": "shop"}),
    "add member": ("/api/projects/{project_id}/add-member/", {"user": "ana"}),
    "remove member": ("/api/projects/{project_id}/remove-member/", {"user": "ana"}),
}
"""Where a body says what is done, and one that says it."""
OPTIONAL = (
    "/api/training-runs/{run_id}/register/",
    "/api/deployed-endpoints/{endpoint_id}/undeploy/",
    "/api/deployed-endpoints/{endpoint_id}/delete/",
    "/api/projects/{project_id}/archive/",
    "/api/projects/{project_id}/unarchive/",
)
"""Where a body says why at most: it is `{}` at least."""
NO_BODY = [
    path
    for path, methods in contract()["paths"].items()
    if "post" in methods
    and "requestBody" not in methods["post"]
    and "webhooks" not in methods["post"]["tags"]
]


@pytest.mark.parametrize("body", [b"", b"{}", b"null", b"[]", b"{}x", b'"all"', b'{"reason": ""}'])
@pytest.mark.parametrize("name", sorted(NEEDED.keys() - {"ignore"}))
def test_no_verb_takes_nothing_for_something(
    ana: Client, targets: dict[str, Any], name: str, body: bytes
):
    path = NEEDED[name][0].format(**targets)
    answer = ana.post(path, data=body, content_type="application/json")
    assert answer.status_code == (400 if body == b"{}x" else 422), answer.content
    assert answer["Content-Type"] == "application/problem+json"
    assert not Operation.objects.exists()


def test_every_body_of_the_contract_is_required_and_missed_when_it_is_lost(
    ana: Client, targets: dict[str, Any]
):
    walked = 0
    for path, methods in contract()["paths"].items():
        wanted = methods.get("post", {}).get("requestBody")
        if wanted is None:
            continue
        walked += 1
        assert wanted["required"], path
        answer = ana.post(path.format(**targets), data=b"", content_type="application/json")
        assert refused(answer, 422, "invalid_request")["errors"][0]["field"] == "body", path
    assert walked == len(NEEDED) - 1 + len(OPTIONAL) + 4  # four that create


@pytest.mark.parametrize("path", OPTIONAL)
def test_a_body_that_says_why_at_most_may_be_empty(ana: Client, targets: dict[str, Any], path: str):
    answer = post(ana, path.format(**targets), {})
    assert answer.status_code in (200, 202, 409), answer.content


def test_a_body_that_nobody_reads_is_refused():
    root = bearer(UserFactory.create(is_superuser=True, is_staff=True))
    for path in NO_BODY:
        answer = post(root, url_of(path), {"dry_run": True})
        refused(answer, 422, "body_not_taken")
        keeps_contract(answer, path, "post")
    assert not Operation.objects.exists()


@pytest.mark.parametrize(
    ("name", "body"),
    [
        ("delete", {"versions": None}),
        ("delete", {"versions": []}),
        ("delete", {"versions": "ALL"}),
        ("delete", {"versions": "1"}),
        ("delete", {"versions": 1}),
        ("delete", {"versions": {}}),
        ("delete", {"versions": [True]}),
        ("delete", {"versions": ["1"]}),
        ("delete", {"versions": [1.0]}),
        ("delete", {"versions": [None]}),
        ("delete", {"versions": ["all"]}),
        ("delete", {"version": [1]}),
        ("redeploy", {"rollback": False}),
        ("redeploy", {"rollback": "true"}),
        ("redeploy", {"rollback": True, "again": True}),
        ("redeploy", {"run": 1, "again": True}),
        ("redeploy", {"again": 1}),
        ("deploy model", {"version": "newest"}),
        ("deploy model", {"endpoint": "default"}),
        ("deploy model", {"version": True, "endpoint": "default"}),
        ("deploy run", {"endpoint": None, "service_name": ""}),
        ("deploy run", {"endpoint": "default", "service_name": "a"}),
        ("aliases", {"add": [], "remove": []}),
    ],
)
def test_what_is_nearly_right_is_refused_and_its_field_named(
    ana: Client, targets: dict[str, Any], name: str, body: dict[str, Any]
):
    answer = post(ana, NEEDED[name][0].format(**targets), body)
    told = refused(answer, 422, "invalid_request")
    (field, *_), *_ = [each["field"].split(".")[1:] or ["body"] for each in told["errors"]]
    assert field in {*body, "versions", "version", "body"}
    assert not Operation.objects.exists()


def test_a_field_that_is_given_twice_is_refused(ana: Client, model: RegisteredModel):
    body = b'{"versions": [1], "versions": "all"}'
    path = f"/api/models/{model.pk}/delete/"
    told = refused(ana.post(path, body, content_type="application/json"), 400, "malformed_body")
    assert "twice" in told["detail"]


def test_aliases_whose_form_was_lost_stay(model: RegisteredModel):
    browser = Client()
    browser.force_login(member_of(model.project))
    run = model.latest_run
    assert run is not None
    answer = browser.post(f"/do/alias-run/{run.pk}/", {"was": "champion"})
    assert answer.status_code == 422
    assert not Operation.objects.exists()
