"""Buttons as a door: who may press which, what it opens, and what is said when it is refused."""

from __future__ import annotations

import re
import uuid
from datetime import timedelta

import pytest
from django.contrib.auth import get_user_model
from django.contrib.auth.models import Permission
from django.test import Client
from django.utils import timezone

from ml_platform.actions.table import ACTIONS
from ml_platform.cloud.transport import channels
from ml_platform.models import (
    DeployedEndpoint,
    Finding,
    MirroredModel,
    MirroredService,
    Operation,
    RegisteredModel,
    Sweep,
    TrainingRun,
    TrainingSchedule,
)
from ml_platform.models.clock import database_now
from ml_platform.models.states import (
    EndpointState,
    FindingStatus,
    OperationKind,
    OperationStatus,
    Registration,
    RegistryState,
    RunStatus,
)
from ml_platform.services.access.rights import Right
from ml_platform.services.findings.kinds import FindingKind
from ml_platform.tests.factories import (
    DeployedEndpointFactory,
    RegisteredModelFactory,
    TrainingRunFactory,
    TrainingScheduleFactory,
    version_of,
)
from ml_platform.tests.incident_rows import finished_sweep

from .api_tools import member_of

pytestmark = [pytest.mark.django_db, pytest.mark.any_database]
JSON = {"Accept": "application/json"}


@pytest.fixture
def admin() -> Client:
    client = Client()
    client.force_login(get_user_model().objects.create_superuser("root", password="pw"))
    return client


@pytest.fixture
def lineage() -> RegisteredModel:
    model: RegisteredModel = RegisteredModelFactory.create(model_name="rank")
    version_of(model)
    return model


@pytest.fixture
def endpoint(lineage) -> DeployedEndpoint:
    made: DeployedEndpoint = DeployedEndpointFactory.create(
        registered_model=lineage, run=lineage.latest_run, service_name="svc"
    )
    return made


def press(client: Client, verb: str, subject: object, **form: str):
    return client.post(f"/do/{verb}/{subject}/", form)


def why(client: Client, verb: str, subject: object) -> str:
    return str(client.get(f"/do/{verb}/{subject}/check/").json()["why"])


def test_deploy_opens_one_operation_however_often_it_is_pressed(admin, lineage):
    key = uuid.uuid4().hex
    answers = [press(admin, "deploy-run", lineage.latest_run_id, key=key) for _ in range(2)]
    operation = Operation.objects.get()
    assert [answer["Location"] for answer in answers] == [f"/operations/{operation.pk}/"] * 2
    assert (operation.kind, operation.actor_label, operation.origin) == ("deploy", "root", "page")
    again = press(admin, "deploy-run", lineage.latest_run_id, key=uuid.uuid4().hex)
    assert again.status_code == 409
    body = again.content.decode()
    assert "is held by Deploy rank v1, which root began on" in body
    assert f'href="/operations/{operation.pk}/">Show the blocking operation' in body


def test_a_script_gets_the_same_answers_as_json(admin, lineage):
    url = f"/do/deploy-run/{lineage.latest_run_id}/"
    begun = admin.post(url, {"key": "k"}, headers=JSON)
    operation = Operation.objects.get()
    assert begun.status_code == 202
    assert begun.json() == {
        "url": f"/operations/{operation.pk}/",
        "watch": f"/operations/{operation.pk}/status/",
    }
    status = admin.get(begun.json()["watch"]).json()
    assert (status["live"], status["what"]) == (True, "root began to deploy rank v1")
    refused = admin.post(url, {"key": "other"}, headers=JSON)
    assert (refused.status_code, refused.json()["code"]) == (409, "busy")


def test_the_status_of_a_foreign_operation_is_not_there(admin, lineage):
    press(admin, "deploy-run", lineage.latest_run_id)
    stranger = Client()
    stranger.force_login(member_of(None, Right.VIEW))
    assert stranger.get(f"/operations/{Operation.objects.get().pk}/status/").status_code == 404


def test_a_check_sees_what_changed_since_the_page_was_made(admin, lineage, endpoint):
    finished_sweep(timezone.now())
    assert why(admin, "deploy-run", lineage.latest_run_id) == ""
    assert why(admin, "redeploy", endpoint.pk) == ""
    DeployedEndpoint.objects.update(model_deleted=True)
    assert why(admin, "redeploy", endpoint.pk) == (
        "The model was deleted; this endpoint cannot be restored. "
        "Deploy another version without naming this endpoint."
    )
    RegisteredModel.objects.update(
        registry_state=RegistryState.MISSING, registry_checked_at=timezone.now()
    )
    assert "It is not in the Vertex AI Model Registry" in why(
        admin, "deploy-run", lineage.latest_run_id
    )
    assert not Operation.objects.exists()


