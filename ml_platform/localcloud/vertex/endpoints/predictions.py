"""Vertex AI PredictionService: an endpoint answers with what it was sent, and which model did."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

import grpc
from google.api import httpbody_pb2
from google.cloud.aiplatform_v1.types import prediction_service as wire_types
from google.protobuf import struct_pb2

from ...core.core import Core
from ...core.errors import CloudError, invalid, precondition
from ...server.http_types import Reply, Request, Route
from .service import EndpointService

# projects.locations.endpoints.predict: "must not exceed 1.5 MB".
_MAX_BYTES = 1_572_864
_RAW = r"/v1/(?P<endpoint>projects/[^/]+/locations/[^/]+/endpoints/[^/:%]+):rawPredict"


class PredictionService:
    """Predict and RawPredict, without a model behind them: the predictions are the instances.

    Of any hundred calls in a row, each deployed model answers as many as its share of the
    traffic_split.
    """

    def __init__(self, core: Core, endpoints: EndpointService) -> None:
        self._store, self._endpoints = core.store, endpoints

    def predict(self, request: Any) -> Any:
        """The instances as predictions; the parameters, if any, as metadata."""
        pb_request = wire_types.PredictRequest.pb(request)
        _check_size(pb_request.ByteSize())
        if not pb_request.instances:
            raise invalid("instances", "Required field is not set.")
        chosen = self._choose(pb_request.endpoint)
        response = wire_types.PredictResponse.meta.pb(
            predictions=pb_request.instances,
            deployed_model_id=chosen.id,
            model=chosen.model,
            model_version_id=chosen.model_version_id,
            model_display_name=chosen.display_name,
        )
        if pb_request.HasField("parameters"):
            parameters = {"parameters": pb_request.parameters}
            response.metadata.struct_value.CopyFrom(struct_pb2.Struct(fields=parameters))
        return response

    def raw_predict(self, request: Any) -> Any:
        """The answer of `predict` to JSON with instances; any other body comes back as it is."""
        pb_request = wire_types.RawPredictRequest.pb(request)
        _check_size(len(pb_request.http_body.data))
        self._choose(pb_request.endpoint)
        kind, data = _echo(pb_request.http_body.content_type, pb_request.http_body.data)
        return httpbody_pb2.HttpBody(content_type=kind, data=data)

    def routes(self) -> list[Route]:
        """RawPredict over HTTP: its bodies are not messages, its answer names the model."""
        return [Route("POST", _RAW, "PredictionService.RawPredict", self._raw_over_http)]

    def _raw_over_http(self, request: Request, endpoint: str) -> Reply:
        _check_size(len(request.body))
        chosen = self._choose(endpoint)
        kind, data = _echo(request.headers.get("content-type", ""), request.body)
        names = {
            "X-Vertex-AI-Deployed-Model-Id": chosen.id,
            "X-Vertex-AI-Model": chosen.model,
            "X-Vertex-AI-Model-Version-Id": chosen.model_version_id,
        }
        return Reply(200, data, kind or "application/octet-stream", names)

    def _choose(self, name: str) -> Any:
        """The DeployedModel that answers this call.

        FAILED_PRECONDITION without traffic, in the words of explainable_ai_sdk#3.
        """
        endpoint = self._endpoints.need(name, "endpoint")
        if not endpoint.traffic_split:
            raise precondition(f"Endpoint {endpoint.name} doesn't have traffic_split.")
        number = self._store.next_id(f"prediction {endpoint.name}")
        chosen = share_at(number, endpoint.traffic_split)
        return next(one for one in endpoint.deployed_models if one.id == chosen)


def share_at(number: int, split: Mapping[str, int]) -> str:
    """The id that call `number` goes to, for shares that add up to 100."""
    # 61 has no divisor in common with 100: each run of 100 numbers meets every place once, and
    # small shares are met early instead of at the end.
    place = number * 61 % 100
    for deployed_id, share in sorted(split.items()):
        place -= share
        if place < 0:
            return deployed_id
    raise AssertionError("the shares add up to 100")


def _check_size(size: int) -> None:
    if size > _MAX_BYTES:
        raise CloudError(
            grpc.StatusCode.INVALID_ARGUMENT,
            f"Request payload size exceeds the limit: {_MAX_BYTES} bytes.",
        )


def _echo(kind: str, data: bytes) -> tuple[str, bytes]:
    try:
        body = json.loads(data)
    except ValueError:
        return kind, data
    if not isinstance(body, dict) or not isinstance(body.get("instances"), list):
        return kind, data
    answer = {"predictions": body["instances"]}
    if "parameters" in body:
        answer["metadata"] = {"parameters": body["parameters"]}
    return "application/json", json.dumps(answer).encode()
