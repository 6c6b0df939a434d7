"""The model page and the deletion page: versions, comparison, picture, plan, and the POST."""

from __future__ import annotations

import re
from datetime import timedelta

import pytest
from django.contrib.auth import get_user_model
from django.contrib.auth.models import Permission
from django.db import transaction
from django.test import Client
from django.utils import timezone

from ml_platform.actions.endpoints import Known
from ml_platform.cloud.transport import channels
from ml_platform.errors import Conflict
from ml_platform.models import (
    EndpointTraffic,
    Finding,
    MirroredArtifacts,
    Operation,
    RegisteredModel,
    Sweep,
    TrainingRun,
)
from ml_platform.models.clock import database_now
from ml_platform.models.states import (
    OperationKind,
    OperationStatus,
    Registration,
    RegistryState,
)
from ml_platform.pages.model.lineage_graph import artifacts_badge
from ml_platform.pages.model.metric_comparison import Measured, compare
from ml_platform.services.access.rights import Right
from ml_platform.services.deployment.endpoint_state import mark_version_lost
from ml_platform.services.findings.discrepancy import Discrepancy
from ml_platform.services.findings.kinds import FindingKind
from ml_platform.services.findings.store import keep_findings
from ml_platform.services.operations.history import record_refusal
from ml_platform.services.operations.locks import read_locks
from ml_platform.services.operations.store import Actor, open_operation
from ml_platform.services.operations.subjects import subject_of_lineage, subject_of_version
from ml_platform.services.operations.worker import resume_operations
from ml_platform.services.workflows import WORKFLOWS
from ml_platform.tests.factories import (
    LONG_AGO,
    DeployedEndpointFactory,
    RegisteredModelFactory,
    TrainingScheduleFactory,
    version_of,
)
from ml_platform.tests.incident_rows import finished_sweep

from .api_tools import member_of

pytestmark = pytest.mark.django_db
EVIL = "<img src=x onerror=alert(1)>"


@pytest.fixture
def admin() -> Client:
    client = Client()
    client.force_login(get_user_model().objects.create_superuser("root", password="pw"))
    return client


@pytest.fixture
def lineage() -> RegisteredModel:
    """Three versions that grow better."""
    model: RegisteredModel = RegisteredModelFactory.create(model_name="rank")
    for n in range(3):
        run = version_of(model)
        run.metrics = {"recall_at_100": 0.3 + n / 10, "rmse": 0.5 - n / 10, "note": "x"}
        run.aliases = ["default"] if n == 2 else []
        run.save()
    return model


def text_of(client: Client, url: str, *, status: int = 200) -> str:
    answer = client.get(url)
    assert answer.status_code == status
    body = answer.content.decode()
    return " ".join(re.sub(r"<[^>]*>", " ", body[body.index("<main") :]).split())


def url_of(model: RegisteredModel, rest: str = "") -> str:
    return f"/models/{model.pk}/{rest}"


def seen_by_a_sweep(state: RegistryState) -> None:
    finished_sweep(timezone.now())
    RegisteredModel.objects.update(registry_state=state, registry_checked_at=timezone.now())


@pytest.mark.parametrize(
    ("state", "told"),
    [
        (RegistryState.MISSING, "✕ Not in Registry"),
        (RegistryState.SUSPECTED, "? Unknown"),
        (RegistryState.VERIFIED, "✓ Registered"),
    ],
)
def test_a_version_is_called_registered_only_where_a_sweep_saw_it(admin, lineage, state, told):
    seen_by_a_sweep(state)
    text = text_of(admin, url_of(lineage))
    assert f"Version v3 {told}" in text[: text.index("Versions 3 versions")]
    rows = text[text.index("Versions 3 versions") :]
    assert f"v3 {told}" in rows
    assert ("✓ Registered" in text) is (state == RegistryState.VERIFIED)


def test_the_head_says_what_serves_and_the_picture_is_of_that_version(admin, lineage):
    first = lineage.training_runs.get(version=1)
    assert "Serving nothing" in text_of(admin, url_of(lineage))
    DeployedEndpointFactory.create(
        registered_model=lineage, run=first, service_name="svc", serving=True
    )
    text = text_of(admin, url_of(lineage))
    assert "Serving v1 on svc" in text
    assert "Where v1 comes from" in text
    assert "Where v3 comes from" in text_of(admin, url_of(lineage, "?picture=3"))


