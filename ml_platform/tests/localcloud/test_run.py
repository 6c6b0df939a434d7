"""Cloud Run through Google's own clients: services, revisions, traffic, etags, policies."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
from google.api_core import exceptions
from google.cloud import run_v2
from google.iam.v1 import iam_policy_pb2, policy_pb2

from ml_platform.localcloud import LocalCloud
from ml_platform.tests.localcloud.conftest import PARENT

NAME = f"{PARENT}/services/ranker"
FAILED = run_v2.Condition.State.CONDITION_FAILED
READY = run_v2.Condition.State.CONDITION_SUCCEEDED


@pytest.fixture
def services(cloud: LocalCloud, client_of: Callable[[Any], Any]) -> run_v2.ServicesClient:
    """Google's Services client; the cloud is as new."""
    client: run_v2.ServicesClient = client_of(run_v2.ServicesClient)
    return client


@pytest.fixture
def revisions(client_of: Callable[[Any], Any]) -> run_v2.RevisionsClient:
    """Google's Revisions client."""
    client: run_v2.RevisionsClient = client_of(run_v2.RevisionsClient)
    return client


def wanted(image: str = "repo/serve:1", **more: Any) -> run_v2.Service:
    """A service as a client asks for it."""
    return run_v2.Service(template={"containers": [{"image": image}]}, **more)


def create(services: run_v2.ServicesClient, **more: Any) -> run_v2.Service:
    """Create `ranker`."""
    asked = wanted(**more)
    operation = services.create_service(parent=PARENT, service=asked, service_id="ranker")
    made: run_v2.Service = operation.result()
    return made


def test_a_service_is_made_ready_and_reachable(services: run_v2.ServicesClient) -> None:
    made = create(services, labels={"mlp": "1"})
    assert made.name == NAME
    assert made.uri.startswith("https://ranker-")
    assert made.uri.endswith(".europe-central2.run.app")
    assert made.terminal_condition.state == READY
    assert made.latest_ready_revision == made.latest_created_revision
    assert made.latest_ready_revision.startswith(f"{NAME}/revisions/ranker-00001-")
    (traffic,) = made.traffic_statuses
    assert (traffic.percent, f"{NAME}/revisions/{traffic.revision}") == (
        100,
        made.latest_ready_revision,
    )
    assert not made.reconciling
    assert services.get_service(name=NAME) == made
    assert [one.name for one in services.list_services(parent=PARENT)] == [NAME]


def test_a_taken_name_is_refused(services: run_v2.ServicesClient) -> None:
    create(services)
    with pytest.raises(exceptions.AlreadyExists):
        create(services)


@pytest.mark.parametrize("service_id", ["", "x" * 50, "Upper", "1st", "ends-", "under_score"])
def test_a_name_cloud_run_would_refuse_is_refused(
    services: run_v2.ServicesClient, service_id: str
) -> None:
    with pytest.raises(exceptions.InvalidArgument):
        services.create_service(parent=PARENT, service=wanted(), service_id=service_id)


def test_forty_nine_characters_are_enough(services: run_v2.ServicesClient) -> None:
    asked = {"parent": PARENT, "service": wanted(), "service_id": "x" * 49}
    assert services.create_service(asked).result().name.endswith("x" * 49)


def test_a_service_needs_an_image_and_labels_of_its_own(services: run_v2.ServicesClient) -> None:
    for asked in (run_v2.Service(), wanted(labels={"run.googleapis.com/x": "1"})):
        with pytest.raises(exceptions.InvalidArgument):
            services.create_service(parent=PARENT, service=asked, service_id="ranker")


def test_a_new_template_makes_a_revision_and_anything_else_does_not(
    services: run_v2.ServicesClient, revisions: run_v2.RevisionsClient
) -> None:
    made = create(services)
    made.labels["tier"] = "hot"
    relabelled = services.update_service(service=made).result()
    assert relabelled.latest_created_revision == made.latest_created_revision
    assert relabelled.generation == 2
    relabelled.template.containers[0].image = "repo/serve:2"
    rolled = services.update_service(service=relabelled).result()
    found = [one.name for one in revisions.list_revisions(parent=NAME)]
    assert found == [rolled.latest_ready_revision, made.latest_ready_revision]
    assert revisions.get_revision(name=found[1]).containers[0].image == "repo/serve:1"


