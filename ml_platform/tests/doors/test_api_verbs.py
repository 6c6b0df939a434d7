"""The API's verbs: what each opens, how it is answered, refused, and done once."""

from __future__ import annotations

import json
import threading
from datetime import timedelta
from typing import TYPE_CHECKING, Any

import pytest
from django.db.backends.signals import connection_created
from django.test import Client

from ml_platform.api import live_verification as live
from ml_platform.cloud import vertex
from ml_platform.cloud.names import ModelName
from ml_platform.models import (
    DeployedEndpoint,
    Finding,
    Operation,
    Project,
    RegisteredModel,
    TrainingRun,
    TrainingSchedule,
)
from ml_platform.models.clock import database_now
from ml_platform.services.access.rights import Right
from ml_platform.services.findings.kinds import FindingKind
from ml_platform.services.operations.worker import resume_operations
from ml_platform.tests.factories import (
    DeployedEndpointFactory,
    ProjectFactory,
    RegisteredModelFactory,
    TrainingRunFactory,
    TrainingScheduleFactory,
    UserFactory,
    version_of,
)
from ml_platform.tests.services.installations import a_bucket
from ml_platform.tests.services.training_tools import BUCKET, SPEC, TEMPLATE_URI
from ml_platform.tests.services.world import Clock, a_lineage, a_run, settle

from .api_tools import bearer, keeps_contract, logged_in, member_of, post

if TYPE_CHECKING:
    from ml_platform.localcloud import LocalCloud

pytestmark = pytest.mark.django_db


@pytest.fixture
def project() -> Project:
    made: Project = ProjectFactory.create()
    return made


@pytest.fixture
def ana(project: Project) -> Client:
    """A program of a member who has every right."""
    return bearer(member_of(project, name="ana"))


def a_template(cloud: LocalCloud) -> str:
    """A compiled pipeline in GCS."""
    cloud.storage.write(BUCKET, TEMPLATE_URI.split("/", 3)[3], json.dumps(SPEC).encode())
    return TEMPLATE_URI


def accepted(answer: Any, path: str) -> Operation:
    """The operation that a 202 speaks of."""
    assert answer.status_code == 202, answer.content
    keeps_contract(answer, path, "post")
    body = answer.json()
    assert answer["Location"] == body["url"] == f"/api/operations/{body['id']}/"
    operation = Operation.objects.get(pk=body["id"])
    assert (operation.actor_label, operation.origin) == ("ana", "api")
    return operation


@pytest.mark.slow
def test_a_run_goes_from_its_record_to_a_served_model(
    ana: Client, project: Project, cloud: LocalCloud
):
    clock = Clock()
    run = a_run(cloud, project=project)
    operation = accepted(
        post(ana, f"/api/training-runs/{run.pk}/register/"),
        "/api/training-runs/{run_id}/register/",
    )
    settle(clock)
    watched = ana.get(f"/api/operations/{operation.pk}/")
    keeps_contract(watched, "/api/operations/{operation_id}/")
    assert watched.json()["status"] == "succeeded"
    (model,) = ana.get("/api/models/").json()["items"]
    assert (model["versions"], model["deployment"]["status"]) == (1, "idle")

    opened = post(
        ana, f"/api/models/{model['id']}/deploy/", {"version": "newest", "service_name": "chern"}
    )
    accepted(opened, "/api/models/{model_id}/deploy/")
    settle(clock)
    (model,) = ana.get("/api/models/").json()["items"]
    assert model["deployment"]["status"] == "deployed"
    assert model["deployment"]["endpoint"]["service_name"] == "chern"

    refused = post(ana, f"/api/models/{model['id']}/delete/", {"versions": "all"})
    keeps_contract(refused, "/api/models/{model_id}/delete/", "post")
    assert (refused.status_code, refused.json()["code"]) == (409, "model_deployed")
    assert refused.json()["advice"] == "Undeploy it first."

    endpoint = model["deployment"]["endpoint"]["id"]
    stopped = post(ana, f"/api/deployed-endpoints/{endpoint}/undeploy/")
    accepted(stopped, "/api/deployed-endpoints/{endpoint_id}/undeploy/")
    settle(clock)
    again = post(
        ana, f"/api/deployed-endpoints/{endpoint}/deploy/", {"again": True, "config": {"cpu": "2"}}
    )
    accepted(again, "/api/deployed-endpoints/{endpoint_id}/deploy/")
    settle(clock)
    shown = ana.get(f"/api/deployed-endpoints/{endpoint}/").json()
    assert (shown["is_active"], shown["config"]["cpu"]) == (True, "2")


