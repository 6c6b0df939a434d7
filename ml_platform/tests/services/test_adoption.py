"""Adoption takes what Vertex AI knows, says what it does not, and can take over the service too."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest
from django.contrib.auth import get_user_model
from django.db import transaction

from ml_platform.cloud import cloud_run, vertex
from ml_platform.cloud.names import ModelName
from ml_platform.cloud.transport import channels
from ml_platform.cloud.types import ServiceSpec
from ml_platform.errors import Invalid
from ml_platform.models import (
    DeployedEndpoint,
    EndpointTraffic,
    Finding,
    Operation,
    RegisteredModel,
    TrainingRun,
)
from ml_platform.models.clock import database_now
from ml_platform.models.endpoints.serving_truth import with_served_version
from ml_platform.models.states import OperationStatus
from ml_platform.services.deployment.deployable import NotDeployable
from ml_platform.services.findings.kinds import FindingKind
from ml_platform.services.operations.retry_cancel import retry_operation
from ml_platform.services.ownership.labels import labels_for
from ml_platform.services.registration.adoption import adopt_model
from ml_platform.services.registration.approval import approve_version
from ml_platform.services.registration.vertex_facts import proposed_name, unknown_words
from ml_platform.services.registry.lineages import lose_versions
from ml_platform.services.sweeps.sweep import sweep
from ml_platform.tests.factories import ProjectFactory

from .deploy_tools import deploy
from .deploy_tools import finish as settled
from .people import edit_service
from .test_others_changes import LATEST, PINNED
from .world import ANA, Clock, a_lineage, no_pause, registered_lineage, settle

if TYPE_CHECKING:
    from ml_platform.localcloud import LocalCloud

pytestmark = pytest.mark.django_db
NAME = "projects/123456789012/locations/europe-central2/models/{}"
URI = "gs://demo-artifacts/theirs/1"


@pytest.fixture
def clock(cloud: LocalCloud) -> Clock:
    return Clock(database_now())


def adopted(clock: Clock, **asked: Any) -> Operation:
    wanted = {"resource_name": NAME.format(77), "model_name": "chern_rank", **asked}
    wanted.setdefault("project", ProjectFactory.create())
    operation = adopt_model(**wanted, actor=ANA, now=clock())
    settle(clock)
    operation.refresh_from_db()
    return operation


def evaluate(version: str, **metrics: Any) -> None:
    """What an evaluation pipeline does, or a person with the SDK."""
    client = channels.client("ModelService")
    evaluation = {"display_name": "by hand", "metrics": metrics}
    client.import_model_evaluation(
        parent=f"{NAME.format(77)}@{version}", model_evaluation=evaluation
    )


def seed(cloud: LocalCloud, **fields: Any) -> None:
    cloud.storage.write("demo-artifacts", "theirs/1/saved_model.pb", b"theirs")
    cloud.models.seed("77", display_name="Chern Rank (v2)", artifact_uri=URI, **fields)


def look(clock: Clock) -> list[str]:
    clock.forward(600)
    sweep(actor=ANA, clock=clock)
    return sorted(Finding.objects.open().values_list("kind", flat=True))


# ---- what Vertex AI knows ------------------------------------------------------------------------


@pytest.mark.slow
def test_an_adoption_takes_what_vertex_ai_knows(cloud: LocalCloud, clock: Clock) -> None:
    bob = get_user_model()._default_manager.create_user("Bob")
    labels = {"model_type": "ranking", "created_by": "bob", "team": "ranking"}
    seed(cloud, versions=[1, 2], labels=labels)
    request = {
        "model": {"name": NAME.format(77), "description": "Ranks by margin."},
        "update_mask": {"paths": ["description"]},
    }
    channels.client("ModelService").update_model(request=request)
    evaluate("1", auPrc=0.5, confusionMatrix={"rows": []})
    evaluate("1", auPrc=0.75, logLoss=0.25)
    operation = adopted(clock)
    assert operation.status == OperationStatus.SUCCEEDED
    lineage = RegisteredModel.objects.registered().get()
    assert (lineage.model_type, lineage.description) == ("ranking", "Ranks by margin.")
    first, second = lineage.training_runs.order_by("version")
    assert (first.created_by, first.model_type) == (bob, "ranking")
    assert first.metrics == {"auPrc": 0.75, "logLoss": 0.25}
    assert second.metrics == {}
    told = first.parameters["adopted"]
    assert (told["labels"], told["description"]) == (labels, "Ranks by margin.")
    seen = vertex.get_model(ModelName.parse(NAME.format(77)).at("1"))
    assert first.created_at == seen.version_create_time
    assert operation.steps[-1]["note"] == (
        "2 versions. Vertex AI does not tell the metrics of v2. "
        "Not judged: approve a version to deploy it."
    )


def test_what_vertex_ai_does_not_tell_is_said_and_a_person_may_say_it(
    cloud: LocalCloud, clock: Clock
) -> None:
    seed(cloud, labels={"type": "no type of ours"[:2]})
    cloud.faults.order(
        "ModelService.ListModelEvaluations", "error", code="PERMISSION_DENIED", times=None
    )
    operation = adopted(clock)
    assert operation.status == OperationStatus.SUCCEEDED
    said = "Vertex AI does not tell the type, the creator, the metrics."
    assert said in operation.steps[-1]["note"]
    assert RegisteredModel.objects.get().model_type == "other"
    cloud.models.seed("78", display_name="other")
    told = adopted(clock, resource_name=NAME.format(78), model_name="b", model_type="hybrid")
    assert "the type" not in told.steps[-1]["note"]
    assert RegisteredModel.objects.get(model_name="b").model_type == "hybrid"


@pytest.mark.slow
def test_what_an_earlier_run_of_ours_knew_is_taken_over(cloud: LocalCloud, clock: Clock) -> None:
    """Its lineage has another model by now, so the version can be adopted only."""
    lineage, (run,) = a_lineage(cloud, clock)
    TrainingRun.objects.filter(pk=run.pk).update(metrics={"ndcg": 0.9}, model_type="hybrid")
    before = lineage.vertex_model_resource_name
    with transaction.atomic():
        lose_versions(lineage=lineage)
    lineage.refresh_from_db()
    registered_lineage(cloud, clock, project=lineage.project)
    assert look(clock) == [FindingKind.UNMANAGED], "no repair that would always fail"
    one = Finding.objects.open().get()
    assert one.title.endswith("again: chern v1 was lost, and chern is another model now")
    assert adopted(clock, resource_name=before, project=lineage.project).status == "succeeded"
    again = TrainingRun.objects.get(model_name="chern_rank")
    assert (again.metrics, again.model_type) == ({"ndcg": 0.9}, "hybrid")
    assert again.manifest.digest == run.manifest.digest
    assert look(clock) == []


def test_an_adopted_version_is_approved_and_deployed(cloud: LocalCloud, clock: Clock) -> None:
    seed(cloud)
    adopted(clock)
    run = TrainingRun.objects.get()
    assert (run.is_blessed, run.approval) == (None, "")
    clock.forward(600)
    with pytest.raises(NotDeployable):
        deploy(run, clock)
    approve_version(run=run, actor=ANA, reason="compared by hand", now=clock())
    run.refresh_from_db()
    assert settled(deploy(run, clock), clock).status == OperationStatus.SUCCEEDED
    assert DeployedEndpoint.objects.get().run == run


@pytest.mark.parametrize(
    ("shown", "name"),
    [
        ("Chern Rank (v2)", "chern_rank_v2"),
        ("Größe-Modell", "groe-modell"),
        ("7 of 9", "model_7_of_9"),
        ("模型", "model"),
        ("N" * 128, "n" * 63),
    ],
)
def test_a_name_that_we_allow_is_proposed(shown: str, name: str) -> None:
    assert proposed_name(shown) == name


def test_a_name_that_we_do_not_allow_is_refused_with_a_proposal(clock: Clock) -> None:
    with pytest.raises(Invalid, match="lower-case") as refused:
        adopted(clock, model_name="Chern Rank")
    assert refused.value.advice.endswith("for example chern_rank.")
    with pytest.raises(Invalid):
        adopted(clock, service_name="No Service")


def test_only_what_is_unknown_of_some_versions_names_them() -> None:
    assert unknown_words({"type": (), "metrics": ("v2",)}, 2) == (
        "Vertex AI does not tell the metrics of v2."
    )
    assert unknown_words({}, 2) == ""


# ---- the service that serves it ------------------------------------------------------------------


def serve(uri: str = URI, **fields: Any) -> None:
    spec = {"image": "theirs", "labels": {"team": "ranking"}, "memory": "4Gi"} | fields
    cloud_run.create_service("rank-live", ServiceSpec(**spec, env={"AIP_STORAGE_URI": uri}))


@pytest.mark.slow
def test_the_service_that_serves_it_is_adopted_with_it(cloud: LocalCloud, clock: Clock) -> None:
    seed(cloud)
    serve()
    before = cloud_run.get_service("rank-live")
    assert adopted(clock, service_name="rank-live").status == OperationStatus.SUCCEEDED
    operation = Operation.objects.get(workflow="adopt-service")
    assert operation.status == OperationStatus.SUCCEEDED
    said = "The endpoint rank-live is active and serves chern_rank v1."
    assert (operation.steps[-1]["note"], operation.actor_label) == (said, "ana")
    endpoint, run = DeployedEndpoint.objects.get(), TrainingRun.objects.get()
    assert (endpoint.state, endpoint.is_active, endpoint.run) == ("active", True, run)
    assert (endpoint.config["image"], endpoint.config["memory"]) == ("theirs", "4Gi")
    assert (endpoint.url, endpoint.revision) == (before.uri, before.latest_ready_revision)
    after = cloud_run.get_service("rank-live")
    assert after.labels == {**before.labels, **after.labels}
    assert labels_for(endpoint=endpoint.uid, run=run.uid).items() <= after.labels.items()
    assert after.latest_created_revision == before.latest_created_revision
    assert run.status == "deployed"
    assert look(clock) == []


@pytest.mark.slow
def test_what_an_adopted_service_serves_is_known_by_its_files(
    cloud: LocalCloud, clock: Clock
) -> None:
    """It names them in an argument, and its revisions have no label of ours."""

    def run_with(*args: str) -> Any:
        def change(service: Any) -> None:
            service.template.containers[0].env = []
            service.template.containers[0].args = args

        return change

    def served() -> set[tuple[TrainingRun | None, str]]:
        rows = with_served_version(EndpointTraffic.objects.all(), now=clock())
        return {(row.run, row.served) for row in rows}

    seed(cloud)
    serve()
    edit_service("rank-live", run_with(f"--model_base_path={URI}"))
    adopted(clock, service_name="rank-live")
    assert DeployedEndpoint.objects.get().is_active
    first = cloud_run.get_service("rank-live").latest_created_revision
    assert look(clock) == []
    run = TrainingRun.objects.get()
    assert served() == {(run, "verified")}
    edit_service("rank-live", run_with(f"--model_base_path={URI}", "--verbose"))
    pin(first, 50)
    EndpointTraffic.objects.all().delete()  # so that the older revision is read too
    look(clock)
    assert EndpointTraffic.objects.count() == 2
    assert served() == {(run, "verified")}
    edit_service("rank-live", run_with("--model_base_path=gs://demo-artifacts/other"))
    assert "serving_unverified" in look(clock), "whatever the label of the service says"
    assert served() == {(None, "not_ours"), (run, "verified")}


def pin(revision: str, percent: int) -> None:
    """A person sends so much of the traffic to a revision, and the rest to the newest one."""

    def change(service: Any) -> None:
        service.traffic = [
            {"type_": PINNED, "revision": revision, "percent": percent},
            {"type_": LATEST, "percent": 100 - percent},
        ]

    edit_service("rank-live", change)


@pytest.mark.parametrize(
    ("serving", "words"),
    [
        ({"uri": "gs://demo-artifacts/other"}, "names the files of no version"),
        ({"labels": {"mlp_owner": "another"}}, "has the labels of another"),
    ],
)
def test_a_service_that_does_not_serve_it_stays_as_it_is(
    cloud: LocalCloud, clock: Clock, serving: dict[str, Any], words: str
) -> None:
    seed(cloud)
    serve(**serving)
    before = cloud_run.get_service("rank-live")
    assert adopted(clock, service_name="rank-live").status == OperationStatus.SUCCEEDED
    operation = Operation.objects.get(workflow="adopt-service")
    assert (operation.status, operation.error_code) == ("failed", "service_not_adoptable")
    assert words in operation.error
    assert cloud_run.get_service("rank-live") == before
    assert not DeployedEndpoint.objects.exists()


def test_a_refused_label_leaves_no_endpoint_and_may_be_retried(
    cloud: LocalCloud, clock: Clock
) -> None:
    seed(cloud)
    serve()
    cloud.faults.order("Services.UpdateService", "error", code="PERMISSION_DENIED", times=None)
    adopted(clock, service_name="rank-live")
    cloud.faults.clear()
    operation = Operation.objects.get(workflow="adopt-service")
    assert operation.status == OperationStatus.FAILED
    assert not DeployedEndpoint.objects.exists()
    assert TrainingRun.objects.get().status == "completed"
    retry_operation(operation=operation, actor=ANA)
    settle(clock)
    assert DeployedEndpoint.objects.get().is_active


def test_a_label_that_somebody_sets_meanwhile_stays(
    cloud: LocalCloud, clock: Clock, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The write has the etag of what was read; a lost answer is looked up."""
    seed(cloud)
    serve()
    changed: list[str] = []

    def change(method: str) -> None:
        if method == "Services.UpdateService" and not changed:
            changed.append(method)
            service = cloud_run.get_service("rank-live")
            cloud_run.relabel_service(service, {"cost": "ranking"})

    monkeypatch.setattr(channels, "before_call", [change])
    cloud.faults.order("Services.UpdateService", "lost", nth=3, code="UNAVAILABLE")
    adopted(clock, service_name="rank-live")
    no_pause(0)
    settle(clock)
    assert Operation.objects.get(workflow="adopt-service").status == OperationStatus.SUCCEEDED
    assert cloud_run.get_service("rank-live").labels["cost"] == "ranking"
    assert DeployedEndpoint.objects.get().is_active
