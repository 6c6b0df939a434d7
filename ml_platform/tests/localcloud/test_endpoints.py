"""Vertex endpoints: what is deployed holds its model."""

from __future__ import annotations

from typing import Any

import pytest
from google.api_core import exceptions
from google.cloud.aiplatform_v1.services.endpoint_service import EndpointServiceClient
from google.cloud.aiplatform_v1.services.model_service import ModelServiceClient

from ml_platform.localcloud import LocalCloud
from ml_platform.tests.localcloud.conftest import NUMBERED, PARENT

MODEL = f"{NUMBERED}/models/ranker"


@pytest.fixture
def endpoint(cloud: LocalCloud, endpoints: EndpointServiceClient) -> str:
    """The name of an endpoint; there is a model `ranker` with versions 1 and 2 (the default)."""
    cloud.models.seed("ranker", display_name="ranker", versions=[1, 2])
    operation = endpoints.create_endpoint(
        {"parent": PARENT, "endpoint": {"display_name": "front", "labels": {"a": "b"}}}
    )
    return str(operation.result().name)


def deploy(client: EndpointServiceClient, endpoint: str, model: str) -> str:
    """Deploy; the id of the deployed model."""
    asked = {"endpoint": endpoint, "deployed_model": {"model": model}, "traffic_split": {"0": 100}}
    return str(client.deploy_model(asked).result().deployed_model.id)


def test_a_deployed_model_refuses_to_be_deleted_until_it_is_undeployed(
    endpoints: EndpointServiceClient, models: ModelServiceClient, endpoint: str
) -> None:
    deployed = deploy(endpoints, endpoint, f"{MODEL}@1")
    for refused in (
        lambda: models.delete_model(name=MODEL),
        lambda: models.delete_model_version(name=f"{MODEL}@1"),
    ):
        with pytest.raises(exceptions.FailedPrecondition, match="deployed or being deployed"):
            refused()
    assert [d.endpoint for d in models.get_model(name=f"{MODEL}@1").deployed_models] == [endpoint]
    endpoints.undeploy_model(endpoint=endpoint, deployed_model_id=deployed).result()
    assert list(models.get_model(name=f"{MODEL}@1").deployed_models) == []
    models.delete_model_version(name=f"{MODEL}@1").result()


def test_a_deployed_version_does_not_hold_its_siblings(
    endpoints: EndpointServiceClient, models: ModelServiceClient, endpoint: str
) -> None:
    deploy(endpoints, endpoint, MODEL)
    (held,) = endpoints.get_endpoint(name=endpoint).deployed_models
    assert (held.model, held.model_version_id) == (MODEL, "2")
    models.delete_model_version(name=f"{MODEL}@1").result()
    with pytest.raises(exceptions.FailedPrecondition):
        models.delete_model(name=MODEL)


def test_version_12_deployed_does_not_make_version_1_look_deployed(
    cloud: LocalCloud,
    endpoints: EndpointServiceClient,
    models: ModelServiceClient,
    endpoint: str,
) -> None:
    cloud.models.seed("dozen", display_name="dozen", versions=[1, 12])
    name = f"{NUMBERED}/models/dozen"
    deploy(endpoints, endpoint, f"{name}@12")
    assert list(models.get_model(name=f"{name}@1").deployed_models) == []
    models.delete_model_version(name=f"{name}@1").result()


def test_a_model_being_deployed_is_held_before_the_operation_is_done(
    cloud: LocalCloud,
    endpoints: EndpointServiceClient,
    models: ModelServiceClient,
    endpoint: str,
) -> None:
    cloud.faults.order("EndpointService.DeployModel", "late", seconds=600)
    endpoints.deploy_model({"endpoint": endpoint, "deployed_model": {"model": MODEL}})
    with pytest.raises(exceptions.FailedPrecondition):
        models.delete_model(name=MODEL)
    assert list(endpoints.get_endpoint(name=endpoint).deployed_models) == []
    cloud.clock.advance(600)
    assert len(endpoints.get_endpoint(name=endpoint).deployed_models) == 1


def test_an_endpoint_in_use_refuses_deletion_and_an_empty_one_goes(
    endpoints: EndpointServiceClient, endpoint: str
) -> None:
    deployed = deploy(endpoints, endpoint, MODEL)
    with pytest.raises(exceptions.FailedPrecondition):
        endpoints.delete_endpoint(name=endpoint)
    endpoints.undeploy_model(endpoint=endpoint, deployed_model_id=deployed).result()
    endpoints.delete_endpoint(name=endpoint).result()
    with pytest.raises(exceptions.NotFound):
        endpoints.get_endpoint(name=endpoint)


def test_endpoints_are_listed_by_label_and_page(
    endpoints: EndpointServiceClient, endpoint: str
) -> None:
    for name in ("two", "three"):
        endpoints.create_endpoint({"parent": PARENT, "endpoint": {"display_name": name}}).result()
    asked = {"parent": PARENT, "page_size": 2}
    assert [e.display_name for e in endpoints.list_endpoints(asked)] == ["front", "two", "three"]
    met = endpoints.list_endpoints(asked | {"filter": "labels.a=b"})
    assert [e.name for e in met] == [endpoint]