def test_the_page_lists_the_versions_newest_first_with_aliases_and_metrics(admin, lineage):
    assert "rank ? Unknown" in text_of(admin, url_of(lineage))
    seen_by_a_sweep(RegistryState.VERIFIED)
    text = text_of(admin, url_of(lineage))
    assert re.search(r"v3 ✓ Registered default change ✓ Blessed withdraw 0\.500 ", text)
    assert text.index("v3 ✓ Registered") < text.index("v2 ✓ Registered")
    assert "Registered versions 3" in text


def test_chosen_versions_are_compared_with_their_change_and_the_best_one_marked(admin, lineage):
    text = text_of(admin, url_of(lineage, "?v=1&v=3"))
    assert "Metrics of v1, v3" in text
    assert "Recall@100 0.300 0.500 +66.7%" in text
    assert "RMSE 0.500 0.300 −40.0%" in text  # noqa: RUF001
    body = admin.get(url_of(lineage, "?v=1&v=3&metric=rmse")).content.decode()
    assert 'aria-label="RMSE: v1 0.500, v3 0.300."' in body
    assert body.count("mlp-change--good") == 2


def test_a_comparison_knows_which_way_is_better_and_bears_gaps():
    found = compare(
        [Measured(2, {"loss": 0.5, "auc": 0.8}), Measured(1, {"loss": 0.4}), Measured(3, {})],
        metric="none-such",
        url_of=lambda name: name,
    )
    assert found["versions"] == ("v1", "v2", "v3")
    auc, loss = found["rows"]
    assert (auc["name"], auc["charted"], loss["charted"]) == ("AUC", True, False)
    assert [cell["value"] for cell in loss["cells"]] == ["0.400", "0.500", "–"]  # noqa: RUF001
    assert [cell["tone"] for cell in loss["cells"]] == ["plain", "bad", "plain"]
    assert [cell["best"] for cell in loss["cells"]] == [True, False, False]
    assert found["chart"] is not None
    assert [dot["version"] for dot in found["chart"]["dots"]] == ["v2"]
    assert compare([Measured(1, {})], metric="", url_of=str)["chart"] is None


def test_the_picture_shows_each_node_with_its_state(admin, lineage):
    finished_sweep(timezone.now())
    schedule = TrainingScheduleFactory.create(registered_model=lineage, name="Nightly")
    TrainingRun.objects.filter(pk=lineage.latest_run_id).update(schedule=schedule)
    for name, changes in (("svc-a", {"serving": True}), ("svc-b", {"model_deleted": True})):
        endpoint = DeployedEndpointFactory.create(
            registered_model=lineage, run=lineage.latest_run, service_name=name, **changes
        )
        if endpoint.is_active:
            EndpointTraffic.objects.create(
                endpoint=endpoint, run=None, revision="r", percent=100, seen_at=timezone.now()
            )
    text = text_of(admin, url_of(lineage))
    picture = text[text.index("Where v3 comes from") : text.index("Versions 3 versions")]
    assert "Schedule Nightly ✓ Active" in picture
    assert "✓ Completed Artifacts" in picture
    assert "? Unknown Version v3 ? Unknown" in picture
    assert "Endpoint svc-a ✕ Active, unverified Endpoint svc-b ! Model Deleted" in picture
    assert "Where v1 comes from" in text_of(admin, url_of(lineage, "?picture=1"))
    assert "Endpoint none" in text_of(admin, url_of(lineage, "?picture=1"))


ANA = Actor(label="ana", origin="page")


def refuse_a_deletion(lineage):
    record_refusal(
        workflow=WORKFLOWS["delete-versions"], actor=ANA,
        subject=subject_of_lineage(lineage, name="rank v1"),
        now=timezone.now(), error=Conflict("It is deployed."),
    )  # fmt: skip


def test_history_shows_a_refusal_as_such_and_not_as_a_failure(admin, lineage):
    refuse_a_deletion(lineage)
    text = text_of(admin, url_of(lineage)).partition("History")[2]
    assert "○ Refused ana asked to delete rank v1 Refused: It is deployed." in text
    assert "Failed" not in text


def test_history_shows_an_operation_once_with_what_it_changed(admin, lineage):
    run = lineage.latest_run
    with transaction.atomic():
        operation, _ = open_operation(
            workflow=WORKFLOWS["deploy-version"], subject=subject_of_version(run), actor=ANA,
            now=timezone.now(),
        )  # fmt: skip
        mark_version_lost(run_id=run.pk, operation=operation)
    text = text_of(admin, url_of(lineage)).partition("History")[2]
    assert "↻ Running ana began to deploy rank v3" in text
    assert "Version lost: rank v3" in text
    assert text.count("ana") == 1


