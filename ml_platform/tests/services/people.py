"""What people do in the console or with gcloud, by Google's own clients."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any

from google.auth.credentials import AnonymousCredentials
from google.cloud import storage

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
