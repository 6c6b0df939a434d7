"""Services of Cloud Run change between a look of ours and our effect."""

from __future__ import annotations

from collections.abc import Generator
from typing import Any

from ml_platform.cloud import cloud_run
from ml_platform.cloud.types import ServiceSpec
from ml_platform.models import DeployedEndpoint, Finding, Operation, TrainingRun
from ml_platform.models.states import EndpointState, RunStatus
from ml_platform.services.findings.kinds import FindingKind, Kind
from ml_platform.services.repairs.reconciliation import repair_finding
from ml_platform.services.repairs.service_labels import relabel_service
from ml_platform.services.serving.config import ServingConfig
from ml_platform.services.sweeps.sweep import sweep
from ml_platform.tests.services.deploy_tools import (
    A_WHILE,
    deploy,
    deployed,
    facts,
    service_of,
    services,
    undeploy,
)
from ml_platform.tests.services.people import deploy_by_hand, edit_service, see_service
from ml_platform.tests.services.world import ANA, a_lineage

from .harness import World, before, ended

Played = Generator[Operation | None, None, None]
OTHERS = {"team": "theirs"}
CALLERS = ServingConfig(invokers=("user:ana@example.com",))


def _endpoint(w: World, **options: Any) -> tuple[DeployedEndpoint, list[TrainingRun]]:
    endpoint, runs = deployed(w.cloud, w.clock, versions=2, **options)
    w.forget()
    return endpoint, runs


# ---- undeploy ----------------------------------------------------------------------------------


@before("delete")
def a_service_that_another_took_over_survives_an_undeploy(w: World) -> Played:
    endpoint, _ = _endpoint(w)
    operation = undeploy(endpoint, w.clock)
    yield operation
    # The one we made is gone, and under its name somebody has made their own.
    cloud_run.delete_service(endpoint.service_name, etag="")
    cloud_run.create_service(endpoint.service_name, ServiceSpec(image="theirs", labels=OTHERS))
    yield None
    assert services() == {endpoint.service_name: ""}
    ended(operation, "succeeded")
    assert facts(endpoint)[:2] == ("inactive", False)


@before("delete")
def a_service_that_was_changed_is_looked_at_again_before_it_goes(w: World) -> Played:
    endpoint, _ = _endpoint(w)
    operation = undeploy(endpoint, w.clock)
    yield operation
    deploy_by_hand(endpoint.service_name, dict(service_of(endpoint).labels))
    yield None
    ended(operation, "succeeded")
    assert [step["step"] for step in operation.steps].count("look") > 1
    assert services() == {}


# ---- deploy ------------------------------------------------------------------------------------


@before("upsert")
def a_service_that_another_took_over_is_not_deployed_to(w: World) -> Played:
    endpoint, (_, new) = _endpoint(w)
    operation = deploy(new, w.clock)
    yield operation
    cloud_run.delete_service(endpoint.service_name, etag="")
    cloud_run.create_service(endpoint.service_name, ServiceSpec(image="theirs", labels=OTHERS))
    yield None
    ended(operation, "failed", "foreign_service")
    assert service_of(endpoint).labels == OTHERS
    assert facts(endpoint)[:2] == ("inactive", False), "what we had there is gone"


@before("upsert")
def what_a_person_set_since_the_look_stays_and_what_is_ours_is_told(w: World) -> Played:
    endpoint, (_, new) = _endpoint(w)
    operation = deploy(new, w.clock)
    yield operation

    def edit(service: Any) -> None:
        service.template.vpc_access = {"connector": "projects/p/locations/l/connectors/c"}
        service.template.timeout = {"seconds": 9}

    edit_service(endpoint.service_name, edit)
    yield None
    ended(operation, "succeeded")
    template = see_service(endpoint.service_name).template
    assert (bool(template.vpc_access.connector), template.timeout.seconds) == (True, 300)
    assert "timeout_seconds is 9, not 300" in str(operation.steps)


