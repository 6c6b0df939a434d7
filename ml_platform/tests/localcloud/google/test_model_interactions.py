"""Retells python-aiplatform's tests/system/aiplatform/test_model_interactions.py.

Google's endpoint serves an iris model; here an endpoint answers with its instances. Left out:
stream_raw_predict and the dedicated endpoint's address, which the local cloud refuses.
"""

from __future__ import annotations

import asyncio
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import grpc
import pytest
import requests
from google.cloud.aiplatform_v1.services.endpoint_service import EndpointServiceClient
from google.cloud.aiplatform_v1.services.prediction_service import (
    PredictionServiceAsyncClient,
    PredictionServiceClient,
)

from ml_platform.localcloud import LocalCloud
from ml_platform.tests.localcloud.conftest import PARENT

from .programs import tell

INSTANCE = {
    "petal_length": "3.0",
    "petal_width": "3.0",
    "sepal_length": "3.0",
    "sepal_width": "3.0",
}


@pytest.fixture
def endpoint(cloud: LocalCloud, endpoints: EndpointServiceClient) -> str:
    """An endpoint that serves a model with all its traffic."""
    model = cloud.models.seed("iris", display_name="iris", versions=[1])
    asked = {"parent": PARENT, "endpoint": {"display_name": "iris"}}
    name = str(endpoints.create_endpoint(asked).result().name)
    deployed = {"endpoint": name, "deployed_model": {"model": model}, "traffic_split": {"0": 100}}
    endpoints.deploy_model(deployed).result()
    return name


def test_a_prediction_and_a_raw_one_come_from_the_same_model(
    cloud: LocalCloud, predictions: PredictionServiceClient, endpoint: str
) -> None:
    answer = predictions.predict(endpoint=endpoint, instances=[INSTANCE])
    assert len(answer.predictions) == 1

    url = f"{cloud.http_url}/v1/{endpoint}:rawPredict"
    raw = requests.post(url, json={"instances": [INSTANCE]}, timeout=5)
    assert (raw.status_code, len(raw.json())) == (200, 1)
    assert len(raw.json()["predictions"]) == 1
    headers: Any = raw.headers
    assert headers["X-Vertex-AI-Deployed-Model-Id"] == answer.deployed_model_id
    assert headers["X-Vertex-AI-Model"] == answer.model
    assert headers["X-Vertex-AI-Model-Version-Id"] == answer.model_version_id


def test_an_asynchronous_client_predicts_too(cloud: LocalCloud, endpoint: str) -> None:
    async def predict() -> Any:
        async with grpc.aio.insecure_channel(cloud.grpc_target) as channel:
            transport = PredictionServiceAsyncClient.get_transport_class("grpc_asyncio")
            client = PredictionServiceAsyncClient(transport=transport(channel=channel))
            return await client.predict(endpoint=endpoint, instances=[INSTANCE])

    # In a thread of its own: the browser of other tests keeps an event loop in this one.
    with ThreadPoolExecutor(1) as pool:
        answer = pool.submit(lambda: asyncio.run(predict())).result(timeout=20)
    assert len(answer.predictions) == 1


SCRIPT = f"""
instance = {INSTANCE}
model = aiplatform.Model.upload(display_name="iris", serving_container_image_uri="image")
endpoint = aiplatform.Endpoint.create(display_name="iris")
model.deploy(endpoint)
for raw in (False, True):
    found = endpoint.predict([instance], use_raw_predict=raw)
    told[raw] = [
        found.predictions, found.deployed_model_id, found.model_resource_name,
        found.model_version_id,
    ]
body = json.dumps({{"instances": [instance]}})
answer = endpoint.raw_predict(body, {{"Content-Type": "application/json"}})
told["status"], told["raw"], told["url"] = answer.status_code, answer.json(), answer.url
"""


def test_the_sdk_itself_sends_a_raw_prediction_by_https() -> None:
    with LocalCloud(location="us-central1", tls_port=0) as cloud:
        by_https = {"https_proxy": cloud.http_url, "REQUESTS_CA_BUNDLE": str(cloud.tls_ca_file)}
        told = tell(cloud, SCRIPT, **by_https)
        assert cloud.effects.count("PredictionService.*") == 3
    assert told["true"] == told["false"]
    assert (told["status"], told["raw"]) == (200, {"predictions": [INSTANCE]})
    assert told["url"].startswith("https://us-central1-aiplatform.googleapis.com/v1/projects/")
