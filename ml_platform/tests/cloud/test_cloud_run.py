"""Cloud Run services as the product sees them."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
from google.iam.v1.policy_pb2 import Policy
from google.type.expr_pb2 import Expr

from ml_platform.cloud import cloud_run
from ml_platform.cloud import raw as raw_messages
from ml_platform.cloud.transport import channels
from ml_platform.cloud.types import Ingress, ServiceSpec, TrafficShare
from ml_platform.errors import CloudAbsent, CloudConflict, CloudExists, CloudUnavailable, Invalid

SPEC = ServiceSpec(
    image="europe-docker.pkg.dev/serving:1",
    labels={"mlp_run": "1"},
    env={"MODEL_NAME": "chern", "MODEL_BASE_PATH": "gs://b/runs/1"},
    args=("--rest_api_port=8501",),
    port=8501,
    cpu="2",
    memory="4Gi",
    min_instances=1,
    max_instances=3,
    concurrency=10,
    timeout_seconds=60,
    ingress=Ingress.INTERNAL,
    service_account="serving@demo-project.iam.gserviceaccount.com",
)


def create(service_id="chern", spec=SPEC):
    operation = cloud_run.create_service(service_id, spec)
    assert (operation.done, operation.error) == (True, None)
    return operation


def generation_of(service):
    """How often Cloud Run was given a configuration of the service."""
    return channels.client("Services").get_service(name=str(service.name)).generation


def test_a_service_is_made_and_described(cloud):
    operation = create()
    service: Any = cloud_run.get_service("chern")
    assert service.name == operation.result
    assert service.service_id == "chern"
    assert (service.image, service.env, service.labels) == (SPEC.image, SPEC.env, SPEC.labels)
    assert (service.ready, service.reason) == (True, "")
    assert service.uri.startswith("https://chern-")
    assert service.etag
    assert service.latest_ready_revision == service.latest_created_revision
    assert service.traffic == (TrafficShare(revision=service.latest_ready_revision, percent=100),)


def test_all_of_what_was_asked_for_reaches_cloud_run(cloud):
    create()
    name = f"{channels.location_path()}/services/chern"
    service = channels.client("Services").get_service(name=name)
    container = service.template.containers[0]
    assert list(container.args) == ["--rest_api_port=8501"]
    assert [port.container_port for port in container.ports] == [8501]
    assert dict(container.resources.limits) == {"cpu": "2", "memory": "4Gi"}
    assert container.resources.cpu_idle
    scaling = service.template.scaling
    assert (scaling.min_instance_count, scaling.max_instance_count) == (1, 3)
    assert service.template.max_instance_request_concurrency == 10
    assert service.template.timeout.total_seconds() == 60
    assert service.template.service_account == SPEC.service_account
    assert service.ingress.name == "INGRESS_TRAFFIC_INTERNAL_ONLY"


def test_less_than_one_cpu_is_taken(cloud):
    create(spec=replace(SPEC, cpu=".5", memory="1Gi", concurrency=1))
    assert cloud_run.get_service("chern").ready


def test_a_name_is_taken_once(cloud):
    create()
    with pytest.raises(CloudExists):
        cloud_run.create_service("chern", SPEC)


@pytest.mark.parametrize("service_id", ["", "Chern", "a/b", "1a", "a_b"])
def test_what_is_no_service_id_is_not_sent(cloud, service_id):
    with pytest.raises(Invalid):
        cloud_run.get_service(service_id)
    assert cloud.effects.count("*") == 0


def test_an_update_makes_a_new_revision(cloud):
    create()
    before = cloud_run.get_service("chern")
    newer = ServiceSpec(image="serving:2", labels={"mlp_run": "2"})
    assert cloud_run.update_service(before, newer, before=SPEC).result == before.name
    after = cloud_run.get_service("chern")
    assert (after.image, after.labels) == ("serving:2", {"mlp_run": "2"})
    assert after.latest_ready_revision != before.latest_ready_revision
    assert after.uri == before.uri
    assert generation_of(after) == 2


def test_a_service_that_changed_since_is_neither_updated_nor_deleted(cloud):
    create()
    old = cloud_run.get_service("chern")
    cloud_run.update_service(old, SPEC, before=SPEC)
    with pytest.raises(CloudConflict):
        cloud_run.update_service(old, SPEC, before=SPEC)
    with pytest.raises(CloudConflict):
        cloud_run.delete_service("chern", etag=old.etag)
    assert generation_of(old) == 2


def test_a_deleted_service_is_absent(cloud):
    create()
    etag = cloud_run.get_service("chern").etag
    assert cloud_run.delete_service("chern", etag=etag).done
    with pytest.raises(CloudAbsent):
        cloud_run.get_service("chern")


def test_what_is_not_there_is_absent(cloud):
    create()
    gone = cloud_run.get_service("chern")
    cloud_run.delete_service("chern", etag="")
    for send in (
        lambda: cloud_run.get_service("chern"),
        lambda: cloud_run.update_service(gone, SPEC, before=SPEC),
        lambda: cloud_run.delete_service("chern", etag=""),
        lambda: cloud_run.change_invokers("chern", add=()),
    ):
        with pytest.raises(CloudAbsent):
            send()
    assert list(cloud_run.list_services()) == [()]


def test_services_are_listed_page_by_page(cloud):
    for n in range(5):
        create(f"s{n}")
    cloud.effects.reset()
    pages = list(cloud_run.list_services(page_size=2))
    assert [len(page) for page in pages] == [2, 2, 1]
    assert {s.service_id for page in pages for s in page} == {f"s{n}" for n in range(5)}
    assert cloud.effects.count("*") == 3


def test_a_listing_without_a_region_is_not_whole(cloud, monkeypatch):
    def page(method, request, read):
        from google.cloud.run_v2.types import ListServicesResponse

        yield read(ListServicesResponse.pb(ListServicesResponse(unreachable=["europe-west1"])))

    channels.client("Services")
    monkeypatch.setattr(channels, "rpc_pages", page)
    with pytest.raises(CloudUnavailable, match="europe-west1"):
        list(cloud_run.list_services())


def test_an_operation_that_takes_its_time_is_asked_for_by_name(cloud):
    cloud.faults.order("Services.CreateService", kind="late", seconds=60)
    operation = cloud_run.create_service("chern", SPEC)
    assert not operation.done
    assert not cloud_run.get_operation(operation.name).done
    cloud.clock.advance(61)
    finished = cloud_run.get_operation(operation.name)
    assert (finished.done, finished.error) == (True, None)
    assert finished.result == cloud_run.get_service("chern").name


def test_a_revision_that_does_not_come_up_leaves_the_old_one_serving(cloud):
    create()
    before = cloud_run.get_service("chern")
    cloud.run.outcome("chern", "fail", message="The container did not listen.")
    newer = replace(SPEC, image="serving:2")
    cloud_run.update_service(before, newer, before=SPEC)
    after = cloud_run.get_service("chern")
    assert after.ready is False
    assert "The container did not listen." in after.reason
    assert after.latest_ready_revision == before.latest_ready_revision
    assert after.latest_created_revision != before.latest_created_revision
    assert after.traffic == before.traffic


@pytest.mark.parametrize("state", ["reconciling", "observed_generation"])
def test_a_service_that_is_not_settled_is_neither_ready_nor_failed(cloud, monkeypatch, state):
    create()
    raw = raw_messages.unwrap(
        channels.client("Services").get_service(name=f"{channels.location_path()}/services/chern")
    )
    setattr(raw, state, getattr(raw, state) + 1)
    monkeypatch.setattr(channels, "rpc", lambda method, request, read: read(raw))
    assert cloud_run.get_service("chern").ready is None


def test_invokers_are_changed_and_other_grants_stay(cloud):
    create()
    assert cloud_run.change_invokers("chern", add=()) == ()
    name = f"{channels.location_path()}/services/chern"
    client = channels.client("Services")
    policy = client.get_iam_policy({"resource": name})
    policy.version = 3
    policy.bindings.add(role="roles/run.viewer", members=["user:a@example.com"])
    night = Expr(expression="request.time.getHours() < 6")
    policy.bindings.add(role=cloud_run.INVOKER, members=["user:c@x.com"], condition=night)
    client.set_iam_policy({"resource": name, "policy": policy})
    who = ("allUsers", "serviceAccount:b@x.com")
    assert (
        cloud_run.change_invokers("chern", add=who)
        == cloud_run.change_invokers("chern", add=())
        == who
    )
    assert cloud_run.get_invokers("chern") == who
    assert cloud_run.change_invokers("chern", add=(), remove=["user:c@x.com", *who]) == ()
    assert cloud_run.change_invokers("chern", add=()) == ()
    policy = client.get_iam_policy({"resource": name})
    assert [list(b.members) for b in policy.bindings] == [["user:a@example.com"], ["user:c@x.com"]]
    assert (policy.version, policy.bindings[1].condition) == (3, night)


def test_grants_of_deleted_accounts_do_not_hinder_a_change(cloud):
    create()
    gone = "deleted:serviceAccount:d@x.com?uid=1"
    policy = Policy(version=1, etag=b"e")
    policy.bindings.add(role="roles/run.viewer", members=[gone])
    policy.bindings.add(role="roles/run.developer", members=[gone, "user:a@x.com"])
    policy.bindings.add(role=cloud_run.INVOKER, members=[gone, "user:b@x.com"])
    name = f"{channels.location_path()}/services/chern"
    cloud.store.put("run.policy", name, policy.SerializeToString())
    assert cloud_run.change_invokers("chern", add=["user:b@x.com"]) == ("user:b@x.com",)
    assert cloud_run.change_invokers("chern", add=["allUsers"]) == ("allUsers", "user:b@x.com")
    kept = channels.client("Services").get_iam_policy({"resource": name}).bindings
    assert [list(one.members) for one in kept] == [["user:a@x.com"], ["allUsers", "user:b@x.com"]]