WRONG_CONFIGS: dict[str, tuple[dict[str, Any], str, str]] = {
    "a field": ({"cpu": "3"}, "body.config.cpu", "Use 1, 2, 4, 6, 8 or below 1."),
    "a name": ({"env": {"PORT": "1"}}, "body.config.env", "PORT and names that begin with"),
    "an unknown field": ({"port": 9}, "body.config.port", "There is no such field."),
}


@pytest.mark.parametrize("name", WRONG_CONFIGS)
def test_a_wrong_configuration_is_refused_at_its_field(ana: Client, project: Project, name: str):
    config, field, message = WRONG_CONFIGS[name]
    endpoint = DeployedEndpointFactory.create(registered_model__project=project)
    path = f"/api/deployed-endpoints/{endpoint.pk}/deploy/"
    refused = post(ana, path, {"again": True, "config": config})
    keeps_contract(refused, "/api/deployed-endpoints/{endpoint_id}/deploy/", "post")
    assert refused.status_code == 422
    (error,) = refused.json()["errors"]
    assert error["field"] == field
    assert error["message"].startswith(message)


def test_a_configuration_is_judged_with_what_the_endpoint_has(
    ana: Client, project: Project, cloud: LocalCloud
):
    run = version_of(RegisteredModelFactory.create(project=project))
    endpoint = DeployedEndpointFactory.create(
        registered_model=run.registered_model, run=run, config={"max_instances": 4, "cpu": "2"}
    )
    path = f"/api/deployed-endpoints/{endpoint.pk}/deploy/"
    refused = post(ana, path, {"again": True, "config": {"min_instances": 5}})
    assert (refused.status_code, refused.json()["code"]) == (422, "bad_config")
    assert refused.json()["advice"] == "min_instances is at most max_instances."
    operation = accepted(
        post(ana, path, {"again": True, "config": {"min_instances": 3, "cpu": None}}),
        "/api/deployed-endpoints/{endpoint_id}/deploy/",
    )
    config = operation.data["config"]
    assert (config["min_instances"], config["max_instances"], config["cpu"]) == (3, 4, "2")


@pytest.mark.slow
def test_a_deletion_shows_its_plan_then_is_done(ana: Client, project: Project, cloud: LocalCloud):
    clock = Clock()
    lineage, (first, second) = a_lineage(cloud, clock, versions=2, project=project)
    path = f"/api/models/{lineage.pk}/delete/"
    plan = post(ana, f"{path}?dry_run=true", {"versions": [2]})
    assert plan.status_code == 200
    keeps_contract(plan, "/api/models/{model_id}/delete/", "post")
    body = plan.json()
    assert [version["run"] for version in body["versions"]] == [second.pk]
    assert [version["run"] for version in body["siblings"]] == [first.pk]
    assert (body["default_moves_to"], body["ends_registration"]) == (1, False)
    assert body["size"]["objects"] == 1
    assert Operation.objects.filter(kind="delete").count() == 0

    accepted(post(ana, path, {"versions": [2]}), "/api/models/{model_id}/delete/")
    settle(clock)
    accepted(post(ana, path, {"versions": "all"}), "/api/models/{model_id}/delete/")
    settle(clock)
    assert ana.get("/api/models/").json()["kpi"]["total"] == 0
    gone = post(ana, path, {"versions": "all"})
    assert (gone.status_code, gone.json()["code"]) == (409, "nothing_to_delete")
    unknown = post(ana, path, {"versions": [9]})
    assert unknown.status_code == 404


