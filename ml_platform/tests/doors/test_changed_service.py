"""A service that others changed: each door tells it before a deploy, and has both repairs."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest
from django.db import connection
from django.test import Client
from django.test.utils import CaptureQueriesContext

from ml_platform.actions.caller import Caller
from ml_platform.actions.findings import REPAIR as REPAIR_FINDING
from ml_platform.models import DeployedEndpoint, Finding, Operation
from ml_platform.models.sweeps.finding import PLANE_SHRUNK
from ml_platform.services.findings.kinds import FindingKind
from ml_platform.services.serving.config import ServingConfig
from ml_platform.tests.factories import (
    DeployedEndpointFactory,
    FindingFactory,
    RegisteredModelFactory,
    UserFactory,
    version_of,
)
from ml_platform.tests.services.deploy_tools import deployed
from ml_platform.tests.services.people import edit_service
from ml_platform.tests.services.world import Clock

from .api_tools import bearer, keeps_contract, logged_in, post
from .test_registry_commands import run

if TYPE_CHECKING:
    from ml_platform.localcloud import LocalCloud

pytestmark = [pytest.mark.django_db, pytest.mark.any_database]
TOLD = "memory is 4Gi, not 2Gi"
REPAIR = "/api/audit/findings/{finding_id}/repair/"


@pytest.fixture
def root() -> Any:
    return UserFactory.create(username="root", is_superuser=True, is_staff=True)


@pytest.fixture
def endpoint() -> DeployedEndpoint:
    """An endpoint that serves the first of two versions, and the finding about its service."""
    lineage = RegisteredModelFactory.create(model_name="rank")
    first = version_of(lineage)
    version_of(lineage)
    made: DeployedEndpoint = DeployedEndpointFactory.create(
        registered_model=lineage, run=first, service_name="svc", serving=True
    )
    FindingFactory.create(
        kind=FindingKind.SERVICE_CHANGED,
        subject="service svc",
        title=f"svc was changed on Cloud Run: {TOLD}",
        evidence={"service_name": "svc", "changed": [TOLD]},
        project=lineage.project,
        registered_model=lineage,
    )
    return made


def test_a_deploy_tells_at_each_door_what_it_overwrites(
    root: Any, endpoint: DeployedEndpoint
) -> None:
    page = logged_in(root).get(f"/projects/{endpoint.project_id}/training/").content.decode()
    question = f"Others changed it on Cloud Run, which is overwritten: {TOLD}."
    assert page.count(question) >= 2  # of a deploy of the newest version, and of its own again
    path = f"/api/deployed-endpoints/{endpoint.pk}/deploy/"
    answer = post(bearer(root), path, {"again": True})
    keeps_contract(answer, "/api/deployed-endpoints/{endpoint_id}/deploy/", "post")
    assert (answer.status_code, answer.json()["overwrites"]) == (202, [TOLD])
    Finding.objects.all().delete()
    Operation.objects.all().delete()
    other = f"/api/models/{endpoint.registered_model_id}/deploy/"
    answer = post(bearer(root), other, {"version": 2, "endpoint": endpoint.pk})
    assert (answer.status_code, answer.json()["overwrites"]) == (202, [])


def test_the_repair_is_named_where_there_are_two(root: Any, endpoint: DeployedEndpoint) -> None:
    finding = Finding.objects.get()
    api, path = bearer(root), REPAIR.format(finding_id=finding.pk)
    [shown] = api.get("/api/audit/").json()["items"]
    assert shown["repairs"] == ["take_over", "put_back"]
    unnamed = post(api, path, {"action": "repair"})
    assert (unnamed.status_code, unnamed.json()["code"]) == (422, "repair_not_named")
    assert "take_over (Take it over), put_back (Put ours back)" in unnamed.json()["advice"]
    for wrong in ({}, {"repair": ""}, {"action": "adopt", "repair": "put_back"}):
        assert post(api, path, wrong).status_code == 422, wrong
    unknown = post(api, path, {"repair": "undo"})
    assert (unknown.status_code, unknown.json()["code"]) == (409, "no_safe_repair")
    assert not Operation.objects.exists()
    answer = post(api, path, {"repair": "put_back"})
    keeps_contract(answer, REPAIR, "post")
    assert (answer.status_code, answer.json()["workflow"]) == (202, "redeploy-endpoint")
    assert answer.json()["overwrites"] == [TOLD]


def test_the_page_has_a_button_for_each_repair(
    root: Any, endpoint: DeployedEndpoint, django_assert_num_queries: Any
) -> None:
    finding = Finding.objects.get()
    browser: Client = logged_in(root)
    # One says whether the plane is believed, for both buttons; another is of the banner.
    with CaptureQueriesContext(connection) as asked:
        page = browser.get(f"/registry-health/findings/{finding.pk}/").content.decode()
    assert sum(PLANE_SHRUNK in query["sql"] for query in asked) == 2
    with django_assert_num_queries(1):
        facts = REPAIR_FINDING.facts([finding] * 3, None, Caller.system("test"))
    assert [why for _, why in facts] == [""] * 3
    for slug, label in (("take_over", "Take it over"), ("put_back", "Put ours back")):
        assert f'name="repair" value="{slug}"' in page
        assert f">{label}</button>" in page
    browser.handler.enforce_csrf_checks = False
    url = f"/do/repair-finding/{finding.pk}/"
    assert browser.post(url, {"repair": "take_over"}).status_code == 302
    assert Operation.objects.get().workflow == "take-over-service"


@pytest.mark.slow
@pytest.mark.parametrize(("option", "image"), [("", "by-hand"), ("put_back", "ours:1")])
def test_the_command_takes_the_safe_repair_or_the_one_that_is_named(
    cloud: LocalCloud, option: str, image: str
) -> None:
    endpoint, _ = deployed(cloud, Clock(), config=ServingConfig(image="ours:1"))
    DeployedEndpoint.objects.update(deployed_at="2020-01-01T00:00:00Z")

    def change(service: Any) -> None:
        service.template.containers[0].image = "by-hand"

    edit_service(endpoint.service_name, change)
    named = ["--repair", option] if option else []
    code, text = run("reconcile_registry", "--yes", *named)
    assert (code, "image is by-hand, not ours:1" in text) == (0, True), text
    endpoint.refresh_from_db()
    assert endpoint.config["image"] == image
    assert not Finding.objects.open().filter(kind=FindingKind.SERVICE_CHANGED).exists()
