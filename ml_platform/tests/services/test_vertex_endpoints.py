"""Vertex AI endpoints are a plane: what people deploy there is listed, shown, and judged."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest
from django.test import Client
from django.urls import reverse
from google.cloud.aiplatform_v1.services.endpoint_service import EndpointServiceClient

from ml_platform.cloud.transport import channels
from ml_platform.models import Finding, MirroredEndpoint, RegisteredModel, Sweep
from ml_platform.models.clock import database_now
from ml_platform.models.states import Registration
from ml_platform.services.operations.store import Actor
from ml_platform.services.registry.lineages import clear_pointer
from ml_platform.services.sweeps import audit
from ml_platform.services.sweeps.audit import AuditVerdict, compare_sweep
from ml_platform.services.sweeps.sweep import sweep

from .people import vertex_endpoint
from .vertex_rows import managed

if TYPE_CHECKING:
    from ml_platform.localcloud import LocalCloud

pytestmark = pytest.mark.django_db
KIND = "vertex_endpoint_unregistered"


def look() -> Sweep:
    return sweep(actor=Actor(label="ana", origin="command"), clock=database_now)


def version(lineage: RegisteredModel, number: int = 1) -> str:
    return f"{lineage.vertex_model_resource_name}@{number}"


def by_hand(cloud: LocalCloud, lineage: RegisteredModel) -> str:
    """A person uploads another version into our model, which is not its default version."""
    folder = lineage.training_runs.get().gcs_artifacts_path
    asked: Any = {
        "parent": channels.location_path(),
        "parent_model": lineage.vertex_model_resource_name,
        "model": {
            "display_name": "by hand",
            "artifact_uri": f"{folder}pushed_model/1",
            "container_spec": {"image_uri": "i"},
        },
    }
    channels.client("ModelService").upload_model(asked).result()
    return version(lineage, 2)


@pytest.mark.slow
def test_what_an_endpoint_serves_is_listed_and_shown(
    cloud: LocalCloud, admin_client: Client
) -> None:
    lineage = managed(cloud)
    pages = [
        reverse("ml_platform:model", args=[lineage.pk]),
        reverse("ml_platform:registry_health"),
    ]
    with vertex_endpoint(cloud, version(lineage)) as endpoint:
        before = cloud.effects.count("EndpointService.*")
        done = look()
        assert cloud.effects.count("EndpointService.*") - before == 1
        row = MirroredEndpoint.objects.get()
        (deployed,) = row.deployed
        model_id = lineage.vertex_model_resource_name.rpartition("/")[2]
        assert (row.resource_name, row.display_name) == (endpoint, "front")
        assert row.remote_created_at is not None
        assert deployed["model"].endswith(f"/models/{model_id}")
        assert (deployed["version"], deployed["percent"]) == ("1", 100)
        assert Finding.objects.count() == 0
        assert done.counts["vertex_endpoints"] == 1
        assert audit.counts(done, project=lineage.project)["vertex_endpoints"] == 1
        told = admin_client.get(f"/api/models/{lineage.pk}/").json()["vertex_endpoints"]
        assert [(at["endpoint"], at["display_name"]) for at in told] == [(endpoint, "front")]
        assert [(at["vertex_model_version"], at["percent"]) for at in told] == [("1", 100)]
        shown = [admin_client.get(page).content.decode() for page in pages]
        assert "version 1 in Vertex AI at its endpoint front (100 %)" in shown[0]
        assert f"{model_id}@1 (100 %)" in shown[1]
    look()
    assert MirroredEndpoint.objects.get().deployed == []
    assert "Vertex AI at its endpoint" not in admin_client.get(pages[0]).content.decode()


def test_a_version_of_our_model_that_is_not_registered_is_found_until_it_is_undeployed(
    cloud: LocalCloud,
) -> None:
    ours, other = managed(cloud), cloud.models.seed("somebodys", display_name="somebodys")
    with (
        vertex_endpoint(cloud, by_hand(cloud, ours)) as endpoint,
        vertex_endpoint(cloud, f"{other}@1"),
    ):
        look()
        found = Finding.objects.get(kind=KIND)
        assert (found.registered_model, found.project) == (ours, ours.project)
        assert found.evidence["endpoint"] == endpoint
        assert found.title == (
            f"The Vertex AI endpoint front serves version 2 of {ours.model_name}, "
            "which is not registered"
        )
    look()
    found.refresh_from_db()
    assert found.status == "gone"


@pytest.mark.parametrize("registration", [Registration.LOST, Registration.DELETED])
def test_a_version_that_our_rows_gave_up_is_named_with_its_run(
    cloud: LocalCloud, registration: Registration
) -> None:
    lineage = managed(cloud, versions=2)
    run = lineage.training_runs.get(version=1)
    with vertex_endpoint(cloud, version(lineage)):
        clear_pointer(run=run, registration=registration)
        look()
        found = Finding.objects.get(kind=KIND)
        assert (found.run, found.title.rpartition(" ")[2]) == (run, registration.label.lower())


@pytest.mark.slow
def test_endpoints_that_cannot_be_listed_are_unknown_and_not_none(
    cloud: LocalCloud, settings: Any, admin_client: Client
) -> None:
    settings.ML_PLATFORM = {**settings.ML_PLATFORM, "RETRY_TIMEOUT": 0.0}
    lineage = managed(cloud)
    with vertex_endpoint(cloud, by_hand(cloud, lineage)):
        look()
        cloud.faults.order("EndpointService.*", code="PERMISSION_DENIED", times=None)
        done = look()
        cloud.faults.clear()
    assert done.planes["vertex_endpoints"]["read"] is False
    assert done.counts["vertex_endpoints"] is None
    assert audit.counts(done)["vertex_endpoints"] is None
    # They decide no count, so they hide no difference between the others: a version made by hand.
    assert compare_sweep(done) == AuditVerdict.DIFFER
    assert [f.kind for f in Finding.objects.open().exclude(kind=KIND)] == ["more_versions"]
    assert MirroredEndpoint.objects.count() == 1
    assert Finding.objects.get(kind=KIND).status == "open"
    page = admin_client.get(reverse("ml_platform:model", args=[lineage.pk])).content.decode()
    assert "at its endpoint front (100 %), as last seen" in page
    assert "unknown at endpoints of Vertex AI: " in page
    assert admin_client.get(f"/api/models/{lineage.pk}/").json()["vertex_endpoints"] is None


def test_they_are_listed_once_for_each_hundred(cloud: LocalCloud) -> None:
    client: EndpointServiceClient = channels.client("EndpointService")
    for number in range(101):
        made = {"parent": channels.location_path(), "endpoint": {"display_name": f"e{number}"}}
        client.create_endpoint(made)
    before = cloud.effects.count("EndpointService.ListEndpoints")
    look()
    assert cloud.effects.count("EndpointService.ListEndpoints") - before == 2
    assert MirroredEndpoint.objects.count() == 101