def test_an_endpoint_whose_model_was_deleted_is_refused_by_the_server_too(admin, endpoint):
    DeployedEndpoint.objects.update(model_deleted=True)
    answer = press(admin, "redeploy", endpoint.pk, key="k")
    assert answer.status_code == 409
    assert "The model was deleted; this endpoint cannot be restored." in answer.content.decode()
    assert Operation.objects.get().status == OperationStatus.FAILED


def test_an_endpoint_that_is_held_is_not_stopped_and_the_page_says_who_holds_it(admin, endpoint):
    press(admin, "redeploy", endpoint.pk, key="k")
    DeployedEndpoint.objects.update(is_active=True)
    holder = "is held by Redeploy svc, which root began on"
    for verb in ("undeploy", "rollback", "deploy-run"):
        subject = endpoint.run_id if verb == "deploy-run" else endpoint.pk
        DeployedEndpoint.objects.update(previous_run=endpoint.run)
        TrainingRun.objects.update(status=RunStatus.COMPLETED)
        assert holder in why(admin, verb, subject), verb
    assert why(admin, "delete-endpoint", endpoint.pk) == (
        "svc is deploying; it cannot be deleted. Undeploy it first."
    )
    page = admin.get(f"/projects/{endpoint.project_id}/training/").content.decode()
    assert f'aria-label="Undeploy svc: svc {holder}' in page
    # A deploy that ended without our knowing what serves leaves it so: then undeploy finds out.
    Operation.objects.update(status=OperationStatus.FAILED, finished_at=timezone.now())
    assert why(admin, "undeploy", endpoint.pk) == ""


def test_a_question_before_a_deploy_says_what_it_replaces_and_warns_of_a_worse_one(admin, lineage):
    old, new = lineage.latest_run, version_of(lineage)
    TrainingRun.objects.filter(pk=old.pk).update(metrics={"recall_at_100": 0.5})
    TrainingRun.objects.filter(pk=new.pk).update(metrics={"recall_at_100": 0.4})
    url = f"/projects/{lineage.project_id}/training/"
    assert "Deploy rank v2 as a new service on Cloud Run?\nRecall@100 0.400." in text_with_forms(
        admin, url
    )
    DeployedEndpointFactory.create(
        registered_model=lineage, run=old, service_name="svc", serving=True
    )
    text = text_with_forms(admin, url)
    assert (
        "Deploy rank v2 to svc?\nsvc serves v1 now.\n⚠ Recall@100 0.400 is worse than the" in text
    )
    DeployedEndpoint.objects.update(run=new, previous_run=old)
    text = text_with_forms(admin, url)
    assert 'aria-label="Roll svc back to v1">Roll back to v1<' in text
    assert "svc serves v2 now.\nRecall@100 0.500 is better than the 0.400 of v2." in text


def text_with_forms(client: Client, url: str) -> str:
    return client.get(url).content.decode()


def test_endpoints_are_stopped_and_removed(admin, endpoint):
    DeployedEndpoint.objects.update(state=EndpointState.ACTIVE, is_active=True)
    press(admin, "undeploy", endpoint.pk, key="k")
    assert Operation.objects.get().kind == OperationKind.UNDEPLOY
    assert "svc is held by Undeploy svc, which root began on" in why(admin, "undeploy", endpoint.pk)
    assert press(admin, "delete-endpoint", endpoint.pk).status_code == 409
    Operation.objects.all().delete()
    DeployedEndpoint.objects.update(state=EndpointState.INACTIVE, is_active=False)
    assert press(admin, "delete-endpoint", endpoint.pk).status_code == 302
    assert not DeployedEndpoint.objects.exists()


def test_a_run_that_was_not_blessed_is_registered_with_a_reason_only(admin):
    run = TrainingRunFactory.create(status=RunStatus.NOT_BLESSED, is_blessed=False)
    assert press(admin, "register-run", run.pk, reason=" ").status_code == 409
    assert press(admin, "register-run", run.pk, reason="Better than none.").status_code == 302
    refused, registered = Operation.objects.order_by("created_at")
    assert (refused.status, refused.error_code) == ("failed", "not_blessed")
    assert registered.reason == "Better than none."