def update(client: EndpointServiceClient, name: str, *mask: str, **fields: Any) -> Any:
    """UpdateEndpoint of `fields` (all of them, or those of the mask); the endpoint."""
    paths = list(mask or (field for field in fields if field != "etag"))
    asked = {"endpoint": {"name": name, **fields}, "update_mask": {"paths": paths}}
    return client.update_endpoint(asked)


def test_an_update_changes_what_its_mask_names(
    endpoints: EndpointServiceClient, endpoint: str
) -> None:
    first = endpoints.get_endpoint(name=endpoint)
    changed = update(
        endpoints, endpoint, "display_name", "labels", display_name="new", labels={"c": "d"}
    )
    assert (changed.display_name, dict(changed.labels)) == ("new", {"c": "d"})
    assert changed == endpoints.get_endpoint(name=endpoint)
    assert changed.etag != first.etag
    assert changed.update_time > first.update_time
    kept = update(
        endpoints, endpoint, "description", description="d", display_name="not in the mask"
    )
    assert (kept.display_name, kept.description) == ("new", "d")
    assert dict(update(endpoints, endpoint, "labels").labels) == {}


def test_an_update_with_an_old_etag_is_aborted_and_without_one_overwrites(
    endpoints: EndpointServiceClient, endpoint: str
) -> None:
    etag = endpoints.get_endpoint(name=endpoint).etag
    assert etag.startswith("AMEw9y")
    etag = update(endpoints, endpoint, display_name="two", etag=etag).etag
    update(endpoints, endpoint, display_name="three")
    with pytest.raises(exceptions.Aborted):
        update(endpoints, endpoint, display_name="four", etag=etag)
    assert endpoints.get_endpoint(name=endpoint).display_name == "three"


def test_traffic_goes_to_deployed_models_and_adds_up_to_100(
    endpoints: EndpointServiceClient, endpoint: str
) -> None:
    first = deploy(endpoints, endpoint, f"{MODEL}@1")
    asked = {"endpoint": endpoint, "deployed_model": {"model": f"{MODEL}@2", "id": "77"}}
    endpoints.deploy_model(asked | {"traffic_split": {"0": 10, first: 90}}).result()
    found = endpoints.get_endpoint(name=endpoint)
    assert dict(found.traffic_split) == {"77": 10, first: 90}
    for wrong in ({first: 90}, {first: 100, "8": 0}, {first: 110, "77": -10}):
        with pytest.raises(exceptions.InvalidArgument, match="traffic_split"):
            update(endpoints, endpoint, traffic_split=wrong)
    changed = update(endpoints, endpoint, traffic_split={"77": 100})
    assert dict(changed.traffic_split) == {"77": 100}
    assert dict(update(endpoints, endpoint, "traffic_split").traffic_split) == {}


def test_a_deployed_model_says_what_it_is(
    cloud: LocalCloud, endpoints: EndpointServiceClient, endpoint: str
) -> None:
    cloud.clock.freeze()
    resources = {"machine_spec": {"machine_type": "n1-standard-2"}, "min_replica_count": 1}
    deployed = {"model": f"{MODEL}@1", "dedicated_resources": resources}
    endpoints.deploy_model({"endpoint": endpoint, "deployed_model": deployed}).result()
    found = endpoints.get_endpoint(name=endpoint)
    (held,) = found.deployed_models
    assert (held.model, held.model_version_id, held.display_name) == (MODEL, "1", "ranker")
    assert held.create_time.timestamp() == cloud.clock.now().timestamp()
    assert held.dedicated_resources.machine_spec.machine_type == "n1-standard-2"
    assert dict(found.traffic_split) == {}


def test_a_deployed_model_with_traffic_is_not_undeployed_but_the_last_one_is(
    endpoints: EndpointServiceClient, endpoint: str
) -> None:
    first = deploy(endpoints, endpoint, f"{MODEL}@1")
    asked = {"endpoint": endpoint, "deployed_model": {"model": f"{MODEL}@2"}}
    asked["traffic_split"] = {"0": 50, first: 50}
    second = endpoints.deploy_model(asked).result().deployed_model.id
    gone = {"endpoint": endpoint, "deployed_model_id": first}
    with pytest.raises(exceptions.FailedPrecondition, match="traffic"):
        endpoints.undeploy_model(gone)
    with pytest.raises(exceptions.InvalidArgument):
        endpoints.undeploy_model(gone | {"traffic_split": {second: 60}})
    endpoints.undeploy_model(gone | {"traffic_split": {second: 100}}).result()
    found = endpoints.get_endpoint(name=endpoint)
    assert ([d.id for d in found.deployed_models], dict(found.traffic_split)) == (
        [second],
        {second: 100},
    )
    endpoints.undeploy_model({"endpoint": endpoint, "deployed_model_id": second}).result()
    found = endpoints.get_endpoint(name=endpoint)
    assert (list(found.deployed_models), dict(found.traffic_split)) == ([], {})


