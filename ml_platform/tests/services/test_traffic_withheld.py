"""A new revision gets its traffic only when it is ready and its files were compared (law 12), and
what a person asked for is asked for again (law 13)."""

from __future__ import annotations

import random
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import pytest

from ml_platform.cloud.transport import channels
from ml_platform.models import DeployedEndpoint, TrainingRun
from ml_platform.models.states import EndpointState, RunStatus
from ml_platform.services.operations.engine import advance
from ml_platform.services.operations.retry_cancel import retry_operation
from ml_platform.services.serving.config import ServingConfig
from ml_platform.services.workflows import WORKFLOWS

from .between.harness import take_to
from .deploy_tools import A_WHILE, deploy, deployed, facts, finish, service_of, services
from .people import see_service
from .test_manifest import (
    CHANGES,
    Change,
    a_next_version,
    a_version,
    fill,
    folder_of,
    overwrite,
    remove,
)
from .test_others_changes import send, shares
from .world import ANA, Clock, a_lineage

if TYPE_CHECKING:
    from ml_platform.localcloud import LocalCloud

pytestmark = pytest.mark.django_db


@pytest.fixture
def clock(cloud: LocalCloud) -> Clock:
    return Clock(cloud.clock.now())


def latest_only(service_id: str) -> list[tuple[str, int]]:
    """What was asked for: (revision, percent)."""
    return [(t.revision, t.percent) for t in see_service(service_id).traffic]


@contextmanager
def watched(monkeypatch: pytest.MonkeyPatch, service_id: str) -> Iterator[set[str]]:
    """The revisions that get requests at any call of ours to Cloud Run."""
    served: set[str] = set()
    inside: list[str] = []

    def note(method: str) -> None:
        if method.startswith("Services.") and not inside:
            inside.append(method)
            served.update(shares(service_id))
            inside.clear()

    monkeypatch.setattr(channels, "before_call", [note])
    yield served
    served.update(shares(service_id))
    monkeypatch.setattr(channels, "before_call", [])


def two_versions(
    cloud: LocalCloud, clock: Clock
) -> tuple[DeployedEndpoint, TrainingRun, TrainingRun]:
    """An endpoint that serves the first of two versions."""
    old = a_version(cloud, clock)
    finish(deploy(old, clock), clock)
    clock.forward(A_WHILE)
    return DeployedEndpoint.objects.get(), old, a_next_version(cloud, clock, old)


@pytest.mark.slow
def test_a_revision_is_made_without_traffic_and_gets_it_when_it_was_compared(
    cloud: LocalCloud, clock: Clock
) -> None:
    endpoint, _, new = two_versions(cloud, clock)
    before = endpoint.revision
    operation = deploy(new, clock)
    take_to("give_traffic", operation, clock)
    service = service_of(endpoint)
    assert service.latest_ready_revision != before
    assert shares(endpoint.service_name) == {before: 100}
    assert finish(operation, clock).status == "succeeded"
    endpoint.refresh_from_db()
    assert shares(endpoint.service_name) == {endpoint.revision: 100}
    assert latest_only(endpoint.service_name) == [("", 100)]


@pytest.mark.slow
@pytest.mark.any_database
@CHANGES
def test_files_that_are_replaced_while_it_starts_never_serve(
    cloud: LocalCloud,
    clock: Clock,
    monkeypatch: pytest.MonkeyPatch,
    change: Change,
    kind: str,
    files: str,
) -> None:
    del kind
    endpoint, old, new = two_versions(cloud, clock)
    operation = deploy(new, clock)
    with watched(monkeypatch, endpoint.service_name) as served:
        take_to("confirm", operation, clock)
        bad = service_of(endpoint).latest_ready_revision
        change(cloud, folder_of(new))
        operation = finish(operation, clock)
    assert (operation.status, operation.error_code) == ("failed", "deploy_failed")
    assert files in operation.error
    assert bad not in served
    assert services() == {endpoint.service_name: old.uid.hex}
    assert facts(endpoint) == ("active", True, old.pk, None)
    assert latest_only(endpoint.service_name) == [("", 100)]


@pytest.mark.slow
@pytest.mark.parametrize(
    "part",
    [
        *(pytest.param(part, marks=pytest.mark.any_database) for part in range(4)),
        *(pytest.param(part, marks=pytest.mark.on_postgresql) for part in range(4, 8)),
    ],
)
def test_of_200_tries_none_whose_bytes_differ_gets_traffic(
    cloud: LocalCloud, clock: Clock, part: int
) -> None:
    """25 in each part; the bytes differ at the second comparison, or at the third."""
    dice = random.Random(part)
    changes: list[Change] = [case[0] for case in CHANGES.args[1]]
    endpoint, old, new = two_versions(cloud, clock)
    for _ in range(25):
        before = service_of(endpoint).latest_created_revision
        operation = deploy(new, clock)
        moment = dice.choice(["upsert"] * 7 + ["confirm"])
        take_to(moment, operation, clock)
        dice.choice(changes)(cloud, folder_of(new))
        made = service_of(endpoint).latest_created_revision
        assert (made == before) is (moment == "upsert")
        while operation.status in ("pending", "running"):
            advance(operation_id=operation.pk, workflows=WORKFLOWS, clock=clock, steps=1)
            operation.refresh_from_db()
            clock.forward(10)
            assert made == before or made not in shares(endpoint.service_name)
        assert operation.status == "failed"
        assert service_of(endpoint).labels["mlp_run"] == old.uid.hex
        remove(folder_of(new))
        fill(cloud, folder_of(new))