def test_schedules_are_paused_resumed_and_ended(admin, lineage):
    schedule = TrainingScheduleFactory.create(
        registered_model=lineage, starts_at=timezone.now() - timedelta(days=1)
    )
    for verb, state in (
        ("pause-schedule", "paused"),
        ("resume-schedule", "active"),
        ("cancel-schedule", "cancelled"),
    ):
        assert why(admin, verb, schedule.pk) == ""
        assert press(admin, verb, schedule.pk).status_code == 302
        assert TrainingSchedule.objects.get().state == state
    assert why(admin, "pause-schedule", schedule.pk) == (
        f"{schedule.name} is cancelled. "
        "An active schedule can be paused, a paused one resumed, both cancelled."
    )
    assert press(admin, "trigger-schedule", schedule.pk).status_code == 409


def test_training_now_makes_one_run_for_one_press(admin, cloud, lineage):
    schedule = TrainingScheduleFactory.create(registered_model=lineage, template_uri="gs://b/t")
    before = TrainingRun.objects.count()
    places = [press(admin, "trigger-schedule", schedule.pk, key="k")["Location"] for _ in range(2)]
    assert TrainingRun.objects.count() == before + 1
    assert places == [f"/operations/{Operation.objects.get().pk}/", "/operations/"]


def test_a_waiting_run_is_cancelled_at_once(admin):
    run = TrainingRunFactory.create()
    assert press(admin, "cancel-run", run.pk).status_code == 302
    assert why(admin, "cancel-run", run.pk) == (
        f"{run} is cancelled and cannot be cancelled. It has no pipeline to cancel."
    )


def test_a_run_whose_template_is_gone_is_not_run_again(admin, cloud):
    channels.storage_client().create_bucket("demo-artifacts")
    run = TrainingRunFactory.create(failed=True, template_uri="gs://demo-artifacts/none.json")
    answer = press(admin, "rerun", run.pk, key="k")
    assert answer.status_code == 422
    assert TrainingRun.objects.count() == 1


def operation_with(status: str, **changes) -> Operation:
    ended = None if status in ("pending", "running") else timezone.now()
    values = {"kind": OperationKind.DELETE, "actor_label": "ana", "origin": "page", "step": "check"}
    return Operation.objects.create(
        **{**values, "status": status, "finished_at": ended, "subject_name": "x", **changes}
    )


@pytest.mark.parametrize(
    ("status", "changes", "button", "reason"),
    [
        ("failed", {}, "Retry", ""),
        ("failed", {"step": ""}, "", ""),
        ("failed", {"kind": OperationKind.SUBMIT, "subject_id": "0"}, "", ""),
        ("running", {}, "Cancel", ""),
        ("pending", {}, "Cancel", ""),
        ("pending", {"step": "look"}, "", ""),
        ("running", {"step": "wait"}, "", ""),
        ("running", {"kind": OperationKind.SCHEDULE}, "", ""),
        ("running", {"cancel_requested": True}, "Cancel", "A cancellation was requested already."),
        ("succeeded", {}, "", ""),
    ],
)
def test_an_operation_can_be_retried_or_cancelled(admin, status, changes, button, reason):
    operation = operation_with(status, **changes)
    body = admin.get(f"/operations/{operation.pk}/").content.decode()
    shown = re.findall(r'class="mlp-act[^>]*aria-label="(Retry|Cancel): \w+ x([^"]*)"', body)
    assert [label for label, _ in shown] == ([button] if button else [])
    if shown:
        assert reason in shown[0][1]
    for label in {"Retry", "Cancel"} - {button}:
        assert press(admin, f"{label.lower()}-operation", operation.pk).status_code == 409
    if button:
        expected = 409 if reason else 302
        assert press(admin, f"{button.lower()}-operation", operation.pk).status_code == expected


def test_a_submission_that_failed_tells_to_rerun_the_run(admin):
    run = TrainingRunFactory.create(failed=True)
    operation = operation_with(
        "failed", kind=OperationKind.SUBMIT, step="prepare", subject_id=str(run.pk)
    )
    assert "Rerun it" in why(admin, "retry-operation", operation.pk)
    assert press(admin, "retry-operation", operation.pk).status_code == 409


@pytest.mark.parametrize("registers", [True, False])
def test_a_deploy_whose_model_is_gone_offers_what_can_work(admin, lineage, registers: bool):
    run = TrainingRunFactory.create(
        completed=True, project=lineage.project, registered_model=lineage,
        registration=Registration.LOST, template_uri="gs://b/t.json",
    )  # fmt: skip
    operation = operation_with(
        "failed", kind=OperationKind.DEPLOY, workflow="deploy-version", step="verify_model",
        error_code="model_not_found", data={"v": 1, "run": run.pk, "registers": registers},
    )  # fmt: skip
    body = admin.get(f"/operations/{operation.pk}/").content.decode()
    shown = re.findall(r'class="mlp-act[^>]*aria-label="(\w+) ', body)
    assert shown == (["Register", "Run"] if registers else ["Run"])
    assert "Register this run again" in why(admin, "retry-operation", operation.pk)


