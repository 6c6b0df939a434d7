"""What people do at Vertex AI endpoints."""

from __future__ import annotations

from typing import Any

from google.cloud.aiplatform_v1.services.prediction_service import PredictionServiceClient

from ml_platform.cloud.transport import channels

from .models import another_version
from .scene import Row, Scene, Undo, pointer, rpc

NOT_OURS = "The platform has no endpoint in Vertex AI; what people have there is shown as listed."


def create(scene: Scene) -> Undo:
    made = rpc(
        "EndpointService",
        "create_endpoint",
        parent=channels.location_path(),
        endpoint={"display_name": "front"},
    )
    scene.kept["endpoint"] = made.name
    return None


def deploy(scene: Scene) -> Undo:
    _, [run] = scene.model()
    scene.kept["deployed"] = _deploy(scene, pointer(run), {"0": 100})
    return None


def _deploy(scene: Scene, version: str, split: dict[str, int]) -> str:
    machines = {"machine_spec": {"machine_type": "n1-standard-2"}, "min_replica_count": 1}
    answer = rpc(
        "EndpointService",
        "deploy_model",
        endpoint=scene.kept["endpoint"],
        deployed_model={"model": version, "dedicated_resources": machines},
        traffic_split=split,
    )
    return str(answer.deployed_model.id)


def deploy_unregistered(scene: Scene) -> Undo:
    version = another_version(scene)
    deployed = _deploy(scene, version, {"0": 50, scene.kept["deployed"]: 50})
    return lambda: _undeploy(scene, deployed, {scene.kept["deployed"]: 100})


def update(scene: Scene) -> Undo:
    _update(scene, display_name="back")
    return None


def _update(scene: Scene, **fields: Any) -> None:
    rpc(
        "EndpointService",
        "update_endpoint",
        endpoint={"name": scene.kept["endpoint"], **fields},
        update_mask={"paths": list(fields)},
    )


def connect(scene: Scene) -> Undo:
    config = {"inference_timeout": {"seconds": 30}}
    rpc(
        "EndpointService",
        "update_endpoint_long_running",
        endpoint={"name": scene.kept["endpoint"], "client_connection_config": config},
    )
    return None


def resize(scene: Scene) -> Undo:
    machines = {"min_replica_count": 1, "max_replica_count": 3}
    rpc(
        "EndpointService",
        "mutate_deployed_model",
        endpoint=scene.kept["endpoint"],
        deployed_model={"id": scene.kept["deployed"], "dedicated_resources": machines},
        update_mask={"paths": ["dedicated_resources.max_replica_count"]},
    )
    return None


def predict(scene: Scene) -> Undo:
    client = scene.client(PredictionServiceClient)
    client.predict(endpoint=scene.kept["endpoint"], instances=[1])
    return None


def raw_predict(scene: Scene) -> Undo:
    body = {"content_type": "application/json", "data": b"{}"}
    client = scene.client(PredictionServiceClient)
    client.raw_predict(request={"endpoint": scene.kept["endpoint"], "http_body": body})
    return None


def undeploy(scene: Scene) -> Undo:
    _update(scene, traffic_split={})
    _undeploy(scene, scene.kept["deployed"], {})
    return None


def _undeploy(scene: Scene, deployed: str, split: dict[str, int]) -> None:
    rpc(
        "EndpointService",
        "undeploy_model",
        endpoint=scene.kept["endpoint"],
        deployed_model_id=deployed,
        traffic_split=split,
    )


def delete(scene: Scene) -> Undo:
    rpc("EndpointService", "delete_endpoint", name=scene.kept["endpoint"])
    return None


ROWS = (
    Row(method="EndpointService.CreateEndpoint", act=create, why=NOT_OURS),
    Row(
        method="EndpointService.DeployModel",
        act=deploy,
        why="A registered version may be served there: its model's page says so, and it cannot be "
        "deleted before it is undeployed.",
    ),
    Row(
        method="EndpointService.DeployModel",
        act=deploy_unregistered,
        finds=("more_versions", "vertex_endpoint_unregistered"),
    ),
    Row(method="EndpointService.UpdateEndpoint", act=update, why=NOT_OURS),
    Row(method="EndpointService.UpdateEndpointLongRunning", act=connect, why=NOT_OURS),
    Row(method="EndpointService.MutateDeployedModel", act=resize, why=NOT_OURS),
    Row(method="PredictionService.Predict", act=predict, why="It answers, and changes nothing."),
    Row(
        method="PredictionService.RawPredict",
        act=raw_predict,
        why="It answers, and changes nothing.",
    ),
    Row(
        method="EndpointService.UndeployModel",
        act=undeploy,
        why="The platform did not deploy it there; the version may be deleted again.",
    ),
    Row(method="EndpointService.DeleteEndpoint", act=delete, why=NOT_OURS),
)
