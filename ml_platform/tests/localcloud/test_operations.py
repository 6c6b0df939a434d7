"""Long-running operations: at once, later on the Clock, cancelled, across a restart."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import grpc
import pytest
from google.api_core import exceptions
from google.cloud.aiplatform_v1.services.model_service import ModelServiceClient
from google.longrunning import operations_pb2, operations_pb2_grpc

from ml_platform.localcloud import LocalCloud
from ml_platform.tests.localcloud.conftest import NUMBERED, PARENT


def upload(client: ModelServiceClient, model_id: str = "ranker", **request: Any) -> Any:
    """The operation of an upload."""
    asked = {"parent": PARENT, "model_id": model_id, "model": {"display_name": model_id}}
    return client.upload_model(request=asked | request)


def client_at(cloud: LocalCloud) -> ModelServiceClient:
    """A client of that cloud alone."""
    transport = ModelServiceClient.get_transport_class("grpc")
    return ModelServiceClient(transport=transport(channel=grpc.insecure_channel(cloud.grpc_target)))


def test_by_default_the_first_answer_is_done_and_nothing_is_polled(
    cloud: LocalCloud, models: ModelServiceClient
) -> None:
    operation = upload(models)
    assert operation.operation.done
    assert operation.operation.name.startswith(f"{NUMBERED}/models/ranker/operations/")
    assert operation.result().model_version_id == "1"
    assert operation.metadata.generic_metadata.create_time is not None
    assert [call.method for call in cloud.effects.calls()] == ["ModelService.UploadModel"]


def test_a_late_operation_lands_its_effect_only_when_its_time_comes(
    cloud: LocalCloud, models: ModelServiceClient
) -> None:
    cloud.faults.order("ModelService.UploadModel", "late", seconds=60)
    operation = upload(models)
    cloud.clock.advance(59)
    assert not operation.done()
    assert list(models.list_models(parent=PARENT)) == []
    assert cloud.effects.mutations() == []
    cloud.clock.advance(1)
    assert operation.done()
    assert operation.result().model == f"{NUMBERED}/models/ranker"
    (landed,) = cloud.effects.mutations()
    assert (landed.method, landed.outcome) == ("ModelService.UploadModel", "LANDED")
    assert cloud.effects.count("ModelService.UploadModel") == 1


def test_a_late_effect_that_cannot_land_ends_in_the_error_of_its_operation(
    cloud: LocalCloud, models: ModelServiceClient
) -> None:
    cloud.faults.order("ModelService.UploadModel", "late", seconds=60)
    late, quick = upload(models), upload(models)
    assert quick.result().model_version_id == "1"
    cloud.clock.advance(60)
    with pytest.raises(exceptions.AlreadyExists):
        late.result()


def test_a_cancelled_operation_never_lands(cloud: LocalCloud, models: ModelServiceClient) -> None:
    cloud.faults.order("ModelService.*", "late", seconds=60)
    operation = upload(models)
    assert operation.cancel()
    cloud.clock.advance(120)
    with pytest.raises(exceptions.Cancelled):
        operation.result()
    assert list(models.list_models(parent=PARENT)) == []


def test_cancelling_what_is_done_changes_nothing(models: ModelServiceClient) -> None:
    operation = upload(models)
    models.cancel_operation(operations_pb2.CancelOperationRequest(name=operation.operation.name))
    asked = operations_pb2.GetOperationRequest(name=operation.operation.name)
    assert models.get_operation(asked).HasField("response")


def test_operations_are_listed_below_their_resource_and_can_be_forgotten(
    models: ModelServiceClient,
) -> None:
    names = [upload(models, model_id).operation.name for model_id in ("one", "one2", "two")]
    below = operations_pb2.ListOperationsRequest(name=f"{NUMBERED}/models/one")
    assert [op.name for op in models.list_operations(below).operations] == names[:1]
    for place in (PARENT, NUMBERED):
        everywhere = operations_pb2.ListOperationsRequest(name=place)
        assert [op.name for op in models.list_operations(everywhere).operations] == names
    models.delete_operation(operations_pb2.DeleteOperationRequest(name=names[0]))
    with pytest.raises(exceptions.NotFound):
        models.get_operation(operations_pb2.GetOperationRequest(name=names[0]))


def test_waiting_answers_when_it_is_done_or_when_the_time_is_up(
    cloud: LocalCloud, models: ModelServiceClient, channel: grpc.Channel
) -> None:
    operations = operations_pb2_grpc.OperationsStub(channel)
    cloud.faults.order("ModelService.UploadModel", "late", seconds=60)
    wait = operations_pb2.WaitOperationRequest(name=upload(models).operation.name)
    wait.timeout.FromMilliseconds(50)
    assert not operations.WaitOperation(wait).done
    cloud.clock.advance(60)
    assert operations.WaitOperation(wait).done


def test_everything_survives_a_restart_also_what_is_still_to_land(tmp_path: Path) -> None:
    state = tmp_path / "cloud.sqlite3"
    with LocalCloud(state=state, lro_seconds=3600) as cloud:
        client = client_at(cloud)
        cloud.models.seed("there", display_name="there")
        operation = upload(client).operation.name
        cloud.storage.write("bucket", "object", b"bytes")
    with LocalCloud(state=state) as cloud:
        client = client_at(cloud)
        assert [model.display_name for model in client.list_models(parent=PARENT)] == ["there"]
        assert cloud.storage.read("bucket", "object") == b"bytes"
        assert not client.get_operation({"name": operation}).done
        cloud.clock.advance(3600)
        assert client.get_operation({"name": operation}).done
        assert client.get_model(name=f"{PARENT}/models/ranker").version_id == "1"