def test_an_old_etag_is_aborted(services: run_v2.ServicesClient) -> None:
    old = create(services)
    newer = services.get_service(name=NAME)
    newer.labels["seen"] = "1"
    services.update_service(service=newer).result()
    with pytest.raises(exceptions.Aborted):
        services.update_service(service=old)
    with pytest.raises(exceptions.Aborted):
        services.delete_service(request={"name": NAME, "etag": old.etag})
    assert dict(services.get_service(name=NAME).labels) == {"seen": "1"}


def test_a_mask_changes_only_what_it_names(services: run_v2.ServicesClient) -> None:
    create(services, labels={"a": "1"}, description="before")
    asked = run_v2.Service(name=NAME, labels={"b": "2"}, description="after")
    changed = services.update_service(
        request={"service": asked, "update_mask": {"paths": ["labels"]}}
    ).result()
    assert (dict(changed.labels), changed.description) == ({"b": "2"}, "before")
    with pytest.raises(exceptions.InvalidArgument):
        services.update_service(request={"service": asked, "update_mask": {"paths": ["uid"]}})


def test_update_makes_a_missing_service_only_when_told(services: run_v2.ServicesClient) -> None:
    asked = wanted(name=NAME)
    with pytest.raises(exceptions.NotFound):
        services.update_service(service=asked)
    services.update_service(request={"service": asked, "allow_missing": True}).result()
    assert services.get_service(name=NAME).name == NAME


def test_validate_only_changes_nothing(cloud: LocalCloud, services: run_v2.ServicesClient) -> None:
    asked = {"parent": PARENT, "service": wanted(), "service_id": "ranker", "validate_only": True}
    assert services.create_service(asked).result().name == NAME
    assert list(services.list_services(parent=PARENT)) == []
    assert cloud.effects.mutations() == []


def test_a_revision_that_does_not_start_leaves_the_traffic_where_it_was(
    cloud: LocalCloud, services: run_v2.ServicesClient
) -> None:
    good = create(services)
    cloud.run.outcome("ranker", "fail")
    good.template.containers[0].image = "repo/serve:broken"
    with pytest.raises(exceptions.GoogleAPICallError, match="failed to start"):
        services.update_service(service=good).result()
    after = services.get_service(name=NAME)
    assert after.terminal_condition.state == FAILED
    assert after.latest_created_revision != after.latest_ready_revision
    assert after.latest_ready_revision == good.latest_ready_revision
    assert NAME + "/revisions/" + after.traffic_statuses[0].revision == good.latest_ready_revision
    after.template.containers[0].image = "repo/serve:2"
    assert services.update_service(service=after).result().terminal_condition.state == READY


def test_a_revision_can_get_ready_without_traffic(
    cloud: LocalCloud, services: run_v2.ServicesClient
) -> None:
    first = create(services)
    cloud.run.outcome("ranker", "no_traffic")
    first.template.containers[0].image = "repo/serve:2"
    second = services.update_service(service=first).result()
    assert second.terminal_condition.state == READY
    assert second.latest_ready_revision != first.latest_ready_revision
    assert second.traffic_statuses == first.traffic_statuses