def test_a_plan_says_whose_files_stay_and_what_is_not_ours(
    ana: Client, project: Project, cloud: LocalCloud
):
    lineage, (run,) = a_lineage(cloud, Clock(), project=project)
    cloud.models.seed(
        "4711", display_name="x", artifact_uri=f"{run.gcs_artifacts_path}pushed_model"
    )
    vertex.update_model_labels(ModelName.parse(run.vertex_model_resource_name).at("1"), {})
    plan = post(ana, f"/api/models/{lineage.pk}/delete/?dry_run=true", {"versions": [1]})
    keeps_contract(plan, "/api/models/{model_id}/delete/", "post")
    body = plan.json()
    assert body["versions"][0]["used_by"] == "model 4711@1 in Vertex AI"
    assert body["size"]["objects"] == 0
    assert [block["code"] for block in body["blocks"]] == ["foreign_version"]
    browser = logged_in(member_of(project, name="bo"))
    page = browser.get(f"/models/{lineage.pk}/delete/").content.decode()
    assert "its artifacts stay, used by model 4711@1 in Vertex AI" in page
    assert "the label mlp_owner is missing" in page


def test_aliases_move_between_versions(ana: Client, project: Project, cloud: LocalCloud):
    clock = Clock()
    lineage, _ = a_lineage(cloud, clock, versions=2, project=project)
    path = f"/api/models/{lineage.pk}/versions/1/aliases/"
    accepted(
        post(ana, path, {"add": ["champion"]}),
        "/api/models/{model_id}/versions/{version}/aliases/",
    )
    settle(clock)
    items = ana.get(f"/api/models/{lineage.pk}/versions/").json()["items"]
    assert [item["aliases"] for item in items] == [["default"], ["champion"]]
    refused = post(ana, path, {"remove": ["default"]})
    assert refused.status_code == 422


def test_a_run_is_created_submitted_cancelled_and_deleted(
    ana: Client, project: Project, cloud: LocalCloud
):
    uri = a_template(cloud)
    body = {"project": project.pk, "model_name": "chern", "template_uri": uri}
    made = post(ana, "/api/training-runs/", body)
    assert made.status_code == 201, made.content
    keeps_contract(made, "/api/training-runs/", "post")
    run = TrainingRun.objects.get()
    assert made["Location"] == f"/api/training-runs/{run.pk}/"
    assert run.registered_model is None
    accepted(
        post(ana, f"/api/training-runs/{run.pk}/submit/"), "/api/training-runs/{run_id}/submit/"
    )
    settle(Clock())
    accepted(
        post(ana, f"/api/training-runs/{run.pk}/cancel/"), "/api/training-runs/{run_id}/cancel/"
    )
    again = post(ana, f"/api/training-runs/{run.pk}/rerun/")
    assert again.status_code == 201
    assert again.json()["rerun_of"] == run.pk
    busy = ana.delete(f"/api/training-runs/{run.pk}/")
    assert busy.status_code == 409
    failed = TrainingRunFactory.create(failed=True, project=project)
    gone = ana.delete(f"/api/training-runs/{failed.pk}/")
    assert gone.status_code == 200
    keeps_contract(gone, "/api/training-runs/{run_id}/", "delete")
    assert not TrainingRun.objects.filter(pk=failed.pk).exists()


def test_a_schedule_is_created_paused_resumed_triggered_and_cancelled(
    ana: Client, project: Project, cloud: LocalCloud, settings: Any
):
    settings.ML_PLATFORM = {
        **settings.ML_PLATFORM,
        "PUBLIC_URL": "https://ml.example.com/",
        "WEBHOOK_SERVICE_ACCOUNTS": ["ringer@demo-project.iam.gserviceaccount.com"],
    }
    uri = a_template(cloud)
    first = (database_now() + timedelta(days=1)).isoformat()
    times = {"name": "nightly", "frequency": "daily", "first": first}
    made = post(
        ana,
        "/api/training/schedules/",
        {"project": project.pk, "model_name": "chern", "template_uri": uri, **times},
    )
    accepted(made, "/api/training/schedules/")
    resume_operations(clock=database_now)
    schedule = TrainingSchedule.objects.get()
    base = f"/api/training/schedules/{schedule.pk}/"
    for verb, state in (("pause", "paused"), ("resume", "active")):
        accepted(post(ana, f"{base}{verb}/"), f"/api/training/schedules/{{schedule_id}}/{verb}/")
        resume_operations(clock=database_now)
        assert ana.get(base).json()["state"] == state
    rung = post(ana, f"{base}trigger/")
    assert rung.status_code == 202
    keeps_contract(rung, "/api/training/schedules/{schedule_id}/trigger/", "post")
    run = TrainingRun.objects.get()
    assert rung.json()["run"]["id"] == run.pk
    copied = post(
        ana, "/api/training/schedules/from-run/", {**times, "name": "weekly", "run": run.pk}
    )
    accepted(copied, "/api/training/schedules/from-run/")
    accepted(post(ana, f"{base}cancel/"), "/api/training/schedules/{schedule_id}/cancel/")
    twice = post(ana, f"{base}cancel/")
    assert (twice.status_code, twice.json()["code"]) == (409, "wrong_schedule_state")


