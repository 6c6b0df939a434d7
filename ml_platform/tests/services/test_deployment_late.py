"""A deploy ends even when Cloud Run does not: after half an hour it is taken back and fails."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from ml_platform.cloud.transport import channels
from ml_platform.localcloud.run.rollout import SERVICE
from ml_platform.localcloud.run.rules import Service
from ml_platform.models import DeployedEndpoint, Operation
from ml_platform.models.states import EndpointState

from .deploy_tools import deploy, deployed, facts, finish, go_on, services, undeploy
from .world import Clock, a_lineage

if TYPE_CHECKING:
    from ml_platform.localcloud import LocalCloud

pytestmark = [pytest.mark.django_db, pytest.mark.any_database]


@pytest.fixture
def clock(cloud: LocalCloud) -> Clock:
    return Clock()


def reconcile_for_ever(
    cloud: LocalCloud, monkeypatch: pytest.MonkeyPatch, *, until: int = 0
) -> None:
    """Every service is still being reconciled whenever we look, or until its n-th generation."""

    def keep_busy(method: str) -> None:
        for key, blob in list(cloud.store.list(SERVICE)):
            service = Service.FromString(blob)
            service.reconciling = not until or service.generation < until
            cloud.store.put(SERVICE, key, service.SerializeToString())

    monkeypatch.setattr(channels, "before_call", [keep_busy])


@pytest.mark.slow
def test_a_new_service_that_reconciles_for_ever_is_removed(
    cloud: LocalCloud, clock: Clock, monkeypatch: pytest.MonkeyPatch
) -> None:
    _, (run,) = a_lineage(cloud, clock)
    reconcile_for_ever(cloud, monkeypatch)
    operation = finish(deploy(run, clock), clock)
    run.refresh_from_db()
    assert (operation.status, operation.error_code) == ("failed", "deploy_failed")
    assert "0:30:00" in operation.error
    assert operation.advice
    assert (run.status, services()) == ("deploy_failed", {})
    assert DeployedEndpoint.objects.get().state == EndpointState.INACTIVE


@pytest.mark.slow
def test_what_served_is_brought_back_when_its_successor_reconciles_for_ever(
    cloud: LocalCloud, clock: Clock, monkeypatch: pytest.MonkeyPatch
) -> None:
    endpoint, (old, new) = deployed(cloud, clock, versions=2)
    reconcile_for_ever(cloud, monkeypatch, until=3)
    operation = finish(deploy(new, clock), clock)
    assert (operation.status, operation.error_code) == ("failed", "deploy_failed")
    assert facts(endpoint) == ("active", True, old.pk, None)
    assert services() == {endpoint.service_name: old.uid.hex}


@pytest.mark.slow
def test_a_service_that_never_shows_fails_the_deploy_and_stays_protected(
    cloud: LocalCloud, clock: Clock
) -> None:
    _, (run,) = a_lineage(cloud, clock)
    cloud.core.operations.lro_seconds = 1_000_000.0
    operation = finish(deploy(run, clock), clock)
    assert (operation.status, operation.error_code) == ("failed", "deploy_failed")
    endpoint = DeployedEndpoint.objects.get()
    assert facts(endpoint) == ("deploying", False, None, run.pk)
    cloud.core.operations.lro_seconds = 0.0
    undeploy(endpoint, clock)
    go_on(cloud, clock, rounds=3)
    assert facts(endpoint) == ("inactive", False, None, None)
    assert not Operation.objects.live().exists()
