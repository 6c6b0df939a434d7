"""What the gRPC side rests on: two private names of Google's clients, one port for one cloud."""

from __future__ import annotations

from typing import Any

import grpc
import pytest
from google.cloud.aiplatform_v1.services.model_service.transports.grpc import (
    ModelServiceGrpcTransport,
)
from google.cloud.aiplatform_v1.types import Model, model_service
from google.cloud.run_v2.services.services.transports.grpc import ServicesGrpcTransport
from google.iam.v1 import iam_policy_pb2, policy_pb2

from ml_platform.localcloud import LocalCloud, PortBusy
from ml_platform.localcloud.server.rpc.grpc_server import methods


def test_the_wiring_of_a_service_is_read_off_its_client_types_and_all() -> None:
    wired = methods(ModelServiceGrpcTransport, "google.cloud.aiplatform.v1.ModelService")
    assert "GetOperation" not in wired
    decode, encode, answer_type = wired["GetModel"]
    asked = model_service.GetModelRequest(name="x")
    assert decode(model_service.GetModelRequest.serialize(asked)) == asked
    answer = Model(display_name="x")
    assert encode(answer) == Model.serialize(answer)
    assert answer_type is Model.pb()


VERBS = ("upload_", "get_", "list_", "update_", "merge_", "delete_", "copy_", "export_", "import_")


def test_plain_protobuf_methods_are_wired_too() -> None:
    decode, encode, answer_type = methods(ServicesGrpcTransport, "google.cloud.run.v2.Services")[
        "SetIamPolicy"
    ]
    asked = iam_policy_pb2.SetIamPolicyRequest(resource="r")
    assert decode(asked.SerializeToString()) == asked
    policy = policy_pb2.Policy(version=3)
    assert encode(policy) == policy.SerializeToString()
    assert answer_type is policy_pb2.Policy


def test_every_method_we_implement_is_one_that_the_client_calls(cloud: LocalCloud) -> None:
    wired = methods(ModelServiceGrpcTransport, "google.cloud.aiplatform.v1.ModelService")
    ours = {
        "".join(part.title() for part in name.split("_"))
        for name in dir(cloud.models)
        if name.startswith(VERBS)
    }
    assert len(ours) == 13
    assert ours <= set(wired)


def test_a_busy_port_is_refused_in_one_sentence_and_leaves_nothing_open(cloud: LocalCloud) -> None:
    every: tuple[dict[str, Any], ...] = (
        {"grpc_port": cloud.grpc_port},
        {"http_port": cloud.http_port},
        {"tls_port": cloud.grpc_port},
    )
    for ports in every:
        with pytest.raises(PortBusy, match=r"busy|already in use"):
            LocalCloud(**ports).start()


def test_two_clouds_are_two_worlds(cloud: LocalCloud) -> None:
    cloud.models.seed("ranker", display_name="ranker")
    with LocalCloud() as other:
        assert other.grpc_target != cloud.grpc_target
        assert other.store.count("model") == 0


def test_reset_leaves_nothing(cloud: LocalCloud) -> None:
    cloud.models.seed("ranker", display_name="ranker")
    cloud.storage.write("bucket", "object", b"x")
    cloud.pipelines.outcome("hang")
    cloud.pipelines.stage_seconds = 9
    cloud.models.behavior.default_moves = False
    cloud.faults.order("*")
    cloud.clock.freeze()
    cloud.reset()
    assert (cloud.store.count("model"), cloud.storage.names("bucket")) == (0, [])
    assert (cloud.faults.orders(), cloud.effects.calls(), cloud.clock.pending()) == ([], [], [])
    assert (cloud.pipelines.stage_seconds, cloud.models.behavior.default_moves) == (2.0, True)


def test_a_generation_of_a_later_time_does_not_outlive_a_reset(cloud: LocalCloud) -> None:
    cloud.clock.advance(3600)
    later = cloud.storage.write("bucket", "object", b"x")
    cloud.reset()
    assert cloud.storage.write("bucket", "object", b"x") < later


def test_a_call_to_nowhere_is_unimplemented(channel: grpc.Channel) -> None:
    call: Any = channel.unary_unary("/google.cloud.nothing.v1.Nothing/Get")
    with pytest.raises(grpc.RpcError) as refused:
        call(b"")
    assert refused.value.code() == grpc.StatusCode.UNIMPLEMENTED
