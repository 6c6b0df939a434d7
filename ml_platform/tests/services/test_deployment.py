"""Deployment through Google's clients: verified, in place, and success is what really serves."""

from __future__ import annotations

from threading import Barrier, Thread
from typing import TYPE_CHECKING, Any

import pytest
from django.db import connections

from ml_platform.cloud import cloud_run
from ml_platform.cloud.types import ServiceSpec
from ml_platform.errors import Invalid, PlatformError
from ml_platform.models import DeployedEndpoint, Operation, TrainingRun
from ml_platform.models.states import Registration, RunStatus
from ml_platform.services.deletion.delete import delete_versions
from ml_platform.services.deletion.plan import DeployedModel
from ml_platform.services.deployment.deploy import redeploy_endpoint, rollback_endpoint
from ml_platform.services.deployment.deployable import NotDeployable
from ml_platform.services.operations.store import Busy, KeyReused
from ml_platform.services.ownership.labels import ENDPOINT, OPERATION, OWNER, RUN
from ml_platform.services.serving.config import ServingConfig
from ml_platform.services.serving.polling import ForeignService
from ml_platform.tests.factories import LONG_AGO, DeployedEndpointFactory

from .deploy_tools import (
    A_WHILE,
    deploy,
    deployed,
    facts,
    finish,
    service_of,
    services,
    status,
    undeploy,
)
from .world import ANA, Clock, a_lineage, a_run, settle

if TYPE_CHECKING:
    from ml_platform.localcloud import LocalCloud

pytestmark = pytest.mark.django_db


@pytest.fixture
def clock(cloud: LocalCloud) -> Clock:
    return Clock()


def test_a_first_deploy_brings_up_a_private_service_that_names_its_version(
    cloud: LocalCloud, clock: Clock
) -> None:
    lineage, (run,) = a_lineage(cloud, clock)
    operation = finish(deploy(run, clock), clock)
    endpoint = DeployedEndpoint.objects.get()
    service = service_of(endpoint)
    assert (operation.status, operation.error) == ("succeeded", "")
    assert facts(endpoint) == ("active", True, run.pk, None)
    assert (endpoint.url, endpoint.revision) == (service.uri, service.latest_ready_revision)
    assert (endpoint.registered_model, endpoint.deployed_at) == (lineage, clock())
    assert status(run) == RunStatus.DEPLOYED
    assert {key: service.labels[key] for key in (OWNER, RUN, ENDPOINT, OPERATION)} == {
        OWNER: "tests",
        RUN: run.uid.hex,
        ENDPOINT: endpoint.uid.hex,
        OPERATION: operation.pk.hex,
    }
    assert service.env["AIP_STORAGE_URI"] == f"{run.gcs_artifacts_path}pushed_model/1"
    assert cloud.effects.count("Services.CreateService") == 1
    assert cloud.effects.count("Services.SetIamPolicy") == 0
    assert cloud_run.change_invokers(endpoint.service_name, add=()) == ()
    assert {call.reason for call in cloud.effects.calls("Services.CreateService")} == {
        f"operation {operation.pk}"
    }


@pytest.mark.slow
def test_a_later_version_takes_over_in_place_and_the_one_before_can_be_rolled_back_to(
    cloud: LocalCloud, clock: Clock
) -> None:
    endpoint, (old, new) = deployed(cloud, clock, versions=2)
    url = endpoint.url
    finish(deploy(new, clock), clock)
    assert facts(endpoint) == ("active", True, new.pk, None)
    assert (endpoint.previous_run, endpoint.url) == (old, url)
    assert (status(old), status(new)) == (RunStatus.COMPLETED, RunStatus.DEPLOYED)
    operation = finish(rollback_endpoint(endpoint=endpoint, actor=ANA, now=clock()), clock)
    assert operation.kind == "redeploy"
    assert facts(endpoint) == ("active", True, old.pk, None)
    assert endpoint.previous_run == new
    assert (status(old), status(new)) == (RunStatus.DEPLOYED, RunStatus.COMPLETED)
    assert services() == {endpoint.service_name: old.uid.hex}
    assert cloud.effects.count("Services.CreateService") == 1
    assert cloud.effects.count("Services.UpdateService") == 4  # each a revision, then its traffic
    assert cloud.effects.count("Services.DeleteService") == 0
    assert cloud.effects.count("ModelService.UploadModel") == 0


@pytest.mark.slow
def test_a_rollback_brings_back_how_the_version_was_served(cloud: LocalCloud, clock: Clock) -> None:
    good = ServingConfig(env={"MODE": "good"}, memory="1Gi")
    endpoint, (old, new) = deployed(cloud, clock, versions=2, config=good)
    finish(deploy(new, clock, config=ServingConfig(env={"MODE": "bad"}, image="broken:1")), clock)
    endpoint.refresh_from_db()
    finish(rollback_endpoint(endpoint=endpoint, actor=ANA, now=clock()), clock)
    assert facts(endpoint) == ("active", True, old.pk, None)
    assert ServingConfig.from_dict(endpoint.config) == good.with_image()
    service = service_of(endpoint)
    assert (service.env["MODE"], service.image) == ("good", good.with_image().image)