def test_a_failed_operation_is_retried_and_a_waiting_one_cancelled(ana: Client, project: Project):
    run = TrainingRunFactory.create(completed=True, project=project)
    opened = post(ana, f"/api/training-runs/{run.pk}/register/").json()
    path = f"/api/operations/{opened['id']}/"
    early = post(ana, f"{path}retry/")
    assert (early.status_code, early.json()["code"]) == (409, "not_failed")
    stopped = post(ana, f"{path}cancel/")
    assert stopped.json()["status"] == "cancelled"
    Operation.objects.update(status="failed", error="x", step="find_artifacts")
    accepted(post(ana, f"{path}retry/"), "/api/operations/{operation_id}/retry/")
    assert Operation.objects.get().status == "pending"


@pytest.mark.slow
def test_an_audit_is_run_by_whoever_sees_all_and_its_finding_repaired(
    ana: Client, project: Project, cloud: LocalCloud
):
    lineage = RegisteredModelFactory.create(project=project)
    assert post(ana, "/api/audit/run/").json()["code"] == "needs_everything"
    root = bearer(UserFactory.create(is_superuser=True, is_staff=True))
    answer = post(root, "/api/audit/run/")
    keeps_contract(answer, "/api/audit/run/", "post")
    check = answer.json()
    assert (answer.status_code, answer["Location"]) == (202, check["url"])
    assert cloud.effects.count("*") == 0  # a worker does it
    second = post(root, "/api/audit/run/")
    assert (second.status_code, second.json()["code"]) == (409, "busy")
    assert second.json()["operation"] == check["id"]
    resume_operations(clock=database_now)
    shown = ana.get("/api/audit/").json()
    assert shown["sweep"]["id"] == Operation.objects.get().data["sweep"]
    assert root.get(check["url"]).json()["status"] == "succeeded"
    (finding,) = shown["items"]
    assert (finding["kind"], finding["model"]) == ("orphan", lineage.pk)
    path = f"/api/audit/findings/{finding['id']}/repair/"
    wrong = post(ana, path, {"action": "delete"})
    assert (wrong.status_code, wrong.json()["code"]) == (409, "no_safe_repair")
    base = f"/api/audit/findings/{finding['id']}/"
    ignored = post(ana, f"{base}ignore/", {"reason": "known"})
    assert ignored.status_code == 200, ignored.content
    keeps_contract(ignored, "/api/audit/findings/{finding_id}/ignore/", "post")
    assert ana.get("/api/audit/?status=ignored").json()["pagination"]["total"] == 1
    assert post(ana, path, {"action": "repair"}).json()["code"] == "no_safe_repair"
    assert post(ana, f"{base}reopen/").status_code == 200
    accepted(post(ana, path, {"action": "repair"}), "/api/audit/findings/{finding_id}/repair/")
    settle(Clock())
    assert not RegisteredModel.objects.filter(pk=lineage.pk).exists()