def test_history_shows_findings_with_a_link(admin, lineage):
    finding = Discrepancy(
        kind=FindingKind.STALE_POINTER, subject="models/1", title="rank is not there",
        repair="-", evidence={}, lineage_id=lineage.pk, project_id=lineage.project_id,
    )  # fmt: skip
    sweep = Sweep.objects.create(actor_label="ben", started_at=timezone.now())
    keep_findings(found=[finding], sweep=sweep, now=timezone.now())
    text = text_of(admin, url_of(lineage)).partition("History")[2]
    assert "! Finding opened rank is not there ben" in text
    page = admin.get(url_of(lineage)).content.decode()
    assert f"/registry-health/findings/{Finding.objects.get().pk}/" in page


def test_a_lineage_that_lost_all_its_versions_still_tells_its_history(admin, lineage):
    TrainingRun.objects.update(
        registration=Registration.LOST, vertex_model_resource_name="", vertex_model_name="",
        vertex_model_version="", registered_at=None,
    )  # fmt: skip
    RegisteredModel.objects.update(
        vertex_model_resource_name="", total_versions=0, latest_run=None, latest_registered_at=None
    )
    text = text_of(admin, url_of(lineage))
    assert "rank ○ Not registered" in text
    assert text.count("✕ Not in Registry") == 4  # three lines and the picture
    assert "Deploy" not in text


def test_foreign_models_are_not_there_and_names_are_text(admin, lineage):
    user = member_of(None, Right.VIEW)
    client = Client()
    client.force_login(user)
    for rest in ("", "delete/"):
        assert client.get(url_of(lineage, rest)).status_code == 404
        assert client.post(url_of(lineage, "delete/")).status_code == 404
    RegisteredModel.objects.update(model_name=EVIL, description=EVIL)
    TrainingRun.objects.update(metrics={EVIL: 1}, aliases=[EVIL], gcs_artifacts_path=EVIL)
    body = admin.get(url_of(lineage)).content.decode()
    assert body.count("&lt;img src=x") > 5
    assert "<img" not in body


def test_the_page_takes_the_same_queries_however_many_versions(
    admin, lineage, django_assert_num_queries
):
    finished_sweep(timezone.now())
    for more in (0, 30):
        for _ in range(more):
            DeployedEndpointFactory.create(registered_model=lineage, run=version_of(lineage))
            refuse_a_deletion(lineage)
        with django_assert_num_queries(15):  # the last one is of the banner for administrators
            admin.get(url_of(lineage))


# ---- deletion ----------------------------------------------------------------------------------


@pytest.fixture
def bucket(cloud):
    return channels.storage_client().create_bucket("demo-artifacts")


def plan(client: Client, model: RegisteredModel, query: str) -> dict[str, list[str]]:
    body = client.get(url_of(model, f"delete/{query}")).content.decode()
    found = re.findall(r'<input type="hidden" name="(key|version|run)" value="([^"]*)"', body)
    return {name: [v for n, v in found if n == name] for name, _ in found}


def test_the_plan_shows_what_goes_what_stays_and_how_much(admin, lineage, bucket):
    run = lineage.latest_run
    assert run is not None
    key = run.gcs_artifacts_path.split("/", 3)[3]
    bucket.blob(f"{key}pushed_model/1/saved_model.pb").upload_from_string("x" * 2048)
    DeployedEndpointFactory.create(registered_model=lineage, run=run, service_name="old")
    text = text_of(admin, url_of(lineage, "delete/?version=3"))
    assert "v3 1 object, 2 kB, its aliases default" in text
    assert "Marked as Model Deleted: old" in text
    assert "Kept v1, v2 The alias default moves to v2." in text
    assert "Type rank to delete version 3" in text
    assert "rank will no longer be registered." in text_of(admin, url_of(lineage, "delete/"))


def test_a_deployed_version_shows_what_blocks_and_no_button(admin, lineage, bucket):
    DeployedEndpointFactory.create(
        registered_model=lineage, run=lineage.latest_run, service_name="live", serving=True
    )
    text = text_of(admin, url_of(lineage, "delete/?version=3"))
    said = "Cannot delete a deployed model. Endpoint live is active. Undeploy it first."
    assert f"It cannot be deleted now {said}" in text
    assert "Type rank" not in text


