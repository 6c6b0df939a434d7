"""Drift of services on the wire: found by a sweep, repaired only by what a second look proves."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, cast

import pytest

from ml_platform.cloud import cloud_run
from ml_platform.cloud.run_messages import ARTIFACT_ENV
from ml_platform.models import DeployedEndpoint, Finding, Operation, TrainingRun
from ml_platform.models.states import (
    EndpointState,
    FindingStatus,
    OperationStatus,
    Registration,
    RunStatus,
)
from ml_platform.services.deployment.undeploy import undeploy_endpoint
from ml_platform.services.findings.kinds import FindingKind
from ml_platform.services.operations.store import Busy
from ml_platform.services.ownership.labels import labels_for
from ml_platform.services.repairs.reconciliation import NoRepair, repair_finding
from ml_platform.services.sweeps.sweep import sweep

from .deploy_tools import A_WHILE, deploy, deployed, facts, finish, service_of, services, status
from .people import deploy_by_hand, edit_service
from .test_others_changes import set_env
from .world import ANA, Clock

if TYPE_CHECKING:
    from ml_platform.localcloud import LocalCloud

pytestmark = [pytest.mark.django_db, pytest.mark.any_database]
KINDS = (
    FindingKind.LEFTOVER_SERVICE,
    FindingKind.SERVICE_MISSING,
    FindingKind.SERVICE_MISMATCH,
    FindingKind.SERVICE_LABELS_CHANGED,
)


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def endpoint(cloud: LocalCloud, clock: Clock) -> DeployedEndpoint:
    """An endpoint in order, which serves the first of two versions."""
    found, _ = deployed(cloud, clock, versions=2)
    look(clock)
    assert open_kinds() == []
    cloud.effects.reset()
    return found


def look(clock: Clock) -> None:
    clock.forward(60)
    sweep(actor=ANA, clock=clock)


def open_kinds() -> list[str]:
    return [f.kind for f in Finding.objects.open().filter(kind__in=KINDS).order_by("kind")]


def finding() -> Finding:
    return Finding.objects.filter(kind__in=KINDS).latest("pk")


def repair(clock: Clock) -> Operation:
    found = Finding.objects.open().get(kind__in=KINDS)
    return finish(repair_finding(finding=found, actor=ANA, now=clock()), clock)


def remove(endpoint: DeployedEndpoint) -> None:
    """Somebody deletes the service in the console."""
    cloud_run.delete_service(endpoint.service_name, etag=service_of(endpoint).etag)


def stop_row(endpoint: DeployedEndpoint, **fields: Any) -> None:
    DeployedEndpoint.objects.filter(pk=endpoint.pk).update(
        state=EndpointState.INACTIVE, is_active=False, **fields
    )
    TrainingRun.objects.filter(deployed_endpoints=endpoint).update(status=RunStatus.COMPLETED)


def serve(endpoint: DeployedEndpoint, labels: dict[str, str]) -> None:
    """Somebody, or a worker long dead, gives the service other labels."""
    deploy_by_hand(endpoint.service_name, labels)


def serve_version(endpoint: DeployedEndpoint, run: TrainingRun) -> None:
    """Somebody, or a worker long dead, gives the service a version's files and labels."""
    files = run.gcs_artifacts_path
    edit_service(endpoint.service_name, lambda service: set_env(service, ARTIFACT_ENV, files))
    serve(endpoint, labels_of(endpoint, run))


def labels_of(endpoint: DeployedEndpoint, run: TrainingRun) -> dict[str, str]:
    lineage = endpoint.registered_model
    return labels_for(lineage=lineage.uid, run=run.uid, endpoint=endpoint.uid)


def second_run(endpoint: DeployedEndpoint) -> TrainingRun:
    return endpoint.registered_model.training_runs.get(version=2)


def settled(clock: Clock) -> None:
    look(clock)
    assert open_kinds() == []