def test_retrying_rings_for_a_worker(admin):
    operation = operation_with("failed", error="Quota.", advice="Wait.")
    press(admin, "retry-operation", operation.pk)
    operation.refresh_from_db()
    assert (operation.status, operation.error) == (OperationStatus.PENDING, "")
    from django_tasks_db.models import DBTaskResult

    assert DBTaskResult.objects.count() == 1


# ---- findings ----------------------------------------------------------------------------------


def finding_of(kind: str, **changes) -> Finding:
    now = timezone.now()
    values = {"kind": kind, "subject": "s", "title": "It differs", "repair": "Clear it."}
    return Finding.objects.create(
        **{**values, "first_seen_at": now, "last_seen_at": now, **changes}
    )


def text_of(client: Client, url: str) -> str:
    body = client.get(url).content.decode()
    return " ".join(re.sub(r"<[^>]*>", " ", body[body.index("<main") :]).split())


def test_a_repair_is_previewed_then_opened_as_an_operation(admin, lineage):
    finding = finding_of(FindingKind.STALE_POINTER, registered_model=lineage)
    text = text_of(admin, f"/registry-health/findings/{finding.pk}/")
    assert "checks the current state first. If that is unclear, nothing changes. Clear it." in text
    assert "Nothing is changed in Google Cloud." in text
    assert not Operation.objects.exists()
    answer = press(admin, "repair-finding", finding.pk)
    operation = Operation.objects.get()
    assert answer["Location"] == f"/operations/{operation.pk}/"
    finding.refresh_from_db()
    assert finding.operation == operation


def test_a_finding_is_ignored_with_a_reason_and_counted_again(admin):
    finding = finding_of(FindingKind.ARTIFACTS_MISSING)
    refused = press(admin, "ignore-finding", finding.pk, reason=" ")
    assert refused.status_code == 422
    assert 'role="alert">It is empty.</p>' in refused.content.decode()
    assert press(admin, "ignore-finding", finding.pk, reason="Known.").status_code == 302
    finding.refresh_from_db()
    assert (finding.status, finding.ignored_by) == (FindingStatus.IGNORED, "root")
    page = text_of(admin, f"/registry-health/findings/{finding.pk}/")
    assert re.search(r" Ignored by root until \d+ \w+ \d{4}: Known\. ", page)
    assert press(admin, "reopen-finding", finding.pk).status_code == 302
    finding.refresh_from_db()
    assert finding.status == FindingStatus.OPEN


def test_an_unmanaged_model_is_deleted_only_under_its_typed_name(admin, lineage):
    name = "projects/1/locations/europe-central2/models/77"
    finding = finding_of(FindingKind.UNMANAGED, subject=name, evidence={"display_name": "trd-test"})
    text = text_of(admin, f"/registry-health/findings/{finding.pk}/")
    assert "Type trd-test to delete it from Vertex AI; its files stay" in text
    assert press(admin, "delete-unmanaged", finding.pk, name="trd").status_code == 422
    assert press(admin, "adopt-finding", finding.pk, model_name="t").status_code == 422
    assert not Operation.objects.exists()
    assert press(admin, "delete-unmanaged", finding.pk, name="trd-test").status_code == 302
    assert Operation.objects.get().kind == OperationKind.REPAIR


def test_an_unmanaged_model_is_adopted_into_the_chosen_project(admin, lineage):
    name = "projects/1/locations/europe-central2/models/77"
    shown = {"display_name": "Chern Rank"}
    finding = finding_of(FindingKind.UNMANAGED, subject=name, evidence=shown)
    seen = {"seen_sweep": Sweep.objects.create(actor_label="ana"), "seen_at": database_now()}
    labels = {"model_type": "ranking", "project": str(lineage.project)}
    MirroredModel.objects.create(model_id="77", resource_name=name, labels=labels, **seen)
    MirroredService.objects.create(service_name="rank-live", **seen)
    MirroredService.objects.create(service_name="ours", owner="tests", **seen)
    page = admin.get(f"/registry-health/findings/{finding.pk}/").content.decode()
    for part in (
        'name="model_name" value="chern_rank"',
        f'<option value="{lineage.project_id}" selected>',
        '<option value="ranking" selected>',
        "<option>rank-live</option>",
        "Its labels tell the type ranking.",
        "Unknown: the author.",
        "it gets our labels and an active endpoint; what it serves stays",
        "Its versions are not judged: approve one to deploy it.",
    ):
        assert part in page
    assert "<option>ours</option>" not in page
    chosen = {"model_name": "t", "project": str(lineage.project_id), "model_type": ""}
    answer = press(admin, "adopt-finding", finding.pk, **chosen, service_name="rank-live")
    assert answer.status_code == 302
    operation = Operation.objects.get()
    assert operation.kind == OperationKind.ADOPT
    assert operation.data["service"] == "rank-live"