@pytest.mark.slow
def test_an_unmanaged_model_is_adopted_or_deleted_as_a_person_chooses(
    project: Project, cloud: LocalCloud
):
    a_bucket()
    for name in ("one", "two"):
        cloud.models.seed(name, display_name=name)
    root = bearer(UserFactory.create(username="ana", is_superuser=True, is_staff=True))
    post(root, "/api/audit/run/")
    resume_operations(clock=database_now)
    one, two = Finding.objects.filter(kind=FindingKind.UNMANAGED).order_by("pk")
    path = "/api/audit/findings/{finding_id}/repair/"
    vague = post(root, path.format(finding_id=one.pk), {"action": "adopt"})
    assert (vague.status_code, vague.json()["code"]) == (422, "adopt_needs_name")
    adopt = {"action": "adopt", "project": project.pk, "model_name": "adopted"}
    accepted(post(root, path.format(finding_id=one.pk), adopt), path)
    accepted(post(root, path.format(finding_id=two.pk), {"action": "delete"}), path)
    settle(Clock())
    assert RegisteredModel.objects.registered().get().model_name == "adopted"
    assert cloud.effects.count("ModelService.DeleteModel") == 1


# ---- bodies --------------------------------------------------------------------------------------


@pytest.mark.any_database
@pytest.mark.parametrize(
    ("body", "kind", "status", "code"),
    [
        (b"{", "application/json", 400, "malformed_body"),
        (b"\xff", "application/json", 400, "malformed_body"),
        (b'{"reason": "\\u0000"}', "application/json", 400, "malformed_body"),
        (b'{"reason": "\\ud800"}', "application/json", 400, "malformed_body"),
        (b'{"reason": NaN}', "application/json", 400, "malformed_body"),
        (b"[" * 100_000, "application/json", 400, "malformed_body"),
        (b"[]", "application/json", 422, "invalid_request"),
        (b'{"reason": 1}', "application/json", 422, "invalid_request"),
        (b'{"state": "x"}', "application/json", 422, "invalid_request"),
        (b"reason=x", "application/x-www-form-urlencoded", 415, "not_json"),
        (b"{}", "text/plain", 415, "not_json"),
        (b" " * (256 * 1024 + 1), "application/json", 413, "body_too_large"),
    ],
)
def test_a_body_that_cannot_be_used_is_refused_with_a_sentence(
    ana: Client, project: Project, body: bytes, kind: str, status: int, code: str
):
    run = TrainingRunFactory.create(completed=True, project=project)
    path = f"/api/training-runs/{run.pk}/register/"
    answer = ana.generic("POST", path, data=body, content_type=kind)
    assert (answer.status_code, answer.json()["code"]) == (status, code), answer.content
    assert len(answer.json()["detail"]) > 10
    keeps_contract(answer, "/api/training-runs/{run_id}/register/", "post")
    assert Operation.objects.count() == 0


def test_a_submission_of_a_run_that_has_ended_is_refused(ana: Client, project: Project):
    run = TrainingRunFactory.create(project=project)
    path = f"/api/training-runs/{run.pk}/submit/"
    accepted(post(ana, path), "/api/training-runs/{run_id}/submit/")
    TrainingRun.objects.update(status="failed")
    Operation.objects.update(status="failed", finished_at=database_now())
    answer = post(ana, path)
    assert (answer.status_code, answer.json()["code"]) == (409, "wrong_run_status")
    assert "Rerun it" in answer.json()["advice"]
    retried = post(ana, f"/api/operations/{Operation.objects.get().pk}/retry/")
    assert (retried.status_code, retried.json()["code"]) == (409, "run_ended")
    keeps_contract(retried, "/api/operations/{operation_id}/retry/", "post")


def test_only_an_administrator_forces_a_registration_and_only_with_a_reason(project: Project):
    run = TrainingRunFactory.create(project=project, status="not_blessed", is_blessed=False)
    path = f"/api/training-runs/{run.pk}/register/"
    trainer = bearer(member_of(project, Right.VIEW, Right.TRAIN))
    refused = post(trainer, path, {"reason": "It is good."})
    assert (refused.status_code, refused.json()["code"]) == (403, "right_missing")
    administrator = bearer(member_of(project, Right.VIEW, Right.ADMINISTER))
    empty = post(administrator, path, {"reason": " "})
    assert (empty.status_code, empty.json()["code"]) == (409, "not_blessed")
    opened = post(administrator, path, {"reason": " It is good. "}).json()
    assert opened["reason"] == "It is good."
    assert post(trainer, f"/api/operations/{opened['id']}/cancel/").status_code == 403


