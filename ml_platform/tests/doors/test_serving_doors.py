"""What an endpoint serves: the pages, the numbers and the API say the same of it."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

import pytest
from django.db import transaction
from django.test import Client
from django.utils import timezone

from ml_platform import kpis
from ml_platform.models import DeployedEndpoint, EndpointTraffic, Project, ServiceDailyMetrics
from ml_platform.models.endpoints.serving_truth import ServedVersion, with_served_version
from ml_platform.models.registry.manifest import FilesState
from ml_platform.models.states import Registration, RegistryState
from ml_platform.services.registry.lineages import clear_pointer, sync_version_cache
from ml_platform.tests.factories import (
    DeployedEndpointFactory,
    ProjectFactory,
    RegisteredModelFactory,
    version_of,
)
from ml_platform.tests.incident_rows import ALL_READ, finished_sweep, seen_to_serve

from .api_tools import bearer, logged_in, member_of
from .test_pages_training import table

pytestmark = pytest.mark.django_db


@pytest.fixture
def project() -> Project:
    found: Project = ProjectFactory.create(name="p")
    return found


@pytest.fixture
def endpoint(project: Project) -> DeployedEndpoint:
    """It serves the only version of its model."""
    lineage = RegisteredModelFactory.create(project=project, model_name="rank")
    run = version_of(lineage)
    found: DeployedEndpoint = DeployedEndpointFactory.create(
        registered_model=lineage, run=run, service_name="svc", serving=True, project=project
    )
    return found


def lose(endpoint: DeployedEndpoint) -> None:
    run = endpoint.run
    assert run is not None
    with transaction.atomic():
        clear_pointer(run=run, registration=Registration.LOST)
        sync_version_cache(registered_model=endpoint.registered_model)


@pytest.mark.slow
def test_an_endpoint_that_serves_a_lost_version_is_green_nowhere(
    project: Project, endpoint: DeployedEndpoint
) -> None:
    now, user = timezone.now(), member_of(project)
    admin, api = logged_in(user), bearer(user)
    seen_to_serve(endpoint, now)

    def seen() -> tuple[Any, ...]:
        [item] = api.get("/api/deployed-endpoints/").json()["items"]
        one = api.get(item["url"]).json()["serving_truth"]
        of_model = api.get(f"/api/models/{endpoint.registered_model_id}/").json()
        if "endpoints" in of_model:
            assert [e["serving_truth"] for e in of_model["endpoints"]] == [one]
        counts = api.get("/api/system/kpis/").json()["counts"]["serving"]
        assert counts == api.get("/api/audit/").json()["counts"]["serving"]
        return one, *(counts[key] for key in ("active", "verified", "unverified", "whole"))

    assert seen() == ("verified", 1, 1, 0, True)
    assert "svc ✓ Active" in table(admin, project, "endpoints")
    ServiceDailyMetrics.objects.create(
        service_name="svc", project=project, read_at=now, day=now.date() - timedelta(days=1),
        requests=13_119, complete=True,
    )  # fmt: skip
    lose(endpoint)
    assert seen() == ("unverified", 1, 0, 1, False)
    assert "svc ✕ Active, unverified" in table(admin, project, "endpoints")
    for url in ("/", "/registry-health/"):
        page = admin.get(url).content.decode()
        assert (
            "svc serves rank v1, which is not in Vertex AI any more · "
            "13,119 (1 of 7 days) requests in 7 days"
        ) in page
        assert "Not all that serves is verified" in page
        assert f"/projects/{project.pk}/training/#endpoint-{endpoint.pk}" in page
    unread = {**ALL_READ, "cloud_run": {"read": False, "reason": "Quota."}}
    finished_sweep(now, planes=unread)
    assert seen() == ("unverified", 1, None, 1, False)


def test_what_was_not_read_is_unknown_with_its_last_number(
    project: Project, endpoint: DeployedEndpoint
) -> None:
    admin = logged_in(member_of(project))
    never = kpis.serving_count()
    assert (never.verified, never.last, never.whole, never.unknown) == (None, None, None, 1)
    now = timezone.now()
    seen_to_serve(endpoint, now)
    read = kpis.serving_count()
    for plane in ("cloud_run", "vertex", "gcs"):
        finished_sweep(now, planes={**ALL_READ, plane: {"read": False, "reason": f"{plane}."}})
        found = kpis.serving_count()
        assert (found.verified, found.last, found.whole) == (None, 1, None)
        assert (found.reason, found.read_at) == (f"{plane}.", read.read_at)
    assert "? Active" in table(admin, project, "endpoints")
    finished_sweep(now, planes={**ALL_READ, "scheduler": {"read": False, "reason": "Off."}})
    EndpointTraffic.objects.update(seen_at=now)
    assert kpis.serving_count().whole is True
    # A later complete reading that did not see the service says nothing about what it serves.
    EndpointTraffic.objects.update(seen_at=now - timedelta(hours=1))
    assert kpis.serving_count().whole is None


@pytest.mark.parametrize(
    ("lineage", "run", "manifest", "traffic", "served"),
    [
        ({}, {}, {}, {}, ServedVersion.VERIFIED),
        ({"registry_state": RegistryState.CHANGED}, {}, {}, {}, ServedVersion.VERIFIED),
        ({"registry_state": RegistryState.MISSING}, {}, {}, {}, ServedVersion.MISSING),
        ({"registry_state": RegistryState.SUSPECTED}, {}, {}, {}, ServedVersion.UNKNOWN),
        ({"registry_state": RegistryState.FOREIGN}, {}, {}, {}, ServedVersion.UNKNOWN),
        ({"age": timedelta(hours=3)}, {}, {}, {}, ServedVersion.UNKNOWN),
        ({"age": timedelta(hours=2)}, {}, {}, {}, ServedVersion.VERIFIED),
        ({}, {}, {"state": FilesState.CHANGED}, {}, ServedVersion.CHANGED),
        ({}, {}, {"state": FilesState.MISSING}, {}, ServedVersion.CHANGED),
        ({}, {}, {"state": FilesState.UNCHECKED}, {}, ServedVersion.UNKNOWN),
        ({}, {}, {}, {"run": None}, ServedVersion.NOT_OURS),
        ({}, {}, {}, {"run": None, "unread": "Denied."}, ServedVersion.UNKNOWN),
    ],
)
def test_what_a_revision_serves(
    endpoint: DeployedEndpoint,
    lineage: dict[str, Any],
    run: dict[str, Any],
    manifest: dict[str, Any],
    traffic: dict[str, Any],
    served: ServedVersion,
) -> None:
    now, version = timezone.now(), endpoint.run
    assert version is not None
    seen_to_serve(endpoint, now, percent=0, tag="canary", **traffic)
    age = lineage.pop("age", None)
    changes = lineage | ({"registry_checked_at": now - age} if age else {})
    type(endpoint.registered_model).objects.update(**changes) if changes else None
    type(version).objects.update(**run) if run else None
    type(version.manifest).objects.update(**manifest) if manifest else None
    [row] = with_served_version(EndpointTraffic.objects.all())
    assert row.served == served
    # A revision that only its tag reaches counts as one with traffic.
    assert kpis.serving_count().whole is {
        ServedVersion.VERIFIED: True, ServedVersion.UNKNOWN: None,
    }.get(served, False)  # fmt: skip


def test_no_text_names_a_version_of_another_project(
    project: Project, endpoint: DeployedEndpoint
) -> None:
    other = version_of(RegisteredModelFactory.create(model_name="secret"))
    seen_to_serve(endpoint, timezone.now(), run=other)
    with transaction.atomic():
        clear_pointer(run=other, registration=Registration.LOST)
        sync_version_cache(registered_model=other.registered_model)
    client: Client = logged_in(member_of(project))
    page = client.get("/").content.decode()
    assert "svc serves a model of another project, which is not in Vertex AI any more" in page
    assert "secret" not in page
