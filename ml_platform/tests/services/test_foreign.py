"""Law 3: what is there without our labels is foreign. No verb takes it for missing, a finding says
so, and its repair writes our labels beside those of others, if the evidence holds."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from datetime import timedelta
from typing import TYPE_CHECKING, Any

import pytest

from ml_platform.cloud import vertex
from ml_platform.cloud.names import ModelName
from ml_platform.errors import Conflict
from ml_platform.models import DeployedEndpoint, Finding, Operation, RegisteredModel, TrainingRun
from ml_platform.models.states import FindingStatus, Registration, RegistryState
from ml_platform.services.cleanup.artifacts import clean_up_artifacts
from ml_platform.services.deletion.delete import delete_versions
from ml_platform.services.deployment.deploy import redeploy_endpoint, rollback_endpoint
from ml_platform.services.findings.kinds import FindingKind, Kind
from ml_platform.services.operations.worker import resume_operations
from ml_platform.services.registration.adoption import adopt_model
from ml_platform.services.registration.register import register_run
from ml_platform.services.registry.aliases import set_aliases
from ml_platform.services.registry.lineages import lose_versions
from ml_platform.services.registry.registry_state import OTHER_LABELS, verdict_of
from ml_platform.services.registry.verification import verify_model_in_vertex_ai
from ml_platform.services.repairs.labels import relabel_version
from ml_platform.services.repairs.pointers import clear_stale_pointers
from ml_platform.services.repairs.reconciliation import NoRepair, is_safe, repair_finding
from ml_platform.services.sweeps.sweep import sweep
from ml_platform.tests.factories import ProjectFactory

from .deploy_tools import A_WHILE, deploy, deployed, finish, service_of, undeploy
from .people import deploy_by_hand, edit_service, see_service
from .world import ANA, BUCKET, Clock, a_lineage, a_run, artifacts, write_artifact

if TYPE_CHECKING:
    from ml_platform.localcloud import LocalCloud

pytestmark = [pytest.mark.django_db, pytest.mark.any_database]
Labels = dict[str, str]


@pytest.fixture
def clock(cloud: LocalCloud) -> Clock:
    return Clock(cloud.clock.now())


DAMAGES: Mapping[str, tuple[Callable[[Labels], Labels], str]] = {
    "replaced": (lambda labels: {"team": "red"}, "the label mlp_owner is missing"),
    "one removed": (
        lambda labels: {k: v for k, v in labels.items() if k != "mlp_run"} | {"team": "red"},
        "the label mlp_run is missing",
    ),
    "one changed": (
        lambda labels: labels | {"mlp_run": "0" * 32, "team": "red"},
        f"the label mlp_run is '{'0' * 32}'",
    ),
    "another owner": (
        lambda labels: (
            labels | {"mlp_owner": "somebody", "mlp_installation": "1" * 32, "team": "red"}
        ),
        "the label mlp_owner is 'somebody'; expected is 'tests'",
    ),
}
EACH_DAMAGE = pytest.mark.parametrize("damage", DAMAGES)
REPAIRABLE = pytest.mark.parametrize("damage", [each for each in DAMAGES if "owner" not in each])


def pointer_of(run: TrainingRun) -> ModelName:
    return ModelName.parse(run.vertex_model_resource_name).at(run.vertex_model_version)


def hurt(run: TrainingRun, damage: str) -> None:
    labels = dict(vertex.get_model(pointer_of(run)).labels)
    vertex.update_model_labels(pointer_of(run), DAMAGES[damage][0](labels))


def hurt_service(endpoint: DeployedEndpoint, damage: str) -> None:
    """The verbs look for the label of the endpoint there, not of the run."""

    def change(service: Any) -> None:
        labels = DAMAGES[damage][0](dict(service.labels))
        if damage != "another owner":
            labels["mlp_endpoint"] = labels.pop("mlp_run", "")
            labels = {key: value for key, value in labels.items() if value}
        service.labels = labels

    edit_service(endpoint.service_name, change)


def rows() -> list[dict[str, Any]]:
    kept = ("pk", "registration", "vertex_model_resource_name", "vertex_model_version", "aliases")
    return list(TrainingRun.objects.order_by("pk").values(*kept))


def look(clock: Clock) -> None:
    clock.forward(60)
    sweep(actor=ANA, clock=clock)


def open_kinds() -> list[str]:
    return list(Finding.objects.open().order_by("kind").values_list("kind", flat=True))


def repair(clock: Clock, kind: Kind = FindingKind.LABELS_CHANGED) -> Operation:
    finding = Finding.objects.open().get(kind=kind)
    return finish(repair_finding(finding=finding, actor=ANA, now=clock()), clock)


Verb = Callable[["Clock", RegisteredModel, TrainingRun], Operation]
VERBS: Mapping[str, Verb] = {
    "deploy": lambda clock, _, run: deploy(run, clock),
    "alias": lambda clock, _, run: set_aliases(run=run, add=["best"], actor=ANA, now=clock()),
    "delete": lambda clock, lineage, run: delete_versions(
        lineage=lineage, runs=[run], actor=ANA, now=clock()
    ),
}


@EACH_DAMAGE
@pytest.mark.parametrize("verb", VERBS)
def test_each_verb_refuses_it_names_the_label_and_points_to_the_finding(
    cloud: LocalCloud, clock: Clock, verb: str, damage: str
) -> None:
    lineage, runs = a_lineage(cloud, clock, versions=2)
    clock.forward(A_WHILE)
    hurt(runs[0], damage)  # not the default version, which alone a sweep would see
    before, files = rows(), artifacts(cloud, runs[0])
    cloud.effects.reset()
    operation = finish(VERBS[verb](clock, lineage, runs[0]), clock)
    assert (operation.status, operation.error_code) == ("failed", "foreign_version")
    assert DAMAGES[damage][1] in operation.error
    assert "relabel it" in operation.advice
    assert (rows(), artifacts(cloud, runs[0]), cloud.effects.mutations()) == (before, files, [])
    assert open_kinds() == [FindingKind.LABELS_CHANGED]
    look(clock)
    look(clock)  # the model was in order at the first
    assert open_kinds() == [FindingKind.LABELS_CHANGED], "the listing does not show that version"


@pytest.mark.slow
@EACH_DAMAGE
def test_sweeps_and_live_answers_say_foreign_and_never_missing(
    cloud: LocalCloud, clock: Clock, damage: str
) -> None:
    lineage, (run,) = a_lineage(cloud, clock)
    clock.forward(A_WHILE)
    hurt(run, damage)
    for _ in range(3):
        look(clock)
        lineage.refresh_from_db()
        assert lineage.registry_state == RegistryState.FOREIGN
        verdict = verdict_of(lineage, "", None)
        assert (verdict.verified, verdict.reason) == (None, OTHER_LABELS)
        assert open_kinds() == [FindingKind.LABELS_CHANGED]
    answer = verify_model_in_vertex_ai(run=run)
    assert (getattr(answer, "code", ""), DAMAGES[damage][1] in str(answer)) == (
        "foreign_version",
        True,
    )
    finish(clear_stale_pointers(registered_model=lineage, actor=ANA, now=clock()), clock)
    run.refresh_from_db()
    assert run.registration == Registration.REGISTERED


@EACH_DAMAGE
def test_cleanups_and_adoptions_leave_it_alone(
    cloud: LocalCloud, clock: Clock, damage: str
) -> None:
    _, (run,) = a_lineage(cloud, clock)
    hurt(run, damage)
    clock.forward(90 * 86400)
    files = artifacts(cloud, run)
    clean_up_artifacts(actor=ANA, clock=clock, days=7, include_registered=True)
    assert artifacts(cloud, run) == files
    with pytest.raises(Conflict, match="is a registered version"):
        adopt_model(
            resource_name=run.vertex_model_resource_name,
            project=ProjectFactory(),
            model_name="mine",
            actor=ANA,
            now=clock(),
        )


# ---- registration --------------------------------------------------------------------------------


@EACH_DAMAGE
def test_a_second_run_is_registered_or_refused_in_a_sentence_that_helps(
    cloud: LocalCloud, clock: Clock, damage: str
) -> None:
    lineage, (run,) = a_lineage(cloud, clock)
    clock.forward(A_WHILE)
    hurt(run, damage)
    second = a_run(cloud, project=lineage.project, name=lineage.model_name)
    operation = finish(register_run(run=second, actor=ANA, now=clock()), clock)
    if damage in ("one removed", "one changed"):  # its owner label is ours, and so is the model
        assert operation.status == "succeeded"
        return
    assert (operation.status, operation.error_code) == ("failed", "foreign_version")
    assert DAMAGES[damage][1] in operation.error
    assert "relabel it" in operation.advice
    assert cloud.effects.count("ModelService.UploadModel") == 0
    if damage == "replaced":
        assert repair(clock).status == "succeeded"
        operation = finish(register_run(run=second, actor=ANA, now=clock()), clock)
        assert operation.status == "succeeded"
        assert len([model for page in vertex.list_models() for model in page]) == 1


def test_a_second_run_is_registered_beside_another_version_with_our_labels(
    cloud: LocalCloud, clock: Clock
) -> None:
    lineage, runs = a_lineage(cloud, clock, versions=2)
    clock.forward(A_WHILE)
    hurt(runs[1], "replaced")
    third = a_run(cloud, project=lineage.project, name=lineage.model_name)
    assert finish(register_run(run=third, actor=ANA, now=clock()), clock).status == "succeeded"
    third.refresh_from_db()
    assert third.vertex_model_resource_name == runs[0].vertex_model_resource_name


@EACH_DAMAGE
def test_the_same_run_never_makes_a_second_model(
    cloud: LocalCloud, clock: Clock, damage: str
) -> None:
    """An older release recorded such a version as lost."""
    lineage, (run,) = a_lineage(cloud, clock)
    clock.forward(A_WHILE)
    hurt(run, damage)
    lose_versions(lineage=lineage)
    run.refresh_from_db()
    operation = finish(register_run(run=run, actor=ANA, now=clock()), clock)
    assert (operation.status, operation.error_code) == ("failed", "foreign_version")
    assert DAMAGES[damage][1] in operation.error
    assert f"mlp_run={run.uid.hex}" in operation.advice
    assert cloud.effects.count("ModelService.UploadModel") == 0


def test_a_lost_version_that_is_back_is_restored_and_not_uploaded_again(
    cloud: LocalCloud, clock: Clock
) -> None:
    lineage, (run,) = a_lineage(cloud, clock)
    clock.forward(A_WHILE)
    lose_versions(lineage=lineage)
    run.refresh_from_db()
    operation = finish(register_run(run=run, actor=ANA, now=clock()), clock)
    assert (operation.status, operation.error_code) == ("failed", "version_is_back")
    assert cloud.effects.count("ModelService.UploadModel") == 0


@EACH_DAMAGE
def test_a_version_whose_labels_change_before_it_is_recorded_is_not_uploaded_again(
    cloud: LocalCloud, clock: Clock, damage: str
) -> None:
    run = a_run(cloud)
    cloud.faults.order("ModelService.UploadModel", "lost", code="DEADLINE_EXCEEDED")
    operation = register_run(run=run, actor=ANA, now=clock())
    resume_operations(clock=clock)
    (model,) = [model for page in vertex.list_models() for model in page]
    vertex.update_model_labels(model.pointer, DAMAGES[damage][0](dict(model.labels)))
    clock.forward(60)
    operation = finish(operation, clock)
    assert operation.status == "failed"
    assert DAMAGES[damage][1] in operation.error
    assert cloud.effects.count("ModelService.UploadModel") == 1


# ---- relabel -------------------------------------------------------------------------------------


@pytest.mark.slow
@REPAIRABLE
def test_relabeling_adds_our_labels_and_changes_nothing_else(
    cloud: LocalCloud, clock: Clock, damage: str
) -> None:
    lineage, (run,) = a_lineage(cloud, clock)
    clock.forward(A_WHILE)
    vertex.merge_version_aliases(pointer_of(run), ["best"])
    TrainingRun.objects.filter(pk=run.pk).update(aliases=["best", "default"])
    was = vertex.get_model(pointer_of(run))
    hurt(run, damage)
    look(clock)
    cloud.effects.reset()
    operation = repair(clock)
    assert operation.status == "succeeded"
    assert Finding.objects.get().status == FindingStatus.REPAIRED
    model = vertex.get_model(pointer_of(run))
    ours = {"mlp_owner", "mlp_lineage", "mlp_run", "mlp_digest"}
    assert {key: model.labels[key] for key in ours} == {key: was.labels[key] for key in ours}
    assert model.labels["team"] == "red"
    assert (model.aliases, model.artifact_uri) == (was.aliases, was.artifact_uri)
    assert [call.method for call in cloud.effects.mutations()] == ["ModelService.UpdateModel"]
    look(clock)
    assert open_kinds() == []
    lineage.refresh_from_db()
    assert lineage.registry_state == RegistryState.VERIFIED
    assert finish(deploy(run, clock), clock).status == "succeeded"


def test_a_version_of_another_owner_has_no_automatic_repair(
    cloud: LocalCloud, clock: Clock
) -> None:
    lineage, (run,) = a_lineage(cloud, clock)
    clock.forward(A_WHILE)
    hurt(run, "another owner")
    look(clock)
    finding = Finding.objects.open().get()
    assert not is_safe(finding)
    assert "the labels of somebody" in finding.repair
    with pytest.raises(NoRepair):
        repair(clock)
    opened = relabel_version(run=run, registered_model=lineage, actor=ANA, now=clock())
    assert finish(opened, clock).error_code == "not_ours"
    assert vertex.get_model(pointer_of(run)).labels["mlp_owner"] == "somebody"


def other_files(cloud: LocalCloud, run: TrainingRun) -> None:
    name = pointer_of(run)
    vertex.delete_model(name.bare)
    one = {"version": 1, "labels": {"team": "red"}, "artifact_uri": f"gs://{BUCKET}/elsewhere/1"}
    cloud.models.seed(name.model_id, display_name="x", versions=[one])


def created_later(cloud: LocalCloud, run: TrainingRun) -> None:
    del cloud
    assert run.registered_at
    earlier = run.registered_at - timedelta(hours=1)
    TrainingRun.objects.filter(pk=run.pk).update(registered_at=earlier)


def overwritten(cloud: LocalCloud, run: TrainingRun) -> None:
    folder = run.gcs_artifacts_path.removeprefix(f"gs://{BUCKET}/")
    cloud.storage.write(BUCKET, f"{folder}pushed_model/1/saved_model.pb", b"OTHER")


def with_one_more(cloud: LocalCloud, run: TrainingRun) -> None:
    write_artifact(cloud, run, "pushed_model/1/variables/more")


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (other_files, "not in the run's own folder"),
        (created_later, "after ours was registered"),
        (overwritten, "changed: saved_model.pb"),
        (with_one_more, "added: variables/more"),
    ],
)
def test_it_refuses_when_the_evidence_does_not_hold(
    cloud: LocalCloud, clock: Clock, change: Any, said: str
) -> None:
    lineage, (run,) = a_lineage(cloud, clock)
    hurt(run, "replaced")
    change(cloud, run)
    opened = relabel_version(run=run, registered_model=lineage, actor=ANA, now=clock())
    operation = finish(opened, clock)
    assert (operation.status, operation.error_code) == ("failed", "not_ours")
    assert said in operation.error
    assert vertex.get_model(pointer_of(run)).labels == {"team": "red"}


def test_labels_that_are_back_close_the_finding(cloud: LocalCloud, clock: Clock) -> None:
    _, (run,) = a_lineage(cloud, clock)
    clock.forward(A_WHILE)
    labels = dict(vertex.get_model(pointer_of(run)).labels)
    hurt(run, "replaced")
    look(clock)
    vertex.update_model_labels(pointer_of(run), labels)
    look(clock)
    assert Finding.objects.get().status == FindingStatus.GONE


@pytest.mark.slow
def test_a_finding_of_a_version_that_ended_is_closed(cloud: LocalCloud, clock: Clock) -> None:
    lineage, runs = a_lineage(cloud, clock, versions=2)
    clock.forward(A_WHILE)
    hurt(runs[0], "replaced")
    finish(deploy(runs[0], clock), clock)
    vertex.delete_model_version(pointer_of(runs[0]))
    look(clock)
    assert open_kinds() == [FindingKind.LABELS_CHANGED, FindingKind.VERSION_MISSING]
    finish(clear_stale_pointers(registered_model=lineage, actor=ANA, now=clock()), clock)
    look(clock)
    assert open_kinds() == []


# ---- services ------------------------------------------------------------------------------------


SERVICE_VERBS: Mapping[str, Callable[[Clock, DeployedEndpoint, TrainingRun], Operation]] = {
    "deploy": lambda clock, endpoint, run: deploy(run, clock, endpoint=endpoint),
    "redeploy": lambda clock, endpoint, run: redeploy_endpoint(
        endpoint=endpoint, run=run, actor=ANA, now=clock()
    ),
    "rollback": lambda clock, endpoint, run: rollback_endpoint(
        endpoint=endpoint, actor=ANA, now=clock()
    ),
    "undeploy": lambda clock, endpoint, run: undeploy(endpoint, clock),
}


@pytest.mark.slow
@EACH_DAMAGE
@pytest.mark.parametrize("verb", SERVICE_VERBS)
def test_each_verb_leaves_a_foreign_service_alone(
    cloud: LocalCloud, clock: Clock, verb: str, damage: str
) -> None:
    endpoint, runs = deployed(cloud, clock, versions=3)
    finish(deploy(runs[1], clock, endpoint=endpoint), clock)
    clock.forward(A_WHILE)
    endpoint.refresh_from_db()
    hurt_service(endpoint, damage)
    before = see_service(endpoint.service_name)
    served = (endpoint.state, endpoint.is_active, endpoint.run_id)
    operation = finish(SERVICE_VERBS[verb](clock, endpoint, runs[2]), clock)
    assert (operation.status, operation.error_code) == ("failed", "foreign_service")
    label = DAMAGES[damage][1].replace("mlp_run", "mlp_endpoint")
    assert label in operation.error
    assert "relabel it" in operation.advice
    endpoint.refresh_from_db()
    assert (endpoint.state, endpoint.is_active, endpoint.run_id) == served
    assert see_service(endpoint.service_name) == before


@pytest.mark.slow
@REPAIRABLE
def test_relabeling_a_service_makes_no_revision(
    cloud: LocalCloud, clock: Clock, damage: str
) -> None:
    endpoint, _ = deployed(cloud, clock)
    was = service_of(endpoint)
    hurt_service(endpoint, damage)
    look(clock)
    assert open_kinds() == [FindingKind.SERVICE_LABELS_CHANGED]
    assert repair(clock, FindingKind.SERVICE_LABELS_CHANGED).status == "succeeded"
    service = service_of(endpoint)
    assert service.labels == {**was.labels, "team": "red"}
    assert (service.latest_created_revision, service.traffic) == (
        was.latest_created_revision,
        was.traffic,
    )
    look(clock)
    assert open_kinds() == []
    assert finish(undeploy(endpoint, clock), clock).status == "succeeded"


def test_a_service_of_another_owner_has_no_automatic_repair(
    cloud: LocalCloud, clock: Clock
) -> None:
    endpoint, _ = deployed(cloud, clock)
    hurt_service(endpoint, "another owner")
    look(clock)
    finding = Finding.objects.open().get()
    assert (finding.kind, is_safe(finding)) == (FindingKind.SERVICE_LABELS_CHANGED, False)


@pytest.mark.slow
def test_a_service_that_serves_another_image_is_not_relabeled(
    cloud: LocalCloud, clock: Clock
) -> None:
    endpoint, _ = deployed(cloud, clock)
    deploy_by_hand(endpoint.service_name, {"team": "red"})
    look(clock)
    operation = repair(clock, FindingKind.SERVICE_LABELS_CHANGED)
    assert (operation.status, operation.error_code) == ("failed", "not_ours")
    assert service_of(endpoint).labels == {"team": "red"}


@pytest.mark.slow
def test_a_service_whose_template_lost_its_labels_too_is_relabeled(
    cloud: LocalCloud, clock: Clock
) -> None:
    endpoint, (run,) = deployed(cloud, clock)

    def change(service: Any) -> None:
        service.labels = {"team": "red"}
        service.template.labels = {"team": "red"}

    edit_service(endpoint.service_name, change)
    look(clock)
    assert repair(clock, FindingKind.SERVICE_LABELS_CHANGED).status == "succeeded"
    assert service_of(endpoint).labels["mlp_run"] == run.uid.hex