# ---- leftovers -----------------------------------------------------------------------------------


@pytest.mark.slow
@pytest.mark.parametrize("how", ["inactive", "model deleted", "no row"])
def test_a_leftover_is_deleted_and_seen_to_be_gone(
    cloud: LocalCloud, clock: Clock, endpoint: DeployedEndpoint, how: str
) -> None:
    stop_row(endpoint, model_deleted=how == "model deleted")
    if how == "no row":
        DeployedEndpoint.objects.all().delete()
    look(clock)
    assert open_kinds() == [FindingKind.LEFTOVER_SERVICE]
    operation = repair(clock)
    assert (operation.status, operation.kind) == (OperationStatus.SUCCEEDED, "cleanup")
    assert operation.service_key == endpoint.service_name
    assert services() == {}
    assert cloud.effects.count("Services.DeleteService") == 1
    assert finding().status == FindingStatus.REPAIRED
    settled(clock)


@pytest.mark.slow
def test_a_leftover_that_is_gone_already_is_done(
    cloud: LocalCloud, clock: Clock, endpoint: DeployedEndpoint
) -> None:
    stop_row(endpoint)
    look(clock)
    remove(endpoint)
    cloud.effects.reset()
    assert repair(clock).status == OperationStatus.SUCCEEDED
    assert cloud.effects.mutations() == []
    assert finding().status == FindingStatus.GONE


@pytest.mark.parametrize("owner", ["", "another"])
def test_a_service_without_our_label_is_nothing_to_us(
    clock: Clock, endpoint: DeployedEndpoint, owner: str
) -> None:
    stop_row(endpoint)
    labels = labels_of(endpoint, second_run(endpoint))
    serve(endpoint, labels | {"mlp_owner": owner} if owner else {})
    look(clock)
    assert open_kinds() == []


@pytest.mark.slow
def test_a_service_whose_labels_changed_since_the_look_is_left_alone(
    cloud: LocalCloud, clock: Clock, endpoint: DeployedEndpoint
) -> None:
    stop_row(endpoint)
    look(clock)
    serve(endpoint, {"team": "theirs"})
    cloud.effects.reset()
    assert repair(clock).status == OperationStatus.SUCCEEDED
    assert cloud.effects.mutations() == []
    assert finding().status == FindingStatus.GONE
    assert services() == {endpoint.service_name: ""}


@pytest.mark.slow
def test_an_endpoint_that_serves_again_keeps_its_service(
    cloud: LocalCloud, clock: Clock, endpoint: DeployedEndpoint
) -> None:
    stop_row(endpoint)
    look(clock)
    finish(deploy(second_run(endpoint), clock, endpoint=endpoint), clock)
    cloud.effects.reset()
    assert repair(clock).status == OperationStatus.SUCCEEDED
    assert cloud.effects.mutations() == []
    assert list(services()) == [endpoint.service_name]


def test_a_service_that_no_row_of_ours_knows_is_only_reported(
    cloud: LocalCloud, clock: Clock, endpoint: DeployedEndpoint
) -> None:
    DeployedEndpoint.objects.all().delete()
    labels = {"mlp_owner": "tests", "mlp_endpoint": "0" * 32, "mlp_run": "0" * 32}
    serve(endpoint, labels)
    cloud.effects.reset()
    look(clock)
    assert open_kinds() == [FindingKind.LEFTOVER_SERVICE]
    with pytest.raises(NoRepair):
        repair(clock)
    assert cloud.effects.mutations() == []


@pytest.mark.slow
@pytest.mark.parametrize("fault", ["error", "lost"])
@pytest.mark.parametrize("code", ["UNAVAILABLE", "DEADLINE_EXCEEDED", "ABORTED"])
def test_a_deletion_that_fails_or_loses_its_answer_is_looked_up(
    cloud: LocalCloud, clock: Clock, endpoint: DeployedEndpoint, fault: str, code: str
) -> None:
    stop_row(endpoint)
    look(clock)
    cloud.faults.order("Services.DeleteService", cast("Any", fault), code=code)
    assert repair(clock).status == OperationStatus.SUCCEEDED
    assert services() == {}
    assert cloud.effects.count("Services.DeleteService") == {"error": 2, "lost": 1}[fault]
    settled(clock)