def test_the_replicas_of_a_deployed_model_are_mutated(
    endpoints: EndpointServiceClient, endpoint: str
) -> None:
    resources = {"machine_spec": {"machine_type": "n1-standard-2"}, "min_replica_count": 1}
    deployed = {"model": MODEL, "id": "5", "dedicated_resources": resources}
    endpoints.deploy_model({"endpoint": endpoint, "deployed_model": deployed}).result()

    def mutate(path: str, **wanted: Any) -> Any:
        asked = {"endpoint": endpoint, "update_mask": {"paths": [path]}}
        operation = endpoints.mutate_deployed_model(
            asked | {"deployed_model": {"id": "5"} | wanted}
        )
        return operation.result().deployed_model

    path = "dedicated_resources.max_replica_count"
    changed = mutate(path, dedicated_resources={"max_replica_count": 4, "min_replica_count": 3})
    (held,) = endpoints.get_endpoint(name=endpoint).deployed_models
    assert held == changed
    assert held.dedicated_resources.max_replica_count == 4
    assert held.dedicated_resources.min_replica_count == 1
    for wrong in ("model", "automatic_resources.max_replica_count"):
        with pytest.raises(exceptions.InvalidArgument, match="update_mask"):
            mutate(wrong, model=f"{MODEL}@1")


def test_the_long_running_update_changes_the_connection_only(
    endpoints: EndpointServiceClient, endpoint: str
) -> None:
    asked: dict[str, Any] = {
        "name": endpoint,
        "client_connection_config": {"inference_timeout": {"seconds": 30}},
    }
    answer = endpoints.update_endpoint_long_running({"endpoint": asked}).result()
    assert answer.client_connection_config.inference_timeout.seconds == 30
    assert answer == endpoints.get_endpoint(name=endpoint)
    with pytest.raises(exceptions.InvalidArgument, match="display_name"):
        endpoints.update_endpoint_long_running({"endpoint": asked | {"display_name": "x"}})


@pytest.mark.parametrize(
    "wrong",
    [
        {"endpoint_id": "Upper"},
        {"endpoint_id": "1234567890"},
        {"endpoint_id": "01"},
        {"endpoint": {"display_name": ""}},
        {"endpoint": {"display_name": "x", "traffic_split": {"1": 100}}},
    ],
)
def test_a_malformed_endpoint_is_an_invalid_argument(
    endpoints: EndpointServiceClient, wrong: dict[str, Any]
) -> None:
    with pytest.raises(exceptions.InvalidArgument):
        endpoints.create_endpoint({"parent": PARENT, "endpoint": {"display_name": "x"}} | wrong)


def test_what_would_only_be_stored_is_unimplemented(
    endpoints: EndpointServiceClient, endpoint: str
) -> None:
    wanted = {"display_name": "x", "network": "projects/1/global/networks/n"}
    with pytest.raises(exceptions.MethodNotImplemented, match=r"Endpoint\.network"):
        endpoints.create_endpoint({"parent": PARENT, "endpoint": wanted})
    deployed = {"model": MODEL, "shared_resources": "pool"}
    with pytest.raises(exceptions.MethodNotImplemented, match="shared_resources"):
        endpoints.deploy_model({"endpoint": endpoint, "deployed_model": deployed})


def test_an_endpoint_id_is_taken_once(endpoints: EndpointServiceClient) -> None:
    asked = {"parent": PARENT, "endpoint_id": "mine", "endpoint": {"display_name": "x"}}
    assert endpoints.create_endpoint(asked).result().name == f"{NUMBERED}/endpoints/mine"
    with pytest.raises(exceptions.AlreadyExists):
        endpoints.create_endpoint(asked)


def test_endpoints_are_ordered_filtered_and_cut(
    endpoints: EndpointServiceClient, endpoint: str
) -> None:
    for name in ("b", "c", "a"):
        asked = {"display_name": name, "labels": {"kind": name}}
        endpoints.create_endpoint({"parent": PARENT, "endpoint": asked}).result()

    def listed(**asked: Any) -> list[str]:
        return [e.display_name for e in endpoints.list_endpoints({"parent": PARENT} | asked)]

    assert listed(order_by="display_name desc", page_size=2) == ["front", "c", "b", "a"]
    assert listed(order_by="create_time desc") == ["a", "c", "b", "front"]
    assert listed(filter='displayName="a" OR labels.kind="b"') == ["b", "a"]
    assert listed(filter="labels:kind", order_by="display_name") == ["a", "b", "c"]
    assert listed(filter=f"endpoint={endpoint.rpartition('/')[2]}") == ["front"]
    assert listed(read_mask={"paths": ["name"]}) == [""] * 4
    for wrong in ({"filter": "network=x"}, {"order_by": "labels"}):
        with pytest.raises(exceptions.InvalidArgument):
            listed(**wrong)


def test_what_is_not_there_is_not_found(endpoints: EndpointServiceClient, endpoint: str) -> None:
    for missing in (
        lambda: deploy(endpoints, endpoint, f"{PARENT}/models/nobody"),
        lambda: deploy(endpoints, f"{PARENT}/endpoints/nowhere", MODEL),
        lambda: endpoints.undeploy_model(endpoint=endpoint, deployed_model_id="7"),
    ):
        with pytest.raises(exceptions.NotFound):
            missing()