def test_traffic_goes_where_it_is_sent(services: run_v2.ServicesClient) -> None:
    first = create(services)
    old = first.latest_ready_revision.rpartition("/")[2]
    first.template.containers[0].image = "repo/serve:2"
    pinned = run_v2.TrafficTargetAllocationType.TRAFFIC_TARGET_ALLOCATION_TYPE_REVISION
    latest = run_v2.TrafficTargetAllocationType.TRAFFIC_TARGET_ALLOCATION_TYPE_LATEST
    first.traffic = [
        run_v2.TrafficTarget(type_=pinned, revision=old, percent=90),
        run_v2.TrafficTarget(type_=latest, percent=10, tag="next"),
    ]
    second = services.update_service(service=first).result()
    new = second.latest_ready_revision.rpartition("/")[2]
    assert [(one.revision, one.percent) for one in second.traffic_statuses] == [
        (old, 90),
        (new, 10),
    ]
    second.traffic = [run_v2.TrafficTarget(type_=pinned, revision="nobody", percent=100)]
    operation = services.update_service(service=second)
    with pytest.raises(exceptions.InternalServerError, match="'nobody' does not exist"):
        operation.result()
    after = services.get_service(name=NAME)
    assert (after.terminal_condition.state, after.traffic) == (FAILED, second.traffic)
    assert after.traffic_statuses == second.traffic_statuses
    states = {one.type_: one.state for one in after.conditions}
    assert states == {"RoutesReady": FAILED, "ConfigurationsReady": READY}


def test_deleting_takes_revisions_and_policy_and_frees_the_name(
    services: run_v2.ServicesClient, revisions: run_v2.RevisionsClient
) -> None:
    create(services)
    policy = policy_pb2.Policy(bindings=[{"role": "roles/run.invoker", "members": ["allUsers"]}])
    asked = iam_policy_pb2.SetIamPolicyRequest(resource=NAME, policy=policy)
    services.set_iam_policy(request=asked)
    assert services.delete_service(name=NAME).result().name == NAME
    with pytest.raises(exceptions.NotFound):
        services.get_service(name=NAME)
    with pytest.raises(exceptions.NotFound):
        services.delete_service(name=NAME)
    assert list(revisions.list_revisions(parent=NAME)) == []
    create(services)
    seen = services.get_iam_policy(request=iam_policy_pb2.GetIamPolicyRequest(resource=NAME))
    assert list(seen.bindings) == []


def test_a_policy_is_written_under_its_etag(services: run_v2.ServicesClient) -> None:
    create(services)
    read = iam_policy_pb2.GetIamPolicyRequest(resource=NAME)
    policy = services.get_iam_policy(request=read)
    policy.bindings.add(role="roles/run.invoker", members=["allUsers"])
    write = iam_policy_pb2.SetIamPolicyRequest(resource=NAME, policy=policy)
    assert services.set_iam_policy(request=write).bindings[0].members == ["allUsers"]
    with pytest.raises(exceptions.Aborted):
        services.set_iam_policy(request=write)
    write.policy.etag = b""
    write.policy.bindings[0].condition.expression = "true"
    with pytest.raises(exceptions.InvalidArgument, match="version 3"):
        services.set_iam_policy(request=write)
    asked = iam_policy_pb2.TestIamPermissionsRequest(
        resource=NAME, permissions=["run.routes.invoke"]
    )
    assert services.test_iam_permissions(request=asked).permissions == ["run.routes.invoke"]
    missing = iam_policy_pb2.GetIamPolicyRequest(resource=f"{PARENT}/services/nobody")
    with pytest.raises(exceptions.NotFound):
        services.get_iam_policy(request=missing)


def test_a_late_create_lands_when_its_time_has_come(
    cloud: LocalCloud, services: run_v2.ServicesClient
) -> None:
    cloud.clock.freeze()
    cloud.faults.order("Services.CreateService", "late", seconds=60)
    asked = {"parent": PARENT, "service": wanted(), "service_id": "ranker"}
    operation = services.create_service(asked)
    assert (operation.done(), cloud.effects.mutations()) == (False, [])
    cloud.clock.advance(60)
    assert operation.done()
    assert services.get_service(name=NAME).name == NAME


def test_only_the_served_project_and_location_exist(services: run_v2.ServicesClient) -> None:
    with pytest.raises(exceptions.PermissionDenied):
        services.list_services(parent="projects/other/locations/europe-central2")
    with pytest.raises(exceptions.InvalidArgument, match="europe-central2"):
        services.list_services(parent="projects/demo-project/locations/us-east1")