@pytest.mark.slow
def test_a_redeploy_asked_again_is_answered_again_though_its_model_was_deleted_since(
    cloud: LocalCloud, clock: Clock
) -> None:
    endpoint, (run, _) = deployed(cloud, clock, versions=2)
    finish(undeploy(endpoint, clock), clock)
    endpoint.refresh_from_db()

    def ask() -> Operation:
        return redeploy_endpoint(endpoint=endpoint, actor=ANA, now=clock(), idempotency_key="k")

    first = finish(ask(), clock)
    clock.forward(A_WHILE)
    finish(undeploy(endpoint, clock), clock)
    lineage = endpoint.registered_model
    delete_versions(lineage=lineage, runs=[run], actor=ANA, now=clock())
    settle(clock)
    endpoint.refresh_from_db()
    assert endpoint.model_deleted
    assert ask().pk == first.pk


@pytest.mark.slow
def test_a_stopped_endpoint_is_restored_by_the_same_steps_as_a_deploy(
    cloud: LocalCloud, clock: Clock
) -> None:
    endpoint, (run,) = deployed(cloud, clock)
    finish(undeploy(endpoint, clock), clock)
    endpoint.refresh_from_db()
    first = Operation.objects.get(kind="deploy")
    second = finish(redeploy_endpoint(endpoint=endpoint, actor=ANA, now=clock()), clock)
    steps = [[step["step"] for step in operation.steps] for operation in (first, second)]
    way = "verify_model verify_artifacts look upsert confirm record set_invokers"
    assert steps == [way.split(), way.split()]
    assert facts(endpoint) == ("active", True, run.pk, None)
    assert services() == {endpoint.service_name: run.uid.hex}


# ---- what is refused at once -------------------------------------------------------------------

DECIDED = {"approval_by": "bo", "approval_reason": "It is biased.", "approval_at": LONG_AGO}
REFUSED = [
    ({"status": RunStatus.RUNNING}, "run_not_completed"),
    ({"status": RunStatus.FAILED}, "run_not_completed"),
    ({"is_blessed": False}, "not_blessed"),
    ({"is_blessed": None}, "not_judged"),
    ({"approval": "withdrawn", **DECIDED}, "approval_withdrawn"),
    ({"approval": "withdrawn", "is_blessed": None, **DECIDED}, "approval_withdrawn"),
    ({"registration": Registration.DELETING}, "deleting"),
]


@pytest.mark.parametrize(("fields", "code"), REFUSED, ids=lambda value: str(value))
def test_a_run_that_is_no_blessed_version_is_refused_and_the_refusal_is_in_the_history(
    cloud: LocalCloud, clock: Clock, fields: dict[str, Any], code: str
) -> None:
    _, (run,) = a_lineage(cloud, clock)
    TrainingRun.objects.filter(pk=run.pk).update(**fields)
    run.refresh_from_db()
    with pytest.raises(NotDeployable) as caught:
        deploy(run, clock)
    assert (caught.value.code, bool(caught.value.advice)) == (code, True)
    kept = Operation.objects.get(kind="deploy")
    assert (kept.status, kept.error_code, kept.actor_label) == ("failed", code, "ana")
    assert DeployedEndpoint.objects.count() == 0
    assert cloud.effects.count("Services.*") == 0
    assert status(run) == fields.get("status", RunStatus.COMPLETED)


def test_a_run_that_was_never_registered_is_not_deployed(cloud: LocalCloud, clock: Clock) -> None:
    with pytest.raises(NotDeployable, match="not registered"):
        deploy(a_run(cloud), clock)
    failed = a_run(cloud)
    TrainingRun.objects.filter(pk=failed.pk).update(status=RunStatus.FAILED)
    failed.refresh_from_db()
    with pytest.raises(NotDeployable) as caught:
        deploy(failed, clock)
    assert caught.value.code == "run_not_completed"
    assert cloud.effects.count("ModelService.*") == 0


def test_what_serves_there_already_is_not_deployed_again(cloud: LocalCloud, clock: Clock) -> None:
    endpoint, (run,) = deployed(cloud, clock)
    for attempt in (
        lambda: deploy(run, clock),
        lambda: deploy(run, clock, config=ServingConfig()),
        lambda: redeploy_endpoint(endpoint=endpoint, actor=ANA, now=clock()),
    ):
        with pytest.raises(NotDeployable, match="serves v1 already"):
            attempt()
    assert facts(endpoint) == ("active", True, run.pk, None)