@pytest.mark.slow
@pytest.mark.parametrize("code", ["UNAVAILABLE", "PERMISSION_DENIED"])
def test_a_leftover_that_cannot_be_read_stays(
    cloud: LocalCloud, clock: Clock, endpoint: DeployedEndpoint, settings: Any, code: str
) -> None:
    settings.ML_PLATFORM = {**settings.ML_PLATFORM, "RETRY_TIMEOUT": 0.0}
    stop_row(endpoint)
    look(clock)
    cloud.faults.order("Services.GetService", "error", code=code, times=None)
    operation = repair(clock)
    cloud.faults.clear()
    assert (operation.status, operation.error_code) == ("failed", "cloud_unavailable")
    assert finding().status == FindingStatus.OPEN
    assert list(services()) == [endpoint.service_name]


# ---- endpoints whose service is missing ----------------------------------------------------------


@pytest.mark.slow
def test_an_endpoint_without_a_service_ends_and_its_version_stays(
    cloud: LocalCloud, clock: Clock, endpoint: DeployedEndpoint
) -> None:
    run, url = endpoint.run, endpoint.url
    assert run
    remove(endpoint)
    cloud.effects.reset()
    look(clock)
    assert open_kinds() == [FindingKind.SERVICE_MISSING]
    operation = repair(clock)
    assert (operation.status, operation.kind) == (OperationStatus.SUCCEEDED, "repair")
    assert facts(endpoint) == ("inactive", False, run.pk, None)
    assert (status(run), run.registration) == ("completed", Registration.REGISTERED)
    assert operation.data["said"]["url"] == url
    assert cloud.effects.mutations() == []
    assert finding().status == FindingStatus.REPAIRED
    settled(clock)


def test_an_endpoint_that_is_there_after_all_stays_active(
    cloud: LocalCloud, clock: Clock, endpoint: DeployedEndpoint
) -> None:
    cloud.faults.order("Services.ListServices", "stale", seconds=10**9)
    look(clock)
    assert open_kinds() == [FindingKind.SERVICE_MISSING]
    assert repair(clock).status == OperationStatus.SUCCEEDED
    assert facts(endpoint)[:2] == ("active", True)
    assert finding().status == FindingStatus.GONE


@pytest.mark.slow
@pytest.mark.parametrize("code", ["UNAVAILABLE", "PERMISSION_DENIED"])
@pytest.mark.parametrize("method", ["Services.GetService", "Services.ListServices"])
def test_a_missing_service_that_nothing_proves_changes_no_row(
    cloud: LocalCloud,
    clock: Clock,
    endpoint: DeployedEndpoint,
    settings: Any,
    method: str,
    code: str,
) -> None:
    settings.ML_PLATFORM = {**settings.ML_PLATFORM, "RETRY_TIMEOUT": 0.0}
    remove(endpoint)
    look(clock)
    cloud.faults.order(method, "error", code=code, times=None)
    operation = repair(clock)
    look(clock)
    cloud.faults.clear()
    assert (operation.status, operation.error_code) == ("failed", "cloud_unavailable")
    assert facts(endpoint)[:2] == ("active", True)
    assert finding().status == FindingStatus.OPEN


def test_a_listing_that_broke_says_nothing_of_services(
    cloud: LocalCloud, clock: Clock, endpoint: DeployedEndpoint, settings: Any
) -> None:
    settings.ML_PLATFORM = {**settings.ML_PLATFORM, "RETRY_TIMEOUT": 0.0}
    remove(endpoint)
    cloud.faults.order("Services.ListServices", "error", code="PERMISSION_DENIED", times=None)
    look(clock)
    assert open_kinds() == []


