"""Who may call a service: we give and take what our configurations name, others' grants stay."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

import grpc
import pytest
from google.cloud import run_v2
from google.iam.v1 import iam_policy_pb2, options_pb2
from google.type.expr_pb2 import Expr

from ml_platform.cloud import cloud_run
from ml_platform.cloud.transport import channels
from ml_platform.models import DeployedEndpoint
from ml_platform.services.serving.config import ServingConfig

from .deploy_tools import deploy, deployed, facts, finish
from .world import Clock, a_lineage

if TYPE_CHECKING:
    from ml_platform.localcloud import LocalCloud

pytestmark = [pytest.mark.django_db, pytest.mark.any_database]
ANA, BO, OPS = (f"user:{name}@example.com" for name in ("ana", "bo", "ops"))


@pytest.fixture
def clock(cloud: LocalCloud) -> Clock:
    return Clock()


def config(*invokers: str) -> ServingConfig:
    return ServingConfig(invokers=invokers)


def grant(cloud: LocalCloud, role: str, member: str, condition: str = "") -> None:
    """What a person does in the console: one more binding, in a policy of version 3."""
    (service,) = (s.name for page in cloud_run.list_services() for s in page)
    with grpc.insecure_channel(cloud.grpc_target) as channel:
        transport = run_v2.ServicesClient.get_transport_class("grpc")(channel=channel)
        client = run_v2.ServicesClient(transport=transport)
        newest = options_pb2.GetPolicyOptions(requested_policy_version=3)
        asked = iam_policy_pb2.GetIamPolicyRequest(resource=str(service), options=newest)
        policy = client.get_iam_policy(request=asked)
        policy.version = 3
        when = Expr(expression=condition) if condition else None
        policy.bindings.add(role=role, members=[member], condition=when)
        client.set_iam_policy(
            request=iam_policy_pb2.SetIamPolicyRequest(resource=str(service), policy=policy)
        )


def grants(cloud: LocalCloud) -> set[tuple[str, str, str]]:
    """(role, member, condition) of the one service."""
    (service,) = (s.name for page in cloud_run.list_services() for s in page)
    asked = iam_policy_pb2.GetIamPolicyRequest(resource=str(service))
    policy = cloud.run.get_iam_policy(asked)
    return {(b.role, m, b.condition.expression) for b in policy.bindings for m in b.members}


def meanwhile(
    monkeypatch: pytest.MonkeyPatch, deed: Callable[[int], None], times: int
) -> list[str]:
    """Have `deed(n)` done between our read of the policy and our write; the calls we made."""
    called: list[str] = []

    def before(method: str) -> None:
        called.append(method)
        written = called.count("Services.SetIamPolicy")
        if method == "Services.SetIamPolicy" and written <= times:
            deed(written)

    monkeypatch.setattr(channels, "before_call", [before])
    return called


@pytest.mark.slow
def test_only_the_invokers_we_gave_are_ever_taken_away(cloud: LocalCloud, clock: Clock) -> None:
    endpoint, (run,) = deployed(cloud, clock, config=config("allUsers", ANA))
    name = endpoint.service_name
    assert cloud_run.change_invokers(name, add=()) == ("allUsers", ANA)
    cloud_run.change_invokers(name, add=[OPS])
    finish(deploy(run, clock, config=config(BO)), clock)
    assert cloud_run.change_invokers(name, add=()) == (BO, OPS)
    finish(deploy(run, clock, config=config()), clock)
    assert cloud_run.change_invokers(name, add=()) == (OPS,)


@pytest.mark.slow
def test_one_read_and_one_write_change_who_may_call(
    cloud: LocalCloud, clock: Clock, monkeypatch: pytest.MonkeyPatch
) -> None:
    _, (run,) = deployed(cloud, clock)
    called = meanwhile(monkeypatch, lambda n: None, times=0)
    finish(deploy(run, clock, config=config(ANA)), clock)
    assert [m for m in called if "IamPolicy" in m] == [
        "Services.GetIamPolicy",
        "Services.SetIamPolicy",
    ]
    grant(cloud, cloud_run.INVOKER, BO)
    called.clear()
    finish(deploy(run, clock, config=config(ANA, BO)), clock)  # all may call it already
    assert [m for m in called if "IamPolicy" in m] == ["Services.GetIamPolicy"]


@pytest.mark.parametrize(
    "theirs",
    [
        (cloud_run.INVOKER, OPS, ""),
        (cloud_run.INVOKER, BO, "request.time.getHours() < 6"),
        ("roles/run.viewer", OPS, ""),
    ],
)
def test_a_grant_made_between_our_read_and_our_write_survives_beside_ours(
    cloud: LocalCloud, clock: Clock, monkeypatch: pytest.MonkeyPatch, theirs: tuple[str, str, str]
) -> None:
    _, (run,) = deployed(cloud, clock, config=config(BO))
    called = meanwhile(monkeypatch, lambda n: grant(cloud, *theirs), times=1)
    operation = finish(deploy(run, clock, config=config(ANA)), clock)
    assert operation.status == "succeeded", operation.error
    assert grants(cloud) == {(cloud_run.INVOKER, ANA, ""), theirs}
    assert [m for m in called if "IamPolicy" in m] == [
        "Services.GetIamPolicy",
        "Services.SetIamPolicy",  # refused: the etag is not that of the read any more
    ] * 2


@pytest.mark.slow
def test_a_policy_that_changes_each_time_fails_in_the_end_and_nobody_loses_a_grant(
    cloud: LocalCloud, clock: Clock, monkeypatch: pytest.MonkeyPatch
) -> None:
    endpoint, (run,) = deployed(cloud, clock)
    made: list[str] = []

    def another(number: int) -> None:
        made.append(f"user:u{number}@example.com")
        grant(cloud, cloud_run.INVOKER, made[-1])

    called = meanwhile(monkeypatch, another, times=99)
    operation = finish(deploy(run, clock, config=config(ANA)), clock)
    assert (operation.status, operation.error_code) == ("failed", "cloud_conflict")
    assert facts(endpoint) == ("active", True, run.pk, None)
    assert called.count("Services.SetIamPolicy") == len(made) == 6
    assert grants(cloud) == {(cloud_run.INVOKER, member, "") for member in made}


def test_invokers_that_may_not_be_set_fail_the_operation_but_not_the_serving(
    cloud: LocalCloud, clock: Clock
) -> None:
    _, (run,) = a_lineage(cloud, clock)
    cloud.faults.order(
        method="Services.SetIamPolicy", kind="error", code="PERMISSION_DENIED", times=None
    )
    operation = finish(deploy(run, clock, config=config("allUsers")), clock)
    endpoint = DeployedEndpoint.objects.get()
    assert (operation.status, operation.error_code) == ("failed", "cloud_denied")
    assert facts(endpoint) == ("active", True, run.pk, None)
    assert endpoint.error == operation.error
    assert operation.step == "set_invokers"
    run.refresh_from_db()
    assert run.status == "deployed"