# ---- a comparison without an answer --------------------------------------------------------------


@pytest.mark.slow
@pytest.mark.parametrize("again", [False, True], ids=["first", "redeploy"])
def test_files_that_cannot_be_compared_are_waited_for_and_then_not_served(
    cloud: LocalCloud, clock: Clock, again: bool
) -> None:
    run = a_version(cloud, clock)
    before: dict[str, str] = {}
    if again:
        finish(deploy(run, clock), clock)
        clock.forward(A_WHILE)
        before = services()
        run = a_next_version(cloud, clock, run)
    operation = deploy(run, clock)
    take_to("confirm", operation, clock)
    cloud.faults.order("storage.objects.list", "error", code="PERMISSION_DENIED", times=None)
    began = clock()
    operation = finish(operation, clock)
    assert (operation.status, operation.error_code) == ("failed", "deploy_failed")
    assert "not known to be" in operation.error
    assert 1800 <= (clock() - began).total_seconds() <= 5400
    assert services() == before


def test_a_comparison_that_answers_in_time_lets_it_serve(cloud: LocalCloud, clock: Clock) -> None:
    run = a_version(cloud, clock)
    operation = deploy(run, clock)
    take_to("confirm", operation, clock)
    cloud.faults.order("storage.objects.list", "error", code="PERMISSION_DENIED", times=3)
    assert finish(operation, clock).status == "succeeded"


@pytest.mark.slow
def test_a_model_that_is_gone_when_the_revision_is_ready_does_not_serve(
    cloud: LocalCloud, clock: Clock
) -> None:
    endpoint, old, new = two_versions(cloud, clock)
    operation = deploy(new, clock)
    take_to("confirm", operation, clock)
    remove(folder_of(new))
    assert finish(operation, clock).error_code == "deploy_failed"
    assert services() == {endpoint.service_name: old.uid.hex}


# ---- what is left after a failure ----------------------------------------------------------------


def test_a_failed_deploy_leaves_a_service_that_it_did_not_create(
    cloud: LocalCloud, clock: Clock
) -> None:
    endpoint, runs = deployed(cloud, clock, versions=2)
    before = endpoint.revision
    DeployedEndpoint.objects.update(is_active=False, state=EndpointState.INACTIVE)
    TrainingRun.objects.update(status=RunStatus.COMPLETED)
    cloud.run.outcome("*", "fail", message="Container failed.")
    operation = finish(deploy(runs[1], clock, endpoint=endpoint), clock)
    assert (operation.status, operation.error_code) == ("failed", "deploy_failed")
    assert cloud.effects.count("Services.DeleteService") == 0
    assert shares(endpoint.service_name) == {before: 100}
    assert latest_only(endpoint.service_name) == [("", 100)]
    assert facts(endpoint)[:2] == ("inactive", False)


@pytest.mark.slow
def test_a_retry_may_remove_the_service_that_its_first_try_created(
    cloud: LocalCloud, clock: Clock
) -> None:
    _, (run,) = a_lineage(cloud, clock)
    clock.forward(A_WHILE)
    cloud.run.outcome("*", "fail")
    cloud.faults.order("Services.DeleteService", "error", code="PERMISSION_DENIED", times=None)
    operation = finish(deploy(run, clock), clock)
    assert operation.status == "failed"
    assert len(services()) == 1
    cloud.faults.clear()
    cloud.run.outcome("*", "fail")
    retry_operation(operation=operation, actor=ANA)
    assert finish(operation, clock).status == "failed"
    assert services() == {}


@pytest.mark.slow
def test_traffic_that_we_withheld_is_given_by_the_next_deploy(
    cloud: LocalCloud, clock: Clock
) -> None:
    endpoint, old, new = two_versions(cloud, clock)
    before = endpoint.revision
    operation = deploy(new, clock)
    take_to("confirm", operation, clock)
    overwrite(cloud, folder_of(new))
    cloud.run.outcome("*", "fail")  # the return to the version before
    assert finish(operation, clock).error_code == "deploy_failed"
    assert shares(endpoint.service_name) == {before: 100}, "the other files do not serve"
    fill(cloud, folder_of(new))
    assert finish(deploy(new, clock), clock).status == "succeeded"
    endpoint.refresh_from_db()
    assert endpoint.run == new
    assert old != new
    assert latest_only(endpoint.service_name) == [("", 100)]


@pytest.mark.slow
def test_a_split_that_a_person_asked_for_is_asked_for_again(
    cloud: LocalCloud, clock: Clock
) -> None:
    config = ServingConfig(image="i:1")
    endpoint, runs = deployed(cloud, clock, versions=3, config=config)
    first = endpoint.revision
    finish(deploy(runs[1], clock, endpoint=endpoint), clock)
    endpoint.refresh_from_db()
    second = endpoint.revision
    split: list[dict[str, Any]] = [
        {"percent": 30, "tag": "new"},
        {"revision": first, "percent": 70, "tag": "old"},
    ]
    send(endpoint.service_name, *split)
    operation = deploy(runs[2], clock, endpoint=endpoint)
    take_to("give_traffic", operation, clock)
    assert shares(endpoint.service_name) == {first: 70, second: 30}
    assert finish(operation, clock).status == "succeeded"
    endpoint.refresh_from_db()
    assert shares(endpoint.service_name) == {first: 70, endpoint.revision: 30}
    asked = [(t.revision, t.percent, t.tag) for t in see_service(endpoint.service_name).traffic]
    assert asked == [("", 30, "new"), (first, 70, "old")]