def test_a_field_that_is_wrong_is_named(ana: Client):
    answer = post(ana, "/api/training-runs/", {"project": "x", "state": "deployed"})
    errors = {error["field"]: error["message"] for error in answer.json()["errors"]}
    assert set(errors) == {"body.project", "body.model_name", "body.template_uri", "body.state"}
    assert errors["body.state"] == "There is no such field."
    assert errors["body.project"] == "It is not a whole number."
    assert errors["body.model_name"] == "It is missing."


# ---- what Google says now ------------------------------------------------------------------------


def test_live_verification_asks_for_the_models_of_the_page_only(
    ana: Client, project: Project, cloud: LocalCloud, monkeypatch: pytest.MonkeyPatch
):
    clock = Clock()
    a_lineage(cloud, clock, project=project, name="there")
    gone = RegisteredModelFactory.create(project=project, model_name="gone")
    version_of(gone, vertex_id="404")
    cloud.effects.reset()
    answer = ana.get("/api/models/?verify=live&sort=name")
    keeps_contract(answer, "/api/models/")
    first, second = answer.json()["items"]
    assert (first["name"], first["registry_verified"]) == ("gone", False)
    assert (second["name"], second["registry_verified"]) == ("there", True)
    assert second["verified_at"] is not None
    assert answer.json()["registry_check_available"] is True
    assert RegisteredModel.objects.get(pk=gone.pk).registry_state == ""
    cloud.effects.reset()
    ana.get("/api/models/?verify=live&sort=name&page_size=1&page=2")
    assert cloud.effects.count("ModelService.GetModel") == 1

    cloud.faults.order("ModelService.GetModel", "error", code="PERMISSION_DENIED", times=None)
    denied = ana.get("/api/models/?verify=live&sort=name").json()
    assert [item["registry_verified"] for item in denied["items"]] == [None, None]
    assert denied["registry_check_available"] is False
    assert denied["items"][0]["registry_reason"] != ""

    cloud.faults.clear()
    monkeypatch.setattr(live, "DEADLINE", 0.3)
    hang = cloud.faults.order("ModelService.GetModel", "hang", times=None)
    late = ana.get("/api/models/?verify=live&sort=name").json()
    hang.release()
    assert [item["registry_verified"] for item in late["items"]] == [None, None]
    assert "did not answer within" in late["items"][0]["registry_reason"]


def test_live_verification_tells_another_runs_model_without_asking_the_database_again(
    ana: Client, project: Project, cloud: LocalCloud
):
    model = RegisteredModelFactory.create(project=project, model_name="taken")
    run = version_of(model, vertex_id="77")
    cloud.models.seed("77", display_name="taken", labels={"mlp_run": "0" * 32})
    opened: list[str] = []

    def note(**_: Any) -> None:
        opened.append(threading.current_thread().name)

    connection_created.connect(note)
    try:
        answer = ana.get("/api/models/?verify=live").json()
    finally:
        connection_created.disconnect(note)
    (item,) = answer["items"]
    assert (item["registry_verified"], answer["registry_check_available"]) == (None, True)
    assert item["verified_at"] is not None
    assert f"does not name run {run.pk}" in item["registry_reason"]
    assert opened == []  # no thread of the pool opened a connection of its own


def test_an_endpoint_that_is_stopped_is_deleted(ana: Client, project: Project):
    lineage = RegisteredModelFactory.create(project=project)
    endpoint = DeployedEndpointFactory.create(registered_model=lineage)
    path = f"/api/deployed-endpoints/{endpoint.pk}/delete/"
    answer = post(ana, path)
    assert answer.status_code == 200
    keeps_contract(answer, "/api/deployed-endpoints/{endpoint_id}/delete/", "post")
    assert not DeployedEndpoint.objects.exists()
    assert post(ana, path).status_code == 404


def test_a_page_of_the_site_may_call_the_api_with_its_csrf_token(project: Project):
    schedule = TrainingScheduleFactory.create(
        registered_model=RegisteredModelFactory.create(project=project)
    )
    browser = logged_in(member_of(project, name="ana"))
    browser.cookies["csrftoken"] = "b" * 32
    path = f"/api/training/schedules/{schedule.pk}/pause/"
    answer = post(browser, path, headers={"X-CSRFToken": "b" * 32})
    assert answer.status_code == 202