@before("upsert")
def a_service_whose_traffic_a_person_sent_elsewhere_meanwhile_is_not_deployed_to(
    w: World,
) -> Played:
    endpoint, (_, new) = _endpoint(w, config=ServingConfig(image="i:1"))
    first = endpoint.revision
    operation = deploy(new, w.clock)
    yield operation

    def pin(service: Any) -> None:
        service.template.session_affinity = True
        kind = "TRAFFIC_TARGET_ALLOCATION_TYPE_REVISION"
        service.traffic = [{"type_": kind, "revision": first, "percent": 100}]

    edit_service(endpoint.service_name, pin)
    before = see_service(endpoint.service_name)
    yield None
    ended(operation, "failed", "traffic_elsewhere")
    assert see_service(endpoint.service_name) == before
    assert facts(endpoint)[:2] == ("active", True)


@before("upsert")
def a_service_that_is_deleted_meanwhile_is_made_again(w: World) -> Played:
    endpoint, (_, new) = _endpoint(w)
    operation = deploy(new, w.clock)
    yield operation
    cloud_run.delete_service(endpoint.service_name, etag="")
    yield None
    ended(operation, "succeeded")
    assert services() == {endpoint.service_name: new.uid.hex}


@before("upsert")
def a_new_name_that_another_takes_meanwhile_is_not_ours(w: World) -> Played:
    _, (run,) = a_lineage(w.cloud, w.clock)
    w.clock.forward(A_WHILE)
    operation = deploy(run, w.clock, service_name="taken")
    yield operation
    cloud_run.create_service("taken", ServiceSpec(image="theirs", labels=OTHERS))
    yield None
    ended(operation, "failed", "foreign_service")
    assert (services(), cloud_run.get_service("taken").labels) == ({"taken": ""}, OTHERS)


@before("give_traffic")
def traffic_that_a_person_sent_elsewhere_meanwhile_is_not_given_to_the_new_one(
    w: World,
) -> Played:
    endpoint, (_, new) = _endpoint(w)
    first = endpoint.revision
    operation = deploy(new, w.clock)
    yield operation
    kind = "TRAFFIC_TARGET_ALLOCATION_TYPE_REVISION"
    pins = [{"type_": kind, "revision": first, "percent": 100, "tag": "kept"}]
    edit_service(endpoint.service_name, lambda service: setattr(service, "traffic", pins))
    yield None
    ended(operation, "failed", "deploy_failed")
    (target,) = see_service(endpoint.service_name).traffic
    assert (target.revision, target.percent, target.tag) == (first, 100, "kept")


@before("remove")
def what_did_not_come_up_and_was_taken_over_is_not_removed(w: World) -> Played:
    _, (run,) = a_lineage(w.cloud, w.clock)
    w.clock.forward(A_WHILE)
    w.cloud.run.outcome("*", "fail")
    operation = deploy(run, w.clock, service_name="taken")
    yield operation
    cloud_run.delete_service("taken", etag="")
    cloud_run.create_service("taken", ServiceSpec(image="theirs", labels=OTHERS))
    yield None
    ended(operation, "failed", "foreign_service")
    assert cloud_run.get_service("taken").labels == OTHERS


@before("set_invokers")
def callers_are_not_set_on_an_endpoint_that_has_another_configuration(w: World) -> Played:
    _, (run,) = a_lineage(w.cloud, w.clock)
    w.clock.forward(A_WHILE)
    operation = deploy(run, w.clock, config=CALLERS)
    yield operation
    DeployedEndpoint.objects.update(config=ServingConfig(cpu="2").to_dict())
    yield None
    ended(operation, "failed", "superseded")
    assert cloud_run.change_invokers(DeployedEndpoint.objects.get().service_name, add=()) == ()


@before("set_invokers")
def callers_are_not_set_on_an_endpoint_that_serves_another_version(w: World) -> Played:
    endpoint, (old, new) = _endpoint(w)
    operation = deploy(new, w.clock, config=CALLERS)
    yield operation
    DeployedEndpoint.objects.update(run=old)
    yield None
    ended(operation, "failed", "superseded")
    assert cloud_run.change_invokers(endpoint.service_name, add=()) == ()


