"""What people do in the console or with gcloud, by Google's own clients."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import grpc
from google.auth.credentials import AnonymousCredentials
from google.cloud import storage
from google.cloud.aiplatform_v1.services.endpoint_service import EndpointServiceClient

from ml_platform.cloud.transport import channels

from .world import BUCKET

if TYPE_CHECKING:
    from ml_platform.localcloud import LocalCloud


def see_service(service_id: str) -> Any:
    """The service as Google's client shows it."""
    name = f"{channels.location_path()}/services/{service_id}"
    return channels.client("Services").get_service(name=name)


def edit_service(service_id: str, change: Callable[[Any], None]) -> None:
    """Read the service, change it and write it back."""
    service = see_service(service_id)
    change(service)
    channels.client("Services").update_service(service=service)


def deploy_by_hand(service_id: str, labels: Mapping[str, str]) -> None:
    """Another image, and these labels in place of what was there."""

    def change(service: Any) -> None:
        service.labels = dict(labels)
        service.template.labels = dict(labels)
        service.template.containers[0].image = "by-hand"

    edit_service(service_id, change)


@contextmanager
def vertex_endpoint(cloud: LocalCloud, model: str) -> Iterator[str]:
    """A Vertex AI endpoint that serves a version for as long as the block lasts."""
    with grpc.insecure_channel(cloud.grpc_target) as channel:
        transport = EndpointServiceClient.get_transport_class("grpc")(channel=channel)
        client = EndpointServiceClient(transport=transport)
        made = {"parent": channels.location_path(), "endpoint": {"display_name": "front"}}
        endpoint = client.create_endpoint(made).result().name
        asked = {"endpoint": endpoint, "deployed_model": {"model": model}}
        deployed = client.deploy_model(asked | {"traffic_split": {"0": 100}}).result()
        yield endpoint
        client.undeploy_model(
            endpoint=endpoint, deployed_model_id=deployed.deployed_model.id
        ).result()


def client_of(cloud: LocalCloud) -> Any:
    """A person's client of Cloud Storage; the platform's calls are counted apart."""
    options = {"api_endpoint": cloud.http_url}
    return storage.Client("demo-project", AnonymousCredentials(), client_options=options)


def hold(cloud: LocalCloud, *names: str, kind: str = "temporary_hold", on: bool = True) -> None:
    """What a person does with `gcloud storage objects update --temporary-hold`."""
    for name in names:
        blob = client_of(cloud).bucket(BUCKET).blob(name)
        setattr(blob, kind, on)
        blob.patch()