def test_what_google_does_not_answer_is_told_as_unknown(admin, lineage, settings):
    settings.ML_PLATFORM = {**settings.ML_PLATFORM, "CALL_TIMEOUT": 0.3, "RETRY_TIMEOUT": 0.0}
    text = text_of(admin, url_of(lineage, "delete/?version=3"))
    assert "Not everything could be read Cloud Run:" in text
    assert "waits until it can be read" in text


def test_the_typed_name_deletes_once_and_shows_the_operation(admin, lineage, bucket):
    form = {**plan(admin, lineage, "?version=2"), "name": "rank"}
    answer = admin.post(url_of(lineage, "delete/"), form)
    operation = Operation.objects.get(kind=OperationKind.DELETE)
    assert (answer.status_code, answer["Location"]) == (302, f"/operations/{operation.pk}/")
    assert operation.actor_label == "root"
    assert admin.post(url_of(lineage, "delete/"), form)["Location"] == answer["Location"]
    assert Operation.objects.count() == 1
    resume_operations(clock=database_now)
    lineage.refresh_from_db()
    assert (lineage.total_versions, lineage.latest_run.version) == (2, 3)


@pytest.mark.parametrize(
    ("changes", "status", "says"),
    [
        ({"name": "rank_"}, 422, "The name typed is not rank. Nothing was deleted."),
        ({"run": ["999"]}, 422, "The versions are not those of the plan any more."),
        ({"version": "9"}, 404, ""),
    ],
)
def test_a_wrong_form_deletes_nothing(admin, lineage, bucket, changes, status, says):
    form = {**plan(admin, lineage, "?version=2"), "name": "rank", **changes}
    answer = admin.post(url_of(lineage, "delete/"), form)
    assert answer.status_code == status
    assert says in answer.content.decode()
    assert not Operation.objects.exists()


@pytest.mark.parametrize("query", ["?v=1&v=x", "?picture=-1", "delete/?version=1.5"])
def test_what_is_not_the_number_of_a_version_is_refused_with_a_sentence(admin, lineage, query):
    answer = admin.get(url_of(lineage, query))
    assert answer.status_code == 422
    assert "Enter the number of a version." in answer.content.decode()


def test_a_deploy_between_plan_and_button_stops_the_deletion(admin, lineage, bucket):
    form = {**plan(admin, lineage, "?version=3"), "name": "rank"}
    DeployedEndpointFactory.create(
        registered_model=lineage, run=lineage.latest_run, service_name="live", serving=True
    )
    answer = admin.post(url_of(lineage, "delete/"), form, headers={"Accept": "application/json"})
    assert answer.status_code == 409
    assert answer.json()["error"] == "Cannot delete a deployed model. Endpoint live is active."
    assert Operation.objects.get().status == OperationStatus.FAILED


def test_deleting_needs_the_right_and_a_token(lineage, bucket):
    user = member_of(None, Right.VIEW)
    lineage.project.members.add(user)
    client = Client(enforce_csrf_checks=True)
    client.force_login(user)
    assert "Delete" not in text_of(client, url_of(lineage))
    assert "This needs the permission" in text_of(client, url_of(lineage, "delete/"), status=403)
    user.user_permissions.add(Permission.objects.get(codename="delete_registeredmodel"))
    assert "Delete v3" in client.get(url_of(lineage)).content.decode()
    assert client.post(url_of(lineage, "delete/")).status_code == 403
    assert not Operation.objects.exists()


def test_versions_come_in_pages(admin, lineage):
    for n in range(30):
        version_of(lineage, registered_at=timezone.now() - timedelta(days=n))
    body = admin.get(url_of(lineage)).content.decode()
    assert body.count('id="version-') == 20
    following = re.search(r'rel="next" href="([^"]*)"', body)
    assert following is not None
    rest = admin.get(url_of(lineage, following[1].replace("&amp;", "&"))).content.decode()
    assert rest.count('id="version-') == 13


def test_artifacts_that_no_sweep_has_seen_lately_are_grey():
    lineage = RegisteredModelFactory.create()
    run = version_of(lineage)
    sweep = Sweep.objects.create(actor_label="ana")
    seen = {"folders": {}, "seen_sweep": sweep, "seen_at": LONG_AGO}
    MirroredArtifacts.objects.create(prefix=run.gcs_artifacts_path, **seen)
    tones = {
        artifacts_badge(run, Known("", read_locks([], []), fresh_since=since), LONG_AGO).tone
        for since in (LONG_AGO + timedelta(seconds=1), LONG_AGO - timedelta(seconds=1))
    }
    assert tones == {"unknown", "good"}