def test_a_finding_of_ours_is_no_choice(admin, lineage):
    finding = finding_of(FindingKind.ORPHAN, registered_model=lineage)
    assert press(admin, "delete-unmanaged", finding.pk, name="").status_code == 409
    adopted = press(admin, "adopt-finding", finding.pk, project="1", model_name="t")
    assert adopted.status_code == 409


# ---- who may -----------------------------------------------------------------------------------


def subjects(lineage: RegisteredModel, endpoint: DeployedEndpoint) -> dict[str, object]:
    schedule = TrainingScheduleFactory.create(registered_model=lineage)
    operation = operation_with("failed", project=lineage.project)
    finding = finding_of(FindingKind.ORPHAN, project=lineage.project, registered_model=lineage)
    parts = {"run": lineage.latest_run_id, "endpoint": endpoint.pk, "schedule": schedule.pk}
    parts |= {"operation": operation.pk, "finding": finding.pk, "model": lineage.pk}
    parts["project"] = lineage.project.pk
    special = {"redeploy": "endpoint", "rollback": "endpoint", "undeploy": "endpoint",
               "rerun": "run", "delete-unmanaged": "finding", "confirm-plane": "finding",
               "approve-version": "run", "withdraw-approval": "run",
               "remove-member": "project"}  # fmt: skip
    return {
        verb: parts[special.get(verb, verb.rpartition("-")[2])]
        for verb in ACTIONS
        if ACTIONS[verb].on_page
    }


def test_a_verb_opened_as_a_page_asks_for_its_reason_or_shows_its_subject(admin, lineage):
    run = TrainingRunFactory.create(
        project=lineage.project, status="not_blessed", is_blessed=False, registered_model=lineage
    )
    text = admin.get(f"/do/register-run/{run.pk}/").content.decode()
    assert "Why register it?" in text
    assert "Register</button>" in text
    assert admin.get(f"/do/rerun/{run.pk}/").url.endswith(f"/training/#run-{run.pk}")


@pytest.mark.slow
def test_no_verb_works_for_a_stranger_or_without_its_right_or_token(lineage, endpoint):
    user = member_of(None, Right.VIEW)
    client, strict = Client(), Client(enforce_csrf_checks=True)
    client.force_login(user)
    strict.force_login(user)
    told = subjects(lineage, endpoint)
    before = Operation.objects.count()
    for verb, subject in told.items():
        assert press(client, verb, subject).status_code == 404, verb
        assert client.get(f"/do/{verb}/{subject}/check/").status_code == 404, verb
    lineage.project.members.add(user)
    for verb, subject in told.items():
        answer = press(client, verb, subject, reason="r", name="n")
        assert answer.status_code == 403, verb
        assert "This needs the permission ml_platform." in why(client, verb, subject)
        assert press(strict, verb, subject).status_code == 403
        assert client.get(f"/do/{verb}/{subject}/", follow=True).status_code == 200
        assert press(Client(), verb, subject).status_code == 302
    assert Operation.objects.count() == before


def test_a_right_opens_its_verbs_and_no_others(lineage, endpoint):
    user = member_of(None, Right.VIEW)
    lineage.project.members.add(user)
    user.user_permissions.add(Permission.objects.get(codename="deploy_registeredmodel"))
    client = Client()
    client.force_login(user)
    assert press(client, "deploy-run", lineage.latest_run_id, key="k").status_code == 302
    assert press(client, "delete-endpoint", endpoint.pk).status_code == 403
    assert press(client, "rerun", lineage.latest_run_id).status_code == 403


@pytest.mark.parametrize(
    "url",
    ["/do/none/1/", "/do/rerun/x/", "/do/rerun/99999999999999999999/", "/do/retry-operation/7/"],
)
def test_what_is_not_there_is_not_found(admin, url: str):
    assert admin.post(url).status_code == 404
