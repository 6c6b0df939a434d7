"""What the API keeps in the history: why it was asked, and what was refused, before any call."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest
from django.db import transaction
from django.test import Client

from ml_platform.models import DeployedEndpoint, Operation, Project, TrainingRun
from ml_platform.services.deployment.deployable import MODEL_NOT_FOUND
from ml_platform.services.deployment.endpoint_state import mark_version_lost
from ml_platform.tests.factories import DeployedEndpointFactory, ProjectFactory, TrainingRunFactory
from ml_platform.tests.services.world import BUCKET, Clock, a_lineage, settle

from .api_tools import bearer, keeps_contract, member_of, post

if TYPE_CHECKING:
    from ml_platform.localcloud import LocalCloud

pytestmark = pytest.mark.django_db
WHY = {"reason": "the metrics are wrong"}
NEWEST = {"version": "newest", "endpoint": "default"}
ALL = {"versions": "all"}


@pytest.fixture
def project() -> Project:
    made: Project = ProjectFactory.create()
    return made


@pytest.fixture
def ana(project: Project) -> Client:
    return bearer(member_of(project, name="ana"))


def last() -> Operation:
    return Operation.objects.latest("created_at")


def refused(answer: Any, code: str, status: int = 409) -> Operation:
    """The refusal that was answered, as the history keeps it."""
    assert (answer.status_code, answer.json()["code"]) == (status, code)
    kept = last()
    assert (kept.status, kept.error_code) == ("failed", code)
    assert kept.actor_label == "ana"
    return kept


@pytest.mark.slow
def test_every_verb_keeps_why_it_was_asked(ana: Client, project: Project, cloud: LocalCloud):
    clock = Clock()
    lineage, runs = a_lineage(cloud, clock, versions=2, project=project)
    asked: list[tuple[str, dict[str, Any]]] = [
        (f"/api/training-runs/{runs[0].pk}/deploy-cloud-run/", {"endpoint": "default"}),
        (f"/api/models/{lineage.pk}/deploy/", NEWEST),
        ("/api/deployed-endpoints/{}/deploy/", {"rollback": True}),
        ("/api/deployed-endpoints/{}/undeploy/", {}),
        ("/api/deployed-endpoints/{}/deploy/", {"again": True}),
        ("/api/deployed-endpoints/{}/undeploy/", {}),
        ("/api/deployed-endpoints/{}/delete/", {}),
        (f"/api/models/{lineage.pk}/delete/", {"versions": [1]}),
    ]
    for path, body in asked:
        endpoint = DeployedEndpoint.objects.first()
        answer = post(ana, path.format(endpoint.pk if endpoint else ""), {**body, **WHY})
        assert answer.status_code in (200, 202), answer.content
        assert (answer.json()["reason"], last().reason) == (WHY["reason"],) * 2
        clock.forward(600)
        settle(clock)
        assert last().status == "succeeded", last().error


@pytest.mark.parametrize("verb", ["deploy", "undeploy", "delete"])
def test_a_refusal_keeps_why_it_was_asked(ana: Client, project: Project, verb: str):
    endpoint = DeployedEndpointFactory(
        registered_model__project=project,
        project=project,
        model_deleted=verb == "deploy",
        state="undeploying" if verb == "delete" else "inactive",
    )
    asked = {"again": True} if verb == "deploy" else {}
    codes = {"deploy": "model_deleted", "undeploy": "not_deployed", "delete": "endpoint_active"}
    answer = post(ana, f"/api/deployed-endpoints/{endpoint.pk}/{verb}/", {**asked, **WHY})
    assert refused(answer, codes[verb]).reason == WHY["reason"]


def test_a_lineage_without_a_version_is_refused_and_the_history_keeps_it(
    ana: Client, project: Project, cloud: LocalCloud
):
    lineage, (run,) = a_lineage(cloud, Clock(), project=project)
    TrainingRun.objects.filter(pk=run.pk).update(
        registered_model=None, version=None, registration="", vertex_model_resource_name="",
        vertex_model_name="", vertex_model_version="", registered_at=None,
    )  # fmt: skip
    type(lineage).objects.filter(pk=lineage.pk).update(
        latest_run=None, total_versions=0, vertex_model_resource_name="", latest_registered_at=None
    )
    calls = len(cloud.effects.calls("*"))
    deleted = post(ana, f"/api/models/{lineage.pk}/delete/", {**ALL, **WHY})
    assert refused(deleted, "nothing_to_delete").reason == WHY["reason"]
    deployed = post(ana, f"/api/models/{lineage.pk}/deploy/", {**NEWEST, **WHY})
    assert "has no version" in refused(deployed, "not_registered").error
    assert len(cloud.effects.calls("*")) == calls


def test_a_lineage_whose_only_version_was_lost_says_so(
    ana: Client, project: Project, cloud: LocalCloud
):
    lineage, (run,) = a_lineage(cloud, Clock(), project=project)
    with transaction.atomic():
        mark_version_lost(run_id=run.pk)
    answer = post(ana, f"/api/models/{lineage.pk}/deploy/", {**NEWEST, **WHY})
    keeps_contract(answer, "/api/models/{model_id}/deploy/", "post")
    assert refused(answer, "model_not_found").error == MODEL_NOT_FOUND
    assert answer.json()["detail"] == MODEL_NOT_FOUND


def test_a_registration_that_is_refused_is_kept(ana: Client, project: Project):
    run = TrainingRunFactory(failed=True, project=project)
    answer = post(ana, f"/api/training-runs/{run.pk}/register/", WHY)
    kept = refused(answer, "not_registrable")
    assert (kept.kind, kept.subject_id, kept.reason) == ("register", str(run.pk), WHY["reason"])


def test_an_alias_that_is_refused_is_kept(ana: Client, project: Project, cloud: LocalCloud):
    lineage, _ = a_lineage(cloud, Clock(), project=project)
    path = f"/api/models/{lineage.pk}/versions/1/aliases/"
    kept = refused(post(ana, path, {"remove": ["default"]}), "invalid", 422)
    assert (kept.kind, kept.subject_name) == ("alias", f"{lineage.model_name} v1")


@pytest.mark.parametrize("path", ["gs://elsewhere/runs/{}/", f"gs://{BUCKET}/", "gs://x/y/{}0/"])
def test_artifacts_that_are_not_the_runs_own_stop_a_deletion_before_any_call(
    ana: Client, project: Project, cloud: LocalCloud, path: str
):
    lineage, (run,) = a_lineage(cloud, Clock(), project=project)
    TrainingRun.objects.filter(pk=run.pk).update(gcs_artifacts_path=path.format(run.uid.hex))
    calls = len(cloud.effects.calls("*"))
    refused(post(ana, f"/api/models/{lineage.pk}/delete/", {**ALL, **WHY}), "unsafe_path", 422)
    assert len(cloud.effects.calls("*")) == calls


def test_who_comes_second_is_told_who_holds_the_model_and_with_what(
    ana: Client, project: Project, cloud: LocalCloud
):
    lineage, runs = a_lineage(cloud, Clock(), versions=2, project=project)
    assert post(ana, f"/api/models/{lineage.pk}/delete/", {"versions": [1]}).status_code == 202
    holder = last()
    answer = post(
        ana, f"/api/training-runs/{runs[1].pk}/deploy-cloud-run/", {"endpoint": "default"}
    )
    refused(answer, "busy")
    told = answer.json()
    assert "is held by Delete chern v1, which ana began on " in told["detail"]
    assert told["operation"] == str(holder.pk)
