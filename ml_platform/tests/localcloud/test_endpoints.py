"""Vertex endpoints: what is deployed holds its model."""

from __future__ import annotations

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


def test_what_is_not_there_is_not_found(endpoints: EndpointServiceClient, endpoint: str) -> None:
    for missing in (
        lambda: deploy(endpoints, endpoint, f"{PARENT}/models/nobody"),
        lambda: deploy(endpoints, f"{PARENT}/endpoints/nowhere", MODEL),
        lambda: endpoints.undeploy_model(endpoint=endpoint, deployed_model_id="7"),
    ):
        with pytest.raises(exceptions.NotFound):
            missing()
