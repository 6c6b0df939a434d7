"""Deploys that meet trouble: nothing is registered, and nothing half made stays."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest

from ml_platform import kpis
from ml_platform.api.schemas.operations import operation_json
from ml_platform.cloud import cloud_run, vertex
from ml_platform.cloud.names import ModelName
from ml_platform.cloud.transport import channels
from ml_platform.errors import Conflict
from ml_platform.models import (
    DeployedEndpoint,
    Event,
    Finding,
    Operation,
    RegisteredModel,
    TrainingRun,
)
from ml_platform.models.states import EventKind, Registration, RunStatus
from ml_platform.services.deletion.delete import delete_versions
from ml_platform.services.deployment.deploy import redeploy_endpoint, rollback_endpoint
from ml_platform.services.operations.engine import advance
from ml_platform.services.operations.retry_cancel import request_cancel, retry_operation
from ml_platform.services.operations.worker import resume_operations
from ml_platform.services.registration.register import register_run
from ml_platform.services.serving.config import ServingConfig
from ml_platform.services.sweeps.sweep import sweep
from ml_platform.services.workflows import WORKFLOWS

from .deploy_tools import (
    A_WHILE,
    deploy,
    deployed,
    facts,
    finish,
    go_on,
    remove_artifacts,
    service_of,
    services,
    status,
    undeploy,
)
from .people import deploy_by_hand
from .world import ANA, Clock, a_lineage, a_run, artifacts, settle, write_artifact

if TYPE_CHECKING:
    from ml_platform.localcloud import LocalCloud

pytestmark = [pytest.mark.django_db, pytest.mark.any_database]

NOT_FOUND = "Model not found in Vertex AI Model Registry. It may have been deleted."


@pytest.fixture
def clock(cloud: LocalCloud) -> Clock:
    return Clock()


def uploads(cloud: LocalCloud) -> int:
    return cloud.effects.count("ModelService.UploadModel")


# ---- what is gone ------------------------------------------------------------------------------


def test_a_model_deleted_in_the_console_stops_the_deploy_and_its_pointer_is_cleared(
    cloud: LocalCloud, clock: Clock
) -> None:
    lineage, (run,) = a_lineage(cloud, clock)
    clock.forward(A_WHILE)
    pointer = f"{run.vertex_model_resource_name}@{run.vertex_model_version}"
    vertex.delete_model(ModelName.parse(run.vertex_model_resource_name))
    operation = deploy(run, clock)
    resume_operations(clock=clock)
    operation.refresh_from_db()
    assert (operation.status, operation.error_code) == ("failed", "model_not_found")
    model_id = pointer.rpartition("/")[2].partition("@")[0]
    changed = (
        f"{run} is not registered any more, its last one, so {lineage.model_name} is no registered "
        f"model now; the history keeps its pointer {model_id}@1."
    ).replace(str(run), f"{lineage.model_name} v1")
    assert operation.error == f"{NOT_FOUND} {changed}"
    assert operation.data["cleared"] == pointer
    assert operation_json(operation)["changed"] == [changed]
    lineage.refresh_from_db()
    assert status(run) == RunStatus.DEPLOY_FAILED
    assert (run.registration, run.last_vertex_version) == (Registration.LOST, pointer)
    assert (run.vertex_model_resource_name, lineage.vertex_model_resource_name) == ("", "")
    assert (lineage.total_versions, lineage.generation) == (0, 2)
    assert RegisteredModel.objects.registered().count() == 0
    endpoint = DeployedEndpoint.objects.get()
    assert (*facts(endpoint), endpoint.error) == ("inactive", False, None, None, operation.error)
    assert uploads(cloud) == 0
    assert cloud.effects.count("Services.*") == 0
    assert len(artifacts(cloud, run)) == 1


@pytest.mark.slow
def test_a_missing_model_leaves_counts_that_agree_and_offers_what_can_work(
    cloud: LocalCloud, clock: Clock
) -> None:
    _, (seen,) = a_lineage(cloud, clock, name="seen")
    _, (run,) = a_lineage(cloud, clock)
    a_lineage(cloud, clock, name="another")
    clock.forward(A_WHILE)
    delete_in_console(seen)
    sweep(actor=ANA, clock=clock)
    delete_in_console(run)
    finish(deploy(seen, clock), clock)
    operation = finish(deploy(run, clock), clock)
    counts = kpis.four_counts()
    assert (counts.database, counts.vertex, counts.points_at_nothing) == (1, 1, 0)
    assert counts.agree is True
    assert list(Finding.objects.values_list("kind", "status")) == [("stale_pointer", "repaired")]
    lost = Event.objects.filter(kind=EventKind.VERSION_LOST).latest("seq")
    assert (lost.operation_id, lost.lineage_id) == (operation.pk, run.registered_model_id)
    with pytest.raises(Conflict) as refused:
        retry_operation(operation=operation, actor=ANA)
    assert refused.value.code == "model_not_found"
    assert "register this run again" in refused.value.advice.lower()
    assert operation.advice.startswith(f"Its files are in Cloud Storage: register run {run.pk}")
    run.refresh_from_db()
    finish(register_run(run=run, actor=ANA, now=clock()), clock)
    retry_operation(operation=operation, actor=ANA)  # the way is free again
    assert finish(operation, clock).status == "succeeded"
    assert operation_json(operation)["changed"] == []


@pytest.mark.parametrize("verb", [redeploy_endpoint, rollback_endpoint])
def test_an_endpoint_whose_version_is_gone_says_so_and_offers_to_train(
    cloud: LocalCloud, clock: Clock, verb: Any
) -> None:
    endpoint, runs = deployed(cloud, clock, versions=2)
    finish(deploy(runs[1], clock), clock)
    endpoint.refresh_from_db()
    gone = runs[0] if verb is rollback_endpoint else runs[1]
    delete_in_console(gone)
    remove_artifacts(cloud, gone)
    clock.forward(A_WHILE)
    asked = {} if verb is rollback_endpoint else {"config": ServingConfig(concurrency=7)}
    operation = finish(verb(endpoint=endpoint, actor=ANA, now=clock(), **asked), clock)
    assert operation.error_code == "model_not_found"
    assert operation.advice == "Train the model again, or deploy another version."
    assert (
        f"{gone.model_name} v{gone.version} is not registered any more; the history"
        in operation.error
    )
    with pytest.raises(Conflict):
        retry_operation(operation=operation, actor=ANA)


def delete_in_console(run: TrainingRun) -> None:
    vertex.delete_model(ModelName.parse(run.vertex_model_resource_name))


def test_only_the_version_that_is_gone_is_cleared(cloud: LocalCloud, clock: Clock) -> None:
    lineage, runs = a_lineage(cloud, clock, versions=3)
    clock.forward(A_WHILE)
    vertex.delete_model_version(ModelName.parse(runs[1].vertex_model_resource_name).at("2"))
    assert finish(deploy(runs[1], clock), clock).error_code == "model_not_found"
    lineage.refresh_from_db()
    assert (lineage.total_versions, lineage.generation) == (2, 1)
    states = [r.registration for r in TrainingRun.objects.order_by("version")]
    assert states == ["registered", "lost", "registered"]


def test_a_version_whose_label_was_changed_is_not_deployed_and_not_lost(
    cloud: LocalCloud, clock: Clock
) -> None:
    _, (run,) = a_lineage(cloud, clock)
    clock.forward(A_WHILE)
    name = ModelName.parse(run.vertex_model_resource_name).at("1")
    vertex.update_model_labels(name, {"mlp_owner": "tests", "mlp_run": "another"})
    operation = finish(deploy(run, clock), clock)
    assert operation.error_code == "foreign_version"
    assert f"the label mlp_run is 'another'; expected is '{run.uid.hex}'" in operation.error
    run.refresh_from_db()
    assert run.registration == Registration.REGISTERED


def test_a_version_so_new_that_vertex_may_not_show_it_yet_is_waited_for(
    cloud: LocalCloud, clock: Clock
) -> None:
    _, (run,) = a_lineage(cloud, clock)
    cloud.faults.order(method="ModelService.GetModel", kind="stale", seconds=90, times=None)
    operation = deploy(run, clock)
    resume_operations(clock=clock)
    operation.refresh_from_db()
    assert (operation.status, operation.step) == ("running", "verify_model")
    go_on(cloud, clock, rounds=4)
    operation.refresh_from_db()
    assert operation.status == "succeeded"
    run.refresh_from_db()
    assert run.registration == Registration.REGISTERED


def test_missing_artifacts_stop_the_deploy_and_what_pointed_at_them_is_cleared(
    cloud: LocalCloud, clock: Clock
) -> None:
    lineage, (run,) = a_lineage(cloud, clock)
    path = run.gcs_artifacts_path
    remove_artifacts(cloud, run)
    operation = finish(deploy(run, clock), clock)
    lineage.refresh_from_db()
    assert (operation.status, operation.error_code) == ("failed", "artifacts_not_found")
    assert f"{path}pushed_model/1" in operation.error
    assert operation.data["cleared"] == path
    assert status(run) == RunStatus.DEPLOY_FAILED
    assert run.gcs_artifacts_path == ""
    assert (run.registration, lineage.total_versions) == (Registration.REGISTERED, 1)
    assert uploads(cloud) == 0
    assert cloud.effects.count("Services.*") == 0


def test_a_model_file_that_is_missing_among_others_is_missing_but_the_rest_stays_pointed_at(
    cloud: LocalCloud, clock: Clock
) -> None:
    _, (run,) = a_lineage(cloud, clock)
    remove_artifacts(cloud, run)
    for name in ("metrics.json", "pushed_model/1/variables/v", "pushed_model/1/saved_model.pbtxt"):
        write_artifact(cloud, run, name)
    operation = finish(deploy(run, clock), clock)
    assert operation.error_code == "artifacts_not_found"
    run.refresh_from_db()
    assert run.gcs_artifacts_path != ""


def test_artifacts_restored_in_the_bucket_are_the_runs_again(
    cloud: LocalCloud, clock: Clock
) -> None:
    _, (run,) = a_lineage(cloud, clock)
    path = run.gcs_artifacts_path
    remove_artifacts(cloud, run)
    operation = finish(deploy(run, clock), clock)
    write_artifact(cloud, run, "pushed_model/1/saved_model.pb")
    retry_operation(operation=operation, actor=ANA)
    assert finish(operation, clock).status == "succeeded"
    assert status(run) == RunStatus.DEPLOYED
    assert run.gcs_artifacts_path == path
    assert services() == {DeployedEndpoint.objects.get().service_name: run.uid.hex}


# ---- what cannot be known ----------------------------------------------------------------------

SILENT = [
    ("ModelService.GetModel", "UNAVAILABLE"),
    ("ModelService.GetModel", "RESOURCE_EXHAUSTED"),
    ("ModelService.GetModel", "INTERNAL"),
    ("storage.*", "UNAVAILABLE"),
    ("storage.*", "RESOURCE_EXHAUSTED"),
]


@pytest.mark.slow
@pytest.mark.parametrize(("method", "code"), SILENT)
def test_an_outage_only_delays_a_deploy_and_clears_nothing(
    cloud: LocalCloud, clock: Clock, settings: Any, method: str, code: str
) -> None:
    settings.ML_PLATFORM = {**settings.ML_PLATFORM, "RETRY_TIMEOUT": 0}
    _, (run,) = a_lineage(cloud, clock)
    outage = cloud.faults.order(method=method, kind="error", code=code, times=None)
    operation = deploy(run, clock)
    for _ in range(20):
        resume_operations(clock=clock)
        clock.forward(300)
    operation.refresh_from_db()
    run.refresh_from_db()
    assert outage.hits > 5
    assert (operation.status, run.registration) == ("running", Registration.REGISTERED)
    assert run.gcs_artifacts_path != ""
    assert operation.error_code in ("cloud_unavailable", "cloud_throttled")
    cloud.faults.clear()
    assert finish(operation, clock).status == "succeeded"
    assert uploads(cloud) == 0


@pytest.mark.parametrize("method", ["ModelService.GetModel", "storage.*", "Services.GetService"])
def test_a_refused_right_to_look_fails_the_deploy_and_clears_nothing(
    cloud: LocalCloud, clock: Clock, method: str
) -> None:
    _, (run,) = a_lineage(cloud, clock)
    cloud.faults.order(method=method, kind="error", code="PERMISSION_DENIED", times=None)
    operation = finish(deploy(run, clock), clock)
    assert (operation.status, operation.error_code) == ("failed", "cloud_denied")
    assert status(run) == RunStatus.DEPLOY_FAILED
    assert (run.registration, bool(run.gcs_artifacts_path)) == (Registration.REGISTERED, True)
    assert facts(DeployedEndpoint.objects.get()) == ("inactive", False, None, None)
    cloud.faults.clear()
    retry_operation(operation=operation, actor=ANA)
    assert finish(operation, clock).status == "succeeded"
    assert status(run) == RunStatus.DEPLOYED


def test_a_listing_that_fails_beside_a_not_found_clears_nothing(
    cloud: LocalCloud, clock: Clock
) -> None:
    _, (run,) = a_lineage(cloud, clock)
    clock.forward(A_WHILE)
    vertex.delete_model(ModelName.parse(run.vertex_model_resource_name))
    cloud.faults.order(
        method="ModelService.ListModels", kind="error", code="PERMISSION_DENIED", times=None
    )
    operation = finish(deploy(run, clock), clock)
    assert operation.error_code == "cloud_denied"
    run.refresh_from_db()
    assert run.registration == Registration.REGISTERED


# ---- each remote call failing ------------------------------------------------------------------

CALLS = [
    "ModelService.GetModel",
    "storage.objects.list",
    "Services.GetService",
    "Services.CreateService",
    "Services.UpdateService",
    "Services.GetIamPolicy",
    "Services.SetIamPolicy",
]
WAYS: list[dict[str, Any]] = [
    {"kind": "error", "code": "UNAVAILABLE"},
    {"kind": "error", "code": "RESOURCE_EXHAUSTED"},
    {"kind": "error", "code": "ABORTED"},
    {"kind": "lost", "code": "UNAVAILABLE"},
    {"kind": "lost", "code": "INTERNAL"},
    {"kind": "lost", "code": "DEADLINE_EXCEEDED"},
    {"kind": "hang", "when": "before"},
    {"kind": "hang", "when": "after"},
]


@pytest.mark.slow
@pytest.mark.parametrize("way", WAYS, ids=lambda way: "-".join(str(v) for v in way.values()))
@pytest.mark.parametrize("method", CALLS)
def test_a_call_that_fails_once_only_delays_the_deploys(
    cloud: LocalCloud, clock: Clock, settings: Any, method: str, way: dict[str, Any]
) -> None:
    settings.ML_PLATFORM = {**settings.ML_PLATFORM, "RETRY_TIMEOUT": 0, "CALL_TIMEOUT": 0.3}
    _, (old, new) = a_lineage(cloud, clock, versions=2)
    clock.forward(A_WHILE)
    fault = cloud.faults.order(method=method, **way)
    config = ServingConfig(invokers=("user:ana@example.com",))
    first = finish(deploy(old, clock, config=config), clock)
    second = finish(deploy(new, clock), clock)
    endpoint = DeployedEndpoint.objects.get()
    assert fault.hits == 1
    assert [(o.status, o.error) for o in (first, second)] == [("succeeded", "")] * 2
    assert facts(endpoint) == ("active", True, new.pk, None)
    assert services() == {endpoint.service_name: new.uid.hex}
    assert service_of(endpoint).latest_ready_revision == endpoint.revision
    assert cloud_run.change_invokers(endpoint.service_name, add=()) == ("user:ana@example.com",)
    assert [status(run) for run in (old, new)] == ["completed", "deployed"]
    made = [call.method for call in cloud.effects.mutations()]
    assert [name for name in made if name.endswith("Service")] == [
        "Services.CreateService",
        "Services.UpdateService",
        "Services.UpdateService",  # gives the revision its traffic, once its files were compared
    ]
    assert uploads(cloud) == 0


@pytest.mark.slow
@pytest.mark.parametrize("first", [True, False], ids=["create", "update"])
def test_a_slow_cloud_run_is_waited_for_by_its_operation(
    cloud: LocalCloud, clock: Clock, first: bool
) -> None:
    endpoint, (_, new) = deployed(cloud, clock, versions=2)
    if first:
        finish(undeploy(endpoint, clock), clock)
    method = "Services.CreateService" if first else "Services.UpdateService"
    cloud.faults.order(method=method, kind="late", seconds=240.0)
    before = cloud.effects.count(method)
    operation = deploy(new, clock, endpoint=endpoint)
    resume_operations(clock=clock)
    operation.refresh_from_db()
    assert (operation.status, operation.step) == ("running", "wait")
    assert facts(endpoint)[0] == "deploying"
    go_on(cloud, clock, rounds=8)
    operation.refresh_from_db()
    assert operation.status == "succeeded"
    assert services() == {endpoint.service_name: new.uid.hex}
    assert cloud.effects.count(method) == before + (1 if first else 2)


def test_an_operation_that_cloud_run_has_forgotten_is_looked_up_by_its_effect(
    cloud: LocalCloud, clock: Clock
) -> None:
    _, (run,) = a_lineage(cloud, clock)
    cloud.faults.order(method="Services.CreateService", kind="late", seconds=60.0)
    cloud.faults.order(method="Operations.GetOperation", kind="error", code="NOT_FOUND", nth=2)
    operation = deploy(run, clock)
    go_on(cloud, clock, rounds=10)
    operation.refresh_from_db()
    assert operation.status == "succeeded"
    assert cloud.effects.count("Services.CreateService") == 1


def test_a_worker_that_dies_after_the_upsert_leaves_it_to_be_found_not_repeated(
    cloud: LocalCloud, clock: Clock
) -> None:
    _, (run,) = a_lineage(cloud, clock)
    operation = deploy(run, clock)
    advance(operation_id=operation.pk, workflows=WORKFLOWS, clock=clock, steps=3)
    with pytest.raises(KeyboardInterrupt):
        _die_after("Services.CreateService", operation, clock)
    clock.forward(61)
    assert finish(operation, clock).status == "succeeded"
    assert cloud.effects.count("Services.CreateService") == 1
    assert cloud.effects.count("Services.UpdateService") == 0


def test_a_lost_create_that_does_not_show_yet_is_found_when_its_name_is_taken(
    cloud: LocalCloud, clock: Clock
) -> None:
    _, (run,) = a_lineage(cloud, clock)
    cloud.faults.order(method="Services.CreateService", kind="lost")
    stale = cloud.faults.order(method="Services.GetService", kind="stale", seconds=90, nth=2)
    assert finish(deploy(run, clock), clock).status == "succeeded"
    assert stale.hits == 1
    assert cloud.effects.count("Services.CreateService") == 2
    assert cloud.effects.count("Services.UpdateService") == 0
    assert services() == {DeployedEndpoint.objects.get().service_name: run.uid.hex}


def test_a_lost_create_keeps_its_version_protected_while_it_may_still_show(
    cloud: LocalCloud, clock: Clock
) -> None:
    """Its files change before the second try, which is therefore not sent; the first one serves."""
    lineage, (run,) = a_lineage(cloud, clock)
    cloud.faults.order(method="Services.CreateService", kind="lost")
    cloud.faults.order(method="Services.GetService", kind="stale", seconds=90, nth=2)
    operation = deploy(run, clock)
    advance(operation_id=operation.pk, workflows=WORKFLOWS, clock=clock, steps=3)
    advance(operation_id=operation.pk, workflows=WORKFLOWS, clock=clock, steps=1)
    remove_artifacts(cloud, run)
    assert finish(operation, clock).status == "failed"
    endpoint = DeployedEndpoint.objects.get()
    assert services() == {endpoint.service_name: run.uid.hex}
    assert DeployedEndpoint.objects.protecting().get() == endpoint
    with pytest.raises(Conflict):
        delete_versions(lineage=lineage, runs=[run], actor=ANA, now=clock())


def _die_after(method: str, operation: Operation, clock: Clock) -> None:
    send = channels.call

    def dying(name: str, *rest: Any) -> Any:
        answer = send(name, *rest)
        if name == method:
            raise KeyboardInterrupt
        return answer

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(channels, "call", dying)
        advance(operation_id=operation.pk, workflows=WORKFLOWS, clock=clock)


# ---- what does not come up ---------------------------------------------------------------------


@pytest.mark.parametrize("ending", ["fail", "no_traffic"])
@pytest.mark.parametrize("late", [0.0, 240.0], ids=["at-once", "late"])
def test_a_first_version_that_does_not_serve_is_taken_away_again(
    cloud: LocalCloud, clock: Clock, ending: Any, late: float
) -> None:
    _, (run,) = a_lineage(cloud, clock)
    cloud.run.outcome("*", ending, message="Container failed: no such model.")
    if late:
        cloud.faults.order(method="Services.CreateService", kind="late", seconds=late)
    operation = deploy(run, clock)
    go_on(cloud, clock, rounds=10)
    operation.refresh_from_db()
    reason = {"fail": "Container failed: no such model.", "no_traffic": "gets 0 % of the traffic."}
    assert (operation.status, operation.error_code) == ("failed", "deploy_failed")
    assert reason[ending] in operation.error
    endpoint = DeployedEndpoint.objects.get()
    assert facts(endpoint) == ("inactive", False, None, None)
    assert endpoint.error == operation.error
    assert (status(run), run.error) == (RunStatus.DEPLOY_FAILED, operation.error)
    assert services() == {}
    assert cloud.effects.count("Services.DeleteService") == 1


@pytest.mark.slow
@pytest.mark.parametrize("ending", ["fail", "no_traffic"])
def test_a_later_version_that_does_not_serve_gives_way_to_the_one_before(
    cloud: LocalCloud, clock: Clock, ending: Any
) -> None:
    endpoint, (old, new) = deployed(cloud, clock, versions=2, config=ServingConfig(image="ours:1"))
    cloud.run.outcome("*", ending, message="Container failed.")
    operation = finish(deploy(new, clock, config=ServingConfig(image="ours:2")), clock)
    assert (operation.status, operation.error_code) == ("failed", "deploy_failed")
    assert facts(endpoint) == ("active", True, old.pk, None)
    assert [status(run) for run in (old, new)] == ["deployed", "deploy_failed"]
    service = service_of(endpoint)
    assert (service.labels["mlp_run"], service.image) == (old.uid.hex, "ours:1")
    assert service.env["AIP_STORAGE_URI"] == f"{old.gcs_artifacts_path}pushed_model/1"
    assert endpoint.revision == service.latest_ready_revision == service.traffic[0].revision
    assert endpoint.previous_run is None
    assert cloud.effects.count("Services.DeleteService") == 0


@pytest.mark.slow
def test_a_configuration_that_does_not_serve_gives_way_to_the_one_before(
    cloud: LocalCloud, clock: Clock
) -> None:
    endpoint, (run,) = deployed(cloud, clock, config=ServingConfig(image="ours:1"))
    cloud.run.outcome("*", "fail", message="Container failed.")
    operation = finish(deploy(run, clock, config=ServingConfig(image="ours:2")), clock)
    assert operation.error_code == "deploy_failed"
    assert facts(endpoint) == ("active", True, run.pk, None)
    assert (service_of(endpoint).image, endpoint.config["image"]) == ("ours:1", "ours:1")
    assert endpoint.error == operation.error
    assert status(run) == RunStatus.DEPLOYED


def test_when_not_even_the_version_before_comes_up_its_old_revision_serves_on(
    cloud: LocalCloud, clock: Clock
) -> None:
    endpoint, (old, new) = deployed(cloud, clock, versions=2)
    revision = endpoint.revision
    cloud.run.outcome("*", "fail", times=2)
    operation = finish(deploy(new, clock), clock)
    assert operation.error_code == "deploy_failed"
    assert facts(endpoint) == ("active", True, old.pk, None)
    assert endpoint.revision == revision == service_of(endpoint).traffic[0].revision
    assert cloud.effects.count("Services.UpdateService") == 3


def test_a_failed_deploy_can_be_retried_and_brings_up_a_new_revision(
    cloud: LocalCloud, clock: Clock
) -> None:
    _, (run,) = a_lineage(cloud, clock)
    cloud.run.outcome("*", "fail")
    operation = finish(deploy(run, clock), clock)
    retry_operation(operation=operation, actor=ANA)
    operation = finish(operation, clock)
    endpoint = DeployedEndpoint.objects.get()
    assert (operation.status, operation.error) == ("succeeded", "")
    assert (*facts(endpoint), endpoint.error) == ("active", True, run.pk, None, "")
    assert (status(run), run.error) == (RunStatus.DEPLOYED, "")


@pytest.mark.slow
def test_a_right_lost_after_the_upsert_is_waited_for_and_the_version_stays_protected(
    cloud: LocalCloud, clock: Clock
) -> None:
    _, (run,) = a_lineage(cloud, clock)
    cloud.faults.order(
        method="Services.GetService", kind="error", code="PERMISSION_DENIED", nth=2, times=None
    )
    operation = deploy(run, clock)
    for _ in range(20):
        resume_operations(clock=clock)
        clock.forward(300)
    operation.refresh_from_db()
    endpoint = DeployedEndpoint.objects.get()
    assert (operation.status, operation.error_code) == ("running", "cloud_denied")
    assert facts(endpoint) == ("deploying", False, None, run.pk)
    clock.forward(24 * 3600)
    assert finish(operation, clock).status == "failed"
    assert facts(endpoint) == ("deploying", False, None, run.pk)
    cloud.faults.clear()
    retry_operation(operation=operation, actor=ANA)
    assert finish(operation, clock).status == "succeeded"
    assert facts(endpoint) == ("active", True, run.pk, None)


def test_a_deploy_cancelled_before_the_upsert_leaves_all_as_it_was(
    cloud: LocalCloud, clock: Clock
) -> None:
    endpoint, (old, new) = deployed(cloud, clock, versions=2)
    operation = deploy(new, clock)
    advance(operation_id=operation.pk, workflows=WORKFLOWS, clock=clock, steps=1)
    request_cancel(operation=operation, actor=ANA, now=clock())
    assert finish(operation, clock).status == "cancelled"
    assert facts(endpoint) == ("active", True, old.pk, None)
    assert [status(run) for run in (old, new)] == ["deployed", "completed"]
    assert cloud.effects.count("Services.UpdateService") == 0


def test_cloud_run_refusing_the_update_for_good_leaves_what_serves(
    cloud: LocalCloud, clock: Clock
) -> None:
    endpoint, (old, new) = deployed(cloud, clock, versions=2)
    cloud.faults.order(
        method="Services.UpdateService", kind="error", code="INVALID_ARGUMENT", times=None
    )
    operation = finish(deploy(new, clock), clock)
    assert (operation.status, operation.error_code) == ("failed", "cloud_rejected")
    assert facts(endpoint) == ("active", True, old.pk, None)
    assert services() == {endpoint.service_name: old.uid.hex}
    assert cloud.effects.count("Services.UpdateService") == 1


@pytest.mark.slow
def test_a_person_changing_the_service_meanwhile_is_met_by_its_etag(
    cloud: LocalCloud, clock: Clock
) -> None:
    endpoint, (_, new) = deployed(cloud, clock, versions=2)
    operation = deploy(new, clock)
    advance(operation_id=operation.pk, workflows=WORKFLOWS, clock=clock, steps=3)
    cloud_run.change_invokers(endpoint.service_name, add=["user:ops@example.com"])
    theirs = service_of(endpoint)
    deploy_by_hand(theirs.service_id, theirs.labels)
    assert finish(operation, clock).status == "succeeded"
    assert cloud.effects.count("Services.UpdateService") == 3, "theirs and our two"
    assert services() == {endpoint.service_name: new.uid.hex}


def test_a_run_registered_again_after_its_loss_can_be_deployed(
    cloud: LocalCloud, clock: Clock
) -> None:
    _, (run,) = a_lineage(cloud, clock)
    clock.forward(A_WHILE)
    vertex.delete_model(ModelName.parse(run.vertex_model_resource_name))
    finish(deploy(run, clock), clock)
    run.refresh_from_db()
    register_run(run=run, actor=ANA, now=clock())
    settle(clock)
    run.refresh_from_db()
    assert run.vertex_model_resource_name.endswith("-2")
    assert finish(deploy(run, clock), clock).status == "succeeded"
    assert services() == {DeployedEndpoint.objects.get().service_name: run.uid.hex}


def test_a_lineages_other_project_is_none_of_its_business(cloud: LocalCloud, clock: Clock) -> None:
    _, (one,) = a_lineage(cloud, clock)
    _, (two,) = a_lineage(cloud, clock)
    finish(deploy(one, clock), clock)
    finish(deploy(two, clock), clock)
    assert sorted(services().values()) == sorted([one.uid.hex, two.uid.hex])
    assert DeployedEndpoint.objects.count() == 2
    assert a_run(cloud).registered_model is None
