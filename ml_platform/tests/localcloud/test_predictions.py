"""An endpoint answers with its instances, and says which of its models did."""

from __future__ import annotations

from collections import Counter

import pytest
import requests
from google.api_core import exceptions
from google.cloud.aiplatform_v1.services.endpoint_service import EndpointServiceClient
from google.cloud.aiplatform_v1.services.prediction_service import PredictionServiceClient
from google.protobuf import json_format

from ml_platform.localcloud import LocalCloud
from ml_platform.tests.localcloud.conftest import NUMBERED, PARENT

MODEL = f"{NUMBERED}/models/ranker"
ENDPOINT = f"{PARENT}/endpoints/front"


@pytest.fixture
def deployed(cloud: LocalCloud, endpoints: EndpointServiceClient) -> dict[str, str]:
    """Versions 1 and 2 of a model at an endpoint, with a tenth and the rest of its traffic."""
    cloud.models.seed("ranker", display_name="ranker", versions=[1, 2])
    asked = {"parent": PARENT, "endpoint_id": "front", "endpoint": {"display_name": "front"}}
    endpoints.create_endpoint(asked).result()
    for number, split in (("1", {"0": 100}), ("2", {"1": 10, "0": 90})):
        model = {"model": f"{MODEL}@{number}", "id": number}
        asked = {"endpoint": ENDPOINT, "deployed_model": model, "traffic_split": split}
        endpoints.deploy_model(asked).result()
    return {"1": "1", "2": "2"}


def test_predictions_are_the_instances_and_name_their_model(
    predictions: PredictionServiceClient, deployed: dict[str, str]
) -> None:
    instances = [{"user": 7, "items": ["a", "b"]}, [1.5, None], "text"]
    answer = predictions.predict(endpoint=ENDPOINT, instances=instances, parameters={"k": 3})
    told = json_format.MessageToDict(type(answer).pb(answer))
    assert (told["predictions"], told["metadata"]) == (instances, {"parameters": {"k": 3}})
    assert (answer.model, answer.model_display_name) == (MODEL, "ranker")
    assert answer.model_version_id == deployed[answer.deployed_model_id]


def test_a_hundred_calls_meet_each_model_as_often_as_its_share_says(
    predictions: PredictionServiceClient, deployed: dict[str, str]
) -> None:
    met = [
        predictions.predict(endpoint=ENDPOINT, instances=[1]).deployed_model_id for _ in range(100)
    ]
    assert Counter(met) == {"1": 10, "2": 90}
    assert "1" in met[:20]


def test_a_model_without_traffic_is_never_met(
    endpoints: EndpointServiceClient,
    predictions: PredictionServiceClient,
    deployed: dict[str, str],
) -> None:
    asked = {"name": ENDPOINT, "traffic_split": {"1": 100}}
    endpoints.update_endpoint({"endpoint": asked, "update_mask": {"paths": ["traffic_split"]}})
    met = {predictions.predict(endpoint=ENDPOINT, instances=[1]).deployed_model_id for _ in "123"}
    assert met == {"1"}


def test_an_endpoint_without_traffic_does_not_predict(
    cloud: LocalCloud, endpoints: EndpointServiceClient, predictions: PredictionServiceClient
) -> None:
    asked = {"parent": PARENT, "endpoint_id": "front", "endpoint": {"display_name": "front"}}
    name = endpoints.create_endpoint(asked).result().name
    with pytest.raises(exceptions.FailedPrecondition) as refused:
        predictions.predict(endpoint=ENDPOINT, instances=[1])
    assert refused.value.message == f"Endpoint {name} doesn't have traffic_split."
    answer = requests.post(f"{cloud.http_url}/v1/{ENDPOINT}:rawPredict", data=b"x", timeout=5)
    assert answer.status_code == 400
    with pytest.raises(exceptions.NotFound):
        predictions.predict(endpoint=f"{PARENT}/endpoints/nowhere", instances=[1])


def test_a_raw_body_comes_back_as_it_is_unless_it_has_instances(
    cloud: LocalCloud, predictions: PredictionServiceClient, deployed: dict[str, str]
) -> None:
    for kind, data, answer in (
        ("application/json", b'{"instances": [1, {"a": 2}]}', b'{"predictions": [1, {"a": 2}]}'),
        ("application/json", b'{"inputs": [1]}', b'{"inputs": [1]}'),
        ("image/png", b"\x89PNG", b"\x89PNG"),
    ):
        body = {"content_type": kind, "data": data}
        raw = predictions.raw_predict(request={"endpoint": ENDPOINT, "http_body": body})
        assert (raw.content_type, raw.data) == (kind, answer)
        over_http = requests.post(
            f"{cloud.http_url}/v1/{ENDPOINT}:rawPredict",
            data=data,
            headers={"Content-Type": kind},
            timeout=5,
        )
        assert (over_http.headers["Content-Type"], over_http.content) == (kind, answer)
        version = over_http.headers["X-Vertex-AI-Model-Version-Id"]
        assert over_http.headers["X-Vertex-AI-Deployed-Model-Id"] == version
        assert over_http.headers["X-Vertex-AI-Model"] == MODEL
    assert cloud.effects.count("PredictionService.RawPredict") == 6


def test_a_request_without_instances_or_too_large_is_refused(
    predictions: PredictionServiceClient, deployed: dict[str, str]
) -> None:
    with pytest.raises(exceptions.InvalidArgument, match="instances"):
        predictions.predict(endpoint=ENDPOINT, instances=[])
    with pytest.raises(exceptions.InvalidArgument, match="1572864 bytes"):
        predictions.predict(endpoint=ENDPOINT, instances=["x" * 1_600_000])
    body = {"data": b"x" * 1_600_000}
    with pytest.raises(exceptions.InvalidArgument, match="1572864 bytes"):
        predictions.raw_predict(request={"endpoint": ENDPOINT, "http_body": body})


def test_streams_are_unimplemented(
    predictions: PredictionServiceClient, deployed: dict[str, str]
) -> None:
    with pytest.raises(exceptions.MethodNotImplemented):
        list(predictions.stream_raw_predict(request={"endpoint": ENDPOINT}))