# ---- repairs -----------------------------------------------------------------------------------


def _repair(w: World, kind: Kind) -> Operation:
    w.clock.forward(A_WHILE)
    sweep(actor=ANA, clock=w.clock)
    finding = Finding.objects.open().get(kind=kind)
    w.forget()
    return repair_finding(finding=finding, actor=ANA, now=w.clock())


def _leftover(w: World) -> tuple[DeployedEndpoint, Operation]:
    endpoint, runs = _endpoint(w)
    DeployedEndpoint.objects.update(state=EndpointState.INACTIVE, is_active=False)
    TrainingRun.objects.filter(pk=runs[0].pk).update(status=RunStatus.COMPLETED)
    return endpoint, _repair(w, FindingKind.LEFTOVER_SERVICE)


@before("delete_leftover")
def a_leftover_that_was_changed_meanwhile_is_left_alone(w: World) -> Played:
    endpoint, operation = _leftover(w)
    yield operation
    deploy_by_hand(endpoint.service_name, OTHERS)
    yield None
    ended(operation, "succeeded")
    assert service_of(endpoint).labels == OTHERS


@before("relabel")
def a_service_that_another_took_over_is_not_relabeled(w: World) -> Played:
    endpoint, _ = _endpoint(w)
    edit_service(endpoint.service_name, lambda service: service.labels.clear())
    operation = relabel_service(endpoint=endpoint, actor=ANA, now=w.clock())
    yield operation
    cloud_run.delete_service(endpoint.service_name, etag="")
    cloud_run.create_service(endpoint.service_name, ServiceSpec(image="theirs", labels=OTHERS))
    yield None
    ended(operation, "failed", "not_ours")
    assert service_of(endpoint).labels == OTHERS


@before("read_leftover")
def a_leftover_whose_endpoint_serves_again_is_left_alone(w: World) -> Played:
    endpoint, operation = _leftover(w)
    yield operation
    DeployedEndpoint.objects.update(state=EndpointState.ACTIVE, is_active=True)
    yield None
    ended(operation, "succeeded")
    assert (list(services()), w.changes) == ([endpoint.service_name], [])


@before("look_at_service")
def an_endpoint_whose_service_is_back_stays_active(w: World) -> Played:
    endpoint, (run, _) = _endpoint(w)
    labels = service_of(endpoint).labels
    cloud_run.delete_service(endpoint.service_name, etag="")
    operation = _repair(w, FindingKind.SERVICE_MISSING)
    yield operation
    cloud_run.create_service(endpoint.service_name, ServiceSpec(image="i", labels=dict(labels)))
    DeployedEndpoint.objects.update(revision=service_of(endpoint).latest_ready_revision)
    yield None
    ended(operation, "succeeded")
    assert facts(endpoint)[:3] == ("active", True, run.pk)


def _give_files_of(run: TrainingRun, endpoint: DeployedEndpoint) -> None:
    def change(service: Any) -> None:
        variables = service.template.containers[0].env
        [files] = [one for one in variables if one.name == "AIP_STORAGE_URI"]
        files.value = f"{run.gcs_artifacts_path}pushed_model/1"

    edit_service(endpoint.service_name, change)


@before("look_at_service")
def an_endpoint_that_was_stopped_meanwhile_is_not_recorded_to_serve(w: World) -> Played:
    endpoint, (_, other) = _endpoint(w)
    deploy_by_hand(endpoint.service_name, {**service_of(endpoint).labels, "mlp_run": other.uid.hex})
    _give_files_of(other, endpoint)
    operation = _repair(w, FindingKind.SERVICE_MISMATCH)
    yield operation
    DeployedEndpoint.objects.update(state=EndpointState.INACTIVE, is_active=False)
    yield None
    ended(operation, "succeeded")
    assert facts(endpoint)[:2] == ("inactive", False)