@pytest.mark.slow
def test_an_endpoint_whose_model_was_deleted_is_refused_at_once(
    cloud: LocalCloud, clock: Clock
) -> None:
    endpoint, (old, new) = deployed(cloud, clock, versions=2)
    finish(undeploy(endpoint, clock), clock)
    delete_versions(lineage=endpoint.registered_model, runs=[old], actor=ANA, now=clock())
    settle(clock)
    endpoint.refresh_from_db()
    assert endpoint.model_deleted
    calls = len(cloud.effects.calls("*"))
    for attempt in (
        lambda: redeploy_endpoint(endpoint=endpoint, actor=ANA, now=clock()),
        lambda: redeploy_endpoint(endpoint=endpoint, run=new, actor=ANA, now=clock()),
        lambda: deploy(new, clock, endpoint=endpoint),
        lambda: deploy(new, clock, service_name=endpoint.service_name),
    ):
        with pytest.raises(NotDeployable) as caught:
            attempt()
        assert str(caught.value) == "The model was deleted; this endpoint cannot be restored."
        assert caught.value.code == "model_deleted"
    assert len(cloud.effects.calls("*")) == calls
    assert Operation.objects.filter(error_code="model_deleted").count() == 4


@pytest.mark.slow
def test_a_living_version_of_that_lineage_gets_a_service_of_its_own(
    cloud: LocalCloud, clock: Clock
) -> None:
    endpoint, (old, new) = deployed(cloud, clock, versions=2)
    finish(undeploy(endpoint, clock), clock)
    delete_versions(lineage=endpoint.registered_model, runs=[old], actor=ANA, now=clock())
    settle(clock)
    finish(deploy(new, clock), clock)
    fresh = DeployedEndpoint.objects.get(is_active=True)
    assert fresh.service_name != endpoint.service_name
    assert services() == {fresh.service_name: new.uid.hex}


def test_an_endpoint_that_never_served_has_nothing_to_restore_or_roll_back_to(
    cloud: LocalCloud, clock: Clock
) -> None:
    endpoint = DeployedEndpointFactory()
    with pytest.raises(NotDeployable, match="no version yet"):
        redeploy_endpoint(endpoint=endpoint, actor=ANA, now=clock())
    with pytest.raises(NotDeployable, match="no version before"):
        rollback_endpoint(endpoint=endpoint, actor=ANA, now=clock())
    assert Operation.objects.filter(status="failed").count() == 2


def test_a_name_that_another_model_has_is_refused_and_so_is_one_cloud_run_would_not_take(
    cloud: LocalCloud, clock: Clock
) -> None:
    endpoint, _ = deployed(cloud, clock, service_name="chern-live")
    _, (other,) = a_lineage(cloud, clock, name="other")
    with pytest.raises(ForeignService, match="another model"):
        deploy(other, clock, service_name="chern-live")
    for name in ("Chern", "1chern", "chern-", "c" * 50, "chern_live", "chern\n"):
        with pytest.raises(Invalid):
            deploy(other, clock, service_name=name)
    assert services() == {"chern-live": endpoint.run.uid.hex if endpoint.run else ""}
    assert status(other) == RunStatus.COMPLETED


# ---- idempotency and races ---------------------------------------------------------------------


def test_the_same_key_is_the_same_deploy_and_another_request_under_it_is_refused(
    cloud: LocalCloud, clock: Clock
) -> None:
    _, runs = a_lineage(cloud, clock, versions=2)
    first = deploy(runs[0], clock, idempotency_key="k")
    assert deploy(runs[0], clock, idempotency_key="k").pk == first.pk
    finish(first, clock)
    assert deploy(runs[0], clock, idempotency_key="k").pk == first.pk
    with pytest.raises(KeyReused):
        deploy(runs[1], clock, idempotency_key="k")
    assert cloud.effects.count("Services.CreateService") == 1


@pytest.mark.slow
def test_a_rollback_asked_twice_under_one_key_goes_back_once(
    cloud: LocalCloud, clock: Clock
) -> None:
    endpoint, (old, new) = deployed(cloud, clock, versions=2)
    finish(deploy(new, clock), clock)
    operations = []
    for _ in range(2):
        endpoint.refresh_from_db()
        operations.append(
            rollback_endpoint(endpoint=endpoint, actor=ANA, now=clock(), idempotency_key="back")
        )
        settle(clock)
    assert operations[0].pk == operations[1].pk
    assert facts(endpoint) == ("active", True, old.pk, None)


def test_while_a_deploy_runs_the_lineage_is_busy_for_everybody_else(
    cloud: LocalCloud, clock: Clock
) -> None:
    lineage, (run, other) = a_lineage(cloud, clock, versions=2)
    deploy(run, clock)
    with pytest.raises(Busy):
        deploy(other, clock)
    with pytest.raises(DeployedModel):
        _delete_past_the_lock(run, clock)
    settle(clock)
    with pytest.raises(DeployedModel):
        delete_versions(lineage=lineage, runs=[run], actor=ANA, now=clock())


