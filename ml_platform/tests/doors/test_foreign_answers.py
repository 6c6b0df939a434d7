"""A model whose labels a person replaced, through the API: shown as foreign, refused, relabeled."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest
from django.test import Client

from ml_platform.cloud import vertex
from ml_platform.cloud.names import ModelName
from ml_platform.models import Operation, RegisteredModel, TrainingRun
from ml_platform.models.clock import database_now
from ml_platform.services.operations.worker import resume_operations
from ml_platform.services.registry.registry_state import OTHER_LABELS
from ml_platform.tests.factories import ProjectFactory, UserFactory
from ml_platform.tests.services.vertex_rows import managed

from .api_tools import bearer, keeps_contract, post

if TYPE_CHECKING:
    from ml_platform.localcloud import LocalCloud

pytestmark = pytest.mark.django_db


@pytest.fixture
def root() -> Client:
    return bearer(UserFactory.create(username="ana", is_superuser=True, is_staff=True))


def looked_at(root: Client, **query: Any) -> dict[str, Any]:
    """The only model of the list, after a sweep."""
    post(root, "/api/audit/run/")
    resume_operations(clock=database_now)
    answer = root.get("/api/models/", query)
    keeps_contract(answer, "/api/models/")
    (item,) = answer.json()["items"]
    return dict(item)


def last_error() -> tuple[str, str]:
    operation = Operation.objects.order_by("-created_at").first()
    assert operation
    return operation.status, operation.error_code


@pytest.mark.slow
def test_it_is_shown_refused_and_relabeled(root: Client, cloud: LocalCloud) -> None:
    project = ProjectFactory.create()
    lineage = managed(cloud, project=project)
    TrainingRun.objects.update(registered_at=database_now())
    RegisteredModel.objects.update(latest_registered_at=database_now())
    name = ModelName.parse(lineage.vertex_model_resource_name).at("1")
    vertex.update_model_labels(name, {"team": "red"})

    item = looked_at(root)
    assert (item["registry_verified"], item["registry_state"]) == (None, "foreign")
    assert (item["registry_reason"], item["verified_at"] is None) == (OTHER_LABELS, False)
    assert root.get("/api/models/?registry_state=foreign").json()["pagination"]["total"] == 1
    live = root.get("/api/models/?verify=live").json()
    assert live["items"][0]["registry_verified"] is None
    assert "the label mlp_owner is missing" in live["items"][0]["registry_reason"]
    (finding,) = root.get("/api/audit/?kind=labels_changed").json()["items"]
    assert finding["repair"].startswith("Read the version again"), finding
    page = Client()
    page.force_login(UserFactory.create(username="bo", is_superuser=True, is_staff=True))
    assert "Labels changed" in page.get(f"/models/{lineage.pk}/").content.decode()
    assert (
        "Relabel the version"
        in page.get(f"/registry-health/findings/{finding['id']}/").content.decode()
    )

    post(root, f"/api/models/{lineage.pk}/delete/", {"versions": "all"})
    resume_operations(clock=database_now)
    assert last_error() == ("failed", "foreign_version")

    assert finding["evidence"]["vertex_label_mlp_owner"] == ""
    post(root, f"/api/audit/findings/{finding['id']}/repair/", {"action": "repair"})
    resume_operations(clock=database_now)
    assert last_error() == ("succeeded", "")
    assert vertex.get_model(name).labels["team"] == "red"
    assert looked_at(root)["registry_verified"] is True