@pytest.mark.slow
def test_an_endpoint_that_somebody_works_on_is_held(
    cloud: LocalCloud, clock: Clock, endpoint: DeployedEndpoint
) -> None:
    remove(endpoint)
    look(clock)
    found = finding()
    undeploy_endpoint(endpoint=endpoint, actor=ANA, now=clock())
    with pytest.raises(Busy):
        repair_finding(finding=found, actor=ANA, now=clock())
    found.refresh_from_db()
    consecutive_sightings = found.consecutive_sightings
    look(clock)
    found.refresh_from_db()
    assert (found.status, found.consecutive_sightings) == (
        FindingStatus.OPEN,
        consecutive_sightings,
    )


# ---- services that serve another version ---------------------------------------------------------


@pytest.mark.slow
def test_what_really_serves_is_recorded_and_protected(
    cloud: LocalCloud, clock: Clock, endpoint: DeployedEndpoint
) -> None:
    first, second = endpoint.run, second_run(endpoint)
    assert first
    serve_version(endpoint, second)
    cloud.effects.reset()
    look(clock)
    assert open_kinds() == [FindingKind.SERVICE_MISMATCH]
    assert finding().run == second
    operation = repair(clock)
    assert operation.status == OperationStatus.SUCCEEDED
    assert facts(endpoint) == ("active", True, second.pk, None)
    assert endpoint.previous_run == first
    assert (status(first), status(second)) == ("completed", "deployed")
    assert endpoint.revision == service_of(endpoint).latest_ready_revision
    assert cloud.effects.mutations() == []
    settled(clock)


@pytest.mark.slow
def test_a_mismatch_that_is_over_changes_no_row(
    cloud: LocalCloud, clock: Clock, endpoint: DeployedEndpoint
) -> None:
    run = endpoint.run
    assert run
    serve_version(endpoint, second_run(endpoint))
    look(clock)
    serve_version(endpoint, run)
    before = facts(endpoint)
    assert repair(clock).status == OperationStatus.SUCCEEDED
    assert facts(endpoint) == before
    assert finding().status == FindingStatus.GONE


@pytest.mark.slow
@pytest.mark.parametrize("registration", ["deleted", "somebody else's"])
def test_what_may_not_be_recorded_is_left_to_a_person(
    cloud: LocalCloud, clock: Clock, endpoint: DeployedEndpoint, registration: str
) -> None:
    labels = labels_of(endpoint, second_run(endpoint))
    if registration == "deleted":
        second = endpoint.registered_model.training_runs.filter(version=2)
        second.update(
            registration=Registration.DELETED,
            vertex_model_resource_name="",
            vertex_model_name="",
            vertex_model_version="",
            registered_at=None,
        )
    else:
        labels["mlp_owner"] = "another"
    serve(endpoint, labels)
    cloud.effects.reset()
    before = facts(endpoint)
    look(clock)
    theirs = registration != "deleted"
    kind = FindingKind.SERVICE_LABELS_CHANGED if theirs else FindingKind.SERVICE_MISMATCH
    assert open_kinds() == [kind]
    with pytest.raises(NoRepair):
        repair(clock)
    assert facts(endpoint) == before
    assert cloud.effects.mutations() == []


@pytest.mark.slow
def test_a_repair_that_failed_begins_with_a_look(
    cloud: LocalCloud, clock: Clock, endpoint: DeployedEndpoint
) -> None:
    stop_row(endpoint)
    look(clock)
    cloud.faults.order("Services.DeleteService", "error", code="PERMISSION_DENIED", times=None)
    operation = repair(clock)
    cloud.faults.clear()
    assert (operation.status, operation.step) == ("failed", "read_leftover")
    clock.forward(A_WHILE)
    assert repair(clock).status == OperationStatus.SUCCEEDED
    assert services() == {}