def _delete_past_the_lock(run: TrainingRun, clock: Clock) -> None:
    """As if another lock had failed: the row alone refuses."""
    Operation.objects.filter(status="running").update(lineage_key="")
    lineage = run.registered_model
    assert lineage
    delete_versions(lineage=lineage, runs=[run], actor=ANA, now=clock())


@pytest.mark.django_db(transaction=True)
def test_of_two_deploys_to_one_name_at_the_same_time_one_wins_and_the_other_is_busy(
    cloud: LocalCloud, clock: Clock
) -> None:
    _, runs = a_lineage(cloud, clock, versions=2)
    ready = Barrier(2)
    outcomes: list[object] = []

    def act(run: TrainingRun) -> None:
        ready.wait()
        try:
            outcomes.append(deploy(run, clock, service_name="chern-live"))
        except PlatformError as error:
            outcomes.append(error)
        finally:
            connections.close_all()

    threads = [Thread(target=act, args=(run,)) for run in runs]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    settle(clock)
    assert sorted(type(outcome).__name__ for outcome in outcomes) == ["Busy", "Operation"]
    endpoint = DeployedEndpoint.objects.get()
    assert endpoint.run is not None
    assert services() == {"chern-live": endpoint.run.uid.hex}
    assert sorted(status(run) for run in runs) == ["completed", "deployed"]
    assert cloud.effects.count("Services.CreateService") == 1


# ---- whose service it is -----------------------------------------------------------------------


def test_a_service_of_somebody_else_under_the_name_is_left_alone(
    cloud: LocalCloud, clock: Clock
) -> None:
    _, (run,) = a_lineage(cloud, clock)
    cloud_run.create_service("chern-live", ServiceSpec(image="theirs", labels={"team": "theirs"}))
    before = cloud_run.get_service("chern-live")
    operation = finish(deploy(run, clock, service_name="chern-live"), clock)
    endpoint = DeployedEndpoint.objects.get()
    assert (operation.status, operation.error_code) == ("failed", "foreign_service")
    assert facts(endpoint) == ("inactive", False, None, None)
    assert endpoint.error == operation.error != ""
    assert status(run) == RunStatus.DEPLOY_FAILED
    assert cloud_run.get_service("chern-live") == before
    assert cloud.effects.count("Services.UpdateService") == 0


def test_a_service_with_our_labels_but_another_endpoints_is_left_alone_too(
    cloud: LocalCloud, clock: Clock
) -> None:
    endpoint, _ = deployed(cloud, clock, service_name="chern-live")
    DeployedEndpoint.objects.filter(pk=endpoint.pk).update(service_name="elsewhere")
    _, (other,) = a_lineage(cloud, clock, name="other")
    operation = finish(deploy(other, clock, service_name="chern-live"), clock)
    assert operation.error_code == "foreign_service"
    assert cloud.effects.count("Services.UpdateService") == 0


def test_a_service_deleted_in_the_console_is_made_again_by_the_next_deploy(
    cloud: LocalCloud, clock: Clock
) -> None:
    endpoint, (_, new) = deployed(cloud, clock, versions=2)
    cloud_run.delete_service(endpoint.service_name, etag="")
    finish(deploy(new, clock), clock)
    assert facts(endpoint) == ("active", True, new.pk, None)
    assert services() == {endpoint.service_name: new.uid.hex}


# ---- configuration -----------------------------------------------------------------------------


def test_a_change_of_configuration_is_a_new_revision_of_the_same_version(
    cloud: LocalCloud, clock: Clock
) -> None:
    endpoint, (run,) = deployed(cloud, clock)
    revision = endpoint.revision
    config = ServingConfig(image="ours:2", cpu="2", memory="4Gi", env={"LOG": "debug"})
    finish(deploy(run, clock, config=config), clock)
    service = service_of(endpoint)
    assert facts(endpoint) == ("active", True, run.pk, None)
    assert endpoint.revision == service.latest_ready_revision != revision
    assert (service.image, service.env["LOG"]) == ("ours:2", "debug")
    assert ServingConfig.from_dict(endpoint.config) == config
    assert endpoint.previous_run is None
    assert status(run) == RunStatus.DEPLOYED


def test_a_deploy_without_a_configuration_keeps_the_endpoints_own(
    cloud: LocalCloud, clock: Clock
) -> None:
    endpoint, (_, new) = deployed(cloud, clock, versions=2, config=ServingConfig(image="ours:2"))
    finish(deploy(new, clock), clock)
    assert service_of(endpoint).image == "ours:2"
